//! A process that is no child of ours, on Unix.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::net::unix::pipe::Receiver;

use super::process_descriptor;

/// A process whose end is waited for.
#[derive(Debug)]
pub(crate) struct ForeignProcess {
    pid: Pid,
    /// No pipe, but the runtime only waits until it is readable. `None` where the system has no such thing.
    descriptor: Option<Receiver>,
}

impl ForeignProcess {
    /// `None` if there is no such process.
    pub(crate) fn of(pid: u32) -> io::Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().filter(|number| *number > 0) else {
            return Ok(None);
        };
        let pid = Pid::from_raw(number);
        // Order: opened before the look, which then is of the process that was opened.
        let descriptor = process_descriptor(pid.as_raw().unsigned_abs());
        if !exists(pid) {
            return Ok(None);
        }
        Ok(Some(Self {
            pid,
            descriptor: descriptor
                .map(Receiver::from_owned_fd_unchecked)
                .transpose()?,
        }))
    }

    pub(crate) async fn ended(&self) {
        if let Some(descriptor) = &self.descriptor
            && descriptor.readable().await.is_ok()
        {
            return;
        }
        while exists(self.pid) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// One of another user exists as well.
fn exists(pid: Pid) -> bool {
    kill(pid, None) != Err(Errno::ESRCH)
}

/// How often it is looked for where the system does not tell of its end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    async fn sees_the_end(strip: impl Fn(&mut ForeignProcess)) {
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that is no child of this layer"
        )]
        let spawned = Command::new("cat").stdin(Stdio::piped()).spawn();
        let mut process = spawned.unwrap();
        let mut foreign = ForeignProcess::of(process.id()).unwrap().unwrap();
        strip(&mut foreign);
        let mut ended = Box::pin(foreign.ended());
        tokio::select! {
            biased;
            () = &mut ended => panic!("it lives"),
            () = tokio::task::yield_now() => {}
        }
        drop(process.stdin.take());
        process.wait().unwrap();
        ended.await;
    }

    #[tokio::test]
    async fn the_end_of_a_foreign_process_is_seen() {
        sees_the_end(|_| {}).await;
    }

    #[tokio::test]
    async fn the_end_of_a_foreign_process_is_seen_without_a_descriptor() {
        sees_the_end(|foreign| foreign.descriptor = None).await;
    }

    #[tokio::test]
    async fn a_process_that_is_not_there_is_not_found_at_once() {
        for pid in [0, i32::MAX.unsigned_abs(), u32::MAX] {
            assert!(ForeignProcess::of(pid).unwrap().is_none());
        }
    }
}
