//! Waits for descriptors and exits, at a cost that does not grow with their number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

use super::exits::Exits;
use super::unreaped_root::Root;
use crate::process::lock::lock;
use crate::process::sys::Ready;
use crate::process::sys::unix::Kept;

/// What one thread waits for. Others may add to it.
#[derive(Debug)]
pub(crate) struct Poller {
    queue: Arc<Kqueue>,
    exits: Mutex<Exits>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Arc::new(Kqueue::new()?),
            exits: Mutex::default(),
        })
    }

    /// Reports the token for as long as the descriptor is ready, or hung up.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, ready: Ready) -> io::Result<()> {
        let filter = match ready {
            Ready::ToRead => EventFilter::EVFILT_READ,
            Ready::ToWrite => EventFilter::EVFILT_WRITE,
        };
        change(&self.queue, &descriptor(fd, filter, EvFlags::EV_ADD, token))
    }

    /// To be called before the descriptor is closed: another one could get its number.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        for filter in [EventFilter::EVFILT_READ, EventFilter::EVFILT_WRITE] {
            // It was added for one of the two.
            let (Ok(()) | Err(_)) =
                change(&self.queue, &descriptor(fd, filter, EvFlags::EV_DELETE, 0));
        }
    }

    fn add_exit(&self, pid: u32, token: u64) -> io::Result<()> {
        lock(&self.exits).add(token);
        match change(&self.queue, &exit(pid, EvFlags::EV_ADD, token)) {
            // It is dead already: then there is nothing to announce.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                lock(&self.exits).announce(token);
                Ok(())
            }
            Err(error) => {
                lock(&self.exits).remove(token);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn remove_exit(&self, pid: u32, token: u64) {
        lock(&self.exits).remove(token);
        // It has gone from the queue by itself if it was announced.
        let (Ok(()) | Err(_)) = change(&self.queue, &exit(pid, EvFlags::EV_DELETE, token));
    }

    /// Wakers of tasks that wait for a pipe: none, since the runtime waits here.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn take_wakers(&self) -> Vec<Waker> {
        Vec::new()
    }

    /// Waits until something is ready, or for `timeout`; `None` waits for ever. Puts the tokens of
    /// what is ready into `tokens`, some of them if there are many.
    pub(crate) fn wait(&self, timeout: Option<Duration>, tokens: &mut Vec<u64>) -> io::Result<()> {
        let timeout = lock(&self.exits).patience(timeout).map(timespec);
        let nothing = event(0, EventFilter::EVFILT_USER, EvFlags::empty(), NO_FLAGS, 0);
        let mut events = [nothing; EVENTS_MAX];
        tokens.clear();
        let count = match self.queue.kevent(&[], &mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut exits = lock(&self.exits);
        for event in &events[..count] {
            let token = event.udata().cast_unsigned() as u64;
            if event.filter() == Ok(EventFilter::EVFILT_PROC) {
                exits.announce(token);
            } else {
                tokens.push(token);
            }
        }
        exits.report(tokens);
        Ok(())
    }
}

/// The exit of a root that the custodian waits for, until this is dropped.
#[derive(Debug)]
pub(crate) struct WatchedExit {
    root: Arc<Root>,
    poller: Arc<Poller>,
    token: u64,
}

impl WatchedExit {
    /// `None` if it must be asked for.
    pub(crate) fn new(root: &Arc<Root>, poller: &Arc<Poller>, token: u64) -> Option<Self> {
        poller.add_exit(root.pid(), token).ok()?;
        Some(Self {
            root: Arc::clone(root),
            poller: Arc::clone(poller),
            token,
        })
    }
}

impl Drop for WatchedExit {
    fn drop(&mut self) {
        self.poller.remove_exit(self.root.pid(), self.token);
    }
}

/// Ends the wait of a [`Poller`].
#[derive(Debug)]
pub(crate) struct PollWaker {
    queue: Arc<Kqueue>,
    token: u64,
}

impl PollWaker {
    pub(crate) fn new(poller: &Poller, token: u64) -> io::Result<Self> {
        let waker = Self {
            queue: Arc::clone(&poller.queue),
            token,
        };
        // Reported once for each wake.
        waker.change(EvFlags::EV_ADD | EvFlags::EV_CLEAR, NO_FLAGS)?;
        Ok(waker)
    }

    fn change(&self, flags: EvFlags, fflags: FilterFlag) -> io::Result<()> {
        let user = EventFilter::EVFILT_USER;
        change(&self.queue, &event(0, user, flags, fflags, self.token))
    }

    pub(crate) fn wake(&self) {
        // It was added, and is never deleted.
        let (Ok(()) | Err(_)) = self.change(EvFlags::empty(), FilterFlag::NOTE_TRIGGER);
    }

    /// A report is the reset.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) const fn reset(&self) {}

    /// The descriptor that it uses.
    pub(crate) fn kept(&self) -> Kept {
        self.queue.as_fd().as_raw_fd()
    }
}

fn descriptor(fd: BorrowedFd<'_>, filter: EventFilter, flags: EvFlags, token: u64) -> KEvent {
    let number = fd.as_raw_fd().unsigned_abs();
    event(number as usize, filter, flags, NO_FLAGS, token)
}

fn exit(pid: u32, flags: EvFlags, token: u64) -> KEvent {
    let process = EventFilter::EVFILT_PROC;
    event(pid as usize, process, flags, FilterFlag::NOTE_EXIT, token)
}

fn event(
    subject: usize,
    filter: EventFilter,
    flags: EvFlags,
    fflags: FilterFlag,
    token: u64,
) -> KEvent {
    let token = usize::try_from(token).expect("macOS has 64 bits");
    KEvent::new(subject, filter, flags, fflags, 0, token.cast_signed())
}

fn change(queue: &Kqueue, event: &KEvent) -> io::Result<()> {
    // Without room for events a failure is what the call returns.
    queue.kevent(std::slice::from_ref(event), &mut [], None)?;
    Ok(())
}

/// The system refuses times that are very long. Waking once a day costs nothing.
fn timespec(timeout: Duration) -> libc::timespec {
    let timeout = timeout.min(WAIT_MAX);
    libc::timespec {
        tv_sec: timeout.as_secs().cast_signed(),
        tv_nsec: timeout.subsec_nanos().into(),
    }
}

const NO_FLAGS: FilterFlag = FilterFlag::empty();
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How many are reported at once.
const EVENTS_MAX: usize = 128;
