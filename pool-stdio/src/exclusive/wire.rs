//! The pipes of a child: bytes and frames to and fro, neither waiting for the other.
//!
//! Nothing here is lost when a future is dropped: what was read stays in the inbox, what was not
//! written stays in the outbox, and the next poll of whatever kind goes on.
//!
//! # Invariants
//!
//! 1. The outbox holds at most one message.
//! 2. The inbox is bounded by the codec's limit while a frame is awaited, and by a limit of the
//!    caller's while only writing is.
//! 3. At rest a connection holds no buffer larger than [`KEPT_BYTES`] for what it wrote, and none
//!    that a frame larger than that was read into.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use pool_core::BoxError;
use tokio_util::codec::Encoder;

use super::stray::StrayPolicy;
use crate::codec::Codec;
use crate::launch::ChildStdio;
use crate::metrics::Meters;
use crate::process::child::Handover;
use crate::process::once::lock;

/// Pipes, what is in between, and where the frames are.
#[derive(Debug)]
pub(crate) struct Wire<C> {
    stdio: ChildStdio,
    meters: Arc<Meters>,
    /// Locked only to look at it from a shared reference.
    inbox: Mutex<Inbox<C>>,
    outbox: BytesMut,
    written: usize,
}

#[derive(Debug)]
struct Inbox<C> {
    codec: C,
    bytes: BytesMut,
    is_at_end: bool,
}

/// Why there is no frame, or why none was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An earlier request is unanswered.
    Unanswered,
    /// There was a failure before.
    Broken,
    /// There is output that nobody asked for.
    Stray,
    /// The codec refuses what is to be written.
    Encode(BoxError),
    /// The end of stdout, and no whole frame before it.
    End,
    /// The child has exited. Somebody else holds its stdout open.
    Exit,
    /// The codec refuses what was read.
    Decode(BoxError),
    Read(io::Error),
    Write(io::Error),
    /// A reply of many frames has too many.
    TooLong,
}

impl<C: Codec> Wire<C> {
    pub(crate) fn new(stdio: ChildStdio, codec: C, meters: Arc<Meters>) -> Self {
        Self {
            stdio,
            meters,
            inbox: Mutex::new(Inbox {
                codec,
                bytes: BytesMut::new(),
                is_at_end: false,
            }),
            outbox: BytesMut::new(),
            written: 0,
        }
    }

    /// Resolves at the end of stdout, where the system can tell.
    pub(crate) fn stdout_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stdio.stdout_ended()
    }

    pub(crate) fn into_handover(self) -> Handover {
        self.stdio.into_handover()
    }

    pub(crate) fn stdout(&self) -> BorrowedFd<'_> {
        self.stdio.stdout_fd()
    }

    /// Makes a frame of the message, to be written. Nothing has changed if the codec refuses it.
    pub(crate) fn encode<M>(&mut self, message: M) -> Result<usize, BoxError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        debug_assert!(!self.has_unwritten(), "one message at a time");
        let inbox = inbox_of(&mut self.inbox);
        // Order: aside, or half a message of a codec that panics would be written.
        let mut bytes = std::mem::take(&mut self.outbox);
        self.written = 0;
        bytes.clear();
        let encoded = inbox.codec.encode(message, &mut bytes);
        if encoded.is_err() {
            bytes.clear();
        }
        self.outbox = bytes;
        encoded.map_err(Into::into)?;
        Ok(self.outbox.len())
    }

    pub(crate) fn has_unwritten(&self) -> bool {
        self.written < self.outbox.len()
    }

    pub(crate) fn unwritten_bytes(&self) -> usize {
        self.outbox.len() - self.written
    }

    /// Forgets what was not written: it never will be.
    pub(crate) fn give_up_writing(&mut self) {
        self.outbox.clear();
        self.written = 0;
    }

    /// Writes what is in the outbox.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while self.has_unwritten() {
            let rest = &self.outbox[self.written..];
            match ready!(self.stdio.poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Err(Failure::Write(io::ErrorKind::WriteZero.into()))),
                Ok(count) => self.written += count,
                Err(error) => return Poll::Ready(Err(Failure::Write(error))),
            }
        }
        self.give_up_writing();
        if self.outbox.capacity() > KEPT_BYTES {
            self.outbox = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<C::Item, Failure>> {
        let inbox = inbox_of(&mut self.inbox);
        loop {
            if let Some(frame) = inbox.next()? {
                return Poll::Ready(Ok(frame));
            }
            if inbox.is_at_end {
                return Poll::Ready(Err(Failure::End));
            }
            let read = ready!(self.stdio.poll_read(cx, &mut inbox.bytes));
            inbox.is_at_end = read.map_err(Failure::Read)? == 0;
        }
    }

    /// Reads, while there is something to read, until the inbox holds this many bytes.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<(), Failure>> {
        let inbox = inbox_of(&mut self.inbox);
        while !inbox.is_at_end && inbox.bytes.len() < bytes_max {
            let read = ready!(self.stdio.poll_read(cx, &mut inbox.bytes));
            inbox.is_at_end = read.map_err(Failure::Read)? == 0;
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame of a child that has exited: all it wrote is in the pipe by now.
    pub(crate) fn last_frame(&mut self) -> Result<C::Item, Failure> {
        let inbox = inbox_of(&mut self.inbox);
        let mut chunk = [0; READ_BYTES];
        loop {
            if let Some(frame) = inbox.next()? {
                return Ok(frame);
            }
            if inbox.is_at_end {
                return Err(Failure::End);
            }
            match self.stdio.read_now(&mut chunk) {
                Ok(count) => {
                    inbox.bytes.extend_from_slice(&chunk[..count]);
                    inbox.is_at_end = count == 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Failure::Exit);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Read(error)),
            }
        }
    }

    /// Whether nothing was read that nobody has taken; under the lenient policy, when whole frames
    /// were thrown away.
    pub(crate) fn settle(&self, policy: StrayPolicy) -> bool {
        let mut inbox = lock(&self.inbox);
        match policy {
            StrayPolicy::Reject => inbox.bytes.is_empty(),
            StrayPolicy::Discard => {
                let frames = inbox.discard_frames();
                self.meters.strayed(*frames.as_ref().unwrap_or(&1));
                frames.is_ok() && inbox.bytes.is_empty()
            }
        }
    }

    /// Makes sure that nothing waits to be read, here or in the pipe, by asking the system.
    pub(crate) fn clear_strays(&mut self, policy: StrayPolicy) -> Result<(), Failure> {
        let inbox = inbox_of(&mut self.inbox);
        let mut chunk = [0; STRAY_CHUNK_BYTES];
        for _ in 0..STRAY_READS_MAX {
            if !inbox.bytes.is_empty() {
                if policy == StrayPolicy::Reject {
                    self.meters.strayed(1);
                    return Err(Failure::Stray);
                }
                self.meters.strayed(inbox.discard_frames()?);
            }
            match self.stdio.read_now(&mut chunk) {
                Ok(0) => {
                    inbox.is_at_end = true;
                    return Err(Failure::End);
                }
                Ok(count) => inbox.bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What is left makes no whole frame.
                    return if inbox.bytes.is_empty() {
                        Ok(())
                    } else {
                        Err(Failure::Stray)
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Read(error)),
            }
        }
        Err(Failure::Stray)
    }

    /// Shows the bytes that make no whole frame yet.
    pub(crate) fn with_partial<T>(&self, show: impl FnOnce(&[u8]) -> T) -> T {
        show(&lock(&self.inbox).bytes)
    }

    /// Whether the end of stdout was read.
    pub(crate) fn is_at_end(&mut self) -> bool {
        inbox_of(&mut self.inbox).is_at_end
    }

    /// Whether anything was read and not yet made a frame of.
    pub(crate) fn has_read(&mut self) -> bool {
        !inbox_of(&mut self.inbox).bytes.is_empty()
    }

    /// Whether there is a message of which not a byte was written.
    pub(crate) fn is_untouched(&self) -> bool {
        self.written == 0 && !self.outbox.is_empty()
    }

    /// How many bytes were read in all.
    pub(crate) const fn read_total(&self) -> u64 {
        self.stdio.read_bytes_total()
    }
}

impl<C: Codec> Inbox<C> {
    fn next(&mut self) -> Result<Option<C::Item>, Failure> {
        let held = self.bytes.len();
        let frame = if self.is_at_end {
            self.codec.decode_eof(&mut self.bytes)
        } else if self.bytes.is_empty() {
            return Ok(None);
        } else {
            self.codec.decode(&mut self.bytes)
        };
        if matches!(frame, Ok(Some(_))) && self.bytes.is_empty() && held > KEPT_BYTES {
            // Even empty it would keep the whole of what the frame is a part of.
            self.bytes = BytesMut::new();
        }
        frame.map_err(|error| Failure::Decode(error.into()))
    }

    fn discard_frames(&mut self) -> Result<u64, Failure> {
        let mut frames = 0;
        while self.next()?.is_some() {
            frames += 1;
        }
        Ok(frames)
    }
}

/// The inbox, without locking. A codec that panicked has its own state to answer for.
fn inbox_of<C>(inbox: &mut Mutex<Inbox<C>>) -> &mut Inbox<C> {
    inbox.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// How much is read at once of a child that has exited.
const READ_BYTES: usize = 8 * 1024;
/// A larger buffer is given back after a message was written, or a frame was read.
const KEPT_BYTES: usize = 64 * 1024;
/// On the way to every request, so it should not cost much to set aside.
const STRAY_CHUNK_BYTES: usize = 512;
/// 64 KiB in all, as much as a pipe holds by default: who goes on after that will not stop.
const STRAY_READS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::LineCodec;

    fn inbox() -> Inbox<LineCodec> {
        Inbox {
            codec: LineCodec::new(),
            bytes: BytesMut::new(),
            is_at_end: false,
        }
    }

    #[test]
    fn what_held_a_large_frame_is_given_back() {
        let mut inbox = inbox();
        inbox.bytes.extend_from_slice(&[b'x'; 1 << 20]);
        inbox.bytes.extend_from_slice(b"\n");
        let frame = inbox.next().unwrap();
        assert!(frame.is_some());
        drop(frame);
        assert!(!inbox.bytes.try_reclaim(KEPT_BYTES + 1));
        // A small one stays, for the next.
        inbox.bytes.extend_from_slice(&[b'x'; 1 << 10]);
        inbox.bytes.extend_from_slice(b"\n");
        drop(inbox.next().unwrap());
        assert!(inbox.bytes.try_reclaim(1 << 10));
    }
}
