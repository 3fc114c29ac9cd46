//! Frames behind a `Content-Length` header block, as LSP, DAP and BSP have them.
//!
//! Decides how leniently a header block is read. A line ends at a line feed, with or without one
//! carriage return before it. A name is one or more of the characters that HTTP allows, in any case;
//! the value is what follows the colon, without the blanks around it. Any other line is an error:
//! the borders of the frames are unknown after it. A length may be repeated, but not with another
//! value. All other headers stay with the frame. One byte order mark before the first block is
//! dropped.
//!
//! The limit of a block counts all of it, up to the line feed of the blank line.

use std::iter;

use bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::buffer::{StreamStart, find_newline, make_room, strip_carriage_return, work};
use super::error::{DecodeError, EncodeError, Fragment};
use super::frame::{FRAME_BYTES_MAX_DEFAULT, admit_length, check_length, truncated};
use super::header_frame::{HeaderFrame, is_content_length, put_line, split_header};

/// Frames that a `Content-Length` header announces.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::HeaderCodec;
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = HeaderCodec::new();
/// let mut wire = BytesMut::new();
/// codec.encode("{}", &mut wire)?;
/// assert_eq!(wire, "Content-Length: 2\r\n\r\n{}");
///
/// let frame = codec.decode(&mut wire).unwrap().unwrap();
/// assert_eq!(frame.body, "{}");
/// # Ok::<(), pool_stdio::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HeaderCodec {
    frame_bytes_max: usize,
    header_bytes_max: usize,
    read_start: StreamStart,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Inside a block: its lines before `line_start` have been read, and its first
    /// `searched_bytes` hold no other newline.
    Head {
        line_start: usize,
        searched_bytes: usize,
        content_length: Option<u64>,
    },
    /// Behind a whole block, which stays in the buffer until the body has arrived as well.
    Body {
        head_bytes: usize,
        body_bytes: usize,
    },
    /// After an error.
    Failed,
}

impl HeaderCodec {
    /// Bodies of up to 16 MiB behind header blocks of up to 16 KiB.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            header_bytes_max: HEADER_BYTES_MAX_DEFAULT,
            read_start: StreamStart::Ahead,
            state: BLOCK_START,
        }
    }

    /// The most bytes a body may have, read or written. Default: 16 MiB.
    ///
    /// Worst-case cost: as many bytes, those of a header block, and
    /// 16 KiB, per connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use pool_stdio::codec::{DecodeError, HeaderCodec};
    /// use tokio_util::codec::Decoder;
    ///
    /// let mut codec = HeaderCodec::new().frame_bytes_max(4);
    /// let error = codec.decode(&mut BytesMut::from("Content-Length: 5\n\n")).unwrap_err();
    /// assert!(matches!(error, DecodeError::FrameTooLong { stated_bytes: 5, limit_bytes: 4, .. }));
    /// ```
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes;
        self
    }

    /// The most bytes a header block may have, its blank line included, read or written. Default:
    /// 16 KiB, hundreds of times what the known protocols send.
    ///
    /// Worst-case cost: as many bytes per connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use pool_stdio::codec::HeaderCodec;
    /// use tokio_util::codec::Decoder;
    ///
    /// let codec = HeaderCodec::new().header_bytes_max(21);
    /// let mut fits = BytesMut::from("Content-Length: 0\r\n\r\n");
    /// assert_eq!(fits.len(), 21);
    /// assert!(codec.clone().decode(&mut fits).unwrap().is_some());
    /// let mut longer = BytesMut::from("Content-Length: 00\r\n\r\n");
    /// assert!(codec.clone().decode(&mut longer).is_err());
    /// ```
    #[must_use]
    pub const fn header_bytes_max(mut self, bytes: usize) -> Self {
        self.header_bytes_max = bytes;
        self
    }

    fn advance(&mut self, src: &mut BytesMut) -> Result<Option<HeaderFrame>, DecodeError> {
        if !self.read_start.pass(src) {
            make_room(src, self.header_bytes_max);
            return Ok(None);
        }
        loop {
            match self.state {
                State::Failed => return Err(DecodeError::OutOfStep),
                State::Head { .. } => {
                    let Some((head_bytes, content_length)) = self.search_head(src)? else {
                        make_room(src, self.header_bytes_max);
                        return Ok(None);
                    };
                    let body_bytes = self.admit(content_length, &src[..head_bytes])?;
                    self.state = State::Body {
                        head_bytes,
                        body_bytes,
                    };
                }
                State::Body {
                    head_bytes,
                    body_bytes,
                } => {
                    let frame_bytes = head_bytes.saturating_add(body_bytes);
                    if src.len() < frame_bytes {
                        make_room(src, frame_bytes);
                        return Ok(None);
                    }
                    let mut head = src.split_to(frame_bytes).freeze();
                    let body = head.split_off(head_bytes);
                    self.state = BLOCK_START;
                    return Ok(Some(HeaderFrame::read(&head, body)));
                }
            }
        }
    }

    /// Reads on in the header block; when it is whole, returns its length and that of the body.
    fn search_head(&mut self, src: &[u8]) -> Result<Option<(usize, Option<u64>)>, DecodeError> {
        let State::Head {
            mut line_start,
            searched_bytes,
            mut content_length,
        } = self.state
        else {
            return Ok(None);
        };
        let block = &src[..src.len().min(self.header_bytes_max)];
        let mut searched_bytes = searched_bytes.min(block.len());
        line_start = line_start.min(searched_bytes);
        while let Some(at) = find_newline(block, searched_bytes) {
            let line = strip_carriage_return(&block[line_start..at]);
            if line.is_empty() {
                return Ok(Some((at + 1, content_length)));
            }
            work::add(line.len());
            content_length = read_line(line, content_length)?;
            line_start = at + 1;
            searched_bytes = line_start;
        }
        if block.len() == self.header_bytes_max {
            return Err(DecodeError::HeadersTooLong {
                limit_bytes: self.header_bytes_max,
                first_bytes: Fragment::first_of(block),
            });
        }
        self.state = State::Head {
            line_start,
            searched_bytes: block.len(),
            content_length,
        };
        Ok(None)
    }

    fn admit(&self, content_length: Option<u64>, head: &[u8]) -> Result<usize, DecodeError> {
        let Some(stated_bytes) = content_length else {
            let head = Fragment::first_of(head);
            return Err(DecodeError::MissingContentLength { head });
        };
        admit_length(stated_bytes, self.frame_bytes_max, head)
    }

    /// What the stream ended in, given that `src` is not a whole frame.
    fn truncated(&self, src: &mut BytesMut) -> DecodeError {
        match self.state {
            State::Body {
                head_bytes,
                body_bytes,
            } => {
                src.advance(head_bytes.min(src.len()));
                truncated("a body", Some(body_bytes), src)
            }
            State::Head { .. } | State::Failed => truncated("a header block", None, src),
        }
    }

    fn write<'a>(
        &self,
        headers: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        body: &[u8],
        dst: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let frame_bytes = body.len();
        check_length(frame_bytes, self.frame_bytes_max)?;
        let length_line = format!("Content-Length: {frame_bytes}\r\n");
        let line_bytes = |(name, value): (&[u8], &[u8])| name.len() + value.len() + ": \r\n".len();
        let more_bytes = headers.clone().map(line_bytes).sum::<usize>() + "\r\n".len();
        let header_bytes = length_line.len() + more_bytes;
        if header_bytes > self.header_bytes_max {
            let limit_bytes = self.header_bytes_max;
            return Err(EncodeError::HeadersTooLong {
                header_bytes,
                limit_bytes,
            });
        }
        dst.reserve(header_bytes + frame_bytes);
        dst.extend_from_slice(length_line.as_bytes());
        for (name, value) in headers {
            put_line(dst, name, value);
        }
        dst.extend_from_slice(b"\r\n");
        dst.extend_from_slice(body);
        Ok(())
    }

    fn fail(&mut self, src: &mut BytesMut) {
        self.state = State::Failed;
        src.clear();
    }
}

impl Default for HeaderCodec {
    fn default() -> Self {
        Self::new()
    }
}

/// # Errors
///
/// [`DecodeError::NotAHeader`], [`DecodeError::HeadersTooLong`], the three about `Content-Length`,
/// [`DecodeError::FrameTooLong`]; [`DecodeError::TruncatedFrame`] at the end of the stream;
/// [`DecodeError::OutOfStep`] after any of them.
impl Decoder for HeaderCodec {
    type Item = HeaderFrame;
    type Error = DecodeError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<HeaderFrame>, DecodeError> {
        self.advance(src).inspect_err(|_| self.fail(src))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<HeaderFrame>, DecodeError> {
        if self.state == State::Failed {
            src.clear();
            return Ok(None);
        }
        match self.decode(src)? {
            Some(frame) => Ok(Some(frame)),
            None if src.is_empty() => Ok(None),
            None => {
                let truncated = self.truncated(src);
                self.fail(src);
                Err(truncated)
            }
        }
    }
}

/// # Errors
///
/// [`EncodeError::FrameTooLong`] for the body, [`EncodeError::HeadersTooLong`] for the block.
impl<F: AsRef<[u8]>> Encoder<F> for HeaderCodec {
    type Error = EncodeError;

    fn encode(&mut self, body: F, dst: &mut BytesMut) -> Result<(), EncodeError> {
        self.write(iter::empty(), body.as_ref(), dst)
    }
}

/// # Errors
///
/// [`EncodeError::BadHeader`]; [`EncodeError::FrameTooLong`] for the body,
/// [`EncodeError::HeadersTooLong`] for the block.
impl Encoder<HeaderFrame> for HeaderCodec {
    type Error = EncodeError;

    fn encode(&mut self, frame: HeaderFrame, dst: &mut BytesMut) -> Result<(), EncodeError> {
        frame.check()?;
        let headers = frame.headers.iter();
        let headers = headers.map(|(name, value)| (&name[..], &value[..]));
        self.write(headers, &frame.body, dst)
    }
}

/// Reads one header line, and returns the length of the body as far as it is known.
fn read_line(line: &[u8], known: Option<u64>) -> Result<Option<u64>, DecodeError> {
    let Some((name, value)) = split_header(line) else {
        return Err(DecodeError::NotAHeader {
            line: Fragment::first_of(line),
        });
    };
    if !is_content_length(name) {
        return Ok(known);
    }
    let Some(stated) = parse_decimal(value) else {
        return Err(DecodeError::BadContentLength {
            value: Fragment::first_of(value),
        });
    };
    match known {
        Some(first_bytes) if first_bytes != stated => Err(DecodeError::ConflictingContentLength {
            first_bytes,
            second_bytes: stated,
        }),
        Some(_) | None => Ok(Some(stated)),
    }
}

/// Digits only: with a sign, a blank, a second number or more than 64 bits it is no length.
fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

const BLOCK_START: State = State::Head {
    line_start: 0,
    searched_bytes: 0,
    content_length: None,
};
const HEADER_BYTES_MAX_DEFAULT: usize = 16 * 1024;
