//! The completion port that all pipes and exits report to, and the custodian waits for.
//!
//! A packet only says that something happened: what, is asked of the pipe or the process itself. So
//! a packet that comes late, or for nothing, does no harm. Tokens stay ready, as descriptors do on
//! Unix, until whoever serves them finds nothing more.
//!
//! # Locking
//!
//! Each mutex is held for a few instructions, and none while another one is taken, but `targets`
//! before that of a listener, and that of a listener before that of its pipe.

#![expect(unsafe_code, reason = "the standard library has no completion ports")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::time::Duration;

use windows_sys::Win32::Foundation::{INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::INFINITE;

use super::unix_names::Kept;
use super::win_errors::{check, code_of, length};
use crate::process::lock::lock;

/// A pipe that is kept until its last write is over.
pub(super) trait Lingering: std::fmt::Debug + Send + Sync {
    fn is_writing(&self) -> bool;
}

/// Who is told of what happens to a pipe.
#[derive(Debug, Default)]
pub(super) struct Listener {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The custodian, which serves this token.
    token: Option<u64>,
    /// A task that polls.
    waker: Option<Waker>,
    /// A pipe that nobody holds any more, and whose last write is not over.
    lingering: Option<Arc<dyn Lingering>>,
}

impl Listener {
    pub(super) fn set_token(&self, token: Option<u64>) {
        lock(&self.told).token = token;
    }

    pub(super) fn set_waker(&self, waker: &Waker) {
        let old = lock(&self.told).waker.replace(waker.clone());
        // Order: its drop is code of a user's, and not run under the lock.
        drop(old);
    }

    /// Keeps the pipe until its last write is over.
    pub(super) fn linger(&self, pipe: Arc<dyn Lingering>) {
        // Order: kept first, or the last completion could come in between.
        lock(&self.told).lingering = Some(pipe);
        self.let_go();
    }

    /// Drops a pipe that was kept, if its last write is over. A packet can be of an earlier write, whose
    /// result was asked for before the packet came; the last write posts one of its own.
    fn let_go(&self) {
        // Order: asked under the lock. Else the last packet could come while nothing is kept here, and the
        // pipe would be kept for ever.
        let over = lock(&self.told)
            .lingering
            .take_if(|pipe| !pipe.is_writing());
        drop(over);
    }
}

/// What a packet is for.
#[derive(Debug)]
enum Target {
    Token(u64),
    Pipe(Weak<Listener>),
}

/// The port.
#[derive(Debug)]
pub(super) struct Port {
    port: OwnedHandle,
    targets: Mutex<BTreeMap<usize, Target>>,
    /// Tokens of what is ready, until it is found that it is not.
    ready: Mutex<BTreeSet<u64>>,
    /// Of tasks whose pipes are ready.
    wakers: Mutex<Vec<Waker>>,
    next_key: AtomicUsize,
}

impl Port {
    /// The one of this process.
    pub(super) fn get() -> io::Result<Arc<Self>> {
        static PORT: Mutex<Option<Arc<Port>>> = Mutex::new(None);
        let mut port = lock(&PORT);
        if let Some(port) = &*port {
            return Ok(Arc::clone(port));
        }
        // SAFETY: without a file the call makes a new port, and takes no pointer.
        let made = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        if made.is_null() {
            return Err(io::Error::last_os_error());
        }
        let made = Arc::new(Self {
            // SAFETY: the handle was just made for us and has no other owner.
            port: unsafe { OwnedHandle::from_raw_handle(made) },
            targets: Mutex::new(BTreeMap::new()),
            ready: Mutex::new(BTreeSet::new()),
            wakers: Mutex::new(Vec::new()),
            next_key: AtomicUsize::new(0),
        });
        Ok(Arc::clone(port.insert(made)))
    }

    fn add(&self, target: Target) -> usize {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        lock(&self.targets).insert(key, target);
        key
    }

    fn remove(&self, key: usize) {
        let target = lock(&self.targets).remove(&key);
        drop(target);
    }

    /// Has packets that are posted with this key reported as the token.
    pub(super) fn add_token(self: &Arc<Self>, token: u64) -> PortKey {
        PortKey {
            key: self.add(Target::Token(token)),
            port: Arc::clone(self),
        }
    }

    /// Has completions of the file reported to the listener. A file can be bound to one port only,
    /// once.
    pub(super) fn bind(
        self: &Arc<Self>,
        file: BorrowedHandle<'_>,
        listener: &Arc<Listener>,
    ) -> io::Result<PortKey> {
        let key = PortKey {
            key: self.add(Target::Pipe(Arc::downgrade(listener))),
            port: Arc::clone(self),
        };
        let port = self.port.as_raw_handle();
        // SAFETY: both handles are open; the rest are integers.
        let bound = unsafe { CreateIoCompletionPort(file.as_raw_handle(), port, key.key, 0) };
        if bound.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(key)
    }

    fn post(&self, key: usize) -> io::Result<()> {
        let port = self.port.as_raw_handle();
        // SAFETY: the port is open, and nobody looks at the null pointer.
        check(unsafe { PostQueuedCompletionStatus(port, 0, key, ptr::null()) })
    }

    pub(super) fn set_ready(&self, token: u64) {
        lock(&self.ready).insert(token);
    }

    pub(super) fn clear_ready(&self, token: u64) {
        lock(&self.ready).remove(&token);
    }

    /// Something happened to what has this key.
    fn arrived(&self, key: usize) {
        let listener = match lock(&self.targets).get(&key) {
            Some(Target::Token(token)) => {
                let token = *token;
                self.set_ready(token);
                return;
            }
            Some(Target::Pipe(listener)) => listener.upgrade(),
            None => None,
        };
        let Some(listener) = listener else { return };
        let (token, waker) = {
            let mut told = lock(&listener.told);
            (told.token, told.waker.take())
        };
        if let Some(token) = token {
            self.set_ready(token);
        }
        lock(&self.wakers).extend(waker);
        listener.let_go();
    }
}

/// A key that packets come with, until this is dropped.
#[derive(Debug)]
pub(super) struct PortKey {
    key: usize,
    port: Arc<Port>,
}

impl PortKey {
    /// Posts a packet with this key.
    pub(super) fn post(&self) -> io::Result<()> {
        self.port.post(self.key)
    }
}

impl Drop for PortKey {
    fn drop(&mut self) {
        self.port.remove(self.key);
    }
}

/// What one thread waits for.
#[derive(Debug)]
pub(crate) struct Poller {
    pub(super) port: Arc<Port>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Port::get().map(|port| Self { port })
    }

    /// Of tasks that wait for a pipe that something happened to.
    pub(crate) fn take_wakers(&self) -> Vec<Waker> {
        std::mem::take(&mut *lock(&self.port.wakers))
    }

    /// Waits until something is ready, or for `timeout`; `None` waits for ever. Puts the tokens of
    /// what is ready into `tokens`.
    pub(crate) fn wait(&self, timeout: Option<Duration>, tokens: &mut Vec<u64>) -> io::Result<()> {
        let is_ready = !lock(&self.port.ready).is_empty();
        let millis = match timeout {
            _ if is_ready => 0,
            None => INFINITE,
            Some(timeout) => round_up_millis(timeout),
        };
        tokens.clear();
        let mut packets = [OVERLAPPED_ENTRY::default(); PACKETS_MAX];
        let mut count = 0;
        // SAFETY: the packets and their number are written to memory of ours, which is as long as is
        // said.
        let done = unsafe {
            GetQueuedCompletionStatusEx(
                self.port.port.as_raw_handle(),
                packets.as_mut_ptr(),
                length(PACKETS_MAX),
                &raw mut count,
                millis,
                0,
            )
        };
        if let Err(error) = check(done) {
            if code_of(&error) != Some(WAIT_TIMEOUT) {
                return Err(error);
            }
            count = 0;
        }
        for packet in packets.iter().take(count as usize) {
            self.port.arrived(packet.lpCompletionKey);
        }
        tokens.extend(lock(&self.port.ready).iter());
        Ok(())
    }
}

/// Order: rounded up, or the last part of a millisecond would be spent spinning.
fn round_up_millis(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_micros().div_ceil(1000))
        .map_or(INFINITE - 1, |millis| millis.min(INFINITE - 1))
}

/// Ends the wait of a [`Poller`].
#[derive(Debug)]
pub(crate) struct PollWaker {
    key: PortKey,
    token: u64,
}

impl PollWaker {
    pub(crate) fn new(poller: &Poller, token: u64) -> io::Result<Self> {
        Ok(Self {
            key: poller.port.add_token(token),
            token,
        })
    }

    pub(crate) fn wake(&self) {
        // It fails for lack of memory only. The next event of any child ends the wait then.
        let (Ok(()) | Err(_)) = self.key.post();
    }

    pub(crate) fn reset(&self) {
        self.key.port.clear_ready(self.token);
    }

    /// What a thread with descriptors of its own keeps.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn kept(&self) -> Kept {
        Kept
    }
}

/// How many packets are taken at once.
const PACKETS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[derive(Debug)]
    struct Writing(AtomicBool);

    impl Lingering for Writing {
        fn is_writing(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_late_packet_of_an_earlier_write_does_not_close_a_pipe_that_writes() {
        let port = Port::get().unwrap();
        let listener = Arc::<Listener>::default();
        let key = port.add(Target::Pipe(Arc::downgrade(&listener)));
        let pipe = Arc::new(Writing(AtomicBool::new(true)));
        listener.linger(Arc::<Writing>::clone(&pipe));
        port.arrived(key);
        assert_eq!(Arc::strong_count(&pipe), 2, "the last bytes are under way");
        pipe.0.store(false, Ordering::Relaxed);
        port.arrived(key);
        assert_eq!(Arc::strong_count(&pipe), 1);
        // One whose bytes were all written is not kept at all.
        listener.linger(Arc::<Writing>::clone(&pipe));
        assert_eq!(Arc::strong_count(&pipe), 1);
        port.remove(key);
    }
}
