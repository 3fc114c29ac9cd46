//! Connections that serve many callers at once.

use std::future::poll_fn;
use std::task::Poll;

use pool_core::{BoxError, CloseReason, Connector};

use crate::conformance::subject::{Boxed, SharedSide};
use crate::conformance::trial::{Trial, TrialResult, broken, chain, demand, missing, poll_times};

type Answer<'a> = Boxed<'a, Result<u64, BoxError>>;

fn side<'a, C: Connector>(trial: &'a Trial<'_, C>) -> TrialResult<&'a SharedSide<C>> {
    match &trial.subject.shared {
        Some(side) => Ok(side),
        None => missing("shared"),
    }
}

/// The outcome of an exchange, whose answer must be its own.
fn is_own(number: u64, answer: Result<u64, BoxError>) -> TrialResult {
    match answer {
        Ok(answer) if answer == number => Ok(()),
        Ok(answer) => broken(format!("sent {number} and got the answer {answer}")),
        Err(error) => broken(format!("an exchange failed: {}", chain(&*error))),
    }
}

pub(super) async fn exchanges_are_apart<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let side = side(trial)?;
    let conn = trial.open().await?;
    for _ in 0..ROUNDS {
        let numbers: Vec<u64> = (0..CALLERS).map(|_| trial.next()).collect();
        let mut running: Vec<Answer<'_>> = Vec::new();
        for number in &numbers {
            running.push((side.exchange)(&conn, *number));
        }
        let answers = trial
            .bounded("exchanges at the same time", all(running))
            .await?;
        for (number, answer) in numbers.into_iter().zip(answers) {
            is_own(number, answer)?;
        }
    }
    demand(trial.connector.is_alive(&conn), || {
        "not alive after exchanges".into()
    })?;
    demand((side.is_clean)(trial.connector, &conn), || {
        "`is_clean_shared` is false after exchanges that were completed".into()
    })?;
    trial.close(conn, CloseReason::Idle).await
}

pub(super) async fn cancelled_exchange_harms_no_other<C: Connector>(
    trial: &Trial<'_, C>,
) -> TrialResult {
    let side = side(trial)?;
    for polls in 1..=POLLS_MAX {
        let conn = trial.open().await?;
        let (number, next) = (trial.next(), trial.next());
        let mut other = (side.exchange)(&conn, number);
        let early = poll_fn(|cx| Poll::Ready(other.as_mut().poll(cx))).await;
        let dropped = poll_times((side.exchange)(&conn, trial.next()), polls);
        let has_ended = trial.bounded("an exchange", dropped).await?.is_some();
        let is_clean = (side.is_clean)(trial.connector, &conn);
        // A connection that is not clean is broken for all its callers, and a pool lends it no more.
        if is_clean || has_ended {
            let what = "an exchange beside one that was dropped";
            let answer = match early {
                Poll::Ready(answer) => answer,
                Poll::Pending => trial.bounded(what, other.as_mut()).await?,
            };
            let served = is_own(number, answer);
            let later = trial.bounded(what, (side.exchange)(&conn, next)).await?;
            if let Err(error) = served.and_then(|()| is_own(next, later)) {
                return broken(format!(
                    "an exchange was dropped after {polls} polls, and `is_clean_shared` is true, \
                     but then {error:?}"
                ));
            }
        }
        drop(other);
        trial.close(conn, CloseReason::Dirty).await?;
        if has_ended {
            break;
        }
    }
    Ok(())
}

pub(super) async fn check_passes_live<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let side = side(trial)?;
    let conn = trial.open().await?;
    for _ in 0..ROUNDS {
        // Busy: the exchange has begun, and the check runs before its answer is read.
        let number = trial.next();
        let mut exchange = (side.exchange)(&conn, number);
        let early = poll_fn(|cx| Poll::Ready(exchange.as_mut().poll(cx))).await;
        let checking = (side.check)(trial.connector, &conn);
        if let Err(error) = trial.bounded("check_shared", checking).await? {
            let text = chain(&error);
            return broken(format!(
                "check_shared of a live, busy connection failed: {text}"
            ));
        }
        let answer = match early {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                trial
                    .bounded("an exchange beside a check", exchange)
                    .await?
            }
        };
        is_own(number, answer)?;
    }
    trial.close(conn, CloseReason::Idle).await
}

pub(super) async fn check_sees_death<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let side = side(trial)?;
    let conn = trial.open().await?;
    trial.kill_it(&conn).await?;
    // The connection can die while the check runs, which then passes rightly.
    let checking = (side.check)(trial.connector, &conn);
    let what = "check_shared of a dead connection";
    if trial.bounded(what, checking).await?.is_ok() {
        let is_dead = || !trial.connector.is_alive(&conn);
        let otherwise = "`check_shared` passed a dead connection that `is_alive` calls alive";
        trial.soon(otherwise, is_dead).await?;
    }
    trial.close(conn, CloseReason::Died).await
}

/// Runs futures at the same time, and returns their outputs in the same order.
async fn all<T>(mut running: Vec<Boxed<'_, T>>) -> Vec<T> {
    let mut outputs: Vec<Option<T>> = running.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

const ROUNDS: u32 = 8;
/// How many exchanges run at the same time.
const CALLERS: u32 = 8;
/// After how many polls an exchange is dropped at most.
const POLLS_MAX: usize = 16;
