//! The pipes of a child whose termination has begun: stdin is flushed, stdout is discarded.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::headcount::Headcount;
use super::record::{ChildId, PipeEnds};
use super::sys::{self, PipeEnd, Poller, Ready, WatchedPipe};
use super::terminate::{Ladder, PipeSight, StdinSight};
use super::watched::{Source, Token};

/// The state of a termination that was begun.
#[derive(Debug)]
pub(super) struct Stopping {
    pub(super) ladder: Ladder,
    /// Whether the root had exited before.
    pub(super) root_was_gone: bool,
    /// Whether a refused signal was logged.
    pub(super) is_refusal_told: bool,
    stdin: Option<Stdin>,
    unwritten: Vec<u8>,
    written: usize,
    stdout: Option<WatchedPipe>,
    pub(super) discarded_bytes: u64,
    /// When the child last wrote to stdout or stderr.
    pub(super) last_read: Option<Instant>,
    pub(super) headcount: Headcount,
    pub(super) due: Option<Instant>,
}

#[derive(Debug)]
enum Stdin {
    /// Bytes are to be written.
    Flushing(WatchedPipe),
    Flushed(PipeEnd),
}

impl Stopping {
    pub(super) const fn new(ladder: Ladder, root_was_gone: bool) -> Self {
        Self {
            ladder,
            root_was_gone,
            is_refusal_told: false,
            stdin: None,
            unwritten: Vec::new(),
            written: 0,
            stdout: None,
            discarded_bytes: 0,
            last_read: None,
            headcount: Headcount::new(),
            due: None,
        }
    }

    /// Takes the pipes that are handed over. One that cannot be made non-blocking is closed. Returns the
    /// one of stderr.
    #[must_use]
    pub(super) fn take(
        &mut self,
        pipes: PipeEnds,
        poller: &Arc<Poller>,
        child: ChildId,
    ) -> Option<WatchedPipe> {
        let PipeEnds {
            stdin,
            unwritten,
            stdout,
            stderr,
        } = pipes;
        self.unwritten.extend(unwritten);
        let token = |source| Token { source, child }.to_number();
        if self.stdout.is_none() {
            let stdout = stdout.filter(sys::never_blocks);
            self.stdout = stdout
                .map(|end| WatchedPipe::new(end, poller, token(Source::Stdout), Ready::ToRead));
        }
        let stdin = match self.stdin.take() {
            Some(Stdin::Flushing(watched)) => Some(watched.into_end()),
            Some(Stdin::Flushed(end)) => Some(end),
            None => stdin.filter(sys::never_blocks),
        };
        let stdin = stdin.filter(|_| self.ladder.takes_input());
        self.stdin = stdin.map(|end| {
            if self.has_unwritten() || sys::is_writing(&end) {
                Stdin::Flushing(WatchedPipe::new(
                    end,
                    poller,
                    token(Source::Stdin),
                    Ready::ToWrite,
                ))
            } else {
                Stdin::Flushed(end)
            }
        });
        let stderr = stderr.filter(sys::never_blocks);
        stderr.map(|end| WatchedPipe::new(end, poller, token(Source::Stderr), Ready::ToRead))
    }

    pub(super) fn drop_stdin(&mut self) {
        if let Some(Stdin::Flushing(stdin)) = self.stdin.take() {
            self.written = self.written.saturating_sub(stdin.bytes_in_flight());
        }
    }

    fn has_unwritten(&self) -> bool {
        self.written < self.unwritten.len()
    }

    pub(super) fn unwritten_bytes(&self) -> usize {
        self.unwritten.len() - self.written
    }

    /// Writes once.
    pub(super) fn flush(&mut self) {
        let Some(Stdin::Flushing(stdin)) = &self.stdin else {
            return;
        };
        match stdin.write(&self.unwritten[self.written..]) {
            Ok(count) => self.written += count,
            Err(error) if is_not_now(&error) => {}
            Err(_) => self.drop_stdin(),
        }
        let has_unwritten = self.has_unwritten();
        self.stdin = self.stdin.take().map(|stdin| match stdin {
            Stdin::Flushing(stdin) if !has_unwritten && stdin.bytes_in_flight() == 0 => {
                Stdin::Flushed(stdin.into_end())
            }
            stdin @ (Stdin::Flushing(_) | Stdin::Flushed(_)) => stdin,
        });
    }

    /// Reads once and throws the bytes away.
    pub(super) fn discard(&mut self, now: Instant, scratch: &mut [u8]) {
        let count = read_once(&mut self.stdout, scratch);
        if count > 0 {
            self.discarded_bytes = self.discarded_bytes.saturating_add(count as u64);
            self.last_read = Some(now);
        }
    }

    /// Whether the system refuses to wait for one of the pipes.
    pub(super) fn must_be_asked(&self) -> bool {
        let stdin_is_refused = match &self.stdin {
            Some(Stdin::Flushing(stdin)) => !stdin.is_polled(),
            Some(Stdin::Flushed(_)) | None => false,
        };
        stdin_is_refused
            || self
                .stdout
                .as_ref()
                .is_some_and(|stdout| !stdout.is_polled())
    }

    pub(super) const fn is_stdout_open(&self) -> bool {
        self.stdout.is_some()
    }

    pub(super) const fn stdin_sight(&self) -> StdinSight {
        match self.stdin {
            Some(Stdin::Flushing(_)) => StdinSight::Pending,
            Some(Stdin::Flushed(_)) | None => StdinSight::Flushed,
        }
    }

    pub(super) const fn pipe_sight(&self, is_stderr_open: bool) -> PipeSight {
        if is_stderr_open || self.is_stdout_open() {
            PipeSight::Open {
                last_read: self.last_read,
            }
        } else {
            PipeSight::Ended
        }
    }
}

/// Reads once. At the end of the stream, or a failure, the pipe is closed.
pub(super) fn read_once(pipe: &mut Option<WatchedPipe>, scratch: &mut [u8]) -> usize {
    let Some(end) = pipe else { return 0 };
    match end.read(scratch) {
        Ok(count) if count > 0 => count,
        Err(error) if is_not_now(&error) => 0,
        Ok(_) | Err(_) => {
            *pipe = None;
            0
        }
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
