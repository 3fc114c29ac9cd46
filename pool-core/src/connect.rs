//! The tasks that run a connector's asynchronous methods, each with a deadline and a catch for
//! panics. They belong to the pool: no caller's cancellation touches them.

use std::future::{poll_fn, ready};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::connector::{BoxFuture, ConnectContext};
use crate::error::{CheckError, ConnectError, Fault};
use crate::foreign::{self, CatchPanic, bounded, catch};
use crate::guard::{Live, Slot};
use crate::id::CloseReason;
use crate::shared::Shared;
use crate::store::{Condition, SlotKey};
use crate::sync::Arc;

/// Opens a connection into `slot`, then watches over it until it is gone.
pub(crate) async fn connect<T: Send + 'static>(slot: Slot<T>, cx: ConnectContext) {
    let shared = Arc::clone(&slot.shared);
    let (key, id) = (slot.key, slot.id);
    let began = shared.clock.now();
    let (watch, gone) = oneshot::channel();
    let died = match open(&shared, &cx).await {
        Ok((connection, died)) => {
            let now = shared.clock.now();
            let live = Box::new(Live::new(connection, slot, Some(watch)));
            let mut store = shared.enter();
            store.opened(key, live, now);
            shared.finish(store);
            shared.telemetry.connected(now.since(began));
            died
        }
        Err(error) => {
            let now = shared.clock.now();
            let mut store = shared.enter();
            store.connect_failed(key, error, now);
            shared.finish(store);
            // Order: the failure is known before the slot is free, or another connect could start
            // without its delay.
            drop(slot);
            return;
        }
    };
    if let Some(died) = died
        && resolves_before(died, gone).await
    {
        let mut store = shared.enter_precisely();
        store.died(key, id);
        shared.finish(store);
    }
}

type Opened<T> = (T, Option<BoxFuture<'static, ()>>);

async fn open<T: Send + 'static>(
    shared: &Shared<T>,
    cx: &ConnectContext,
) -> Result<Opened<T>, ConnectError> {
    let attempt = Box::pin(async { shared.connector.connect(cx).await });
    let connection = bounded("connect", shared.timeouts.connect, attempt)
        .await
        .map_err(ConnectError::transient)??;
    // One that panics when it is asked is as good as dead, and is closed like any other.
    let died = catch("died", || shared.connector.died(&connection)).unwrap_or_else(|fault| {
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
pub(crate) async fn reset<T: Send + 'static>(mut live: Box<Live<T>>) {
    let shared = Arc::clone(live.shared());
    let connection = live.connection_mut();
    let attempt = Box::pin(async { shared.connector.reset(connection).await });
    match judge(bounded("reset", shared.timeouts.reset, attempt).await) {
        Ok(()) => {
            let condition = match shared.condition(live.connection()) {
                // One reset is enough, whatever it says now.
                Condition::NeedsReset => Condition::Clean,
                condition @ (Condition::Clean | Condition::Unfit(_)) => condition,
            };
            shared.give_back(live, condition);
        }
        Err(error) => reject(&shared, live, error),
    }
}

/// Checks a connection that was idle.
pub(crate) async fn check<T: Send + 'static>(mut live: Box<Live<T>>) {
    let shared = Arc::clone(live.shared());
    let connection = live.connection_mut();
    let attempt = Box::pin(async { shared.connector.check(connection).await });
    match judge(bounded("check", shared.timeouts.check, attempt).await) {
        Ok(()) => {
            let key = live.key();
            let now = shared.clock.now();
            let mut store = shared.enter();
            store.checked(key, live, now);
            shared.finish(store);
        }
        Err(error) => reject(&shared, live, error),
    }
}

/// A check of a shared connection, which is held until the end of this, whatever that is.
pub(crate) struct Probe<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    key: SlotKey,
    result: Option<Result<(), CheckError>>,
}

impl<T: Send + 'static> Probe<T> {
    pub(crate) const fn new(shared: Arc<Shared<T>>, key: SlotKey) -> Self {
        Self {
            shared,
            key,
            result: None,
        }
    }
}

impl<T: Send + 'static> Drop for Probe<T> {
    fn drop(&mut self) {
        self.shared.probed(self.key, self.result.take());
    }
}

/// Checks a shared connection while it serves.
pub(crate) async fn probe<T: Send + 'static>(mut probe: Probe<T>) {
    let shared = Arc::clone(&probe.shared);
    let Some(mut connection) = shared.share_of(probe.key) else {
        return;
    };
    let attempt = Box::pin(async { shared.connector.check(&mut connection).await });
    let result = judge(bounded("check", shared.timeouts.check, attempt).await);
    // Order: our handle goes before the hold on the connection, or it could be closed while we have
    // one.
    foreign::drop_quietly(connection);
    probe.result = Some(result);
}

fn judge(result: Result<Result<(), CheckError>, Fault>) -> Result<(), CheckError> {
    result.unwrap_or_else(|fault| Err(CheckError::new(fault)))
}

fn reject<T: Send + 'static>(shared: &Shared<T>, live: Box<Live<T>>, error: CheckError) {
    let key = live.key();
    let mut store = shared.enter();
    store.rejected(key, live, error);
    shared.finish(store);
}

/// Closes a connection; its slot is free when the connector says that it is gone.
pub(crate) async fn close<T: Send + 'static>(live: Box<Live<T>>, reason: CloseReason) {
    let (connection, slot) = live.into_parts();
    let shared = Arc::clone(&slot.shared);
    let limit = shared.timeouts.close;
    let closing = Box::pin(async { shared.connector.close(connection, reason).await });
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
                let mut store = shared.enter();
                store.stuck(slot.key, reason, waited);
                shared.finish(store);
            }
        }
    }
    drop(slot);
}
