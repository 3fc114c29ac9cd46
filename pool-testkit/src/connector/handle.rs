//! The test's end of a fake.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pool_core::{CloseReason, ConnectionId, Overweight};

use crate::{Call, Query};

use super::fake_counts::FakeCounts;
use super::pending::PendingCall;
use super::record::FakeRecord;
use super::script::{Answer, CallSite, QueryAnswer};
use super::state::{FakeState, lock};

/// Decides what a [`FakeConnector`](super::FakeConnector) answers, controls its connections, and
/// tells what happened to them.
///
/// A clone controls the same fake. A handle that is dropped changes nothing.
///
/// # Examples
///
/// ```
/// use pool_core::{CloseReason, ConnectionPool, PooledConnection};
/// use pool_testkit::connector::{Answer, QueryAnswer, pair};
/// use pool_testkit::{Call, Query};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (connector, fake) = pair();
/// let pool = ConnectionPool::builder(connector).max_size(1).build()?;
///
/// // Scripted: the first connect fails, and the second succeeds.
/// fake.queue(Call::Connect, [Answer::Transient]);
/// let lease = pool.acquire().await?;
/// assert_eq!(fake.counts().connect.failed, 1);
///
/// // Controlled: it dies while it is lent.
/// let id = PooledConnection::id(&lease);
/// assert!(fake.kill(id));
/// drop(lease);
/// fake.until(|counts| counts.close.succeeded == 1).await;
/// assert_eq!(fake.closes(), [(id, CloseReason::Died)]);
///
/// // Queries, too: from here on nothing is clean.
/// fake.set_query(Query::IsClean, QueryAnswer::No);
/// drop(pool.acquire().await?);
/// fake.until(|counts| counts.close.succeeded == 2).await;
/// assert_eq!(fake.closes()[1].1, CloseReason::Dirty);
/// assert!(fake.alive().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FakeHandle {
    state: Arc<FakeState>,
}

// Each change of the state is made under a lock or is one atomic step, and the locks ignore poison.
impl UnwindSafe for FakeHandle {}
impl RefUnwindSafe for FakeHandle {}

/// How calls and queries are answered.
impl FakeHandle {
    pub(super) const fn new(state: Arc<FakeState>) -> Self {
        Self { state }
    }

    /// Answers all later calls of a method, once its queued answers are used up.
    pub fn set(&self, call: Call, answer: Answer) {
        self.state.script(call).set(answer);
    }

    /// Lets a closure answer all later calls of a method, once its queued answers are used up.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::{ConnectContext, ConnectionId, Connector};
    /// use pool_testkit::Call;
    /// use pool_testkit::connector::{Answer, pair};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (connector, fake) = pair();
    /// fake.set_with(Call::Connect, |site| match site.number {
    ///     0 => Answer::Transient,
    ///     _ => Answer::Ok,
    /// });
    /// let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, tokio::time::Instant::now());
    /// assert!(connector.connect(&cx).await.is_err());
    /// assert!(connector.connect(&cx).await.is_ok());
    /// # }
    /// ```
    pub fn set_with(
        &self,
        call: Call,
        answer: impl Fn(&CallSite) -> Answer + Send + Sync + 'static,
    ) {
        self.state.script(call).set_with(Arc::new(answer));
    }

    /// Answers the next calls of a method, before the standing answer.
    pub fn queue(&self, call: Call, answers: impl IntoIterator<Item = Answer>) {
        self.state.script(call).queue(answers);
    }

    /// Answers all later queries of a kind, once its queued answers are used up.
    pub fn set_query(&self, query: Query, answer: QueryAnswer) {
        self.state.query_script(query).set(answer);
    }

    /// Answers the next queries of a kind, before the standing answer.
    pub fn queue_query(&self, query: Query, answers: impl IntoIterator<Item = QueryAnswer>) {
        self.state.query_script(query).queue(answers);
    }

    /// Makes `died` return `None` from here on, as that of a connector that does not see deaths.
    pub fn stop_telling_deaths(&self) {
        self.state.tells_deaths.store(false, Ordering::Release);
    }
}

/// Calls that were answered with [`Answer::Manual`] and wait for the test.
impl FakeHandle {
    /// The call of this method that has waited longest, or the next one to come.
    ///
    /// # Cancel safety
    ///
    /// Loses nothing: a call is handed out, or it stays for the next `next`.
    pub async fn next(&self, call: Call) -> PendingCall {
        self.state.pending(call).next().await
    }

    /// The call of this method that has waited longest, if one waits now.
    #[must_use]
    pub fn try_next(&self, call: Call) -> Option<PendingCall> {
        self.state.pending(call).try_next()
    }
}

/// Connections. Each of these returns whether the connection existed.
impl FakeHandle {
    /// Kills a connection: `is_alive` is false from here on, and `died` resolves.
    pub fn kill(&self, id: ConnectionId) -> bool {
        self.with(id, FakeRecord::kill)
    }

    /// Kills a connection so that only `is_alive` shows it: `died` does not resolve.
    pub fn kill_silently(&self, id: ConnectionId) -> bool {
        self.with(id, |record| record.dead.store(true, Ordering::Release))
    }

    /// Says what a connection weighs from here on. It weighs nothing at first.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::{ConnectionPool, PooledConnection};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (connector, fake) = pool_testkit::connector::pair();
    /// let pool = ConnectionPool::builder(connector).kill_weight(100).build()?;
    /// let lease = pool.acquire().await?;
    /// let id = PooledConnection::id(&lease);
    /// assert!(fake.set_weight(id, 101));
    /// tokio::time::sleep(Duration::from_secs(2)).await;
    /// assert_eq!(fake.kills()[0].0, id);
    /// assert_eq!(PooledConnection::kill_cause(&lease), Some(fake.kills()[0].1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_weight(&self, id: ConnectionId, weight: u64) -> bool {
        self.with(id, |record| record.weight.store(weight, Ordering::Release))
    }

    /// Tells the shared pool of a connection that it is suspected to hang, or that it is not any more.
    /// The pool does not lend it until the suspicion is cleared. An exclusive pool takes no notice.
    pub fn suspect(&self, id: ConnectionId, is_suspected: bool) -> bool {
        self.with(id, |record| {
            if let Some(sink) = record.suspicion.get() {
                sink.set(is_suspected);
            }
        })
    }

    /// Makes a connection panic when it is dropped.
    pub fn panic_on_drop(&self, id: ConnectionId) -> bool {
        self.with(id, |record| {
            record.panics_on_drop.store(true, Ordering::Release);
        })
    }

    fn with(&self, id: ConnectionId, change: impl FnOnce(&FakeRecord)) -> bool {
        let record = lock(&self.state.records).get(&id).cloned();
        record.as_deref().map(change).is_some()
    }
}

/// What happened.
impl FakeHandle {
    /// All counts at this moment.
    #[must_use]
    pub fn counts(&self) -> FakeCounts {
        *self.state.counts.borrow()
    }

    /// Waits until the counts satisfy a condition, and returns them.
    ///
    /// # Cancel safety
    ///
    /// Keeps no state: can be dropped and called again.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::ConnectionPool;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (connector, fake) = pool_testkit::connector::pair();
    /// let pool = ConnectionPool::builder(connector).min_idle(2).build()?;
    /// // The pool opens them by itself, in tasks of its own.
    /// let counts = fake.until(|counts| counts.alive == 2).await;
    /// assert_eq!(counts.connect.started, 2);
    /// # drop(pool);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn until(&self, mut reached: impl FnMut(&FakeCounts) -> bool) -> FakeCounts {
        let mut counts = self.state.counts.subscribe();
        match counts.wait_for(|counts| reached(counts)).await {
            Ok(counts) => *counts,
            // The sender lives as long as `self`.
            Err(_closed) => self.counts(),
        }
    }

    /// How often a query was made.
    #[must_use]
    pub fn asked(&self, query: Query) -> u64 {
        self.state.query_script(query).asked()
    }

    /// The connections that exist, in the order of their ids.
    #[must_use]
    pub fn alive(&self) -> Vec<ConnectionId> {
        lock(&self.state.records).keys().copied().collect()
    }

    /// Every kill of an overweight connection, in order.
    #[must_use]
    pub fn kills(&self) -> Vec<(ConnectionId, Overweight)> {
        lock(&self.state.kills).clone()
    }

    /// Every close that began, in order.
    #[must_use]
    pub fn closes(&self) -> Vec<(ConnectionId, CloseReason)> {
        lock(&self.state.closes).clone()
    }
}
