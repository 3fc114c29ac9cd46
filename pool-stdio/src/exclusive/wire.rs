//! Bytes and frames to and from one child. Reading never waits for writing, nor the reverse.
//!
//! Nothing here is lost when a future is dropped: what was read stays in the inbox, the rest of an
//! outgoing message stays where it is, and the next poll of any kind goes on from there.
//!
//! # Invariants
//!
//! 1. At most one message is outgoing, or the messages of one request.
//! 2. The inbox is bounded by the codec's limit while a frame is awaited, and by a limit of the
//!    caller's while only writing is awaited.
//! 3. At rest a connection holds no buffer larger than [`KEPT_BYTES`] for what it wrote, and none
//!    that a frame larger than that was read into.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use super::fault::Fault;
use super::settings::StrayPolicy;
use crate::codec::Codec;
use crate::launch::ChildStdio;
use crate::metrics::Meters;
use crate::process::{Handover, StdoutView, lock};

/// The pipes to a child, the codec, and the bytes between the two.
#[derive(Debug)]
pub(super) struct Wire<C> {
    stdio: ChildStdio,
    meters: Arc<Meters>,
    /// Locked only where there is no more than a shared reference.
    inbox: Mutex<Inbox<C>>,
    /// The message that is written, or the messages of one request.
    outgoing: BytesMut,
    /// How much of it is written.
    written: usize,
}

#[derive(Debug)]
struct Inbox<C> {
    codec: C,
    bytes: BytesMut,
    is_at_end: bool,
}

impl<C: Codec> Wire<C> {
    pub(super) fn new(stdio: ChildStdio, codec: C, meters: Arc<Meters>) -> Self {
        Self {
            stdio,
            meters,
            inbox: Mutex::new(Inbox {
                codec,
                bytes: BytesMut::new(),
                is_at_end: false,
            }),
            outgoing: BytesMut::new(),
            written: 0,
        }
    }

    /// Resolves at the end of stdout, where the system can tell.
    pub(super) fn stdout_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stdio.stdout_ended()
    }

    pub(super) fn into_handover(self) -> Handover {
        self.stdio.into_handover()
    }

    pub(super) fn stdout_view(&self) -> StdoutView<'_> {
        self.stdio.stdout_view()
    }

    /// An empty buffer for messages, to be given to [`set_outgoing`](Self::set_outgoing).
    pub(super) fn take_buffer(&mut self) -> BytesMut {
        debug_assert!(!self.has_unwritten(), "its rest would be lost");
        // Order: out of the wire, or half a message of a codec that panics would be written.
        let mut bytes = std::mem::take(&mut self.outgoing);
        self.written = 0;
        bytes.clear();
        bytes
    }

    pub(super) fn codec(&mut self) -> &mut C {
        &mut inbox_of(&mut self.inbox).codec
    }

    /// Sets what is to be written.
    pub(super) fn set_outgoing(&mut self, message: BytesMut) {
        debug_assert!(!self.has_unwritten(), "its rest would be lost");
        self.outgoing = message;
        self.written = 0;
    }

    pub(super) fn has_unwritten(&self) -> bool {
        self.written < self.outgoing.len()
    }

    pub(super) fn unwritten_bytes(&self) -> usize {
        self.outgoing.len() - self.written
    }

    /// Forgets what was not written; it never will be.
    pub(super) fn give_up_writing(&mut self) {
        self.outgoing.clear();
        self.written = 0;
    }

    /// Writes the outgoing message.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while self.has_unwritten() {
            let rest = &self.outgoing[self.written..];
            match ready!(self.stdio.poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Err(Fault::Write(io::ErrorKind::WriteZero.into()))),
                Ok(count) => self.written += count,
                Err(error) => return Poll::Ready(Err(Fault::Write(error))),
            }
        }
        self.give_up_writing();
        if self.outgoing.capacity() > KEPT_BYTES {
            self.outgoing = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<C::Item, Fault>> {
        let inbox = inbox_of(&mut self.inbox);
        loop {
            if let Some(frame) = inbox.next()? {
                return Poll::Ready(Ok(frame));
            }
            if inbox.is_at_end {
                return Poll::Ready(Err(Fault::EndOfOutput));
            }
            let read = ready!(self.stdio.poll_read(cx, &mut inbox.bytes));
            inbox.is_at_end = read.map_err(Fault::Read)? == 0;
        }
    }

    /// Reads, while there is something to read, until the inbox holds this many bytes.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<(), Fault>> {
        let inbox = inbox_of(&mut self.inbox);
        while !inbox.is_at_end && inbox.bytes.len() < bytes_max {
            let read = ready!(self.stdio.poll_read(cx, &mut inbox.bytes));
            inbox.is_at_end = read.map_err(Fault::Read)? == 0;
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame of a child that has exited: all it wrote is in the pipe by now.
    pub(super) fn last_frame(&mut self) -> Result<C::Item, Fault> {
        let stdio = &mut self.stdio;
        inbox_of(&mut self.inbox).last_frame(|chunk| stdio.read_now(chunk))
    }

    /// Whether nothing is left that was read and not taken. Under the lenient policy whole frames
    /// are dropped first.
    pub(super) fn drop_strays(&self, policy: StrayPolicy) -> bool {
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

    /// Makes sure that nothing waits to be read, neither here nor in the pipe.
    pub(super) fn clear_strays(&mut self, policy: StrayPolicy) -> Result<(), Fault> {
        let inbox = inbox_of(&mut self.inbox);
        let mut chunk = [0; STRAY_CHUNK_BYTES];
        for _ in 0..STRAY_READS_MAX {
            if !inbox.bytes.is_empty() {
                if policy == StrayPolicy::Reject {
                    self.meters.strayed(1);
                    return Err(Fault::Stray);
                }
                self.meters.strayed(inbox.discard_frames()?);
            }
            match self.stdio.read_now(&mut chunk) {
                Ok(0) => {
                    inbox.is_at_end = true;
                    return Err(Fault::EndOfOutput);
                }
                Ok(count) => inbox.bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What is left makes no whole frame.
                    return if inbox.bytes.is_empty() {
                        Ok(())
                    } else {
                        Err(Fault::Stray)
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Read(error)),
            }
        }
        Err(Fault::Stray)
    }

    /// Shows the bytes that make no whole frame yet.
    pub(super) fn with_partial<T>(&self, show: impl FnOnce(&[u8]) -> T) -> T {
        show(&lock(&self.inbox).bytes)
    }

    /// Whether the end of stdout was read.
    pub(super) fn is_at_end(&mut self) -> bool {
        inbox_of(&mut self.inbox).is_at_end
    }

    /// Whether anything was read and not yet made a frame of.
    pub(super) fn has_read(&mut self) -> bool {
        !inbox_of(&mut self.inbox).bytes.is_empty()
    }

    /// Whether there is a message of which not a byte was written.
    pub(super) fn is_untouched(&self) -> bool {
        self.written == 0 && !self.outgoing.is_empty()
    }

    /// How many bytes were read in all.
    pub(super) const fn read_bytes_total(&self) -> u64 {
        self.stdio.read_bytes_total()
    }
}

impl<C: Codec> Inbox<C> {
    fn next(&mut self) -> Result<Option<C::Item>, Fault> {
        let held = self.bytes.len();
        let frame = if self.is_at_end {
            self.codec.decode_eof(&mut self.bytes)
        } else if self.bytes.is_empty() {
            return Ok(None);
        } else {
            self.codec.decode(&mut self.bytes)
        };
        if matches!(frame, Ok(Some(_))) && self.bytes.is_empty() && held > KEPT_BYTES {
            // Even when empty it would keep the memory alive that the frame is a part of.
            self.bytes = BytesMut::new();
        }
        frame.map_err(|error| Fault::Decode(error.into()))
    }

    /// The next frame of what is in the pipe. `read` reads without waiting.
    fn last_frame(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<C::Item, Fault> {
        let mut chunk = [0; READ_BYTES];
        let mut read_bytes = 0;
        loop {
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            if self.is_at_end {
                return Err(Fault::EndOfOutput);
            }
            // Order: before the next read. A process that the child has left behind can write for ever.
            if read_bytes >= LAST_BYTES_MAX {
                return Err(Fault::Exited);
            }
            match read(&mut chunk) {
                Ok(count) => {
                    self.bytes.extend_from_slice(&chunk[..count]);
                    self.is_at_end = count == 0;
                    read_bytes += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Fault::Exited);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Read(error)),
            }
        }
    }

    fn discard_frames(&mut self) -> Result<u64, Fault> {
        let mut frames = 0;
        while self.next()?.is_some() {
            frames += 1;
        }
        Ok(frames)
    }
}

/// The inbox, without locking. After a panic of the codec its state is the codec's affair.
fn inbox_of<C>(inbox: &mut Mutex<Inbox<C>>) -> &mut Inbox<C> {
    inbox.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// How much is read at once of a child that has exited.
const READ_BYTES: usize = 8 * 1024;
/// How much is read in all of a child that has exited: as much as a pipe can hold.
const LAST_BYTES_MAX: usize = 1024 * 1024;
/// A larger buffer is given back after a message was written, or a frame was read.
const KEPT_BYTES: usize = 64 * 1024;
/// Small, since every request sets it aside.
const STRAY_CHUNK_BYTES: usize = 512;
/// 64 KiB in all, as much as a pipe holds by default: a child that has written more will not stop.
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
    fn a_child_that_has_exited_is_not_read_for_ever() {
        let mut inbox = Inbox {
            codec: LineCodec::new().skip_overlong_lines(),
            bytes: BytesMut::new(),
            is_at_end: false,
        };
        let mut written = 0;
        let frame = inbox.last_frame(|chunk| {
            assert!(written <= 2 * LAST_BYTES_MAX, "it is read for ever");
            written += chunk.len();
            chunk.fill(b'x');
            Ok(chunk.len())
        });
        assert!(matches!(frame, Err(Fault::Exited)), "{frame:?}");
    }

    #[test]
    fn a_frame_that_ends_with_a_full_pipe_is_read() {
        let mut inbox = inbox();
        let mut written = 0;
        let frame = inbox.last_frame(|chunk| {
            written += chunk.len();
            chunk.fill(b'x');
            if written == LAST_BYTES_MAX {
                chunk[chunk.len() - 1] = b'\n';
            }
            Ok(chunk.len())
        });
        assert_eq!(frame.unwrap().bytes.len(), LAST_BYTES_MAX - 1);
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
