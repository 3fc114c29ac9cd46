//! What use leaves behind, and how it is cleaned up.

use pool_core::{CloseReason, Connector};

use super::super::Subject;
use super::super::trial::{Verdict, broken, chain, demand, missing, poll_times};

pub(super) async fn leaves_clean<C: Connector>(subject: &Subject<C>) -> Verdict {
    let mut conn = subject.open().await?;
    for _ in 0..EXCHANGES {
        subject.exchange_once(&mut conn).await?;
        let connector = &subject.connector;
        demand(connector.is_alive(&conn), || {
            "not alive after an exchange".into()
        })?;
        demand(connector.is_clean(&conn), || {
            "not clean after an exchange".into()
        })?;
    }
    subject.close(conn, CloseReason::Idle).await
}

pub(super) async fn cancelled_is_not_reused<C: Connector>(subject: &Subject<C>) -> Verdict {
    let Some(exchange) = &subject.exchange else {
        return missing("exchange");
    };
    for polls in 1..=POLLS_MAX {
        let mut conn = subject.open().await?;
        let exchanging = poll_times(exchange(&mut conn, subject.next()), polls);
        let has_ended = subject.bounded("an exchange", exchanging).await?.is_some();
        if !has_ended && subject.would_be_lent_again(&mut conn).await? {
            let next = subject.exchange_once(&mut conn).await;
            if next.is_err() {
                return broken(format!(
                    "dropped at its poll {polls}, an exchange left a connection that was called \
                     clean, but {next:?}"
                ));
            }
        }
        subject.close(conn, CloseReason::Dirty).await?;
        if has_ended {
            break;
        }
    }
    Ok(())
}

pub(super) async fn dirt_is_seen<C: Connector>(subject: &Subject<C>) -> Verdict {
    let Some(dirty) = &subject.dirty else {
        return missing("dirty");
    };
    let mut conn = subject.open().await?;
    let soiled = subject.bounded("making it dirty", dirty(&mut conn)).await?;
    if let Err(error) = soiled {
        return broken(format!("making it dirty failed: {}", chain(&*error)));
    }
    let connector = &subject.connector;
    let is_seen = !connector.is_clean(&conn) || connector.needs_reset(&conn);
    demand(is_seen, || "called clean, and in need of no reset".into())?;
    subject.close(conn, CloseReason::Dirty).await
}

pub(super) async fn reset_is_honest<C: Connector>(subject: &Subject<C>) -> Verdict {
    if subject.exchange.is_none() {
        return missing("exchange");
    }
    let mut conn = subject.open().await?;
    subject.exchange_once(&mut conn).await?;
    demand(reset(subject, &mut conn).await?, || {
        "reset of a clean one failed".into()
    })?;
    let Some(dirty) = &subject.dirty else {
        return subject.close(conn, CloseReason::Idle).await;
    };
    let soiled = subject.bounded("making it dirty", dirty(&mut conn)).await?;
    if let Err(error) = soiled {
        return broken(format!("making it dirty failed: {}", chain(&*error)));
    }
    // What is not clean is closed by the pool, and never reset.
    if subject.connector.is_clean(&conn) && subject.connector.needs_reset(&conn) {
        let _is_lent_again = reset(subject, &mut conn).await?;
    }
    subject.close(conn, CloseReason::Dirty).await
}

/// Resets it; if that succeeds, it must be as new. Says whether it did.
async fn reset<C: Connector>(subject: &Subject<C>, conn: &mut C::Connection) -> Verdict<bool> {
    let connector = &subject.connector;
    let is_ok = subject
        .bounded("reset", connector.reset(conn))
        .await?
        .is_ok();
    if is_ok {
        demand(!connector.needs_reset(conn), || {
            "a reset leaves the need for one".into()
        })?;
        demand(connector.is_clean(conn), || {
            "not clean after a reset".into()
        })?;
        subject.exchange_once(conn).await?;
    }
    Ok(is_ok)
}

const EXCHANGES: u32 = 3;
/// Where an exchange is dropped at the latest.
const POLLS_MAX: usize = 16;
