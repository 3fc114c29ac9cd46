//! Replies of lines, the last of which can be recognised.
//!
//! A line ends at a line feed, with or without one carriage return before it, as in [`super::lines`].

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::buffer::{find_newline, make_room, strip_carriage_return};
use super::error::{DecodeError, EncodeError, Fragment};
use super::frame::{FRAME_BYTES_MAX_DEFAULT, truncated};
use super::lines::encode_line;

/// Replies of lines up to one that ends them, such as `{ready}` of `exiftool -stay_open`, the empty
/// line of `ispell -a`, or `bestmove` of a chess engine.
///
/// A request is a line. Since a frame is a whole reply, no caller can take the first line of a reply
/// for all of it.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::TerminatorCodec;
/// use tokio_util::codec::Decoder;
///
/// let mut codec = TerminatorCodec::new(|line| line.starts_with(b"bestmove"));
/// let mut output = BytesMut::from("info depth 1\ninfo depth 2\nbestmove e2e4\n");
/// let reply = codec.decode(&mut output).unwrap().unwrap();
/// assert_eq!(reply.body, "info depth 1\ninfo depth 2\n");
/// assert_eq!(reply.last_line, "bestmove e2e4");
/// ```
#[derive(Clone)]
pub struct TerminatorCodec {
    is_last: Arc<IsLastLine>,
    frame_bytes_max: usize,
    state: State,
}

type IsLastLine = dyn Fn(&[u8]) -> bool + Send + Sync;

/// A reply of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TerminatedLines {
    /// The lines before the last one, with their ends.
    pub body: Bytes,
    /// The last line, without its end.
    pub last_line: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Inside a reply: its lines before `line_start` were looked at, and its first
    /// `searched_bytes` hold no other newline.
    Searching {
        line_start: usize,
        searched_bytes: usize,
    },
    /// After an error.
    Failed,
}

impl TerminatorCodec {
    /// Replies of up to 16 MiB, up to the first line for which `is_last` is true. It sees each line
    /// without its end.
    #[must_use]
    pub fn new(is_last: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self {
            is_last: Arc::new(is_last),
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            state: REPLY_START,
        }
    }

    /// The most bytes a request or a reply may have, with the ends of its lines. Default: 16 MiB.
    ///
    /// Worst-case cost: as many bytes, and 16 KiB, per connection.
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes;
        self
    }

    fn advance(&mut self, src: &mut BytesMut) -> Result<Option<TerminatedLines>, DecodeError> {
        let State::Searching {
            mut line_start,
            mut searched_bytes,
        } = self.state
        else {
            return Err(DecodeError::OutOfStep);
        };
        let window = &src[..src.len().min(self.frame_bytes_max)];
        while let Some(at) = find_newline(window, searched_bytes) {
            let line = strip_carriage_return(&window[line_start..at]);
            searched_bytes = at + 1;
            if (self.is_last)(line) {
                let last_line = line_start..line_start + line.len();
                let reply = src.split_to(at + 1).freeze();
                self.state = REPLY_START;
                return Ok(Some(TerminatedLines {
                    body: reply.slice(..last_line.start),
                    last_line: reply.slice(last_line),
                }));
            }
            line_start = at + 1;
        }
        if !src.is_empty() && src.len() >= self.frame_bytes_max {
            return Err(DecodeError::ReplyTooLong {
                limit_bytes: self.frame_bytes_max,
                first_bytes: Fragment::first_of(window),
            });
        }
        self.state = State::Searching {
            line_start,
            searched_bytes: window.len(),
        };
        make_room(src, self.frame_bytes_max);
        Ok(None)
    }

    fn fail(&mut self, src: &mut BytesMut) {
        self.state = State::Failed;
        src.clear();
    }
}

impl fmt::Debug for TerminatorCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminatorCodec")
            .field("frame_bytes_max", &self.frame_bytes_max)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// # Errors
///
/// [`DecodeError::ReplyTooLong`]; [`DecodeError::TruncatedFrame`] at the end of the stream;
/// [`DecodeError::OutOfStep`] after either.
impl Decoder for TerminatorCodec {
    type Item = TerminatedLines;
    type Error = DecodeError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<TerminatedLines>, DecodeError> {
        self.advance(src).inspect_err(|_| self.fail(src))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<TerminatedLines>, DecodeError> {
        if self.state == State::Failed {
            src.clear();
            return Ok(None);
        }
        match self.decode(src)? {
            Some(reply) => Ok(Some(reply)),
            None if src.is_empty() => Ok(None),
            None => {
                let error = truncated("a reply", None, src);
                self.fail(src);
                Err(error)
            }
        }
    }
}

/// # Errors
///
/// [`EncodeError::FrameTooLong`], [`EncodeError::NewlineInFrame`],
/// [`EncodeError::TrailingCarriageReturn`].
impl<F: AsRef<[u8]>> Encoder<F> for TerminatorCodec {
    type Error = EncodeError;

    fn encode(&mut self, line: F, dst: &mut BytesMut) -> Result<(), EncodeError> {
        encode_line(line.as_ref(), self.frame_bytes_max, dst)
    }
}

const REPLY_START: State = State::Searching {
    line_start: 0,
    searched_bytes: 0,
};
