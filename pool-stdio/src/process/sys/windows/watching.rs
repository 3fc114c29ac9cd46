//! What the custodian waits for: pipes and exits, which report to its port.

#![expect(
    unsafe_code,
    reason = "the standard library has no waits of the thread pool"
)]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE,
};

use super::async_ends::PipeEnd;
use super::port::{Poller, PortKey};
use super::process_root::Root;
use super::unix_names::Ready;
use super::win_errors::check;

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
/// The thread pool of the system waits for it, with a thread for some hundred children, and posts to
/// the port.
#[derive(Debug)]
pub(crate) struct WatchedExit {
    wait: WaitHandle,
    /// What the wait posts. It is freed when the wait is over.
    _key: Arc<PortKey>,
    poller: Arc<Poller>,
    token: u64,
    /// It is waited for by its handle.
    _root: Arc<Root>,
}

#[derive(Debug)]
struct WaitHandle(HANDLE);

// SAFETY: the handle of a wait can be used by any thread.
unsafe impl Send for WaitHandle {}

impl WatchedExit {
    /// `None` if it must be asked for.
    pub(crate) fn new(root: &Arc<Root>, poller: &Arc<Poller>, token: u64) -> Option<Self> {
        let key = Arc::new(poller.port.add_token(token));
        let mut wait = ptr::null_mut();
        // SAFETY: the process handle lives as long as the wait, and so does the key: both belong to
        // what is returned, whose drop ends the wait.
        let done = unsafe {
            RegisterWaitForSingleObject(
                &raw mut wait,
                root.process().as_raw_handle(),
                Some(has_exited),
                Arc::as_ptr(&key).cast(),
                INFINITE,
                WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD,
            )
        };
        check(done).ok()?;
        Some(Self {
            wait: WaitHandle(wait),
            _key: key,
            poller: Arc::clone(poller),
            token,
            _root: Arc::clone(root),
        })
    }
}

unsafe extern "system" fn has_exited(key: *mut c_void, _: bool) {
    // SAFETY: it is the key of a `WatchedExit`, which lives until this has returned.
    let key = unsafe { &*key.cast::<PortKey>() };
    // It fails for lack of memory only. Then the exit is seen with the next event of the child.
    let (Ok(()) | Err(_)) = key.post();
}

impl Drop for WatchedExit {
    fn drop(&mut self) {
        // SAFETY: the wait was registered once and is ended once. The call returns when the callback
        // has returned.
        let done = unsafe { UnregisterWaitEx(self.wait.0, INVALID_HANDLE_VALUE) };
        let (Ok(()) | Err(_)) = check(done);
        self.poller.port.clear_ready(self.token);
    }
}
