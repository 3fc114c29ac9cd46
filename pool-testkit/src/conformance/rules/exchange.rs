//! What use leaves behind, and how it is cleaned up.

use pool_core::{CloseReason, Connector};

use crate::conformance::trial::{Trial, TrialResult, broken, chain, demand, missing, poll_times};

pub(super) async fn leaves_clean<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let mut conn = trial.open().await?;
    for _ in 0..EXCHANGES {
        trial.exchange_once(&mut conn).await?;
        let connector = &trial.connector;
        demand(connector.is_alive(&conn), || {
            "not alive after an exchange".into()
        })?;
        demand(connector.is_clean(&conn), || {
            "not clean after an exchange".into()
        })?;
    }
    trial.close(conn, CloseReason::Idle).await
}

pub(super) async fn cancelled_is_not_reused<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let Some(exchange) = &trial.subject.exchange else {
        return missing("exchange");
    };
    for polls in 1..=POLLS_MAX {
        let mut conn = trial.open().await?;
        let exchanging = poll_times(exchange(&mut conn, trial.next()), polls);
        let has_ended = trial.bounded("an exchange", exchanging).await?.is_some();
        if !has_ended && trial.would_be_lent_again(&mut conn).await? {
            let next = trial.exchange_once(&mut conn).await;
            if next.is_err() {
                return broken(format!(
                    "an exchange was dropped after {polls} polls, and the connection was called \
                     clean, but then {next:?}"
                ));
            }
        }
        trial.close(conn, CloseReason::Dirty).await?;
        if has_ended {
            break;
        }
    }
    Ok(())
}

pub(super) async fn dirt_is_seen<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let Some(dirty) = &trial.subject.dirty else {
        return missing("dirty");
    };
    let mut conn = trial.open().await?;
    let soiled = trial.bounded("making it dirty", dirty(&mut conn)).await?;
    if let Err(error) = soiled {
        return broken(format!("making it dirty failed: {}", chain(&*error)));
    }
    let connector = &trial.connector;
    let is_seen = !connector.is_clean(&conn) || connector.needs_reset(&conn);
    demand(is_seen, || {
        "`is_clean` is true and `needs_reset` false".into()
    })?;
    trial.close(conn, CloseReason::Dirty).await
}

pub(super) async fn reset_is_honest<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    if trial.subject.exchange.is_none() {
        return missing("exchange");
    }
    let mut conn = trial.open().await?;
    trial.exchange_once(&mut conn).await?;
    demand(reset(trial, &mut conn).await?, || {
        "reset of a clean one failed".into()
    })?;
    let Some(dirty) = &trial.subject.dirty else {
        return trial.close(conn, CloseReason::Idle).await;
    };
    let soiled = trial.bounded("making it dirty", dirty(&mut conn)).await?;
    if let Err(error) = soiled {
        return broken(format!("making it dirty failed: {}", chain(&*error)));
    }
    // A pool closes a connection that is not clean, and never resets it.
    if trial.connector.is_clean(&conn) && trial.connector.needs_reset(&conn) {
        let _is_lent_again = reset(trial, &mut conn).await?;
    }
    trial.close(conn, CloseReason::Dirty).await
}

/// Resets a connection. If that succeeds, the connection must be as good as new. Returns whether it
/// succeeded.
async fn reset<C: Connector>(trial: &Trial<'_, C>, conn: &mut C::Connection) -> TrialResult<bool> {
    let connector = &trial.connector;
    let is_ok = trial.bounded("reset", connector.reset(conn)).await?.is_ok();
    if is_ok {
        demand(!connector.needs_reset(conn), || {
            "a reset leaves the need for one".into()
        })?;
        demand(connector.is_clean(conn), || {
            "not clean after a reset".into()
        })?;
        trial.exchange_once(conn).await?;
    }
    Ok(is_ok)
}

const EXCHANGES: u32 = 3;
/// After how many polls an exchange is dropped at most.
const POLLS_MAX: usize = 16;
