//! Our end of the child's stdin: who writes to it, and when the room of what was written is free.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;
use tokio::net::unix::pipe::Sender;

use super::link::Link;
use super::outbox::{FreedFrames, Outbox};
use crate::process::lock;

/// Where a connection writes to.
pub(super) trait StdinPipe: AsyncWrite + Send + Unpin {
    /// The bare descriptor, for whoever ends the child.
    fn into_fd(self: Box<Self>) -> Option<OwnedFd>;
}

impl StdinPipe for Sender {
    fn into_fd(self: Box<Self>) -> Option<OwnedFd> {
        (*self).into_nonblocking_fd().ok()
    }
}

/// Our end of the child's stdin, and what is on its way there.
pub(super) struct Writer {
    pub(super) pipe: Option<Box<dyn StdinPipe>>,
    pub(super) outbox: Outbox,
    /// Bytes that the system has taken in all.
    written_total: u64,
    failure: Option<io::Error>,
}

impl Writer {
    pub(super) fn new(pipe: Box<dyn StdinPipe>) -> Self {
        Self {
            pipe: Some(pipe),
            outbox: Outbox::default(),
            written_total: 0,
            failure: None,
        }
    }
}

impl Link {
    /// Spares a caller who is alone the way through the driver. Says whether all is written.
    ///
    /// The pipe is polled in the name of the driver, so that it is the driver who is woken when the
    /// pipe has room again: nothing depends on what becomes of this caller.
    pub(super) fn write_now(&self, driver: &Waker) -> bool {
        let Ok(writer) = self.writer.try_lock() else {
            return false;
        };
        let cx = &mut Context::from_waker(driver);
        matches!(self.poll_flush_with(writer, cx), Poll::Ready(true))
    }

    /// Writes what there is; ready with `false` if that cannot be done any more.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.poll_flush_with(lock(&self.writer), cx)
    }

    fn poll_flush_with(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        let mut freed = FreedFrames::default();
        let outcome = self.poll_flush_locked(&mut writer, cx, &mut freed);
        drop(writer);
        // Order: unlocked, since it wakes who waits for room.
        self.give_back(freed);
        outcome
    }

    pub(super) fn give_back(&self, freed: FreedFrames) {
        self.own_room.add_permits(freed.ours);
        if freed.callers > 0 {
            self.room.add_permits(freed.callers);
        }
    }

    fn poll_flush_locked(
        &self,
        writer: &mut Writer,
        cx: &mut Context<'_>,
        freed: &mut FreedFrames,
    ) -> Poll<bool> {
        loop {
            let Writer {
                pipe,
                outbox,
                written_total,
                failure,
            } = writer;
            let Some(open) = pipe else {
                return Poll::Ready(failure.is_none());
            };
            if outbox.is_empty() {
                std::mem::swap(outbox, &mut lock(&self.state).queue);
                if outbox.is_empty() {
                    return Poll::Ready(true);
                }
            }
            match outbox.poll_write(cx, open) {
                Poll::Ready(Ok((written, now))) => {
                    *written_total += written as u64;
                    freed.callers += now.callers;
                    freed.ours += now.ours;
                }
                Poll::Ready(Err(error)) => {
                    *failure = Some(error);
                    *pipe = None;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// How many bytes the system has taken in all.
    pub(super) fn written_total(&self) -> u64 {
        lock(&self.writer).written_total
    }
}
