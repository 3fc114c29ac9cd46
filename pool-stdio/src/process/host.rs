//! Which process this is: the one that started the threads, or a fork of it that has none of them.

use std::sync::atomic::{AtomicU32, Ordering};

/// Makes this process the one that starts children, unless there is one already.
pub(crate) fn claim() {
    let own = std::process::id();
    // If it was claimed before, that stays.
    let (Ok(_) | Err(_)) =
        OWNER.compare_exchange(UNCLAIMED, own, Ordering::Relaxed, Ordering::Relaxed);
}

/// Whether another process, of which this is a fork, starts the children.
pub(crate) fn is_fork() -> bool {
    let owner = OWNER.load(Ordering::Relaxed);
    owner != UNCLAIMED && owner != std::process::id()
}

static OWNER: AtomicU32 = AtomicU32::new(UNCLAIMED);
/// No process has this id.
const UNCLAIMED: u32 = 0;
