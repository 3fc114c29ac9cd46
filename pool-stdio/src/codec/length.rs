//! Frames behind a length of fixed width.
//!
//! [`LengthDelimitedCodec`] writes the prefix and cuts the frames, but is given a frame only when all
//! of it has arrived. On its own it allocates whatever the peer announces, up to the limit; its
//! error names no number; and it takes the prefix out of the buffer, so that a stream that ends
//! right behind a prefix looks complete.

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

use super::buffer::{make_room, work};
use super::error::{DecodeError, EncodeError};
use super::frame::{FRAME_BYTES_MAX_DEFAULT, admit_length, check_length, truncated};

/// Frames that begin with their length, as an unsigned number that does not count itself.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::{LengthCodec, LengthPrefix};
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = LengthCodec::new(LengthPrefix::U16Le);
/// let mut wire = BytesMut::new();
/// codec.encode("abc", &mut wire)?;
/// assert_eq!(wire, "\x03\0abc");
/// assert_eq!(codec.decode(&mut wire).unwrap().unwrap(), "abc");
/// # Ok::<(), pool_stdio::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LengthCodec {
    prefix: LengthPrefix,
    frame_bytes_max: usize,
    cutter: LengthDelimitedCodec,
    state: State,
}

/// The width of a length and the order of its bytes.
///
/// Big-endian means the most significant byte first, as in network protocols; little-endian is the
/// native order of most machines.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::{LengthCodec, LengthPrefix};
/// use tokio_util::codec::Encoder;
///
/// let mut wire = BytesMut::new();
/// LengthCodec::new(LengthPrefix::U16Be).encode("abc", &mut wire)?;
/// assert_eq!(wire, "\0\x03abc");
/// # Ok::<(), pool_stdio::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthPrefix {
    /// 1 byte: frames of up to 255 bytes.
    U8,
    /// 2 bytes, big-endian: frames of up to 65 535 bytes.
    U16Be,
    /// 2 bytes, little-endian: frames of up to 65 535 bytes.
    U16Le,
    /// 4 bytes, big-endian: frames of up to 4 GiB.
    U32Be,
    /// 4 bytes, little-endian: frames of up to 4 GiB.
    U32Le,
    /// 8 bytes, big-endian: the limit of the codec alone counts.
    U64Be,
    /// 8 bytes, little-endian: the limit of the codec alone counts.
    U64Le,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// After an error.
    Failed,
}

impl LengthCodec {
    /// Frames of up to 16 MiB, or as many bytes as the prefix can announce if that is less.
    #[must_use]
    pub fn new(prefix: LengthPrefix) -> Self {
        let frame_bytes_max = FRAME_BYTES_MAX_DEFAULT;
        let cutter = cutter(prefix, frame_bytes_max);
        Self {
            prefix,
            frame_bytes_max,
            cutter,
            state: State::Reading,
        }
    }

    /// The most bytes a frame may have, without its prefix, read or written. Default: 16 MiB.
    ///
    /// Worst-case cost: as many bytes, and 16 KiB, per connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use pool_stdio::codec::{LengthCodec, LengthPrefix};
    /// use tokio_util::codec::Decoder;
    ///
    /// let mut codec = LengthCodec::new(LengthPrefix::U32Be).frame_bytes_max(99);
    /// let error = codec.decode(&mut BytesMut::from("oops")).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "frame of 1869574259 bytes announced by \"oops\", only 99 are allowed",
    /// );
    /// ```
    #[must_use]
    pub fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes;
        self.cutter = cutter(self.prefix, bytes);
        self
    }

    fn advance(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
        if self.state == State::Failed {
            return Err(DecodeError::OutOfStep);
        }
        let Some(stated_bytes) = self.stated(src) else {
            make_room(src, self.prefix.bytes());
            return Ok(None);
        };
        let prefix_bytes = self.prefix.bytes();
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
        let prefix = src.get(..self.prefix.bytes())?;
        work::add(prefix.len());
        let append = |length, byte: &u8| length << 8 | u64::from(*byte);
        Some(if self.prefix.is_big_endian() {
            prefix.iter().fold(0, append)
        } else {
            prefix.iter().rev().fold(0, append)
        })
    }

    /// What the stream ended in, given that `src` is not a whole frame.
    fn truncated(&self, src: &mut BytesMut) -> DecodeError {
        let prefix_bytes = self.prefix.bytes();
        match self.stated(src).map(usize::try_from) {
            Some(Ok(body_bytes)) => {
                src.advance(prefix_bytes);
                truncated("a body", Some(body_bytes), src)
            }
            Some(Err(_)) | None => truncated("a prefix", Some(prefix_bytes), src),
        }
    }

    fn fail(&mut self, src: &mut BytesMut) {
        self.state = State::Failed;
        src.clear();
    }
}

impl LengthPrefix {
    const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16Be | Self::U16Le => 2,
            Self::U32Be | Self::U32Le => 4,
            Self::U64Be | Self::U64Le => 8,
        }
    }

    const fn is_big_endian(self) -> bool {
        match self {
            Self::U8 | Self::U16Be | Self::U32Be | Self::U64Be => true,
            Self::U16Le | Self::U32Le | Self::U64Le => false,
        }
    }

    /// The largest length that fits.
    const fn length_max(self) -> u64 {
        match self {
            Self::U8 => 0xff,
            Self::U16Be | Self::U16Le => 0xffff,
            Self::U32Be | Self::U32Le => 0xffff_ffff,
            Self::U64Be | Self::U64Le => u64::MAX,
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
        if frame_bytes as u64 > self.prefix.length_max() {
            let prefix_bytes = self.prefix.bytes();
            return Err(EncodeError::LengthDoesNotFit {
                frame_bytes,
                prefix_bytes,
            });
        }
        Ok(self.cutter.encode(frame, dst)?)
    }
}

fn cutter(prefix: LengthPrefix, frame_bytes_max: usize) -> LengthDelimitedCodec {
    let mut builder = LengthDelimitedCodec::builder();
    builder
        .length_field_length(prefix.bytes())
        .max_frame_length(frame_bytes_max);
    if prefix.is_big_endian() {
        builder.big_endian();
    } else {
        builder.little_endian();
    }
    builder.new_codec()
}
