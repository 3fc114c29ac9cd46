//! From messages to frames and back.
//!
//! Small messages are copied into one buffer; of large ones the parts are written as they are, so
//! that forwarding a large body copies nothing on its way to the child.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;
use tokio::io::AsyncWrite;
use tokio_util::codec::Decoder;

use super::error::{Fate, RpcError};
use super::scan::Span;
use super::table::CallId;
use crate::codec::{DecodeError, HeaderCodec, LineCodec};

/// How messages are told apart on the pipes.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, Framing, JsonRpcConnector, Protocol};
///
/// // A server that speaks like an MCP server, in the frames of LSP.
/// let connector = JsonRpcConnector::new(CommandSpec::new("cat"), Protocol::Mcp)?;
/// let connector = connector.framing(Framing::ContentLength);
/// # drop(connector);
/// # Ok::<(), pool_stdio::CommandError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Each is a line; MCP.
    Lines,
    /// Each has a header with its length; LSP.
    ContentLength,
}

/// Takes frames out of what was read.
#[derive(Debug)]
pub(super) enum Frames {
    Lines(LineCodec),
    ContentLength(HeaderCodec),
}

impl Frames {
    pub(super) fn new(framing: Framing, frame_bytes_max: usize) -> Self {
        match framing {
            Framing::Lines => Self::Lines(LineCodec::new().frame_bytes_max(frame_bytes_max)),
            Framing::ContentLength => {
                Self::ContentLength(HeaderCodec::new().frame_bytes_max(frame_bytes_max))
            }
        }
    }

    pub(super) fn next(
        &mut self,
        bytes: &mut BytesMut,
        is_at_end: bool,
    ) -> Result<Option<Bytes>, DecodeError> {
        let held = bytes.len();
        let frame = match self {
            Self::Lines(codec) if is_at_end => codec.decode_eof(bytes)?.map(|one| one.bytes),
            Self::Lines(codec) => codec.decode(bytes)?.map(|one| one.bytes),
            Self::ContentLength(codec) if is_at_end => codec.decode_eof(bytes)?.map(Bytes::from),
            Self::ContentLength(codec) => codec.decode(bytes)?.map(Bytes::from),
        };
        if frame.is_some() && held > KEPT_BYTES && bytes.len() <= KEPT_BYTES {
            // Even empty it would keep the whole of what the frame is a part of. What came with the
            // frame is no more than one read.
            *bytes = BytesMut::from(&bytes[..]);
        }
        Ok(frame)
    }
}

/// A message that is to be written.
#[derive(Debug)]
pub(super) struct Frame {
    /// The call it is the request of.
    pub(super) call: Option<CallId>,
    pub(super) room: Room,
    parts: Parts,
}

/// Of which room a frame takes a place until it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// That of the callers.
    Queue,
    /// That of what we send of our own accord.
    Own,
}

/// How many places have become free.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Freed {
    pub(super) queue: usize,
    pub(super) own: usize,
}

impl Freed {
    pub(super) const fn add(&mut self, room: Room) {
        match room {
            Room::Queue => self.queue += 1,
            Room::Own => self.own += 1,
        }
    }
}

#[derive(Debug)]
enum Parts {
    /// In one buffer, from this byte on.
    One(Vec<u8>, usize),
    Many(VecDeque<Bytes>),
}

impl Frame {
    /// A frame of the parts of a message.
    pub(super) fn new(
        framing: Framing,
        bytes_max: usize,
        message: &[Bytes],
    ) -> Result<Self, RpcError> {
        let length: usize = message.iter().map(Bytes::len).sum();
        if length > bytes_max {
            return Err(RpcError::FrameTooLarge {
                limit_bytes: bytes_max,
                report: None,
                fate: Fate::NotSent,
            });
        }
        let header = match framing {
            Framing::Lines => {
                if message.iter().any(|part| ends_line(part)) {
                    let reason = "a line break in it would end the line; put it on one".to_owned();
                    return Err(RpcError::BadRequest { reason });
                }
                Bytes::new()
            }
            Framing::ContentLength => Bytes::from(format!("Content-Length: {length}\r\n\r\n")),
        };
        let end: &'static [u8] = match framing {
            Framing::Lines => b"\n",
            Framing::ContentLength => b"",
        };
        let parts = if length <= COPIED_BYTES_MAX {
            let mut all = Vec::with_capacity(header.len() + length + end.len());
            all.extend_from_slice(&header);
            for part in message {
                all.extend_from_slice(part);
            }
            all.extend_from_slice(end);
            Parts::One(all, 0)
        } else {
            let all = [header].into_iter().chain(message.iter().cloned());
            let all = all.chain([Bytes::from_static(end)]);
            Parts::Many(all.filter(|part| !part.is_empty()).collect())
        };
        Ok(Self {
            call: None,
            room: Room::Own,
            parts,
        })
    }

    /// A frame of a message in a buffer of its own, without a further copy where possible.
    pub(super) fn of(
        framing: Framing,
        bytes_max: usize,
        mut message: Vec<u8>,
    ) -> Result<Self, RpcError> {
        if framing == Framing::Lines && message.len() <= bytes_max && !ends_line(&message) {
            message.push(b'\n');
            return Ok(Self {
                call: None,
                room: Room::Own,
                parts: Parts::One(message, 0),
            });
        }
        Self::new(framing, bytes_max, &[Bytes::from(message)])
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let (one, many) = match &self.parts {
            Parts::One(one, written) => (Some(&one[*written..]), None),
            Parts::Many(many) => (None, Some(many)),
        };
        let many = many.into_iter().flatten().map(Bytes::as_ref);
        one.into_iter().chain(many)
    }

    /// Takes bytes off its front, and says how many; none are left if fewer than asked for.
    fn advance(&mut self, count: usize) -> usize {
        match &mut self.parts {
            Parts::One(one, written) => {
                let taken = count.min(one.len() - *written);
                *written += taken;
                taken
            }
            Parts::Many(many) => {
                let mut left = count;
                while let Some(part) = many.front_mut()
                    && left > 0
                {
                    let taken = left.min(part.len());
                    part.advance(taken);
                    left -= taken;
                    if part.is_empty() {
                        many.pop_front();
                    }
                }
                count - left
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.parts().all(<[u8]>::is_empty)
    }
}

/// Whether the line would be over before its end. A carriage return does that as well for programs
/// that read text, such as Python's: what follows would be a message of its own, under any id.
fn ends_line(part: &[u8]) -> bool {
    memchr2(b'\n', b'\r', part).is_some()
}

/// Replaces spans of a message, given in their order.
pub(super) fn splice(message: &Bytes, edits: &[(Span, Bytes)]) -> Vec<Bytes> {
    let mut parts = Vec::with_capacity(2 * edits.len() + 1);
    let mut from = 0;
    for (span, replacement) in edits {
        parts.push(message.slice(from..span.range().start));
        parts.push(replacement.clone());
        from = span.range().end;
    }
    parts.push(message.slice(from..));
    parts
}

/// The parts of a message as one.
pub(super) fn join(parts: &[Bytes]) -> Bytes {
    let mut all = Vec::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        all.extend_from_slice(part);
    }
    all.into()
}

/// Frames on their way out, the first of which may be written in part.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) frames: VecDeque<Frame>,
    /// Whether the first frame has lost bytes already.
    is_torn: bool,
    /// Bytes that the system has taken in all.
    pub(super) written_total: u64,
}

impl Outbox {
    /// Writes as much as the pipe takes at once, and says which places that frees.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut (impl AsyncWrite + Unpin + ?Sized),
    ) -> Poll<io::Result<Freed>> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for part in self.frames.iter().flat_map(Frame::parts).take(SLICES_MAX) {
            slices[count] = IoSlice::new(part);
            count += 1;
        }
        let written = match count {
            0 => return Poll::Ready(Ok(Freed::default())),
            1 => ready!(Pin::new(pipe).poll_write(cx, &slices[0]))?,
            _ => ready!(Pin::new(pipe).poll_write_vectored(cx, &slices[..count]))?,
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written_total += written as u64;
        Poll::Ready(Ok(self.advance(written)))
    }

    fn advance(&mut self, mut count: usize) -> Freed {
        let mut freed = Freed::default();
        while let Some(frame) = self.frames.front_mut() {
            let taken = frame.advance(count);
            count -= taken;
            if !frame.is_empty() {
                self.is_torn |= taken > 0;
                break;
            }
            freed.add(frame.room);
            self.frames.pop_front();
            self.is_torn = false;
        }
        freed
    }

    /// The frame of which a part was written.
    pub(super) fn torn(&self) -> Option<&Frame> {
        self.frames.front().filter(|_| self.is_torn)
    }

    /// The frames of which nothing was written.
    pub(super) fn whole(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().skip(usize::from(self.is_torn))
    }

    /// Takes the request of a call back, unless a part of it was written.
    pub(super) fn take_back(&mut self, call: CallId) -> Option<Frame> {
        let first = usize::from(self.is_torn);
        let is_it = |frame: &Frame| frame.call == Some(call);
        let place = self.frames.iter().skip(first).position(is_it)?;
        self.frames.remove(first + place)
    }

    /// What should still be written before the pipe is closed: the rest of a torn frame, and what
    /// is no request.
    pub(super) fn rest(&self) -> Vec<u8> {
        let last_words = self.whole().filter(|frame| frame.call.is_none());
        let frames = self.torn().into_iter().chain(last_words);
        let parts = frames.flat_map(Frame::parts);
        parts.fold(Vec::new(), |mut all, part| {
            all.extend_from_slice(part);
            all
        })
    }
}

/// A larger buffer is given back after a frame was read into it; a smaller one serves the next.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Below this a copy costs less than one more part to write.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// Of one write.
const SLICES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_held_a_large_frame_is_given_back_and_a_smaller_one_kept() {
        let mut frames = Frames::new(Framing::Lines, 2 * KEPT_BYTES);
        for (length, is_kept) in [(KEPT_BYTES / 2, true), (KEPT_BYTES, false)] {
            let mut bytes = BytesMut::with_capacity(length + 1);
            bytes.resize(length, b'x');
            bytes.extend_from_slice(b"\n");
            let frame = frames.next(&mut bytes, false).unwrap();
            assert_eq!(frame.map(|frame| frame.len()), Some(length));
            assert_eq!(bytes.try_reclaim(length), is_kept);
        }
    }
    #[test]
    fn what_held_a_large_frame_is_given_back_even_if_more_came_with_it() {
        let mut frames = Frames::new(Framing::Lines, 2 * KEPT_BYTES);
        let mut bytes = BytesMut::new();
        bytes.resize(KEPT_BYTES, b'x');
        bytes.extend_from_slice(b"\nha");
        let frame = frames.next(&mut bytes, false).unwrap();
        assert_eq!(frame.map(|frame| frame.len()), Some(KEPT_BYTES));
        assert!(frames.next(&mut bytes, false).unwrap().is_none());
        bytes.extend_from_slice(b"lf\n");
        assert_eq!(frames.next(&mut bytes, false).unwrap().unwrap(), "half");
        assert!(!bytes.try_reclaim(KEPT_BYTES / 2));
    }
}
