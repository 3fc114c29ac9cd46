//! The connections of the fake, and the records through which the test controls them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pool_core::ConnectionId;
use tokio::sync::watch;

use super::Shared;

/// What the fake knows of one connection; the connection and the test both hold it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: ConnectionId,
    pub(super) dead: AtomicBool,
    pub(super) dirty: AtomicBool,
    pub(super) needs_reset: AtomicBool,
    pub(super) panics_on_drop: AtomicBool,
    /// Set when the connection died so that `died` may tell it.
    pub(super) death: watch::Sender<bool>,
}

impl Record {
    pub(super) fn new(id: ConnectionId, panics_on_drop: bool) -> Self {
        Self {
            id,
            dead: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            needs_reset: AtomicBool::new(false),
            panics_on_drop: AtomicBool::new(panics_on_drop),
            death: watch::Sender::new(false),
        }
    }

    /// Makes the connection dead before anybody is told, so that whoever is told finds it dead.
    pub(super) fn kill(&self) {
        self.dead.store(true, Ordering::Release);
        self.death.send_replace(true);
    }
}

/// A connection to nothing, which reports its own end to the fake.
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
/// assert_eq!((conn.id(), conn.serial()), (ConnectionId::from_u64(7), 0));
/// conn.mark_dirty();
/// assert!(!connector.is_clean(&conn));
/// drop(conn);
/// assert_eq!(fake.counts().dropped_unclosed, 1);
/// # }
/// ```
#[derive(Debug)]
pub struct FakeConnection {
    serial: u64,
    /// Set by a close that ran to its end.
    pub(super) closed: bool,
    pub(super) record: Arc<Record>,
    shared: Arc<Shared>,
}

impl FakeConnection {
    /// The caller has counted the connection as alive already.
    pub(super) const fn new(serial: u64, record: Arc<Record>, shared: Arc<Shared>) -> Self {
        Self {
            serial,
            closed: false,
            record,
            shared,
        }
    }

    /// The id its pool gave it.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.record.id
    }

    /// How many connections the fake had created before this one.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// Marks it as unfit for another caller, as an unread reply would.
    pub fn mark_dirty(&self) {
        self.record.dirty.store(true, Ordering::Release);
    }

    /// Marks it as in need of a reset; a reset that succeeds takes the mark away.
    pub fn mark_needs_reset(&self) {
        self.record.needs_reset.store(true, Ordering::Release);
    }

    /// Kills it from within: `is_alive` is false from here on, and `died` resolves.
    pub fn die(&self) {
        self.record.kill();
    }

    /// Whether nobody has killed it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.record.dead.load(Ordering::Acquire)
    }
}

impl Drop for FakeConnection {
    fn drop(&mut self) {
        let closed = self.closed;
        self.shared.forget(&self.record);
        self.shared.count(|counts| {
            counts.alive -= 1;
            counts.dropped_unclosed += usize::from(!closed);
        });
        // A second panic while one unwinds would end the whole process.
        if self.record.panics_on_drop.load(Ordering::Acquire) && !std::thread::panicking() {
            panic!(
                "drop of fake connection {} was told to panic",
                self.record.id
            );
        }
    }
}
