//! Calls that wait for the test, and the queue in which the test finds them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pool_core::{ConnectContext, ConnectionId};
use tokio::sync::{Notify, oneshot};

/// How a call ends.
#[derive(Debug)]
pub(super) enum Reply {
    Ok,
    Transient(String),
    Permanent(String),
    Panic(String),
}

/// A call that waits for the test to decide how it ends. If this is dropped, the call hangs.
///
/// # Examples
///
/// ```
/// use pool_core::{CloseReason, ConnectionPool};
/// use pool_testkit::Call;
/// use pool_testkit::connector::{Answer, pair};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (connector, fake) = pair();
/// fake.set(Call::Reset, Answer::Manual);
/// fake.set(Call::Close, Answer::Manual);
/// let pool = ConnectionPool::builder(connector).max_size(1).build()?;
/// let lease = pool.acquire().await?;
/// lease.mark_needs_reset();
/// drop(lease);
///
/// let reset = fake.next(Call::Reset).await;
/// assert_eq!(pool.status().returning, 1, "the connection is being reset");
/// reset.fail("it does not get clean");
///
/// let close = fake.next(Call::Close).await;
/// assert_eq!(fake.closes(), [(close.id(), CloseReason::ResetFailed)]);
/// assert_eq!(pool.status().closing, 1, "its slot is taken until it is gone");
/// close.succeed();
/// drop(pool.acquire().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PendingCall {
    id: ConnectionId,
    context: Option<ConnectContext>,
    decision: oneshot::Sender<Reply>,
}

impl PendingCall {
    /// A call, and where it waits for the decision.
    pub(super) fn new(
        id: ConnectionId,
        context: Option<ConnectContext>,
    ) -> (Self, oneshot::Receiver<Reply>) {
        let (decision, decided) = oneshot::channel();
        let pending = Self {
            id,
            context,
            decision,
        };
        (pending, decided)
    }

    /// The connection that the call is about.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// What the pool told a connect; `None` if this is no connect.
    #[must_use]
    pub const fn context(&self) -> Option<&ConnectContext> {
        self.context.as_ref()
    }

    /// Lets the call succeed.
    pub fn succeed(self) {
        self.decide(Reply::Ok);
    }

    /// Lets the call fail; a connect fails with a transient error. A close cannot fail: it ends.
    pub fn fail(self, message: impl Into<String>) {
        self.decide(Reply::Transient(message.into()));
    }

    /// Lets a connect fail with a permanent error. Any other call fails as by [`fail`](Self::fail).
    pub fn fail_permanently(self, message: impl Into<String>) {
        self.decide(Reply::Permanent(message.into()));
    }

    /// Lets the call panic with this message.
    pub fn panic(self, message: impl Into<String>) {
        self.decide(Reply::Panic(message.into()));
    }

    /// Whether the code under test has dropped the call.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.decision.is_closed()
    }

    /// Waits until the code under test drops the call.
    ///
    /// # Cancel safety
    ///
    /// Keeps no state: can be dropped and called again.
    pub async fn cancelled(&mut self) {
        self.decision.closed().await;
    }

    fn decide(self, reply: Reply) {
        // If the call was cancelled meanwhile, the decision has no effect.
        drop(self.decision.send(reply));
    }
}

/// The calls of one method that wait for the test, in the order in which they began.
#[derive(Debug)]
pub(super) struct PendingQueue {
    calls: Mutex<VecDeque<PendingCall>>,
    arrived: Notify,
}

impl PendingQueue {
    pub(super) const fn new() -> Self {
        Self {
            calls: Mutex::new(VecDeque::new()),
            arrived: Notify::const_new(),
        }
    }

    pub(super) fn push(&self, call: PendingCall) {
        self.lock().push_back(call);
        self.arrived.notify_one();
    }

    pub(super) async fn next(&self) -> PendingCall {
        loop {
            if let Some(call) = self.try_next() {
                return call;
            }
            self.arrived.notified().await;
        }
    }

    pub(super) fn try_next(&self) -> Option<PendingCall> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<PendingCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
