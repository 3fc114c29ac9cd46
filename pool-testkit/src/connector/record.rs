//! What a fake knows of one of its connections.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pool_core::{ConnectionId, SuspicionSink};
use tokio::sync::watch;

/// The facts about one connection. The connection holds it, and the fake as long as the connection
/// exists, so that the test can change it by id.
#[derive(Debug)]
pub(super) struct FakeRecord {
    pub(super) id: ConnectionId,
    pub(super) dead: AtomicBool,
    pub(super) dirty: AtomicBool,
    pub(super) needs_reset: AtomicBool,
    pub(super) panics_on_drop: AtomicBool,
    /// What it weighs.
    pub(super) weight: AtomicU64,
    /// Tells a shared pool what is suspected of it.
    pub(super) suspicion: OnceLock<SuspicionSink>,
    /// True once the connection died in a way that resolves `died`.
    pub(super) death: watch::Sender<bool>,
}

impl FakeRecord {
    pub(super) fn new(id: ConnectionId) -> Self {
        Self {
            id,
            dead: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            needs_reset: AtomicBool::new(false),
            panics_on_drop: AtomicBool::new(false),
            weight: AtomicU64::new(0),
            suspicion: OnceLock::new(),
            death: watch::Sender::new(false),
        }
    }

    /// Order: dead first, then `died` resolves, so that whoever it wakes finds the connection dead.
    pub(super) fn kill(&self) {
        self.dead.store(true, Ordering::Release);
        self.death.send_replace(true);
    }
}
