//! Newline-delimited frames.
//!
//! Decides what a line is. It ends at a line feed. One carriage return before that belongs to the
//! end, any other is content. One byte order mark before the first line is dropped. The limit
//! counts content. A line is too long as soon as the byte after the limit has arrived, unless that
//! byte is a carriage return, which may still be a part of the line's end.

use std::mem;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::buffer::{BYTE_ORDER_MARK, StreamStart, find_newline, make_room, strip_carriage_return};
use super::error::{DecodeError, EncodeError, Fragment};
use super::frame::{FRAME_BYTES_MAX_DEFAULT, check_length, truncated};

/// Frames that are lines.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::LineCodec;
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = LineCodec::new();
/// let mut wire = BytesMut::new();
/// codec.encode("{}", &mut wire)?;
/// assert_eq!(wire, "{}\n");
///
/// let line = codec.decode(&mut wire).unwrap().unwrap();
/// assert_eq!(line.bytes, "{}");
/// assert!(codec.decode(&mut wire).unwrap().is_none());
/// # Ok::<(), pool_stdio::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LineCodec {
    frame_bytes_max: usize,
    skips_overlong_lines: bool,
    delivers_partial_line: bool,
    read_start: StreamStart,
    write_start: StreamStart,
    state: State,
    /// Since the last line that was delivered.
    skipped: u64,
}

/// A line, without its end.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::LineCodec;
/// use tokio_util::codec::Decoder;
///
/// let line = LineCodec::new().decode(&mut BytesMut::from("hello\r\n")).unwrap().unwrap();
/// assert_eq!(line.bytes, "hello");
/// assert!(line.is_terminated);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The content.
    pub bytes: Bytes,
    /// Whether a newline ended the line. If not, the stream ended, and the line may be cut off.
    pub is_terminated: bool,
    /// How many lines were [skipped](LineCodec::skip_overlong_lines) directly before this one.
    pub skipped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Inside a line whose first `searched_bytes` hold no newline.
    Searching { searched_bytes: usize },
    /// Inside a line that is too long, up to its newline.
    Skipping,
    /// After an error.
    Failed,
}

impl LineCodec {
    /// Lines of up to 16 MiB, as the methods below say by default.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            skips_overlong_lines: false,
            delivers_partial_line: false,
            read_start: StreamStart::Ahead,
            write_start: StreamStart::Ahead,
            state: LINE_START,
            skipped: 0,
        }
    }

    /// The most bytes a line may have, without its end, read or written. Default: 16 MiB.
    ///
    /// Worst-case cost: as many bytes, and 16 KiB, per connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use pool_stdio::codec::LineCodec;
    /// use tokio_util::codec::Decoder;
    ///
    /// let codec = LineCodec::new().frame_bytes_max(4);
    /// assert!(codec.clone().decode(&mut BytesMut::from("four\r\n")).is_ok());
    /// assert!(codec.clone().decode(&mut BytesMut::from("fives\r\n")).is_err());
    /// ```
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes;
        self
    }

    /// Drops a line over the limit up to its newline, and goes on with the next one, which
    /// [says](Line::skipped) how many were dropped before it. By default it is [`DecodeError::LineTooLong`], which ends the stream: the line may have been a
    /// reply that somebody waits for.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use pool_stdio::codec::{DecodeError, LineCodec};
    /// use tokio_util::codec::Decoder;
    ///
    /// let mut refusing = LineCodec::new().frame_bytes_max(4);
    /// let error = refusing.decode(&mut BytesMut::from("a flood\nok\n")).unwrap_err();
    /// assert!(matches!(error, DecodeError::LineTooLong { limit_bytes: 4, .. }));
    ///
    /// let mut skipping = LineCodec::new().frame_bytes_max(4).skip_overlong_lines();
    /// let line = skipping.decode(&mut BytesMut::from("a flood\nok\n")).unwrap().unwrap();
    /// assert_eq!((&line.bytes[..], line.skipped), (&b"ok"[..], 1));
    /// ```
    #[must_use]
    pub const fn skip_overlong_lines(mut self) -> Self {
        self.skips_overlong_lines = true;
        self
    }

    /// Delivers a last line that has no newline, not marked as [terminated](Line::is_terminated).
    /// By default it is [`DecodeError::TruncatedFrame`], with the bytes: half a reply must not look
    /// like a whole one.
    ///
    /// For programs that leave out the last newline, if the caller can see whether the message is
    /// whole.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use pool_stdio::codec::{DecodeError, LineCodec};
    /// use tokio_util::codec::Decoder;
    ///
    /// let error = LineCodec::new().decode_eof(&mut BytesMut::from("half a li")).unwrap_err();
    /// assert!(matches!(error, DecodeError::TruncatedFrame { .. }));
    ///
    /// let mut codec = LineCodec::new().deliver_partial_line();
    /// let line = codec.decode_eof(&mut BytesMut::from("[1, 2]")).unwrap().unwrap();
    /// assert_eq!(line.bytes, "[1, 2]");
    /// assert!(!line.is_terminated);
    /// ```
    #[must_use]
    pub const fn deliver_partial_line(mut self) -> Self {
        self.delivers_partial_line = true;
        self
    }

    fn advance(&mut self, src: &mut BytesMut) -> Result<Option<Line>, DecodeError> {
        if !self.read_start.pass(src) {
            make_room(src, self.frame_bytes_max);
            return Ok(None);
        }
        loop {
            match self.state {
                State::Failed => return Err(DecodeError::OutOfStep),
                State::Skipping => {
                    let end = find_newline(src, 0);
                    skip(src, end.map_or(src.len(), |at| at + 1));
                    if end.is_none() {
                        return Ok(None);
                    }
                    self.state = LINE_START;
                }
                State::Searching { searched_bytes } => {
                    // A newline after this window ends a line that is too long in any case.
                    let window = src.len().min(self.frame_bytes_max.saturating_add(2));
                    let end = find_newline(&src[..window], searched_bytes.min(window));
                    let content = &src[..end.unwrap_or(window)];
                    if self.is_overlong(strip_carriage_return(content)) {
                        self.overlong(src)?;
                    } else if let Some(at) = end {
                        let content_bytes = strip_carriage_return(content).len();
                        let mut bytes = src.split_to(at + 1);
                        bytes.truncate(content_bytes);
                        self.state = LINE_START;
                        return Ok(Some(Line {
                            bytes: bytes.freeze(),
                            is_terminated: true,
                            skipped: mem::take(&mut self.skipped),
                        }));
                    } else {
                        self.state = State::Searching {
                            searched_bytes: window,
                        };
                        make_room(src, self.frame_bytes_max);
                        return Ok(None);
                    }
                }
            }
        }
    }

    const fn is_overlong(&self, content: &[u8]) -> bool {
        content.len() > self.frame_bytes_max
    }

    fn overlong(&mut self, src: &[u8]) -> Result<(), DecodeError> {
        if !self.skips_overlong_lines {
            return Err(DecodeError::LineTooLong {
                limit_bytes: self.frame_bytes_max,
                first_bytes: Fragment::first_of(&src[..=self.frame_bytes_max]),
            });
        }
        self.skipped += 1;
        self.state = State::Skipping;
        Ok(())
    }

    fn last_line(&mut self, src: &mut BytesMut) -> Result<Option<Line>, DecodeError> {
        if src.is_empty() {
            return Ok(None);
        }
        // No newline came, so a carriage return at the end is content.
        if self.is_overlong(src) {
            self.overlong(src)?;
            src.clear();
            return Ok(None);
        }
        self.state = LINE_START;
        if !self.delivers_partial_line {
            return Err(truncated("a line", None, src));
        }
        Ok(Some(Line {
            bytes: src.split().freeze(),
            is_terminated: false,
            skipped: mem::take(&mut self.skipped),
        }))
    }

    fn fail(&mut self, src: &mut BytesMut) {
        self.state = State::Failed;
        src.clear();
    }
}

impl Default for LineCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRef<[u8]> for Line {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Line> for Bytes {
    fn from(line: Line) -> Self {
        line.bytes
    }
}

/// # Errors
///
/// [`DecodeError::LineTooLong`] unless such lines are [skipped](LineCodec::skip_overlong_lines);
/// [`DecodeError::TruncatedFrame`] at the end of the stream unless such a line is
/// [delivered](LineCodec::deliver_partial_line);
/// [`DecodeError::OutOfStep`] after either.
impl Decoder for LineCodec {
    type Item = Line;
    type Error = DecodeError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Line>, DecodeError> {
        self.advance(src).inspect_err(|_| self.fail(src))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Line>, DecodeError> {
        if self.state == State::Failed {
            src.clear();
            return Ok(None);
        }
        match self.decode(src)? {
            Some(line) => Ok(Some(line)),
            None => self.last_line(src).inspect_err(|_| self.fail(src)),
        }
    }
}

/// # Errors
///
/// [`EncodeError::FrameTooLong`], [`EncodeError::NewlineInFrame`],
/// [`EncodeError::TrailingCarriageReturn`], and for the first line of a stream
/// [`EncodeError::LeadingByteOrderMark`].
impl<F: AsRef<[u8]>> Encoder<F> for LineCodec {
    type Error = EncodeError;

    fn encode(&mut self, frame: F, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let frame = frame.as_ref();
        if self.write_start == StreamStart::Ahead && frame.starts_with(BYTE_ORDER_MARK) {
            let frame_bytes = frame.len();
            return Err(EncodeError::LeadingByteOrderMark { frame_bytes });
        }
        encode_line(frame, self.frame_bytes_max, dst)?;
        self.write_start = StreamStart::Passed;
        Ok(())
    }
}

/// Writes a line with its end.
pub(super) fn encode_line(
    line: &[u8],
    frame_bytes_max: usize,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    check_length(line.len(), frame_bytes_max)?;
    if let Some(offset_bytes) = find_newline(line, 0) {
        return Err(EncodeError::NewlineInFrame { offset_bytes });
    }
    if line.ends_with(b"\r") {
        let frame_bytes = line.len();
        return Err(EncodeError::TrailingCarriageReturn { frame_bytes });
    }
    dst.reserve(line.len() + 1);
    dst.extend_from_slice(line);
    dst.extend_from_slice(b"\n");
    Ok(())
}

fn skip(src: &mut BytesMut, bytes: usize) {
    if bytes == src.len() {
        // Unlike `advance`, this keeps the whole buffer for the next read.
        src.clear();
    } else {
        src.advance(bytes);
    }
}

const LINE_START: State = State::Searching { searched_bytes: 0 };
