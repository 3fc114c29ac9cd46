//! The test's end of a fake.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pool_core::{CloseReason, ConnectionId};

use crate::{Call, Query};

use super::connection::Record;
use super::pending::{PendingClose, PendingConnect, PendingProbe};
use super::script::{Answer, CallSite, Rule, Verdict};
use super::{FakeCounts, Shared, lock};

/// Decides what a [`FakeConnector`](super::FakeConnector) answers, controls its connections, and
/// tells what happened to them.
///
/// A clone controls the same fake. A handle that is dropped changes nothing.
///
/// # Examples
///
/// ```
/// use pool_core::{CloseReason, ConnectionPool, PooledConnection};
/// use pool_testkit::connector::{Answer, Verdict, pair};
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
/// // Questions, too: from here on nothing is clean.
/// fake.set_verdict(Query::IsClean, Verdict::No);
/// drop(pool.acquire().await?);
/// fake.until(|counts| counts.close.succeeded == 2).await;
/// assert_eq!(fake.closes()[1].1, CloseReason::Dirty);
/// assert!(fake.alive().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FakeHandle {
    shared: Arc<Shared>,
}

/// What calls answer.
impl FakeHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Answers all later calls of a method, once its queued answers are used up.
    pub fn set(&self, call: Call, answer: Answer) {
        lock(&self.shared.scripts)[call.index()].set(Rule::Always(answer));
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
        lock(&self.shared.scripts)[call.index()].set(Rule::With(Arc::new(answer)));
    }

    /// Lets all later calls of a method wait for the test, once its queued answers are used up.
    pub fn set_manual(&self, call: Call) {
        lock(&self.shared.scripts)[call.index()].set(Rule::Manual);
    }

    /// Lets all later calls of every method wait for the test.
    pub fn set_all_manual(&self) {
        for call in Call::ALL {
            self.set_manual(call);
        }
    }

    /// Answers the next calls of a method, before what is set for it.
    pub fn queue(&self, call: Call, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.shared.scripts)[call.index()].queue(answers);
    }

    /// Answers all later questions, once the queued verdicts are used up.
    pub fn set_verdict(&self, query: Query, verdict: Verdict) {
        lock(&self.shared.verdicts)[query.index()].set(verdict);
    }

    /// Answers the next questions, before what is set for them.
    pub fn queue_verdicts(&self, query: Query, verdicts: impl IntoIterator<Item = Verdict>) {
        lock(&self.shared.verdicts)[query.index()].queue(verdicts);
    }

    /// Makes `died` return `None` from here on, as a connector does that cannot tell deaths.
    pub fn stop_telling_deaths(&self) {
        self.shared.tells_deaths.store(false, Ordering::Release);
    }

    /// Makes every connection that is created from here on panic when it is dropped.
    pub fn panic_on_every_drop(&self) {
        self.shared.panics_on_drop.store(true, Ordering::Release);
    }
}

/// Calls that wait for the test. All are handed out in the order they began.
impl FakeHandle {
    /// The next connect that waits for the test.
    ///
    /// # Cancel safety
    ///
    /// Loses nothing: a connect is handed out or stays for the next call.
    pub async fn next_connect(&self) -> PendingConnect {
        self.shared.connects.next().await
    }

    /// The next reset that waits for the test.
    ///
    /// # Cancel safety
    ///
    /// Loses nothing: a reset is handed out or stays for the next call.
    pub async fn next_reset(&self) -> PendingProbe {
        self.shared.resets.next().await
    }

    /// The next check that waits for the test.
    ///
    /// # Cancel safety
    ///
    /// Loses nothing: a check is handed out or stays for the next call.
    pub async fn next_check(&self) -> PendingProbe {
        self.shared.checks.next().await
    }

    /// The next close that waits for the test.
    ///
    /// # Cancel safety
    ///
    /// Loses nothing: a close is handed out or stays for the next call.
    pub async fn next_close(&self) -> PendingClose {
        self.shared.closings.next().await
    }

    /// The next connect that waits for the test, if there is one already.
    #[must_use]
    pub fn try_next_connect(&self) -> Option<PendingConnect> {
        self.shared.connects.try_next()
    }

    /// The next close that waits for the test, if there is one already.
    #[must_use]
    pub fn try_next_close(&self) -> Option<PendingClose> {
        self.shared.closings.try_next()
    }
}

/// Connections. Each of these returns whether the connection existed.
impl FakeHandle {
    /// Kills a connection: `is_alive` is false from here on, and `died` resolves.
    pub fn kill(&self, id: ConnectionId) -> bool {
        self.with(id, Record::kill)
    }

    /// Kills a connection without a word: `is_alive` is false from here on, `died` stays silent.
    pub fn kill_silently(&self, id: ConnectionId) -> bool {
        self.with(id, |record| record.dead.store(true, Ordering::Release))
    }

    /// Makes `is_clean` false for a connection.
    pub fn set_dirty(&self, id: ConnectionId) -> bool {
        self.with(id, |record| record.dirty.store(true, Ordering::Release))
    }

    /// Makes `needs_reset` true for a connection until a reset succeeds.
    pub fn set_needs_reset(&self, id: ConnectionId) -> bool {
        self.with(id, |record| {
            record.needs_reset.store(true, Ordering::Release);
        })
    }

    /// Makes a connection panic when it is dropped.
    pub fn panic_on_drop(&self, id: ConnectionId) -> bool {
        self.with(id, |record| {
            record.panics_on_drop.store(true, Ordering::Release);
        })
    }

    fn with(&self, id: ConnectionId, change: impl FnOnce(&Record)) -> bool {
        let record = lock(&self.shared.records).get(&id).cloned();
        record.as_deref().map(change).is_some()
    }
}

/// What happened.
impl FakeHandle {
    /// All counts at this moment.
    #[must_use]
    pub fn counts(&self) -> FakeCounts {
        *self.shared.counts.borrow()
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
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (_connector, fake) = pool_testkit::connector::pair();
    /// let counts = fake.until(|counts| counts.connect.running() == 0).await;
    /// assert_eq!(counts, fake.counts());
    /// # }
    /// ```
    pub async fn until(&self, mut reached: impl FnMut(&FakeCounts) -> bool) -> FakeCounts {
        let mut counts = self.shared.counts.subscribe();
        match counts.wait_for(|counts| reached(counts)).await {
            Ok(counts) => *counts,
            // The sender lives as long as `self`.
            Err(_closed) => self.counts(),
        }
    }

    /// How often a question was asked.
    #[must_use]
    pub fn asked(&self, query: Query) -> u64 {
        lock(&self.shared.verdicts)[query.index()].asked()
    }

    /// The connections that were created and not dropped, in the order of their ids.
    #[must_use]
    pub fn alive(&self) -> Vec<ConnectionId> {
        lock(&self.shared.records).keys().copied().collect()
    }

    /// Every close that began, in order.
    #[must_use]
    pub fn closes(&self) -> Vec<(ConnectionId, CloseReason)> {
        lock(&self.shared.closes).clone()
    }
}
