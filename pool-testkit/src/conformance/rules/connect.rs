//! How connections are opened, and how that fails.

use std::time::Duration;

use pool_core::{CloseReason, Connector};
use tokio::time::Instant;

use crate::conformance::trial::{Trial, TrialResult, broken, chain, demand, missing, poll_times};

pub(super) async fn opens<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let before = trial.resources_now().ok();
    let mut first = trial.open().await?;
    let between = trial.resources_now().ok();
    let mut second = trial.open().await?;
    if let (Some(before), Some(between)) = (before, between) {
        let both = trial.resources_now()?;
        let grows = before.len() < between.len() && between.len() < both.len();
        demand(grows, || {
            let two = "two connects";
            format!("{two} took the resources from {before:?} to {between:?} to {both:?}")
        })?;
    }
    for conn in [&first, &second] {
        let connector = &trial.connector;
        demand(connector.is_alive(conn), || {
            "a new connection is not alive".into()
        })?;
        demand(connector.is_clean(conn), || {
            "a new connection is not clean".into()
        })?;
        let needs_none = !connector.needs_reset(conn);
        demand(needs_none, || "a new connection needs a reset".into())?;
    }
    for conn in [&mut first, &mut second] {
        trial.exchange_if_told(conn).await?;
    }
    if trial.subject.kill.is_some() {
        trial.kill_it(&first).await?;
        trial.exchange_if_told(&mut second).await?;
        let lives = trial.connector.is_alive(&second);
        demand(lives, || {
            "the death of one connection killed another".into()
        })?;
    }
    trial.close(first, CloseReason::Died).await?;
    trial.close(second, CloseReason::Idle).await
}

pub(super) async fn is_cancel_safe<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let before = trial.resources_now()?;
    for polls in 0..POLLS_MAX {
        let cx = trial.context(trial.limit());
        let connecting = poll_times(trial.connector.connect(&cx), polls);
        let ended = trial.bounded("connect", connecting).await?;
        if let Some(outcome) = ended {
            return match outcome {
                Ok(conn) => trial.close(conn, CloseReason::Idle).await,
                Err(error) => broken(format!("connect failed: {}", chain(&error))),
            };
        }
        let after = format!("after a connect was dropped after {polls} polls");
        trial.gone(&before, &after).await?;
    }
    Ok(())
}

pub(super) async fn keeps_deadline<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let Some(stalling) = &trial.subject.stalling else {
        return missing("stalling");
    };
    let before = trial.resources_now().ok();
    let mut late = Vec::new();
    for _ in 0..ATTEMPTS {
        let cx = trial.context(STALL);
        let connecting = stalling.connect(&cx);
        let what = format!("a connect {STALL:?} before its deadline");
        match trial.bounded(&what, connecting).await? {
            Ok(_) => return broken("a connect to a peer that does not answer succeeded"),
            Err(error) if error.is_permanent() => {
                let text = chain(&error);
                return broken(format!(
                    "a connect that passed its deadline failed as permanent: {text}"
                ));
            }
            Err(_) => late.push(Instant::now().saturating_duration_since(cx.deadline)),
        }
        if late.last().is_some_and(|late| *late <= LATE_MAX) {
            break;
        }
    }
    let is_in_time = late.iter().any(|late| *late <= LATE_MAX);
    demand(is_in_time, || {
        format!("connects failed {late:?} after their deadlines")
    })?;
    match before {
        Some(before) => trial.gone(&before, "after a connect that failed").await,
        None => Ok(()),
    }
}

pub(super) async fn permanent_is_reported<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let Some(connector) = &trial.subject.failing_permanently else {
        return missing("failing_permanently");
    };
    is_reported(trial, connector, true).await
}

pub(super) async fn transient_is_reported<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let Some(connector) = &trial.subject.failing_transiently else {
        return missing("failing_transiently");
    };
    is_reported(trial, connector, false).await
}

async fn is_reported<C: Connector>(
    trial: &Trial<'_, C>,
    failing: &C,
    is_permanent: bool,
) -> TrialResult {
    let cx = trial.context(trial.limit());
    match trial.bounded("connect", failing.connect(&cx)).await? {
        Ok(_) => broken("the connect succeeded"),
        Err(error) => demand(error.is_permanent() == is_permanent, || chain(&error)),
    }
}

/// After how many polls a connect is dropped at most: more than any connect needs.
const POLLS_MAX: usize = 64;
/// The time from the start of a connect to a stalling peer until its deadline.
const STALL: Duration = Duration::from_millis(50);
/// How long after its deadline a connect may fail: closing what was opened takes time, and the machine
/// can be busy.
const LATE_MAX: Duration = Duration::from_millis(500);
/// One connect in time is enough: a busy machine delays some of them, a connector that ignores its
/// deadline all.
const ATTEMPTS: usize = 3;
