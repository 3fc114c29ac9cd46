//! From messages to frames and back.
//!
//! A small message is copied into one buffer. A large one is kept in parts, so that a forwarded body is
//! not copied on its way to the child.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use tokio_util::codec::Decoder;

use super::error::{Fate, RpcError};
use super::scan::Span;
use crate::codec::{DecodeError, HeaderCodec, LineCodec};

/// How messages are framed on the pipes.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, Framing, JsonRpcConnector, Protocol};
///
/// // An MCP server that uses the framing of LSP.
/// let connector = JsonRpcConnector::new(CommandSpec::new("cat"), Protocol::Mcp)?;
/// let connector = connector.framing(Framing::ContentLength);
/// # drop(connector);
/// # Ok::<(), pool_stdio::CommandError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Each message is a line, as in MCP.
    Lines,
    /// Each message has a header with its length, as in LSP.
    ContentLength,
}

/// Takes frames out of what was read.
#[derive(Debug)]
pub(super) enum FrameDecoder {
    Lines(LineCodec),
    ContentLength(HeaderCodec),
}

impl FrameDecoder {
    pub(super) fn new(framing: Framing, frame_bytes_max: usize) -> Self {
        match framing {
            Framing::Lines => {
                // JSON itself says whether a last message without a newline is whole.
                let codec = LineCodec::new().deliver_partial_line();
                Self::Lines(codec.frame_bytes_max(frame_bytes_max))
            }
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
            // Even an empty buffer would keep the memory that the frame is a slice of. What follows
            // the frame is no more than one read, so it is copied.
            *bytes = BytesMut::from(&bytes[..]);
        }
        Ok(frame)
    }
}

/// A message as it will be written.
#[derive(Debug)]
pub(super) enum Frame {
    /// In one buffer.
    Small(Vec<u8>),
    Large(VecDeque<Bytes>),
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
        let on_one_line;
        let mut message = message;
        if framing == Framing::Lines && message.iter().any(|part| ends_line(part)) {
            on_one_line = put_on_one_line(message)?;
            message = std::slice::from_ref(&on_one_line);
        }
        let header = match framing {
            Framing::Lines => Bytes::new(),
            Framing::ContentLength => Bytes::from(format!("Content-Length: {length}\r\n\r\n")),
        };
        let end: &'static [u8] = match framing {
            Framing::Lines => b"\n",
            Framing::ContentLength => b"",
        };
        if length <= COPIED_BYTES_MAX {
            let mut all = Vec::with_capacity(header.len() + length + end.len());
            all.extend_from_slice(&header);
            for part in message {
                all.extend_from_slice(part);
            }
            all.extend_from_slice(end);
            return Ok(Self::Small(all));
        }
        let all = [header].into_iter().chain(message.iter().cloned());
        let all = all.chain([Bytes::from_static(end)]);
        Ok(Self::Large(all.filter(|part| !part.is_empty()).collect()))
    }

    /// A frame of a message that has its own buffer, without a copy where possible.
    pub(super) fn of(
        framing: Framing,
        bytes_max: usize,
        mut message: Vec<u8>,
    ) -> Result<Self, RpcError> {
        let is_small = message.len() <= bytes_max.min(COPIED_BYTES_MAX);
        if framing == Framing::Lines && is_small && !ends_line(&message) {
            message.push(b'\n');
            return Ok(Self::Small(message));
        }
        Self::new(framing, bytes_max, &[Bytes::from(message)])
    }
}

/// The message with a space in the place of each line break between its values. A space separates values
/// as a line break does, so what was not JSON before is not JSON afterwards.
///
/// # Errors
///
/// A line break in a string is not JSON, and cannot be written on one line.
fn put_on_one_line(message: &[Bytes]) -> Result<Bytes, RpcError> {
    let mut all = Vec::with_capacity(message.iter().map(Bytes::len).sum());
    for part in message {
        all.extend_from_slice(part);
    }
    let (mut is_in_string, mut is_escaped) = (false, false);
    for byte in &mut all {
        match *byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_in_string => is_escaped = true,
            b'"' => is_in_string = !is_in_string,
            b'\n' | b'\r' if !is_in_string => *byte = b' ',
            _ => {}
        }
    }
    if ends_line(&all) {
        let reason = "a line break in a string".to_owned();
        return Err(RpcError::BadRequest { reason });
    }
    Ok(all.into())
}

/// Whether the message would end before its last byte. A carriage return also ends a line for programs
/// that read text, such as Python's: the rest would be another message, under any id.
fn ends_line(part: &[u8]) -> bool {
    memchr2(b'\n', b'\r', part).is_some()
}

/// Replaces spans of a message. The edits are in the order of their positions.
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

/// Joins the parts of a message.
pub(super) fn join(parts: &[Bytes]) -> Bytes {
    let mut all = Vec::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        all.extend_from_slice(part);
    }
    all.into()
}

/// A larger read buffer is freed after a frame was read into it; a smaller one is used again.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Up to this size, a copy costs less than writing one more part.
const COPIED_BYTES_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_of_a_large_frame_is_freed_and_a_smaller_one_is_kept() {
        let mut frames = FrameDecoder::new(Framing::Lines, 2 * KEPT_BYTES);
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
    fn the_buffer_of_a_large_frame_is_freed_even_if_more_was_read_into_it() {
        let mut frames = FrameDecoder::new(Framing::Lines, 2 * KEPT_BYTES);
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
