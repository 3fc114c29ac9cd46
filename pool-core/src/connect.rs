//! The tasks that run a connector's asynchronous methods, with a deadline and a catch for panics. They
//! belong to the pool, so a caller's cancellation does not touch them.

use std::future::{poll_fn, ready};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::budget::CLOSE_PATIENCE;
use crate::connector::{BoxFuture, ConnectContext};
use crate::engine::{Engine, Lends, Stored};
use crate::error::{BoxError, CheckError, ConnectError, Fault};
use crate::foreign::{self, CatchPanic, bounded, catch};
use crate::id::CloseReason;
use crate::slot::{OpenConnection, Slot};
use crate::store::{Condition, Exclusive};
use crate::sync::Arc;

/// Opens a connection into `slot`, then watches for its death. After `patience` the connect is late.
pub(crate) async fn connect<T: Send + 'static, L: Lends<T>>(
    mut slot: Slot<T, L>,
    cx: ConnectContext,
    patience: Duration,
) {
    let engine = Arc::clone(&slot.engine);
    let (key, id) = (slot.key, slot.id);
    let began = engine.clock.now();
    let (watch, gone) = oneshot::channel();
    let result = within_budget(&mut slot, patience, open(&engine, &cx)).await;
    let died = match result {
        Ok((connection, died)) => {
            L::watch_suspicion(&engine, &connection, key, id);
            let vitals = engine.vitals(&connection);
            let now = engine.clock.now();
            let open = Box::new(OpenConnection::new(connection, slot, Some(watch)));
            let mut store = engine.enter();
            if let Some(vitals) = vitals {
                store.note_vitals(key, vitals, now);
            }
            store.opened(key, open, now);
            engine.finish(store);
            engine.telemetry.connected(now.since(began));
            died
        }
        Err(error) => {
            let now = engine.clock.now();
            let mut store = engine.enter();
            store.connect_failed(key, error, now);
            engine.finish(store);
            // Order: the failure is recorded before the slot is free. Otherwise another connect could
            // start without a delay.
            drop(slot);
            return;
        }
    };
    if let Some(died) = died
        && let Some(death) = resolves_before(died, gone).await
    {
        let reason = death.reason.map(ConnectError::transient);
        let mut store = engine.enter_precisely();
        store.died(key, id, reason);
        engine.finish(store);
    }
}

/// Awaits a connect, and says when it no longer counts against the budget: at its end, or when it is
/// overdue.
async fn within_budget<T: Send + 'static, L: Lends<T>, R>(
    slot: &mut Slot<T, L>,
    patience: Duration,
    connect: impl Future<Output = R>,
) -> R {
    let mut connect = pin!(connect);
    if slot.is_budgeted() {
        let result = tokio::time::timeout(patience, connect.as_mut()).await;
        slot.connect_ended();
        if let Ok(result) = result {
            return result;
        }
    }
    connect.await
}

type Opened<T> = (T, Option<Died>);
type Died = BoxFuture<'static, Option<BoxError>>;

/// A connection died.
struct Death {
    /// If the connector knows it.
    reason: Option<BoxError>,
}

async fn open<T: Send + 'static, L: Lends<T>>(
    engine: &Engine<T, L>,
    cx: &ConnectContext,
) -> Result<Opened<T>, ConnectError> {
    let attempt = Box::pin(async { engine.connector.connect(cx).await });
    let connection = bounded("connect", engine.timeouts.connect, attempt)
        .await
        .map_err(ConnectError::transient)??;
    // A panic here counts as the connection's death; it is closed like any other.
    let died = catch("died", || engine.connector.died(&connection)).unwrap_or_else(|fault| {
        foreign::log(&fault);
        Some(Box::pin(ready(None)))
    });
    Ok((connection, died))
}

/// The death, if `died` resolves (or panics) while the connection is still there.
async fn resolves_before(died: Died, gone: oneshot::Receiver<()>) -> Option<Death> {
    let mut died = pin!(CatchPanic::new("died", died));
    let mut gone = pin!(gone);
    poll_fn(|cx| {
        if gone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let outcome = std::task::ready!(died.as_mut().poll(cx));
        Poll::Ready(Some(Death {
            reason: outcome.unwrap_or_default(),
        }))
    })
    .await
}

/// Resets a returned connection.
pub(crate) async fn reset<T: Send + 'static>(mut open: Stored<T, Exclusive>) {
    let engine = Arc::clone(open.engine());
    let connection = open.connection_mut();
    let attempt = Box::pin(async { engine.connector.reset(connection).await });
    match fault_as_error(bounded("reset", engine.timeouts.reset, attempt).await) {
        Ok(()) => {
            let condition = match engine.condition(open.connection()) {
                // One reset is enough, even if the connector asks for another.
                Condition::NeedsReset => Condition::Clean,
                condition @ (Condition::Clean | Condition::Ended | Condition::Unfit(_)) => {
                    condition
                }
            };
            Exclusive::give_back(open, &engine, condition);
        }
        Err(error) => reject(&engine, open, error),
    }
}

/// Checks a connection that was idle.
pub(crate) async fn check<T: Send + 'static>(mut open: Stored<T, Exclusive>) {
    let engine = Arc::clone(open.engine());
    match run_check(&engine, open.connection_mut()).await {
        Ok(()) => {
            let key = open.key();
            let now = engine.clock.now();
            let mut store = engine.enter();
            store.checked(key, open, now);
            engine.finish(store);
        }
        Err(error) => reject(&engine, open, error),
    }
}

/// Runs [`Connector::check`](crate::Connector::check) within its deadline.
pub(crate) async fn run_check<T: Send + 'static, L: Lends<T>>(
    engine: &Engine<T, L>,
    connection: &mut T,
) -> Result<(), CheckError> {
    let attempt = Box::pin(async { engine.connector.check(connection).await });
    fault_as_error(bounded("check", engine.timeouts.check, attempt).await)
}

fn fault_as_error(result: Result<Result<(), CheckError>, Fault>) -> Result<(), CheckError> {
    result.unwrap_or_else(|fault| Err(CheckError::new(fault)))
}

fn reject<T: Send + 'static>(
    engine: &Engine<T, Exclusive>,
    open: Stored<T, Exclusive>,
    error: CheckError,
) {
    let key = open.key();
    let mut store = engine.enter();
    store.rejected(key, open, error);
    engine.finish(store);
}

/// Closes a connection; its slot is free when the connector says that it is gone.
pub(crate) async fn close<T: Send + 'static, L: Lends<T>>(open: Stored<T, L>, reason: CloseReason) {
    let (connection, mut slot) = open.into_parts();
    let engine = Arc::clone(&slot.engine);
    let limit = engine.timeouts.close;
    let closing = Box::pin(async { engine.connector.close(connection, reason).await });
    let mut closing = pin!(CatchPanic::new("close", closing));
    let mut waited = Duration::ZERO;
    // Other pools wait no longer for it than a claim counts, though it is not stuck yet.
    let mut patience = limit.min(CLOSE_PATIENCE);
    let result = loop {
        if let Ok(result) = tokio::time::timeout(patience, closing.as_mut()).await {
            break result;
        }
        // The close goes on, and the connection keeps its slot until it is gone.
        waited += patience;
        if waited < limit {
            patience = limit - waited;
            engine.lock().forget_claim(slot.key);
        } else {
            patience = limit;
            let mut store = engine.enter();
            store.stuck(slot.key, reason, waited);
            engine.finish(store);
            slot.close_hangs();
        }
        engine.reclaim_for_others();
    };
    if let Err(fault) = result {
        let id = slot.id;
        tracing::error!(target: "pool_core", %id, %reason, %fault, "a close failed");
    }
    drop(slot);
}
