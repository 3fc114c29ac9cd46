//! What can go wrong between bytes and frames, one type per direction.
//!
//! The peer's bytes are in the message: they show whether a log line went to the wrong stream or the
//! framing is at fault. They are escaped and cut, so that they can be logged.

use std::fmt;
use std::io;

use bytes::Bytes;
use thiserror::Error;

/// Why no frame could be read. It is final: the stream has no known frame borders any more.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::HeaderCodec;
/// use tokio_util::codec::Decoder;
///
/// let mut output = BytesMut::from("Listening on stdio\nContent-Length: 2\r\n\r\n{}");
/// let error = HeaderCodec::new().decode(&mut output).unwrap_err();
/// assert_eq!(error.to_string(), "not a header line: \"Listening on stdio\"");
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A line is over the limit, and such lines are not
    /// [skipped](super::LineCodec::skip_overlong_lines).
    #[error("line is longer than {limit_bytes} bytes, it begins with {first_bytes}")]
    LineTooLong {
        /// The most a line may have, without its end.
        limit_bytes: usize,
        /// How the line begins.
        first_bytes: Fragment,
    },
    /// A reply is over the limit, and its end has not come.
    #[error("no end of the reply within {limit_bytes} bytes, it begins with {first_bytes}")]
    ReplyTooLong {
        /// The most a reply may have.
        limit_bytes: usize,
        /// How the reply begins.
        first_bytes: Fragment,
    },
    /// A body is not followed by the newline that [was
    /// told](super::LengthLineCodec::newline_after_body): its length was wrong.
    #[error("body of {body_bytes} bytes is followed by {found} and not by a newline")]
    MissingNewline {
        /// The length that was announced.
        body_bytes: usize,
        /// What follows the body.
        found: Fragment,
    },
    /// The peer announced a frame over the limit; nothing was allocated for it.
    #[error("frame of {stated_bytes} bytes announced by {head}, only {limit_bytes} are allowed")]
    FrameTooLong {
        /// The length that the peer announced.
        stated_bytes: u64,
        /// The most a frame may have.
        limit_bytes: usize,
        /// The header block or the prefix with the announcement. Text in place of a length means
        /// that something else writes into the stream.
        head: Fragment,
    },
    /// A header block is over the limit.
    #[error("no end of the header block within {limit_bytes} bytes, it begins with {first_bytes}")]
    HeadersTooLong {
        /// The most a header block may have, its blank line included.
        limit_bytes: usize,
        /// How the block begins.
        first_bytes: Fragment,
    },
    /// A line is not `name: value` where a header is due; often it is a log line.
    #[error("not a header line: {line}")]
    NotAHeader {
        /// The line.
        line: Fragment,
    },
    /// A header block ended without a `Content-Length`.
    #[error("no Content-Length in the header block {head}")]
    MissingContentLength {
        /// The block.
        head: Fragment,
    },
    /// A `Content-Length` is not a decimal number below 2⁶⁴.
    #[error("Content-Length is not a length: {value}")]
    BadContentLength {
        /// What stands there instead.
        value: Fragment,
    },
    /// A header block has two lengths.
    #[error("Content-Length is {first_bytes}, and then {second_bytes}")]
    ConflictingContentLength {
        /// The length named first.
        first_bytes: u64,
        /// The first length that differs from it.
        second_bytes: u64,
    },
    /// The stream ended inside a frame.
    #[error(
        "stream ended inside {part}{}, after {} bytes of it: {partial}",
        length_text(*.expected_bytes), partial.as_ref().len()
    )]
    TruncatedFrame {
        /// The part of the frame that is not complete, such as `a header block` or `a body`.
        part: &'static str,
        /// How many bytes that part has, if this is known: the length that was announced, or the width
        /// of a prefix.
        expected_bytes: Option<usize>,
        /// All that arrived of that part.
        partial: Fragment,
    },
    /// An earlier error left the stream without known frame borders.
    #[error("nothing can be read after an earlier framing error")]
    OutOfStep,
    /// The read itself failed.
    #[error("read failed")]
    Io(#[from] io::Error),
}

/// Why a frame was not written. The output is unchanged.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::{EncodeError, LineCodec};
/// use tokio_util::codec::Encoder;
///
/// let mut output = BytesMut::new();
/// let error = LineCodec::new().encode("two\nlines", &mut output).unwrap_err();
/// assert!(matches!(error, EncodeError::NewlineInFrame { offset_bytes: 3 }));
/// assert!(output.is_empty());
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The frame is over the limit.
    #[error("frame has {frame_bytes} bytes, only {limit_bytes} are allowed")]
    FrameTooLong {
        /// The frame's length.
        frame_bytes: usize,
        /// The most a frame may have.
        limit_bytes: usize,
    },
    /// A line cannot carry a newline: the peer would read two lines.
    #[error("line frame has a newline at offset {offset_bytes}")]
    NewlineInFrame {
        /// Where the first newline stands.
        offset_bytes: usize,
    },
    /// A line cannot end in a carriage return: the peer would take it for a part of the line's end.
    #[error("line frame of {frame_bytes} bytes ends in a carriage return")]
    TrailingCarriageReturn {
        /// The frame's length.
        frame_bytes: usize,
    },
    /// The first line cannot begin with a byte order mark: the peer would strip it.
    #[error("first line frame, of {frame_bytes} bytes, begins with a byte order mark")]
    LeadingByteOrderMark {
        /// The frame's length.
        frame_bytes: usize,
    },
    /// The length prefix is too narrow for the frame.
    #[error("frame has {frame_bytes} bytes, a prefix of {prefix_bytes} bytes cannot say that")]
    LengthDoesNotFit {
        /// The frame's length.
        frame_bytes: usize,
        /// The width of the prefix.
        prefix_bytes: usize,
    },
    /// A header that a header block cannot carry, or that is not the caller's to set: the name is
    /// empty, has a character that HTTP does not allow, or is `Content-Length`; or the value has a line
    /// break in it, or a blank at its ends, where a reader would strip it.
    #[error("header {name} with value {value} cannot be written")]
    BadHeader {
        /// The header's name.
        name: Fragment,
        /// The header's value.
        value: Fragment,
    },
    /// The header block is over the limit.
    #[error("header block has {header_bytes} bytes, only {limit_bytes} are allowed")]
    HeadersTooLong {
        /// The block's length, its blank line included.
        header_bytes: usize,
        /// The most a block may have.
        limit_bytes: usize,
    },
    /// The write itself failed.
    #[error("write failed")]
    Io(#[from] io::Error),
}

fn length_text(bytes: Option<usize>) -> String {
    bytes
        .map(|bytes| format!(" of {bytes} bytes"))
        .unwrap_or_default()
}

/// Bytes of the peer inside an error: printed escaped, quoted, and never more than the first 256.
///
/// [`as_ref`](AsRef::as_ref) has all bytes that were kept: up to 256, except of a truncated frame, of
/// which all are kept.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::{DecodeError, HeaderCodec};
/// use tokio_util::codec::Decoder;
///
/// let error = HeaderCodec::new().decode(&mut BytesMut::from("\x1b[31moh\n")).unwrap_err();
/// let DecodeError::NotAHeader { line } = error else { panic!("{error}") };
/// assert_eq!(line.to_string(), r#""\x1b[31moh""#);
/// assert_eq!(line.as_ref(), b"\x1b[31moh");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Fragment(Bytes);

impl Fragment {
    /// Copies the first 256 of `bytes`, or all if there are fewer.
    pub(crate) fn first_of(bytes: &[u8]) -> Self {
        let shown = bytes.len().min(FRAGMENT_SHOWN_BYTES);
        Self(Bytes::copy_from_slice(&bytes[..shown]))
    }

    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Fragment {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(FRAGMENT_SHOWN_BYTES);
        write!(f, "\"{}\"", self.0[..shown].escape_ascii())?;
        match self.0.len() - shown {
            0 => Ok(()),
            more => write!(f, " and {more} bytes more"),
        }
    }
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const FRAGMENT_SHOWN_BYTES: usize = 256;
