//! The tasks that run a connector's asynchronous methods, each with a deadline and a catch for
//! panics. They belong to the pool: no caller's cancellation touches them.

use std::future::{poll_fn, ready};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::connector::{BoxFuture, ConnectContext};
use crate::engine::Engine;
use crate::error::{CheckError, ConnectError, Fault};
use crate::foreign::{self, CatchPanic, bounded, catch};
use crate::id::CloseReason;
use crate::lease::{OpenConnection, Slot};
use crate::store::{Condition, SlotKey};
use crate::sync::Arc;

/// Opens a connection into `slot`, then watches over it until it is gone.
pub(crate) async fn connect<T: Send + 'static>(slot: Slot<T>, cx: ConnectContext) {
    let engine = Arc::clone(&slot.engine);
    let (key, id) = (slot.key, slot.id);
    let began = engine.clock.now();
    let (watch, gone) = oneshot::channel();
    let died = match open(&engine, &cx).await {
        Ok((connection, died)) => {
            let now = engine.clock.now();
            let live = Box::new(OpenConnection::new(connection, slot, Some(watch)));
            let mut store = engine.enter();
            store.opened(key, live, now);
            engine.finish(store);
            engine.telemetry.connected(now.since(began));
            died
        }
        Err(error) => {
            let now = engine.clock.now();
            let mut store = engine.enter();
            store.connect_failed(key, error, now);
            engine.finish(store);
            // Order: the failure is known before the slot is free, or another connect could start
            // without its delay.
            drop(slot);
            return;
        }
    };
    if let Some(died) = died
        && resolves_before(died, gone).await
    {
        let mut store = engine.enter_precisely();
        store.died(key, id);
        engine.finish(store);
    }
}

type Opened<T> = (T, Option<BoxFuture<'static, ()>>);

async fn open<T: Send + 'static>(
    engine: &Engine<T>,
    cx: &ConnectContext,
) -> Result<Opened<T>, ConnectError> {
    let attempt = Box::pin(async { engine.connector.connect(cx).await });
    let connection = bounded("connect", engine.timeouts.connect, attempt)
        .await
        .map_err(ConnectError::transient)??;
    // One that panics when it is asked is as good as dead, and is closed like any other.
    let died = catch("died", || engine.connector.died(&connection)).unwrap_or_else(|fault| {
        foreign::log(&fault);
        Some(Box::pin(ready(())))
    });
    Ok((connection, died))
}

/// Whether `died` resolves (or panics) while the connection is still there.
async fn resolves_before(died: BoxFuture<'static, ()>, gone: oneshot::Receiver<()>) -> bool {
    let mut died = pin!(CatchPanic::new("died", died));
    let mut gone = pin!(gone);
    poll_fn(|cx| {
        if gone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        died.as_mut().poll(cx).map(|_| true)
    })
    .await
}

/// Resets a returned connection.
pub(crate) async fn reset<T: Send + 'static>(mut live: Box<OpenConnection<T>>) {
    let engine = Arc::clone(live.engine());
    let connection = live.connection_mut();
    let attempt = Box::pin(async { engine.connector.reset(connection).await });
    match judge(bounded("reset", engine.timeouts.reset, attempt).await) {
        Ok(()) => {
            let condition = match engine.condition(live.connection()) {
                // One reset is enough, whatever it says now.
                Condition::NeedsReset => Condition::Clean,
                condition @ (Condition::Clean | Condition::Unfit(_)) => condition,
            };
            engine.give_back(live, condition);
        }
        Err(error) => reject(&engine, live, error),
    }
}

/// Checks a connection that was idle.
pub(crate) async fn check<T: Send + 'static>(mut live: Box<OpenConnection<T>>) {
    let engine = Arc::clone(live.engine());
    let connection = live.connection_mut();
    let attempt = Box::pin(async { engine.connector.check(connection).await });
    match judge(bounded("check", engine.timeouts.check, attempt).await) {
        Ok(()) => {
            let key = live.key();
            let now = engine.clock.now();
            let mut store = engine.enter();
            store.checked(key, live, now);
            engine.finish(store);
        }
        Err(error) => reject(&engine, live, error),
    }
}

/// A check of a shared connection, which is held until the end of this, whatever that is.
pub(crate) struct Probe<T: Send + 'static> {
    engine: Arc<Engine<T>>,
    key: SlotKey,
    result: Option<Result<(), CheckError>>,
}

impl<T: Send + 'static> Probe<T> {
    pub(crate) const fn new(engine: Arc<Engine<T>>, key: SlotKey) -> Self {
        Self {
            engine,
            key,
            result: None,
        }
    }
}

impl<T: Send + 'static> Drop for Probe<T> {
    fn drop(&mut self) {
        self.engine.probed(self.key, self.result.take());
    }
}

/// Checks a shared connection while it serves.
pub(crate) async fn probe<T: Send + 'static>(mut probe: Probe<T>) {
    let engine = Arc::clone(&probe.engine);
    let Some(mut connection) = engine.share_of(probe.key) else {
        return;
    };
    let attempt = Box::pin(async { engine.connector.check(&mut connection).await });
    let result = judge(bounded("check", engine.timeouts.check, attempt).await);
    // Order: our handle goes before the hold on the connection, or it could be closed while we have
    // one.
    foreign::drop_quietly(connection);
    probe.result = Some(result);
}

fn judge(result: Result<Result<(), CheckError>, Fault>) -> Result<(), CheckError> {
    result.unwrap_or_else(|fault| Err(CheckError::new(fault)))
}

fn reject<T: Send + 'static>(engine: &Engine<T>, live: Box<OpenConnection<T>>, error: CheckError) {
    let key = live.key();
    let mut store = engine.enter();
    store.rejected(key, live, error);
    engine.finish(store);
}

/// Closes a connection; its slot is free when the connector says that it is gone.
pub(crate) async fn close<T: Send + 'static>(live: Box<OpenConnection<T>>, reason: CloseReason) {
    let (connection, slot) = live.into_parts();
    let engine = Arc::clone(&slot.engine);
    let limit = engine.timeouts.close;
    let closing = Box::pin(async { engine.connector.close(connection, reason).await });
    let mut closing = pin!(CatchPanic::new("close", closing));
    let mut waited = Duration::ZERO;
    loop {
        match tokio::time::timeout(limit, closing.as_mut()).await {
            Ok(Ok(())) => break,
            Ok(Err(fault)) => {
                let id = slot.id;
                tracing::error!(target: "pool_core", %id, %reason, %fault, "a close failed");
                break;
            }
            Err(_) => {
                // The limit bounds our patience, not the fact: what is not gone keeps its slot.
                waited += limit;
                let mut store = engine.enter();
                store.stuck(slot.key, reason, waited);
                engine.finish(store);
            }
        }
    }
    drop(slot);
}
