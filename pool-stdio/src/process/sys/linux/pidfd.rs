//! The pidfd calls.

#![expect(
    unsafe_code,
    reason = "neither nix nor the standard library has the pidfd calls"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use crate::process::signal::Signal;
use crate::process::sys::unix::number_of;

pub(super) fn pidfd_open(pid: u32) -> nix::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::ESRCH)?;
    // SAFETY: the call takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor was just made for us (close-on-exec, always) and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor that means this process alone, and is readable when it has ended. `None` if there is no such
/// process, or a sandbox refuses the call.
pub(crate) fn process_descriptor(pid: u32) -> Option<OwnedFd> {
    pidfd_open(pid).ok()
}

pub(super) fn pidfd_send_signal(
    pidfd: BorrowedFd<'_>,
    signal: Option<Signal>,
    flags: libc::c_uint,
) -> nix::Result<()> {
    let signal = signal.map_or(0, |signal| number_of(signal) as libc::c_int);
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the null pointer asks for default signal information; the rest are integers.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            flags,
        )
    };
    Errno::result(done).map(drop)
}

/// Whether the kernel (6.9 and later) can signal the group of a pidfd.
pub(super) fn group_flag_works(pidfd: BorrowedFd<'_>) -> bool {
    if cfg!(pool_stdio_old_kernel) {
        return false;
    }
    static REFUSED: AtomicBool = AtomicBool::new(false);
    static ACCEPTED: AtomicBool = AtomicBool::new(false);
    if ACCEPTED.load(Ordering::Relaxed) || REFUSED.load(Ordering::Relaxed) {
        return ACCEPTED.load(Ordering::Relaxed);
    }
    let probe = |pidfd| pidfd_send_signal(pidfd, None, libc::PIDFD_SIGNAL_PROCESS_GROUP);
    let works = match probe(pidfd) {
        Err(Errno::EINVAL | Errno::ENOSYS) => false,
        // It may be the call that is refused: our own group can always be signalled.
        Err(Errno::EPERM) => match pidfd_open(std::process::id()) {
            Ok(own) => probe(own.as_fd()).is_ok(),
            // Asked again the next time.
            Err(_) => return false,
        },
        Ok(()) | Err(_) => true,
    };
    if works { &ACCEPTED } else { &REFUSED }.store(true, Ordering::Relaxed);
    works
}
