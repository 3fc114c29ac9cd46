//! Starts children through the standard library.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, SigmaskHow};

use crate::process::sys::spawn::{Place, Start, StartError, StderrEnd, StdoutEnd};
use crate::process::sys::spawned::Spawned;

/// Starts a child with a pipe for stdin. What it is to block is not blocked here.
///
/// Nothing here may turn off the fast path of the standard library (`posix_spawn`): no `pre_exec`, no
/// user or group ids, no bare program name beside a changed PATH.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where children are started"
)]
pub(crate) fn spawn(start: &Start<'_>) -> Result<Spawned, StartError> {
    if start.place == Place::Session {
        let unsupported = io::ErrorKind::Unsupported;
        return Err(io::Error::new(unsupported, "no sessions on this system").into());
    }
    if let Some(directory) = start.directory {
        // Asked for here, so that a failure is known to be the directory's.
        std::fs::metadata(directory).map_err(StartError::Directory)?;
    }
    let mut command = Command::new(start.program);
    command
        .args(start.args)
        .env_clear()
        .envs(start.environment)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(match start.stdout {
            StdoutEnd::Pipe => Stdio::piped(),
            StdoutEnd::Null => Stdio::null(),
        })
        .stderr(match start.stderr {
            StderrEnd::Pipe => Stdio::piped(),
            StderrEnd::Inherited => Stdio::inherit(),
            StderrEnd::Null => Stdio::null(),
        });
    if let Some(name) = start.arg0 {
        command.arg0(name);
    }
    if let Some(directory) = start.directory {
        command.current_dir(directory);
    }
    // The child gets the mask of this thread.
    let mask = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let spawned = command.spawn();
    if let Ok(mask) = mask {
        let (Ok(()) | Err(_)) = mask.thread_set_mask();
    }
    let mut child = spawned?;
    let missing = || io::Error::other("a pipe that was asked for is missing");
    Ok(Spawned {
        pid: child.id(),
        stdin: child.stdin.take().map(OwnedFd::from).ok_or_else(missing)?,
        stdout: child.stdout.take().map(OwnedFd::from),
        stderr: child.stderr.take().map(OwnedFd::from),
    })
}
