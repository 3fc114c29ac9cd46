//! How tests have children die, and pools replace them.

use std::time::Duration;

use pool_core::Builder;

/// Lets a pool replace dead children at once: a test that kills many would otherwise measure the
/// pacer, which takes children that die young for a crash loop.
///
/// With `min_uptime` zero no death counts as a failure; `retry_delay` is one millisecond, first and
/// last.
pub fn eager<T: Send + 'static, L>(builder: Builder<T, L>) -> Builder<T, L> {
    let millisecond = Duration::from_millis(1);
    builder
        .min_uptime(Duration::ZERO)
        .retry_delay(millisecond, millisecond)
}

/// Sends SIGKILL to a child by its id, without its pool knowing. The child may have ended already.
///
/// # Panics
///
/// If the system does not allow it.
#[cfg(unix)]
pub fn kill(pid: u32) {
    use nix::errno::Errno;
    use nix::sys::signal::{self, Signal};
    use nix::unistd::Pid;
    match signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("cannot kill {pid}: {error}"),
    }
}

/// Ends a child by its id, without its pool knowing. The child may have ended already.
///
/// # Panics
///
/// If the system cannot start the program that does it.
#[cfg(windows)]
pub fn kill(pid: u32) {
    let mut killer = std::process::Command::new("taskkill");
    let killer = killer.args(["/F", "/PID", &pid.to_string()]);
    // It fails for one that has ended.
    drop(killer.output().expect("it is part of the system"));
}
