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
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use pool_core::BoxError;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio_util::codec::Encoder;

use super::stray::StrayPolicy;
use crate::codec::Codec;
use crate::metrics::Meters;
use crate::process::{Child, Handover, lock, read};

/// Our ends of the pipes, registered with a runtime.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<Sender>,
    /// Shared with who waits for its end.
    pub(crate) stdout: Arc<Receiver>,
    /// How many bytes were read in all.
    read_total: u64,
    meters: Arc<Meters>,
}

/// Pipes, what is in between, and where the frames are.
#[derive(Debug)]
pub(crate) struct Wire<C> {
    pub(crate) pipes: Pipes,
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

impl Pipes {
    /// Takes a child's pipes into the care of the present runtime.
    ///
    /// # Panics
    ///
    /// If the runtime does no I/O.
    pub(crate) fn register(child: &mut Child, meters: Arc<Meters>) -> io::Result<Self> {
        let gone = || io::Error::other("the pipe was taken");
        let stdin = child.take_stdin().ok_or_else(gone)?;
        let stdout = child.take_stdout().ok_or_else(gone)?;
        // The child layer made them pipes, and non-blocking.
        Ok(Self {
            stdin: Some(Sender::from_owned_fd_unchecked(stdin)?),
            stdout: Arc::new(Receiver::from_owned_fd_unchecked(stdout)?),
            read_total: 0,
            meters,
        })
    }

    /// Writes once.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(stdin) = &mut self.stdin else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let count = ready!(Pin::new(stdin).poll_write(cx, bytes))?;
        self.meters.written(count);
        Poll::Ready(Ok(count))
    }

    /// Reads once, and says how much; zero at the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        if bytes.len() == bytes.capacity() {
            bytes.reserve(if bytes.is_empty() { READ_BYTES } else { 1 });
        }
        loop {
            ready!(self.stdout.poll_read_ready(cx))?;
            match self.stdout.try_read_buf(bytes) {
                Ok(count) => {
                    self.count(count);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Reads what is there, by asking the system: the runtime may not have looked for a while.
    pub(crate) fn read_now(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let mut has_asked = false;
        // Through the runtime, if it believes that there is something: it then knows better, and
        // the read that awaits the reply does not have to find that out.
        let outcome = self.stdout.try_io(|| {
            has_asked = true;
            read(self.stdout.as_fd(), chunk)
        });
        let outcome = match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !has_asked => {
                read(self.stdout.as_fd(), chunk)
            }
            outcome => outcome,
        };
        if let Ok(count) = &outcome {
            self.count(*count);
        }
        outcome
    }

    fn count(&mut self, bytes: usize) {
        self.read_total = self.read_total.saturating_add(bytes as u64);
        self.meters.read(bytes);
    }

    /// The bare descriptors, for whoever ends the child.
    pub(crate) fn into_handover(self) -> Handover {
        let mut handover = Handover::new();
        if let Some(stdin) = self.stdin.and_then(|one| one.into_nonblocking_fd().ok()) {
            handover = handover.stdin(stdin, Vec::new());
        }
        let stdout = match Arc::try_unwrap(self.stdout) {
            Ok(stdout) => stdout.into_nonblocking_fd().ok(),
            // Somebody still waits for its end, and will let go of it now.
            Err(shared) => shared.as_fd().try_clone_to_owned().ok(),
        };
        match stdout {
            Some(stdout) => handover.stdout(stdout),
            None => handover,
        }
    }
}

impl<C: Codec> Wire<C> {
    pub(crate) fn new(pipes: Pipes, codec: C) -> Self {
        Self {
            pipes,
            inbox: Mutex::new(Inbox {
                codec,
                bytes: BytesMut::new(),
                is_at_end: false,
            }),
            outbox: BytesMut::new(),
            written: 0,
        }
    }

    pub(crate) fn stdout(&self) -> BorrowedFd<'_> {
        self.pipes.stdout.as_fd()
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
            match ready!(self.pipes.poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Err(Failure::Write(io::ErrorKind::WriteZero.into()))),
                Ok(count) => self.written += count,
                Err(error) => {
                    // Closed for no other reason, or the child would see the end of its input.
                    if error.kind() == io::ErrorKind::BrokenPipe {
                        self.pipes.stdin = None;
                    }
                    return Poll::Ready(Err(Failure::Write(error)));
                }
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
            let read = ready!(self.pipes.poll_read(cx, &mut inbox.bytes));
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
            let read = ready!(self.pipes.poll_read(cx, &mut inbox.bytes));
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
            match self.pipes.read_now(&mut chunk) {
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
                self.pipes.meters.strayed(*frames.as_ref().unwrap_or(&1));
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
                    self.pipes.meters.strayed(1);
                    return Err(Failure::Stray);
                }
                self.pipes.meters.strayed(inbox.discard_frames()?);
            }
            match self.pipes.read_now(&mut chunk) {
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
        self.pipes.read_total
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

/// Not read yet; as much as the codecs ask for at once.
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
