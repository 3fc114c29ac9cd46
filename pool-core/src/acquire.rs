//! The future of an acquire: at once from what may be lent, or from the queue.
//!
//! # Cancellation
//!
//! `Drop` of [`Wait`] leaves the queue. A connection that was served but not yet taken is returned
//! like a lease, so it goes on to the next waiter.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop;

use crate::engine::{Engine, Lent};
use crate::error::{AcquireContext, AcquireError};
use crate::foreign::drop_quietly;
use crate::lease::{Held, OpenConnection, PooledConnection};
use crate::store::{DeadlineClock, Found, Refusal, Turn, WaitEnd, WaitRequest, WaiterKey};
use crate::time::Time;

/// The future that [`ConnectionPool::acquire`](crate::ConnectionPool::acquire) returns.
///
/// The acquire timeout and the place in the queue begin with the first poll.
///
/// # Cancel safety
///
/// Dropping it gives up the place in the queue, and nothing else: a connect that was started for
/// it goes on and serves whoever comes next.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, async_trait};
/// # struct Units;
/// # #[async_trait]
/// # impl Connector for Units {
/// #     type Connection = ();
/// #     async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> { Ok(()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let pool = ConnectionPool::builder(Units).max_size(1).build()?;
/// let held = pool.acquire().await?;
/// let mut waiting = pin!(pool.acquire());
/// assert_eq!(pool.status().waiting, 0, "a future that nobody polls does nothing");
///
/// let mut cx = Context::from_waker(Waker::noop());
/// assert!(waiting.as_mut().poll(&mut cx).is_pending());
/// assert_eq!(pool.status().waiting, 1);
/// drop(held);
/// assert!(matches!(waiting.poll(&mut cx), Poll::Ready(Ok(_))));
/// # Ok(())
/// # }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a, T: Send + 'static> {
    wait: Wait<'a, T, Box<OpenConnection<T>>>,
}

impl<'a, T: Send + 'static> Acquire<'a, T> {
    pub(crate) const fn new(
        engine: &'a Engine<T>,
        site: &'static Location<'static>,
        timeout: Duration,
    ) -> Self {
        Self {
            wait: Wait::new(engine, site, timeout),
        }
    }

    /// For a model that leaves the queue in its own way.
    #[cfg(all(test, loom))]
    pub(crate) fn forget_place(self) -> Option<WaiterKey> {
        self.wait.forget_place()
    }
}

impl<T: Send + 'static> Future for Acquire<'_, T> {
    type Output = Result<PooledConnection<T>, AcquireError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let held = ready!(Pin::new(&mut self.wait).poll(cx))?;
        Poll::Ready(Ok(PooledConnection::new(held)))
    }
}

impl<T: Send + 'static> fmt::Debug for Acquire<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wait.describe(&mut f.debug_struct("Acquire"))
    }
}

/// The wait for what a caller holds during a lease.
pub(crate) struct Wait<'a, T: Send + 'static, H: Held<T>> {
    held: PhantomData<fn() -> H>,
    engine: &'a Engine<T>,
    site: &'static Location<'static>,
    timeout: Duration,
    turn: Turn,
    /// Set when the queue was first needed.
    began: Option<Time>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    New,
    Queued(WaiterKey),
    Done,
}

/// Timeouts from here on are measured by the coarse clock, which is a percent of them: reading the
/// real one would cost a tenth of a contended acquire.
const COARSE_FROM: Duration = Duration::from_secs(10);

impl<'a, T: Send + 'static, H: Held<T>> Wait<'a, T, H> {
    pub(crate) const fn new(
        engine: &'a Engine<T>,
        site: &'static Location<'static>,
        timeout: Duration,
    ) -> Self {
        Self {
            held: PhantomData,
            engine,
            site,
            timeout,
            turn: Turn::New,
            began: None,
            stage: Stage::New,
        }
    }

    /// For a model that leaves the queue in its own way.
    #[cfg(all(test, loom))]
    pub(crate) fn forget_place(mut self) -> Option<WaiterKey> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Queued(key) => Some(key),
            Stage::New | Stage::Done => None,
        }
    }

    /// Takes an idle connection, or joins the queue.
    #[inline]
    fn begin(&mut self, cx: &Context<'_>) -> Poll<Result<H, AcquireError>> {
        if !self.engine.seems_idle() {
            return self.queue(cx, false);
        }
        let Lent { held, met_dead } = self.engine.lend(self.site);
        match held {
            Some(held) => self.done(Ok(held)),
            None => self.queue(cx, met_dead),
        }
    }

    fn queue(&mut self, cx: &Context<'_>, mut met_dead: bool) -> Poll<Result<H, AcquireError>> {
        loop {
            if met_dead && self.turn == Turn::New {
                self.turn = Turn::Deferred;
            }
            // Cloned, like every waker, outside the lock: cloning is foreign code.
            let waker = cx.waker().clone();
            let exact = self.needs_clock().then(|| self.engine.clock.now());
            let mut store = self.engine.enter();
            let now = exact.unwrap_or_else(|| store.coarse_now());
            let ticket = WaitRequest {
                deadline: self.began.get_or_insert(now).after(self.timeout),
                clock: exact.map_or(DeadlineClock::Coarse, |_| DeadlineClock::Exact),
                site: self.site,
            };
            // Order: looked for again and queued in one critical section, or a connection that
            // came home since would be missed.
            if let Some(held) = H::take(&mut store, self.site) {
                self.engine.finish(store);
                drop_quietly(waker);
                if self.engine.is_alive(held.connection()) {
                    return self.done(Ok(held));
                }
                held.discard_dead(self.engine);
                met_dead = true;
                continue;
            }
            let admitted = store.admit(now, ticket.deadline, self.turn);
            if let Err(refusal) = admitted {
                let context = store.context(now);
                self.engine.finish(store);
                return self.done(Err(self.error(refusal, context)));
            }
            self.stage = Stage::Queued(store.enqueue(waker, ticket, self.turn));
            self.engine.finish(store);
            return Poll::Pending;
        }
    }

    /// Looks whether it was served.
    fn resume(&mut self, key: WaiterKey, cx: &Context<'_>) -> Poll<Result<H, AcquireError>> {
        loop {
            let mut store = self.engine.enter();
            match store.poll_waiter(key, cx.waker()) {
                Found::Waiting => {
                    self.engine.finish(store);
                    return Poll::Pending;
                }
                Found::Moved => {
                    self.engine.finish(store);
                    let waker = cx.waker().clone();
                    let mut store = self.engine.enter();
                    let replaced = store.replace_waker(key, waker);
                    self.engine.finish(store);
                    // Not compared again: a clone need not admit to be one.
                    if replaced.is_ok() {
                        return Poll::Pending;
                    }
                }
                Found::Done(WaitEnd::Served(served)) => {
                    self.stage = Stage::New;
                    let held = H::claim(&store, served);
                    let accepted = held.accept(&mut store);
                    self.engine.finish(store);
                    match accepted {
                        Ok(()) if self.engine.is_alive(held.connection()) => {
                            self.note_wait();
                            return self.done(Ok(held));
                        }
                        Ok(()) => held.discard_dead(self.engine),
                        Err(condition) => held.give_back(self.engine, condition),
                    }
                    self.turn = Turn::Resumed(key.id());
                    return self.begin(cx);
                }
                Found::Done(WaitEnd::Refused(refusal, context)) => {
                    self.stage = Stage::Done;
                    self.engine.finish(store);
                    return self.done(Err(self.error(refusal, context)));
                }
            }
        }
    }

    pub(crate) fn describe(&self, debug: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        debug
            .field("site", &self.site)
            .field("timeout", &self.timeout);
        debug.field("stage", &self.stage).finish()
    }

    /// Whether the coarse clock will not do: a tick more or less matters to this timeout, or
    /// somebody wants to know how long the wait was.
    fn needs_clock(&self) -> bool {
        self.timeout < COARSE_FROM || self.engine.telemetry.is_metered()
    }

    fn done(&mut self, result: Result<H, AcquireError>) -> Poll<Result<H, AcquireError>> {
        self.stage = Stage::Done;
        Poll::Ready(result)
    }

    fn note_wait(&self) {
        if let (true, Some(began)) = (self.engine.telemetry.is_metered(), self.began) {
            self.engine
                .telemetry
                .waited(self.engine.clock.now().since(began));
        }
    }

    #[cold]
    fn error(&self, refusal: Refusal, context: Arc<AcquireContext>) -> AcquireError {
        let error = match refusal {
            Refusal::TimedOut => AcquireError::Timeout {
                limit: self.timeout,
                context,
            },
            Refusal::Overloaded { limit } => AcquireError::Overloaded { limit, context },
            Refusal::Closed => AcquireError::Closed { context },
            Refusal::Unavailable { retry_after } => AcquireError::Unavailable {
                retry_after,
                context,
            },
        };
        self.engine.telemetry.refused(&error);
        error
    }
}

impl<T: Send + 'static, H: Held<T>> Future for Wait<'_, T, H> {
    type Output = Result<H, AcquireError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A task that always finds something idle must still let others run.
        let budget = ready!(coop::poll_proceed(cx));
        let poll = match self.stage {
            Stage::New => self.begin(cx),
            Stage::Queued(key) => self.resume(key, cx),
            Stage::Done => panic!("an acquire was polled after its completion"),
        };
        if poll.is_ready() {
            budget.made_progress();
        }
        poll
    }
}

impl<T: Send + 'static, H: Held<T>> Drop for Wait<'_, T, H> {
    fn drop(&mut self) {
        let Stage::Queued(key) = self.stage else {
            return;
        };
        let mut store = self.engine.enter();
        let held = store.cancel(key).map(|served| H::claim(&store, served));
        self.engine.finish(store);
        if let Some(held) = held {
            let condition = self.engine.condition(held.connection());
            held.give_back(self.engine, condition);
        }
    }
}
