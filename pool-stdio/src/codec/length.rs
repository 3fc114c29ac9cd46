//! Frames behind a length of fixed width.
//!
//! [`LengthDelimitedCodec`] writes the prefix and cuts the frames. Decided here is when it may: it
//! sees a frame only when all of it has arrived. Left alone it would set aside at once whatever the
//! peer announces, up to the limit; say no number when it refuses; and take the prefix out of the
//! buffer, so that a stream that ends right behind it looks complete.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

use super::buffer::{make_room, work};
use super::error::{DecodeError, EncodeError, FramePart};
use super::frame::{FRAME_BYTES_MAX_DEFAULT, admit_length, check_length, truncated};

/// Frames that begin with their length, as an unsigned number that does not count itself.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::{ByteOrder, LengthCodec, PrefixWidth};
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = LengthCodec::new(PrefixWidth::Two, ByteOrder::Little);
/// let mut wire = BytesMut::new();
/// codec.encode("abc", &mut wire)?;
/// assert_eq!(wire, "\x03\0abc");
/// assert_eq!(codec.decode(&mut wire).unwrap().unwrap(), "abc");
/// # Ok::<(), pool_stdio::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LengthCodec {
    width: PrefixWidth,
    order: ByteOrder,
    frame_bytes_max: usize,
    cutter: LengthDelimitedCodec,
    state: State,
}

/// How many bytes say a frame's length.
///
/// # Examples
///
/// ```
/// use pool_stdio::codec::PrefixWidth;
///
/// assert_eq!(PrefixWidth::Four.bytes(), 4);
/// assert_eq!(PrefixWidth::Two.to_string(), "2 bytes");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixWidth {
    /// 1 byte: frames of up to 255 bytes.
    One,
    /// 2 bytes: frames of up to 65 535 bytes.
    Two,
    /// 4 bytes: frames of up to 4 GiB.
    Four,
    /// 8 bytes: only the limit counts.
    Eight,
}

/// Which byte of a length comes first.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::{ByteOrder, LengthCodec, PrefixWidth};
/// use tokio_util::codec::Encoder;
///
/// let mut wire = BytesMut::new();
/// LengthCodec::new(PrefixWidth::Two, ByteOrder::Big).encode("abc", &mut wire)?;
/// assert_eq!(wire, "\0\x03abc");
/// # Ok::<(), pool_stdio::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The most significant one, also called network order.
    Big,
    /// The least significant one, the native order of most machines.
    Little,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// After an error.
    Failed,
}

impl LengthCodec {
    /// Frames of up to [`FRAME_BYTES_MAX_DEFAULT`] bytes, or what the prefix can say if that is
    /// less.
    #[must_use]
    pub fn new(width: PrefixWidth, order: ByteOrder) -> Self {
        let frame_bytes_max = FRAME_BYTES_MAX_DEFAULT;
        let cutter = cutter(width, order, frame_bytes_max);
        Self {
            width,
            order,
            frame_bytes_max,
            cutter,
            state: State::Reading,
        }
    }

    /// The most bytes a frame may have, without its prefix, read or written. Default:
    /// [`FRAME_BYTES_MAX_DEFAULT`].
    ///
    /// Worst-case cost: as many bytes, and [`BUFFER_SLACK_BYTES`](super::BUFFER_SLACK_BYTES), per
    /// connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use pool_stdio::codec::{ByteOrder, LengthCodec, PrefixWidth};
    /// use tokio_util::codec::Decoder;
    ///
    /// let mut codec = LengthCodec::new(PrefixWidth::Four, ByteOrder::Big).frame_bytes_max(99);
    /// let error = codec.decode(&mut BytesMut::from("oops")).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "frame of 1869574259 bytes announced by \"oops\", only 99 are allowed",
    /// );
    /// ```
    #[must_use]
    pub fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes;
        self.cutter = cutter(self.width, self.order, bytes);
        self
    }

    fn advance(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
        if self.state == State::Failed {
            return Err(DecodeError::OutOfStep);
        }
        let Some(stated_bytes) = self.stated(src) else {
            make_room(src, self.width.bytes());
            return Ok(None);
        };
        let prefix_bytes = self.width.bytes();
        let body_bytes = admit_length(stated_bytes, self.frame_bytes_max, &src[..prefix_bytes])?;
        let frame_bytes = prefix_bytes.saturating_add(body_bytes);
        if src.len() < frame_bytes {
            make_room(src, frame_bytes);
            return Ok(None);
        }
        Ok(self.cutter.decode(src)?.map(BytesMut::freeze))
    }

    /// The length in the prefix, if the prefix is whole.
    fn stated(&self, src: &[u8]) -> Option<u64> {
        let prefix = src.get(..self.width.bytes())?;
        work::add(prefix.len());
        let append = |length, byte: &u8| length << 8 | u64::from(*byte);
        Some(match self.order {
            ByteOrder::Big => prefix.iter().fold(0, append),
            ByteOrder::Little => prefix.iter().rev().fold(0, append),
        })
    }

    /// What the stream ended in, given that `src` is not a whole frame.
    fn truncated(&self, src: &mut BytesMut) -> DecodeError {
        let prefix_bytes = self.width.bytes();
        let part = match self.stated(src).map(usize::try_from) {
            Some(Ok(expected_bytes)) => {
                src.advance(prefix_bytes);
                FramePart::Body { expected_bytes }
            }
            Some(Err(_)) | None => FramePart::Prefix {
                expected_bytes: prefix_bytes,
            },
        };
        truncated(part, src)
    }

    fn fail(&mut self, src: &mut BytesMut) {
        self.state = State::Failed;
        src.clear();
    }
}

impl PrefixWidth {
    /// The width as a number.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The largest length that fits.
    const fn length_max(self) -> u64 {
        match self {
            Self::One => 0xff,
            Self::Two => 0xffff,
            Self::Four => 0xffff_ffff,
            Self::Eight => u64::MAX,
        }
    }
}

impl fmt::Display for PrefixWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("1 byte"),
            Self::Two | Self::Four | Self::Eight => write!(f, "{} bytes", self.bytes()),
        }
    }
}

/// # Errors
///
/// [`DecodeError::FrameTooLong`]; [`DecodeError::TruncatedFrame`] at the end of the stream;
/// [`DecodeError::OutOfStep`] after either.
impl Decoder for LengthCodec {
    type Item = Bytes;
    type Error = DecodeError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
        self.advance(src).inspect_err(|_| self.fail(src))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
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
/// [`EncodeError::FrameTooLong`], [`EncodeError::LengthDoesNotFit`].
impl<F: AsRef<[u8]>> Encoder<F> for LengthCodec {
    type Error = EncodeError;

    fn encode(&mut self, frame: F, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let frame = frame.as_ref();
        let frame_bytes = frame.len();
        check_length(frame_bytes, self.frame_bytes_max)?;
        if frame_bytes as u64 > self.width.length_max() {
            let prefix_bytes = self.width.bytes();
            return Err(EncodeError::LengthDoesNotFit {
                frame_bytes,
                prefix_bytes,
            });
        }
        Ok(self.cutter.encode(frame, dst)?)
    }
}

fn cutter(width: PrefixWidth, order: ByteOrder, frame_bytes_max: usize) -> LengthDelimitedCodec {
    let mut builder = LengthDelimitedCodec::builder();
    builder
        .length_field_length(width.bytes())
        .max_frame_length(frame_bytes_max);
    match order {
        ByteOrder::Big => builder.big_endian(),
        ByteOrder::Little => builder.little_endian(),
    };
    builder.new_codec()
}
