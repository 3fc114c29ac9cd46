//! What all Unixes share: clock, polling, pipes, spawning, limits, signals by pid.

#![expect(
    unsafe_code,
    reason = "nix has no waitid on macOS, loses real-time signals in its own, and reads only into \
              memory that was written before"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal as NixSignal, kill, killpg};
use nix::unistd::{AccessFlags, Pid, access, getpgid};

use super::{Delivery, Life, LimitedResource, OsErrorKind};
use crate::process::outcome::Exit;
use crate::process::signal::Signal;

/// Our end of a pipe to a child: a file descriptor on Unix, a handle on Windows.
pub type OwnedPipe = OwnedFd;

/// Our end of a pipe to a child, within this crate.
pub(crate) type PipeEnd = OwnedFd;

/// What is looked at of a child's stdout.
pub(crate) type StdoutView<'a> = BorrowedFd<'a>;

/// What a thread with descriptors of its own keeps.
pub(crate) type Kept = RawFd;

/// Our end as users get it.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the same signature on every system"
)]
pub(crate) const fn expose(end: PipeEnd) -> Option<OwnedPipe> {
    Some(end)
}

/// Our end as users give it back.
pub(crate) const fn enclose(pipe: OwnedPipe) -> PipeEnd {
    pipe
}

pub(crate) fn view(end: &PipeEnd) -> StdoutView<'_> {
    end.as_fd()
}

/// Whether bytes that it took are still to be written. Here a write is over when it returns.
pub(crate) const fn is_writing(_: &PipeEnd) -> bool {
    false
}

/// Makes reads and writes return at once, and says whether that worked.
pub(crate) fn never_blocks(end: &PipeEnd) -> bool {
    set_nonblocking(end.as_fd()).is_ok()
}

/// The process that started this one.
pub(crate) fn parent_id() -> u32 {
    std::os::unix::process::parent_id()
}

/// The clock of the process layer. Real children cannot live on a paused one.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where real time enters"
)]
pub(crate) fn clock_now() -> Instant {
    Instant::now()
}

/// Waits on a thread that is allowed to.
#[expect(
    clippy::disallowed_methods,
    reason = "the spawner's pause between two attempts"
)]
pub(crate) fn pause(pause: Duration) {
    std::thread::sleep(pause);
}

/// Makes reads and writes of a descriptor, and of its copies, return at once.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    if !flags.contains(OFlag::O_NONBLOCK) {
        fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    Ok(())
}

/// What kind of failure an error of `spawn` is.
pub(crate) fn os_error_kind(error: &io::Error) -> OsErrorKind {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ETXTBSY) => OsErrorKind::Busy,
        Some(Errno::EAGAIN) => OsErrorKind::ProcessLimit,
        Some(Errno::EMFILE) => OsErrorKind::ProcessDescriptors,
        Some(Errno::ENFILE) => OsErrorKind::SystemDescriptors,
        Some(Errno::ENOMEM) => OsErrorKind::Memory,
        Some(Errno::ENOENT | Errno::ENOTDIR) => OsErrorKind::NotFound,
        Some(Errno::EACCES | Errno::EPERM | Errno::ENOEXEC | Errno::EISDIR) => {
            OsErrorKind::NotExecutable
        }
        Some(Errno::E2BIG) => OsErrorKind::ArgumentsTooLong,
        Some(
            Errno::EIO | Errno::ESTALE | Errno::ETIMEDOUT | Errno::ENOTCONN | Errno::EHOSTDOWN,
        ) => OsErrorKind::Storage,
        _ => OsErrorKind::Other,
    }
}

/// Whether this program may execute the file.
pub(crate) fn check_executable(path: &Path) -> io::Result<()> {
    Ok(access(path, AccessFlags::X_OK)?)
}

/// How many descriptors this process may have; `None` without a limit.
pub(crate) fn descriptor_limit() -> Option<u64> {
    limit(Resource::RLIMIT_NOFILE)
}

/// How many processes this user may have; `None` without a limit.
#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
pub(crate) fn process_limit() -> Option<u64> {
    limit(Resource::RLIMIT_NPROC)
}

/// How many processes this user may have; `None` without a limit.
#[cfg(target_os = "macos")]
pub(crate) fn process_limit() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is written to memory of ours. nix does not have this one.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NPROC, &raw mut limit) };
    (done == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// This system has no such limit that can be asked for.
#[cfg(not(any(
    target_os = "linux",
    target_os = "macos",
    target_os = "freebsd",
    target_os = "netbsd"
)))]
pub(crate) const fn process_limit() -> Option<u64> {
    None
}

fn limit(resource: Resource) -> Option<u64> {
    let (soft, _) = getrlimit(resource).ok()?;
    (soft != libc::RLIM_INFINITY).then_some(soft)
}

/// What a limit cannot be raised above; `None` if it can have any value.
pub(crate) fn hard_limit(resource: LimitedResource) -> Option<u64> {
    let resource = match resource {
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        LimitedResource::AddressSpace => Resource::RLIMIT_AS,
        #[cfg(not(any(target_os = "linux", target_os = "macos")))]
        LimitedResource::AddressSpace => return None,
        LimitedResource::CpuTime => Resource::RLIMIT_CPU,
        LimitedResource::OpenFiles => Resource::RLIMIT_NOFILE,
    };
    let (_, hard) = getrlimit(resource).ok()?;
    (hard != libc::RLIM_INFINITY).then_some(hard)
}

/// How many descriptors are open, where the system tells without another one being opened.
pub(crate) fn descriptors_open() -> Option<u64> {
    let count = std::fs::metadata("/proc/self/fd").ok()?.len();
    (count > 0).then_some(count)
}

/// How much of this process is in memory, where the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Keeps every signal away from the calling thread. A write to a pipe without a reader then fails
/// with EPIPE even if this program does not ignore SIGPIPE.
pub(crate) fn block_signals() {
    let blocked = SigSet::all().thread_block();
    debug_assert_eq!(
        blocked,
        Ok(()),
        "it fails for a wrong argument only, which nix rules out"
    );
}

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Has this descriptor closed, and no other, in each process that is forked from this one by the C
/// library. Must be called with `None` before the descriptor is closed here.
pub(crate) fn close_in_forks(fd: Option<BorrowedFd<'_>>) {
    static IS_REGISTERED: std::sync::Once = std::sync::Once::new();
    let number = fd.map_or(-1, |fd| fd.as_raw_fd());
    CLOSED_IN_FORKS.store(number, Ordering::Relaxed);
    IS_REGISTERED.call_once(|| {
        // SAFETY: the handler is a function of this program, and makes one system call.
        let error = unsafe { libc::pthread_atfork(None, None, Some(close_after_fork)) };
        debug_assert_eq!(error, 0, "there is memory for it");
    });
}

extern "C" fn close_after_fork() {
    let fd = CLOSED_IN_FORKS.swap(-1, Ordering::Relaxed);
    if fd >= 0 {
        // SAFETY: in a fork nothing else uses it: what owns it is not touched there.
        unsafe { libc::close(fd) };
    }
}

static CLOSED_IN_FORKS: AtomicI32 = AtomicI32::new(-1);

/// What to poll for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    ToRead,
    ToWrite,
}

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) is_ready: bool,
    pub(crate) is_hung_up: bool,
}

/// Waits until one of them is ready, or for `timeout`; `None` waits for ever.
///
/// An interrupted poll reports nothing ready.
pub(crate) fn poll(
    interests: &[(BorrowedFd<'_>, Ready)],
    timeout: Option<Duration>,
) -> io::Result<Vec<Readiness>> {
    let mut fds: Vec<_> = interests
        .iter()
        .map(|(fd, ready)| poll_fd(*fd, *ready))
        .collect();
    let timeout = match timeout {
        None => PollTimeout::NONE,
        Some(timeout) => {
            PollTimeout::try_from(round_up_millis(timeout)).unwrap_or(PollTimeout::MAX)
        }
    };
    poll_fds(&mut fds, timeout)?;
    Ok(fds.iter().map(readiness).collect())
}

/// Order: rounded up, or the last part of a millisecond would be spent spinning.
pub(super) fn round_up_millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}

/// What can be read at this moment, without waiting and without an allocation. If the system refuses
/// the call, nothing is shown as ready.
pub(crate) fn poll_now<const N: usize>(fds: [BorrowedFd<'_>; N]) -> [Readiness; N] {
    let mut fds = fds.map(|fd| poll_fd(fd, Ready::ToRead));
    if poll_fds(&mut fds, PollTimeout::ZERO).is_err() {
        return [Readiness {
            is_ready: false,
            is_hung_up: false,
        }; N];
    }
    fds.each_ref().map(readiness)
}

/// What one system call shows of a child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// `None` if the exit must be asked for.
    pub(crate) has_exited: Option<bool>,
    /// `None` if there is no stdout to look at.
    pub(crate) stdout: Option<Readiness>,
}

/// Looks at both. `exit` is readable from the exit on.
pub(super) fn look(exit: Option<BorrowedFd<'_>>, stdout: Option<StdoutView<'_>>) -> Look {
    let (has_exited, stdout) = match (exit, stdout) {
        (Some(exit), Some(stdout)) => {
            let [exit, stdout] = poll_now([exit, stdout]);
            (Some(exit.is_ready), Some(stdout))
        }
        (Some(exit), None) => (Some(poll_now([exit])[0].is_ready), None),
        (None, Some(stdout)) => (None, Some(poll_now([stdout])[0])),
        (None, None) => (None, None),
    };
    Look { has_exited, stdout }
}

fn poll_fd(fd: BorrowedFd<'_>, ready: Ready) -> PollFd<'_> {
    let flags = match ready {
        Ready::ToRead => PollFlags::POLLIN,
        Ready::ToWrite => PollFlags::POLLOUT,
    };
    PollFd::new(fd, flags)
}

fn poll_fds(fds: &mut [PollFd<'_>], timeout: PollTimeout) -> io::Result<()> {
    match nix::poll::poll(fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn readiness(fd: &PollFd<'_>) -> Readiness {
    let seen = fd.revents().unwrap_or(PollFlags::empty());
    let hung_up = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    Readiness {
        is_ready: !seen.is_empty(),
        is_hung_up: seen.intersects(hung_up),
    }
}

pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(nix::unistd::read(fd, buffer)?)
}

/// Reads into the room that there is.
pub(crate) fn read_buf(fd: BorrowedFd<'_>, bytes: &mut BytesMut) -> io::Result<usize> {
    let room = bytes.spare_capacity_mut();
    debug_assert!(!room.is_empty(), "nothing read would pass for the end");
    // SAFETY: the room is borrowed from us alone, and as long as is said.
    let read = unsafe { libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
    let count = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: so many bytes of the room were written just now.
    unsafe { bytes.advance_mut(count) };
    Ok(count)
}

pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(nix::unistd::write(fd.as_fd(), bytes)?)
}

pub(crate) fn signal_group_by_pid(pgid: u32, signal: Option<Signal>) -> Delivery {
    delivery(pid_of(pgid).and_then(|pgid| killpg(pgid, signal.map(number_of))))
}

pub(crate) fn signal_process_by_pid(pid: u32, signal: Option<Signal>) -> Delivery {
    delivery(pid_of(pid).and_then(|pid| kill(pid, signal.map(number_of))))
}

/// The group that a process is in now; `None` if it has gone.
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    let group = getpgid(Some(pid_of(pid).ok()?)).ok()?;
    u32::try_from(group.as_raw()).ok()
}

fn pid_of(pid: u32) -> nix::Result<Pid> {
    i32::try_from(pid)
        .map(Pid::from_raw)
        .map_err(|_| Errno::ESRCH)
}

pub(super) fn delivery(result: nix::Result<()>) -> Delivery {
    match result {
        Ok(()) => Delivery::Sent,
        Err(Errno::ESRCH) => Delivery::NoReceiver,
        Err(error) => Delivery::Refused(error.into()),
    }
}

pub(super) const fn number_of(signal: Signal) -> NixSignal {
    match signal {
        Signal::HangUp => NixSignal::SIGHUP,
        Signal::Interrupt => NixSignal::SIGINT,
        Signal::Quit => NixSignal::SIGQUIT,
        Signal::Abort => NixSignal::SIGABRT,
        Signal::Alarm => NixSignal::SIGALRM,
        Signal::BrokenPipe => NixSignal::SIGPIPE,
        Signal::Terminate => NixSignal::SIGTERM,
        Signal::User1 => NixSignal::SIGUSR1,
        Signal::User2 => NixSignal::SIGUSR2,
        Signal::Suspend => NixSignal::SIGTSTP,
        Signal::Stop => NixSignal::SIGSTOP,
        Signal::Continue => NixSignal::SIGCONT,
        Signal::WindowChange => NixSignal::SIGWINCH,
        Signal::Kill => NixSignal::SIGKILL,
    }
}

/// Reaps a dead child of ours that another process started.
pub(crate) fn reap_adopted(pid: u32) -> bool {
    let reaped = wait(libc::P_PID, pid, libc::WEXITED | libc::WNOHANG);
    matches!(reaped, Ok(Life::Over(Exit::Status(_))))
}

/// `waitid`, as life or death.
pub(super) fn wait(kind: libc::idtype_t, id: libc::id_t, flags: libc::c_int) -> io::Result<Life> {
    // SAFETY: siginfo_t is plain data for which all bits zero is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` lives and is writable for the whole call.
    let done = unsafe { libc::waitid(kind, id, &raw mut info, flags) };
    if done == -1 {
        let error = Errno::last();
        let is_lost = error == Errno::ECHILD;
        return if is_lost {
            Ok(Life::Over(Exit::Lost))
        } else {
            Err(error.into())
        };
    }
    // SAFETY: waitid filled `info` as for SIGCHLD, or left it zero.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(Life::Running);
    }
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let raw = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Life::Over(Exit::Status(ExitStatus::from_raw(raw))))
}
