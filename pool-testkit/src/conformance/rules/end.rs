//! How connections end.

use pool_core::{CloseReason, Connector};

use crate::conformance::trial::{Trial, TrialResult, broken, demand};

pub(super) async fn close_returns<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    for reason in REASONS {
        let conn = trial.open().await?;
        trial.close(conn, reason).await?;
    }
    if trial.subject.kill.is_some() {
        for reason in [CloseReason::Idle, CloseReason::Died] {
            let conn = trial.open().await?;
            trial.kill_it(&conn).await?;
            trial.close(conn, reason).await?;
        }
    }
    Ok(())
}

pub(super) async fn close_ends_resource<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let before = trial.resources_now()?;
    for reason in REASONS {
        let mut conn = trial.open().await?;
        trial.exchange_if_told(&mut conn).await?;
        trial.close(conn, reason).await?;
        // There is no wait here, because the pool gives the slot to the next connection as soon as `close`
        // has returned.
        let left = trial.left(&before)?;
        demand(left.is_empty(), || {
            format!("{left:?} left when close for {reason} returned")
        })?;
    }
    Ok(())
}

pub(super) async fn drop_ends_resource<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let before = trial.resources_now()?;
    let mut conn = trial.open().await?;
    trial.exchange_if_told(&mut conn).await?;
    drop(conn);
    trial
        .gone(&before, "after a connection was dropped")
        .await?;
    let conn = trial.open().await?;
    if std::thread::spawn(move || drop(conn)).join().is_err() {
        return broken("the drop of a connection panicked on a thread without a runtime");
    }
    trial
        .gone(&before, "after a connection was dropped on a plain thread")
        .await
}

/// All reasons there are.
const REASONS: [CloseReason; 14] = [
    CloseReason::Idle,
    CloseReason::Lifetime,
    CloseReason::MaxUses,
    CloseReason::Shrunk,
    CloseReason::Evicted,
    CloseReason::PoolClosed,
    CloseReason::Died,
    CloseReason::Dirty,
    CloseReason::Discarded,
    CloseReason::CheckFailed,
    CloseReason::ResetFailed,
    CloseReason::Reclaimed,
    CloseReason::Overweight,
    CloseReason::Killed,
];
