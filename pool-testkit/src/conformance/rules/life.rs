//! How a connector sees that a connection lives or has died.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use pool_core::{BoxError, BoxFuture, CloseReason, Connector};

use crate::conformance::trial::{Trial, TrialError, TrialResult, broken, chain, demand};

pub(super) async fn is_alive_sees_death<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let conn = trial.open().await?;
    let connector = &trial.connector;
    demand(connector.is_alive(&conn), || {
        "a live connection is not alive".into()
    })?;
    trial.kill_it(&conn).await?;
    let is_dead = || !connector.is_alive(&conn);
    trial
        .soon("`is_alive` is still true of a dead connection", is_dead)
        .await?;
    trial.close(conn, CloseReason::Died).await
}

pub(super) async fn queries_are_cheap<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let mut conn = trial.open().await?;
    trial.exchange_if_told(&mut conn).await?;
    let connector = Arc::clone(trial.connector);
    // On a plain thread, as in the `Drop` of a lease that outlived its runtime.
    let asked = std::thread::spawn(move || (ask(&*connector, &conn), conn));
    let Ok((answered, mut conn)) = asked.join() else {
        return broken("a query panicked on a thread without a runtime");
    };
    demand(answered == Ok(()), || answered.err().unwrap_or_default())?;
    trial.exchange_if_told(&mut conn).await?;
    trial.close(conn, CloseReason::Idle).await
}

type QueryFn<C> = fn(&C, &<C as Connector>::Connection) -> bool;

/// Makes all queries many times. The best of several rounds counts, since a busy machine slows down some
/// of them and a slow connector all.
fn ask<C: Connector>(connector: &C, conn: &C::Connection) -> Result<(), String> {
    let queries: [(&str, QueryFn<C>); 3] = [
        ("is_alive", C::is_alive),
        ("is_clean", C::is_clean),
        ("needs_reset", C::needs_reset),
    ];
    for (name, query) in queries {
        let first = query(connector, conn);
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let begun = now();
            for _ in 0..QUERIES {
                if query(connector, conn) != first {
                    return Err(format!("`{name}` changed its answer when asked again"));
                }
            }
            best = best.min(begun.elapsed());
        }
        if best > QUERY_LIMIT * QUERIES {
            return Err(format!("{QUERIES} times `{name}` took {best:?}"));
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a query that blocks takes real time, even on a paused clock"
)]
fn now() -> Instant {
    Instant::now()
}

pub(super) async fn died_resolves<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let conn = trial.open().await?;
    let (first, second) = (death(trial, &conn)?, death(trial, &conn)?);
    trial.kill_it(&conn).await?;
    // The second is polled first: it must not depend on the first.
    trial.bounded("the second future of `died`", second).await?;
    trial.bounded("the first future of `died`", first).await?;
    let late = death(trial, &conn)?;
    trial
        .bounded("a future of `died` made after the death", late)
        .await?;
    trial.close(conn, CloseReason::Died).await
}

pub(super) async fn died_waits<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let mut conn = trial.open().await?;
    let mut deaths = [death(trial, &conn)?, death(trial, &conn)?];
    for _ in 0..LOOKS {
        trial.exchange_if_told(&mut conn).await?;
        tokio::task::yield_now().await;
        let resolved = poll_fn(|cx| {
            let mut deaths = deaths.iter_mut();
            Poll::Ready(deaths.any(|death| death.as_mut().poll(cx).is_ready()))
        });
        demand(!resolved.await, || {
            "`died` resolved while the connection lives".into()
        })?;
    }
    trial.close(conn, CloseReason::Idle).await
}

fn death<C: Connector>(
    trial: &Trial<'_, C>,
    conn: &C::Connection,
) -> TrialResult<BoxFuture<'static, Option<BoxError>>> {
    let none = || {
        "`died` returns None, so only the next caller sees that an idle connection died: \
                   implement it, or waive the rule"
    };
    let death = trial.connector.died(conn);
    death.ok_or_else(|| TrialError::NotApplicable(none().to_owned()))
}

pub(super) async fn check_passes_live<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let mut conn = trial.open().await?;
    for _ in 0..LOOKS {
        let checking = trial.connector.check(&mut conn);
        if let Err(error) = trial.bounded("check", checking).await? {
            return broken(format!("check of a live one failed: {}", chain(&error)));
        }
        trial.exchange_if_told(&mut conn).await?;
    }
    trial.close(conn, CloseReason::Idle).await
}

pub(super) async fn check_sees_death<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let mut conn = trial.open().await?;
    trial.kill_it(&conn).await?;
    // The connection can die while the check runs, which then passes rightly.
    let checking = trial.connector.check(&mut conn);
    let passed = trial
        .bounded("check of a dead connection", checking)
        .await?
        .is_ok();
    if passed {
        let is_dead = || !trial.connector.is_alive(&conn);
        let otherwise = "`check` passed a dead connection that `is_alive` calls alive";
        trial.soon(otherwise, is_dead).await?;
    }
    trial.close(conn, CloseReason::Died).await
}

const QUERIES: u32 = 200;
const ROUNDS: u32 = 3;
/// How long one query may take on average: a thousand times as long as a good one.
const QUERY_LIMIT: Duration = Duration::from_micros(500);
/// How often a trial looks at something that must not change.
const LOOKS: u32 = 8;
