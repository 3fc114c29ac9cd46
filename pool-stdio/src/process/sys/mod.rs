//! The only code that talks to the operating system.
//!
//! `unix` holds what all Unixes share. Beside it stands one file per way of watching a process,
//! each with the same names: [`Root`] and [`Scanner`]. `linux` watches by pidfd, which is exact:
//! a pidfd never means another process, also after its number was given away. `portable` watches
//! by number, which is safe only until the process is reaped, and sees exits by asking.
//!
//! `--cfg pool_stdio_portable` selects `portable` on Linux, so that it can be tested there.
//! `--cfg pool_stdio_old_kernel` does without the group signals of Linux 6.9.

#[cfg(all(target_os = "linux", not(pool_stdio_portable)))]
mod linux;
#[cfg(all(unix, any(not(target_os = "linux"), pool_stdio_portable)))]
mod portable;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(all(target_os = "linux", not(pool_stdio_portable)))]
pub(crate) use linux::{Root, Scanner};
#[cfg(all(unix, any(not(target_os = "linux"), pool_stdio_portable)))]
pub(crate) use portable::{Root, Scanner};
#[cfg(unix)]
pub(crate) use unix::{
    Readiness, Ready, Spawned, Trouble, block_signals, check_executable, clock_now,
    descriptor_limit, descriptors_open, doorbell, glance, pause, poll, process_limit, read,
    read_buf, resident_bytes, spawn, trouble, write,
};

use crate::process::outcome::Exit;

/// What a look at a root shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    Over(Exit),
}

/// Whether the root's number is still held by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// It was not reaped: the number means it, and its group.
    Held,
    /// It was reaped: the number may mean anybody.
    Released,
}

/// What became of a signal.
#[derive(Debug)]
pub(crate) enum Delivery {
    Sent,
    /// There is nobody to receive it.
    NoReceiver,
    /// The system refused it.
    Refused(std::io::Error),
}
