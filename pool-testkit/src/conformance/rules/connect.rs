//! How connections are opened, and how that fails.

use std::time::Duration;

use pool_core::{CloseReason, Connector};

use super::super::Subject;
use super::super::trial::{Verdict, broken, chain, demand, missing, poll_times};

pub(super) async fn opens<C: Connector>(subject: &Subject<C>) -> Verdict {
    let before = subject.resources_now().ok();
    let mut first = subject.open().await?;
    let between = subject.resources_now().ok();
    let mut second = subject.open().await?;
    if let (Some(before), Some(between)) = (before, between) {
        let both = subject.resources_now()?;
        let grows = before.len() < between.len() && between.len() < both.len();
        demand(grows, || {
            let two = "two connects";
            format!("{two} took the resources from {before:?} to {between:?} to {both:?}")
        })?;
    }
    for conn in [&first, &second] {
        let connector = &subject.connector;
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
        subject.exchange_if_told(conn).await?;
    }
    if subject.kill.is_some() {
        subject.kill_it(&first).await?;
        subject.exchange_if_told(&mut second).await?;
        let lives = subject.connector.is_alive(&second);
        demand(lives, || {
            "the death of one connection killed another".into()
        })?;
    }
    subject.close(first, CloseReason::Died).await?;
    subject.close(second, CloseReason::Idle).await
}

pub(super) async fn is_cancel_safe<C: Connector>(subject: &Subject<C>) -> Verdict {
    let before = subject.resources_now()?;
    for polls in 0..POLLS_MAX {
        let cx = subject.context(subject.limit);
        let connecting = poll_times(subject.connector.connect(&cx), polls);
        let ended = subject.bounded("connect", connecting).await?;
        if let Some(outcome) = ended {
            return match outcome {
                Ok(conn) => subject.close(conn, CloseReason::Idle).await,
                Err(error) => broken(format!("connect failed: {}", chain(&error))),
            };
        }
        let after = format!("after a connect was dropped at its poll {polls}");
        subject.gone(&before, &after).await?;
    }
    Ok(())
}

pub(super) async fn keeps_deadline<C: Connector>(subject: &Subject<C>) -> Verdict {
    let Some(stalling) = &subject.stalling else {
        return missing("stalling");
    };
    let before = subject.resources_now().ok();
    let cx = subject.context(STALL);
    let connecting = stalling.connect(&cx);
    let what = format!("a connect with {STALL:?} to go");
    match subject.bounded(&what, connecting).await? {
        Ok(_) => broken("a connect to a peer that does not answer succeeded"),
        Err(error) if error.is_permanent() => broken(format!(
            "a connect that ran into its deadline failed as permanent: {}",
            chain(&error)
        )),
        Err(_) => match before {
            Some(before) => subject.gone(&before, "after a connect that failed").await,
            None => Ok(()),
        },
    }
}

pub(super) async fn permanent_is_told<C: Connector>(subject: &Subject<C>) -> Verdict {
    let Some(connector) = &subject.failing_permanently else {
        return missing("failing_permanently");
    };
    is_told(subject, connector, true).await
}

pub(super) async fn transient_is_told<C: Connector>(subject: &Subject<C>) -> Verdict {
    let Some(connector) = &subject.failing_transiently else {
        return missing("failing_transiently");
    };
    is_told(subject, connector, false).await
}

async fn is_told<C: Connector>(subject: &Subject<C>, failing: &C, is_permanent: bool) -> Verdict {
    let cx = subject.context(subject.limit);
    match subject.bounded("connect", failing.connect(&cx)).await? {
        Ok(_) => broken("the connect succeeded"),
        Err(error) => demand(error.is_permanent() == is_permanent, || chain(&error)),
    }
}

/// Where a connect is dropped at the latest: more awaits than any has that ends in time.
const POLLS_MAX: usize = 64;
/// The time that a connect to a stalling peer gets.
const STALL: Duration = Duration::from_millis(50);
