//! The connections of a fake.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pool_core::ConnectionId;

use super::record::FakeRecord;
use super::state::FakeState;

/// A connection to nothing. It tells the fake when it is dropped.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectContext, ConnectionId, Connector};
/// use pool_testkit::connector::pair;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (connector, fake) = pair();
/// let cx = ConnectContext::new(ConnectionId::from_u64(7), 1, tokio::time::Instant::now());
/// let conn = connector.connect(&cx).await.expect("a fake connects by default");
/// assert_eq!(conn.id(), ConnectionId::from_u64(7));
/// conn.mark_dirty();
/// assert!(!connector.is_clean(&conn));
/// drop(conn);
/// assert_eq!(fake.counts().dropped_unclosed, 1);
/// # }
/// ```
#[derive(Debug)]
pub struct FakeConnection {
    /// Set by a close that ran to its end.
    pub(super) closed: bool,
    pub(super) record: Arc<FakeRecord>,
    state: Arc<FakeState>,
}

impl FakeConnection {
    /// A new connection. The caller has counted it as alive already.
    pub(super) fn open(state: &Arc<FakeState>, id: ConnectionId) -> Self {
        Self {
            closed: false,
            record: state.open(id),
            state: Arc::clone(state),
        }
    }

    /// The id that the pool gave it.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.record.id
    }

    /// Makes it unfit for another caller, as an unread reply would.
    pub fn mark_dirty(&self) {
        self.record.dirty.store(true, Ordering::Release);
    }

    /// Makes it need a reset. A reset that succeeds removes the need.
    pub fn mark_needs_reset(&self) {
        self.record.needs_reset.store(true, Ordering::Release);
    }

    /// Kills it: `is_alive` is false from here on, and `died` resolves.
    pub fn die(&self) {
        self.record.kill();
    }

    /// Whether nothing has killed it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.record.dead.load(Ordering::Acquire)
    }
}

impl Drop for FakeConnection {
    fn drop(&mut self) {
        let closed = self.closed;
        self.state.forget(&self.record);
        self.state.count(|counts| {
            counts.alive -= 1;
            counts.dropped_unclosed += usize::from(!closed);
        });
        // A second panic during an unwind would abort the process.
        if self.record.panics_on_drop.load(Ordering::Acquire) && !std::thread::panicking() {
            panic!(
                "drop of fake connection {} was told to panic",
                self.record.id
            );
        }
    }
}
