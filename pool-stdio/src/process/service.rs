//! The threads of this crate: each runs one loop for as long as the program does.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::sys;

/// Starts a thread that never ends. If its loop panics, which is a bug of this crate, the loop is
/// entered again with the state that it had.
pub(crate) fn start(name: &str, mut run: impl FnMut() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.into());
    thread.spawn(move || {
        loop {
            // The panic hook has reported it.
            drop(catch_unwind(AssertUnwindSafe(&mut run)));
            RESTARTS.fetch_add(1, Ordering::Relaxed);
            // Order: a loop that panics at once must not take a whole core.
            sys::pause(PAUSE);
        }
    })?;
    // Here and not on the thread: whoever had it started sees it counted.
    RUNNING.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// How many of the threads run.
pub(crate) fn running() -> usize {
    RUNNING.load(Ordering::Relaxed)
}

/// How often a loop was entered again.
pub(crate) fn restarts() -> usize {
    RESTARTS.load(Ordering::Relaxed)
}

static RUNNING: AtomicUsize = AtomicUsize::new(0);
static RESTARTS: AtomicUsize = AtomicUsize::new(0);
const PAUSE: Duration = Duration::from_millis(10);
