//! How connections end.

use pool_core::{CloseReason, Connector};

use super::super::Subject;
use super::super::trial::{Verdict, broken, demand};

pub(super) async fn close_returns<C: Connector>(subject: &Subject<C>) -> Verdict {
    for reason in REASONS {
        let conn = subject.open().await?;
        subject.close(conn, reason).await?;
    }
    if subject.kill.is_some() {
        for reason in [CloseReason::Idle, CloseReason::Died] {
            let conn = subject.open().await?;
            subject.kill_it(&conn).await?;
            subject.close(conn, reason).await?;
        }
    }
    Ok(())
}

pub(super) async fn close_ends_resource<C: Connector>(subject: &Subject<C>) -> Verdict {
    let before = subject.resources_now()?;
    for reason in REASONS {
        let mut conn = subject.open().await?;
        subject.exchange_if_told(&mut conn).await?;
        subject.close(conn, reason).await?;
        // At once: the pool gives the slot to the next connection now.
        let left = subject.left(&before)?;
        demand(left.is_empty(), || {
            format!("{left:?} left when close for {reason} returned")
        })?;
    }
    Ok(())
}

pub(super) async fn drop_ends_resource<C: Connector>(subject: &Subject<C>) -> Verdict {
    let before = subject.resources_now()?;
    let mut conn = subject.open().await?;
    subject.exchange_if_told(&mut conn).await?;
    drop(conn);
    subject
        .gone(&before, "after a connection was dropped")
        .await?;
    let conn = subject.open().await?;
    if std::thread::spawn(move || drop(conn)).join().is_err() {
        return broken("the drop of a connection panicked on a thread without a runtime");
    }
    subject
        .gone(&before, "after a connection was dropped on a plain thread")
        .await
}

/// All reasons there are.
const REASONS: [CloseReason; 11] = [
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
];
