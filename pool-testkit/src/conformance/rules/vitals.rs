//! What a connection weighs, and how it is killed.

use std::sync::Arc;
use std::thread;

use pool_core::{CloseReason, Connector, Overweight, Vitals};

use crate::conformance::trial::{Trial, TrialResult, broken};

pub(super) async fn vitals_end_it<C: Connector>(trial: &Trial<'_, C>) -> TrialResult {
    let mut conn = trial.open().await?;
    trial.exchange_if_told(&mut conn).await?;
    let connector = &trial.connector;
    let Some(vitals) = connector.vitals(&conn) else {
        // It says nothing, and can keep all of this.
        return trial.close(conn, CloseReason::Idle).await;
    };
    ask(trial, &vitals, |vitals| {
        let _: Option<u64> = vitals.weight();
    })
    .await?;
    let cause = Overweight::new(2, 1);
    ask(trial, &vitals, move |vitals| vitals.kill(&cause)).await?;
    let is_dead = || !connector.is_alive(&conn);
    trial
        .soon("`is_alive` is still true of a killed connection", is_dead)
        .await?;
    trial.close(conn, CloseReason::Killed).await?;
    ask(trial, &vitals, move |vitals| {
        let _: Option<u64> = vitals.weight();
        vitals.kill(&cause);
    })
    .await
}

/// Uses the vitals on a thread of its own, as a pool does.
async fn ask<C: Connector>(
    trial: &Trial<'_, C>,
    vitals: &Arc<dyn Vitals>,
    ask: impl FnOnce(&dyn Vitals) + Send + 'static,
) -> TrialResult {
    let vitals = Arc::clone(vitals);
    let asked = thread::spawn(move || ask(&*vitals));
    trial
        .soon("the vitals did not answer", || asked.is_finished())
        .await?;
    match asked.join() {
        Ok(()) => Ok(()),
        Err(_) => broken("the vitals panicked"),
    }
}
