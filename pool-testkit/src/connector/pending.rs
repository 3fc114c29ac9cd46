//! Calls that wait for the test to complete them, and the queues in which the test finds them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use pool_core::{CloseReason, ConnectContext, ConnectionId};
use tokio::sync::{Notify, oneshot};

use crate::Call;

/// What the test decided about one call.
#[derive(Debug)]
pub(super) enum Reply {
    Ok,
    Transient(String),
    Permanent(String),
    Panic(String),
}

/// The test's end of a call that waits; dropping it lets the call hang.
#[derive(Debug)]
pub(super) struct Reins(oneshot::Sender<Reply>);

impl Reins {
    pub(super) fn pair() -> (Self, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    fn send(self, reply: Reply) {
        // A call that was cancelled meanwhile has nobody to hear the reply.
        drop(self.0.send(reply));
    }
}

macro_rules! observe_call {
    () => {
        /// Whether the code under test has dropped the call.
        #[must_use]
        pub fn is_cancelled(&self) -> bool {
            self.reins.0.is_closed()
        }

        /// Waits until the code under test drops the call.
        ///
        /// # Cancel safety
        ///
        /// Keeps no state: can be dropped and called again.
        pub async fn cancelled(&mut self) {
            self.reins.0.closed().await;
        }

        /// Lets the call panic with this message.
        pub fn panic(self, message: impl Into<String>) {
            self.reins.send(Reply::Panic(message.into()));
        }
    };
}

/// A connect that waits for the test. Dropping this lets it hang.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
/// use pool_testkit::Call;
/// use pool_testkit::connector::pair;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (connector, fake) = pair();
/// fake.set_manual(Call::Connect);
/// let pool = ConnectionPool::builder(connector).build()?;
/// let test = async {
///     let mut connect = fake.next_connect().await;
///     assert_eq!(connect.context().attempt, 1);
///     pool.close(std::time::Duration::ZERO).await;
///     connect.cancelled().await;
/// };
/// let (acquired, ()) = tokio::join!(pool.acquire(), test);
/// assert!(acquired.is_err(), "the pool was closed, and dropped the connect");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PendingConnect {
    pub(super) context: ConnectContext,
    pub(super) reins: Reins,
}

impl PendingConnect {
    /// The id the connection will have.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.context.id
    }

    /// What the pool told the connect.
    #[must_use]
    pub const fn context(&self) -> &ConnectContext {
        &self.context
    }

    /// Lets the connect succeed.
    pub fn succeed(self) {
        self.reins.send(Reply::Ok);
    }

    /// Lets the connect fail with a transient error.
    pub fn fail_transient(self, message: impl Into<String>) {
        self.reins.send(Reply::Transient(message.into()));
    }

    /// Lets the connect fail with a permanent error.
    pub fn fail_permanent(self, message: impl Into<String>) {
        self.reins.send(Reply::Permanent(message.into()));
    }

    observe_call!();
}

/// A reset or check that waits for the test. Dropping this lets it hang.
///
/// # Examples
///
/// ```
/// use pool_core::{CloseReason, ConnectionPool, PooledConnection};
/// use pool_testkit::Call;
/// use pool_testkit::connector::pair;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (connector, fake) = pair();
/// fake.set_manual(Call::Reset);
/// let pool = ConnectionPool::builder(connector).build()?;
/// let lease = pool.acquire().await?;
/// fake.set_needs_reset(PooledConnection::id(&lease));
/// drop(lease);
///
/// let reset = fake.next_reset().await;
/// assert_eq!((reset.call(), pool.status().returning), (Call::Reset, 1));
/// reset.fail("it stays as it is");
/// fake.until(|counts| counts.close.succeeded == 1).await;
/// assert_eq!(fake.closes()[0].1, CloseReason::ResetFailed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PendingProbe {
    pub(super) call: Call,
    pub(super) id: ConnectionId,
    pub(super) reins: Reins,
}

impl PendingProbe {
    /// Whether it is a reset or a check.
    #[must_use]
    pub const fn call(&self) -> Call {
        self.call
    }

    /// The connection that is reset or checked.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// Lets the connection pass.
    pub fn succeed(self) {
        self.reins.send(Reply::Ok);
    }

    /// Lets the reset or check fail.
    pub fn fail(self, message: impl Into<String>) {
        self.reins.send(Reply::Transient(message.into()));
    }

    observe_call!();
}

/// A close that waits for the test. Dropping this lets it hang.
///
/// # Examples
///
/// ```
/// use pool_core::{CloseReason, ConnectionPool};
/// use pool_testkit::Call;
/// use pool_testkit::connector::pair;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (connector, fake) = pair();
/// fake.set_manual(Call::Close);
/// let pool = ConnectionPool::builder(connector).max_size(1).build()?;
/// drop(pool.acquire().await?);
/// pool.evict_all();
///
/// let close = fake.next_close().await;
/// assert_eq!(close.reason(), CloseReason::Evicted);
/// assert_eq!(pool.status().closing, 1, "its place is taken until it is gone");
/// close.finish();
/// drop(pool.acquire().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PendingClose {
    pub(super) id: ConnectionId,
    pub(super) reason: CloseReason,
    pub(super) reins: Reins,
}

impl PendingClose {
    /// The connection that is closed.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// Why it is closed.
    #[must_use]
    pub const fn reason(&self) -> CloseReason {
        self.reason
    }

    /// Lets the close end: the connection is dropped.
    pub fn finish(self) {
        self.reins.send(Reply::Ok);
    }

    observe_call!();
}

/// Calls that wait for a test to take them up, in the order they began.
#[derive(Debug)]
pub(super) struct Pendings<P> {
    items: Mutex<VecDeque<P>>,
    arrived: Notify,
}

impl<P> Pendings<P> {
    pub(super) const fn new() -> Self {
        Self {
            items: Mutex::new(VecDeque::new()),
            arrived: Notify::const_new(),
        }
    }

    pub(super) fn push(&self, item: P) {
        self.lock().push_back(item);
        self.arrived.notify_one();
    }

    pub(super) async fn next(&self) -> P {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            self.arrived.notified().await;
        }
    }

    pub(super) fn try_next(&self) -> Option<P> {
        self.lock().pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<P>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
