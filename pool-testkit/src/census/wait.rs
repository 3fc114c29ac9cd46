//! Waiting for events, without a runtime, under one deadline.

use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long a test may wait for anything, on the slowest machine.
pub const OUTER_DEADLINE: Duration = Duration::from_secs(30);

/// A moment in real time.
#[derive(Debug)]
pub(super) struct Deadline {
    at: Instant,
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self { at: now() + time }
    }

    pub(super) fn left(&self) -> Duration {
        self.at.saturating_duration_since(now())
    }
}

#[expect(clippy::disallowed_methods, reason = "real children live in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Runs a future to its end on this thread, without a runtime.
///
/// # Panics
///
/// If it takes longer than [`OUTER_DEADLINE`].
///
/// # Examples
///
/// ```
/// assert_eq!(pool_testkit::census::block_on(async { 2 + 2 }), 4);
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let deadline = Deadline::after(OUTER_DEADLINE);
    let waker = Waker::from(Arc::new(Unpark {
        thread: thread::current(),
    }));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        let left = deadline.left();
        assert!(!left.is_zero(), "not ready within {OUTER_DEADLINE:?}");
        thread::park_timeout(left);
    }
}

struct Unpark {
    thread: Thread,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.thread.unpark();
    }
}

/// Waits until there is something to read, or the other end has gone.
///
/// # Examples
///
/// ```
/// use pool_testkit::census::is_readable_within;
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let (reader, writer) = std::io::pipe()?;
/// assert!(!is_readable_within(reader.as_fd(), Duration::ZERO));
/// drop(writer);
/// assert!(is_readable_within(reader.as_fd(), Duration::from_secs(5)), "the other end has gone");
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn is_readable_within(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let deadline = Deadline::after(limit);
    loop {
        let left = Timespec::try_from(deadline.left()).ok();
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Ok(count) => return count > 0,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
