//! Replies of a line that tells how long the body behind it is.
//!
//! A line ends at a line feed, with or without one carriage return before it, as in [`super::lines`].

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::buffer::{find_newline, make_room, strip_carriage_return};
use super::error::{DecodeError, EncodeError, Fragment};
use super::frame::{FRAME_BYTES_MAX_DEFAULT, admit_length, truncated};
use super::lines::encode_line;

/// Replies of a line and a body whose length the line tells, such as those of `git cat-file --batch`.
///
/// A request is a line.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::LengthLineCodec;
/// use tokio_util::codec::Decoder;
///
/// // `<id> <type> <size>`, the object, and a newline; or `<name> missing`.
/// let mut codec = LengthLineCodec::new(|line| {
///     let size = line.rsplit(|byte| *byte == b' ').next()?;
///     std::str::from_utf8(size).ok()?.parse().ok()
/// })
/// .newline_after_body();
///
/// let mut output = BytesMut::from("e69de2 blob 5\nhello\nnope missing\n");
/// let object = codec.decode(&mut output).unwrap().unwrap();
/// assert_eq!(object.line, "e69de2 blob 5");
/// assert_eq!(object.body.unwrap(), "hello");
/// let missing = codec.decode(&mut output).unwrap().unwrap();
/// assert_eq!((&missing.line[..], missing.body), (&b"nope missing"[..], None));
/// ```
#[derive(Clone)]
pub struct LengthLineCodec {
    body_bytes: Arc<BodyBytes>,
    has_newline_after_body: bool,
    frame_bytes_max: usize,
    state: State,
}

type BodyBytes = dyn Fn(&[u8]) -> Option<u64> + Send + Sync;

/// A line, and the body that it announced.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LengthLineFrame {
    /// The line, without its end.
    pub line: Bytes,
    /// The body; `None` if the line announced none.
    pub body: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Inside a line whose first `searched_bytes` hold no newline.
    Line { searched_bytes: usize },
    /// Behind a line of `line_bytes`, with its end, which stays in the buffer until the body has
    /// arrived as well.
    Body {
        line_bytes: usize,
        body_bytes: usize,
    },
    /// After an error.
    Failed,
}

impl LengthLineCodec {
    /// Lines and bodies of up to 16 MiB each.
    ///
    /// `body_bytes` sees each line without its end, and returns the length of the body behind it, or
    /// `None` if the line is the whole reply.
    #[must_use]
    pub fn new(body_bytes: impl Fn(&[u8]) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self {
            body_bytes: Arc::new(body_bytes),
            has_newline_after_body: false,
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            state: LINE_START,
        }
    }

    /// A newline follows each body and is no part of it.
    #[must_use]
    pub const fn newline_after_body(mut self) -> Self {
        self.has_newline_after_body = true;
        self
    }

    /// The most bytes a request, a line or a body may have. Default: 16 MiB.
    ///
    /// Worst-case cost: twice as many bytes, and 16 KiB, per connection.
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes;
        self
    }

    fn advance(&mut self, src: &mut BytesMut) -> Result<Option<LengthLineFrame>, DecodeError> {
        loop {
            match self.state {
                State::Failed => return Err(DecodeError::OutOfStep),
                State::Line { searched_bytes } => {
                    let Some(line_bytes) = self.search_line(src, searched_bytes)? else {
                        return Ok(None);
                    };
                    let line = strip_carriage_return(&src[..line_bytes - 1]);
                    let Some(stated_bytes) = (self.body_bytes)(line) else {
                        let line = line_of(src.split_to(line_bytes));
                        self.state = LINE_START;
                        return Ok(Some(LengthLineFrame { line, body: None }));
                    };
                    self.state = State::Body {
                        line_bytes,
                        body_bytes: admit_length(stated_bytes, self.frame_bytes_max, line)?,
                    };
                }
                State::Body {
                    line_bytes,
                    body_bytes,
                } => {
                    let newline_bytes = usize::from(self.has_newline_after_body);
                    let whole_bytes = line_bytes
                        .saturating_add(body_bytes)
                        .saturating_add(newline_bytes);
                    if src.len() < whole_bytes {
                        make_room(src, whole_bytes);
                        return Ok(None);
                    }
                    let line = line_of(src.split_to(line_bytes));
                    let mut body = src.split_to(body_bytes + newline_bytes);
                    let after = body.split_off(body_bytes);
                    if self.has_newline_after_body && &after[..] != b"\n" {
                        return Err(DecodeError::MissingNewline {
                            body_bytes,
                            found: Fragment::first_of(&after),
                        });
                    }
                    self.state = LINE_START;
                    return Ok(Some(LengthLineFrame {
                        line,
                        body: Some(body.freeze()),
                    }));
                }
            }
        }
    }

    /// The length of the line with its end, if it is whole.
    fn search_line(
        &mut self,
        src: &mut BytesMut,
        searched_bytes: usize,
    ) -> Result<Option<usize>, DecodeError> {
        // A newline after this window ends a line that is too long in any case.
        let window_bytes = src.len().min(self.frame_bytes_max.saturating_add(2));
        let window = &src[..window_bytes];
        let end = find_newline(window, searched_bytes);
        let content = strip_carriage_return(&window[..end.unwrap_or(window_bytes)]);
        if content.len() > self.frame_bytes_max {
            return Err(DecodeError::LineTooLong {
                limit_bytes: self.frame_bytes_max,
                first_bytes: Fragment::first_of(&content[..=self.frame_bytes_max]),
            });
        }
        if end.is_none() {
            self.state = State::Line {
                searched_bytes: window_bytes,
            };
            make_room(src, self.frame_bytes_max);
        }
        Ok(end.map(|at| at + 1))
    }

    /// The error for a stream that ended in `src`, which is not a whole frame.
    fn truncated(&self, src: &mut BytesMut) -> DecodeError {
        match self.state {
            State::Body {
                line_bytes,
                body_bytes,
            } => {
                src.advance(line_bytes.min(src.len()));
                truncated("a body", Some(body_bytes), src)
            }
            State::Line { .. } | State::Failed => truncated("a line", None, src),
        }
    }

    fn fail(&mut self, src: &mut BytesMut) {
        self.state = State::Failed;
        src.clear();
    }
}

impl fmt::Debug for LengthLineCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LengthLineCodec")
            .field("frame_bytes_max", &self.frame_bytes_max)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// # Errors
///
/// [`DecodeError::LineTooLong`], [`DecodeError::FrameTooLong`], [`DecodeError::MissingNewline`];
/// [`DecodeError::TruncatedFrame`] at the end of the stream; [`DecodeError::OutOfStep`] after any of
/// them.
impl Decoder for LengthLineCodec {
    type Item = LengthLineFrame;
    type Error = DecodeError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<LengthLineFrame>, DecodeError> {
        self.advance(src).inspect_err(|_| self.fail(src))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<LengthLineFrame>, DecodeError> {
        if self.state == State::Failed {
            src.clear();
            return Ok(None);
        }
        match self.decode(src)? {
            Some(frame) => Ok(Some(frame)),
            None if src.is_empty() => Ok(None),
            None => {
                let error = self.truncated(src);
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
impl<F: AsRef<[u8]>> Encoder<F> for LengthLineCodec {
    type Error = EncodeError;

    fn encode(&mut self, line: F, dst: &mut BytesMut) -> Result<(), EncodeError> {
        encode_line(line.as_ref(), self.frame_bytes_max, dst)
    }
}

/// The content of a line that came with its end.
fn line_of(mut line: BytesMut) -> Bytes {
    let content_bytes = strip_carriage_return(&line[..line.len() - 1]).len();
    line.truncate(content_bytes);
    line.freeze()
}

const LINE_START: State = State::Line { searched_bytes: 0 };
