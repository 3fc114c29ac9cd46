//! Waiting for events under one deadline, with or without a runtime.

use std::future::poll_fn;
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
#[cfg(unix)]
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

#[expect(
    clippy::disallowed_methods,
    reason = "a paused clock does not hold up a real child"
)]
fn now() -> Instant {
    Instant::now()
}

/// Runs a future to its end on this thread, without a runtime.
///
/// # Panics
///
/// If it takes longer than [`OUTER_DEADLINE`].
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

/// Polls a future this often at most, waiting for its wake-up before each further poll, and drops it.
/// Returns its output if it completed by then.
pub async fn poll_times<F: IntoFuture>(future: F, times: usize) -> Option<F::Output> {
    let mut future = Box::pin(future.into_future());
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

struct Unpark {
    thread: Thread,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.thread.unpark();
    }
}

/// Waits until there is something to read, or the other end has gone. Returns whether that happened
/// in time.
#[cfg(unix)]
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
