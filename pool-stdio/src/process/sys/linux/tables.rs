//! A table of descriptors for one thread.

#![expect(
    unsafe_code,
    reason = "neither nix nor the standard library has close_range"
)]

use std::io;
use std::os::fd::RawFd;

use nix::errno::Errno;

/// Gives the calling thread a table of descriptors of its own, with none in it but `kept`. From then
/// on it can open files however many this process has open, and it keeps no pipe of this process
/// open.
///
/// The thread must not touch a descriptor that other threads opened, except `kept`, and must not give
/// one of its own away.
///
/// # Errors
///
/// If the kernel is older than 5.9, or does not allow it. Then nothing has changed.
pub(crate) fn use_own_descriptors(kept: RawFd) -> io::Result<()> {
    let kept = libc::c_uint::try_from(kept).map_err(io::Error::other)?;
    // Order: what is above it first, since this call makes the table and cannot leave a copy of all
    // that is open in it.
    close_range(kept + 1, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE)?;
    if kept > 0 {
        close_range(0, kept - 1, 0)?;
    }
    Ok(())
}

fn close_range(first: libc::c_uint, last: libc::c_uint, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the call takes three integers. Its callers see to it that no other thread uses this
    // table, and that this thread owns nothing in it.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(done)?;
    Ok(())
}
