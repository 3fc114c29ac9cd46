//! What the custodian waits for on Unix: descriptors, for as long as they are ready.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::Poller;
use super::unix::{PipeEnd, Ready, read, write};

/// A pipe that the custodian waits for until this is dropped, which closes it.
#[derive(Debug)]
pub(crate) struct WatchedPipe {
    /// `None` once it was taken out.
    end: Option<PipeEnd>,
    poller: Arc<Poller>,
    is_polled: bool,
}

impl WatchedPipe {
    /// If the system refuses to wait for this pipe, the pipe must be tried from time to time.
    pub(crate) fn new(end: PipeEnd, poller: &Arc<Poller>, token: u64, ready: Ready) -> Self {
        let is_polled = poller.add(end.as_fd(), token, ready).is_ok();
        Self {
            end: Some(end),
            poller: Arc::clone(poller),
            is_polled,
        }
    }

    /// Waits for it no more, and leaves it open.
    pub(crate) fn into_end(mut self) -> PipeEnd {
        self.stop();
        self.end.take().expect("it is taken out once, here")
    }

    fn stop(&self) {
        if self.is_polled
            && let Some(end) = &self.end
        {
            self.poller.remove(end.as_fd());
        }
    }

    pub(crate) const fn is_polled(&self) -> bool {
        self.is_polled
    }

    /// Reads what there is now, or fails with `WouldBlock`.
    pub(crate) fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        read(self.end().as_fd(), bytes)
    }

    /// Writes what there is room for now, or fails with `WouldBlock`. Then the same bytes are to be
    /// offered again.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        write(self.end().as_fd(), bytes)
    }

    /// How many bytes it took are still to be written. Here a write is over when it returns.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn bytes_in_flight(&self) -> usize {
        0
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
