//! What the custodian waits for: pipes and exits, which report to its port.

use std::io;
use std::os::windows::io::BorrowedHandle;
use std::sync::Arc;

use super::async_ends::PipeEnd;
use super::port::{Poller, PortKey};
use super::process_root::Root;
use super::registered_wait::{RegisteredWait, Signalled};
use super::unix_names::Ready;

/// A pipe that the custodian waits for until this is dropped, which closes it.
#[derive(Debug)]
pub(crate) struct WatchedPipe {
    /// `None` once it was taken out.
    end: Option<PipeEnd>,
    poller: Arc<Poller>,
    token: u64,
    is_polled: bool,
}

impl WatchedPipe {
    /// If the pipe is bound to the port of another library, it must be tried from time to time.
    pub(crate) fn new(end: PipeEnd, poller: &Arc<Poller>, token: u64, _: Ready) -> Self {
        let is_polled = end.bind().is_ok();
        if is_polled {
            end.listener.set_token(Some(token));
            // There is no event before the first read or write.
            poller.port.set_ready(token);
        }
        Self {
            end: Some(end),
            poller: Arc::clone(poller),
            token,
            is_polled,
        }
    }

    /// Waits for it no more, and leaves it open.
    pub(crate) fn into_end(mut self) -> PipeEnd {
        self.stop();
        self.end.take().expect("it is taken out once, here")
    }

    fn stop(&self) {
        if let Some(end) = &self.end
            && self.is_polled
        {
            end.listener.set_token(None);
            self.poller.port.clear_ready(self.token);
        }
    }

    pub(crate) const fn is_polled(&self) -> bool {
        self.is_polled
    }

    /// Reads what there is now, or fails with `WouldBlock`.
    pub(crate) fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.noted(self.end().read(bytes))
    }

    /// Takes what can be written now or soon, or fails with `WouldBlock`.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.noted(self.end().write(bytes))
    }

    /// How many bytes it took are still to be written.
    pub(crate) fn bytes_in_flight(&self) -> usize {
        self.end().bytes_in_flight()
    }

    /// It is ready until it would block.
    fn noted(&self, outcome: io::Result<usize>) -> io::Result<usize> {
        let would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        if outcome.as_ref().is_err_and(would_block) {
            self.poller.port.clear_ready(self.token);
        }
        outcome
    }

    const fn end(&self) -> &PipeEnd {
        self.end
            .as_ref()
            .expect("it is there until it is taken out")
    }
}

impl Drop for WatchedPipe {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The exit of a root that the custodian waits for, until this is dropped.
///
/// The thread pool of the system waits for it, and posts to the port.
#[derive(Debug)]
pub(crate) struct WatchedExit {
    _wait: RegisteredWait<ExitPost>,
}

/// Posts that a root has exited.
#[derive(Debug)]
struct ExitPost {
    key: PortKey,
    poller: Arc<Poller>,
    token: u64,
    root: Arc<Root>,
}

impl WatchedExit {
    /// `None` if it must be asked for.
    pub(crate) fn new(root: &Arc<Root>, poller: &Arc<Poller>, token: u64) -> Option<Self> {
        let post = ExitPost {
            key: poller.port.add_token(token),
            poller: Arc::clone(poller),
            token,
            root: Arc::clone(root),
        };
        let wait = RegisteredWait::new(Arc::new(post)).ok()?;
        Some(Self { _wait: wait })
    }
}

impl Signalled for ExitPost {
    fn handle(&self) -> BorrowedHandle<'_> {
        self.root.process()
    }

    fn signalled(&self) {
        // It fails for lack of memory only. Then the exit is seen with the next event of the child.
        let (Ok(()) | Err(_)) = self.key.post();
    }
}

impl Drop for ExitPost {
    fn drop(&mut self) {
        // Order: the wait is over, and posts no more.
        self.poller.port.clear_ready(self.token);
    }
}
