//! One frame with its headers, and what a header line is.
//!
//! The lines are kept as bytes and parsed only when a header is asked for: most callers never ask.

use bytes::{Bytes, BytesMut};

use super::buffer::strip_carriage_return;
use super::error::{EncodeError, Fragment};

/// A body and the headers that came with it, beside `Content-Length`.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::HeaderCodec;
/// use tokio_util::codec::Decoder;
///
/// let mut output = BytesMut::from("content-length:2\nX-Trace: a7\n\n{}");
/// let frame = HeaderCodec::new().decode(&mut output).unwrap().unwrap();
/// assert_eq!(frame.body, "{}");
/// assert!(frame.headers().eq([(&b"X-Trace"[..], &b"a7"[..])]));
/// ```
#[derive(Debug, Clone, Default)]
pub struct HeaderFrame {
    /// The header lines with their ends, as they came: no table of them is allocated.
    pub(super) head: Bytes,
    /// The body.
    pub body: Bytes,
}

impl HeaderFrame {
    /// A frame without headers of its own; the encoder adds `Content-Length`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_stdio::codec::HeaderFrame;
    ///
    /// let frame = HeaderFrame::new("{}");
    /// assert_eq!(frame.body, "{}");
    /// assert_eq!(frame.headers().count(), 0);
    /// ```
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            head: Bytes::new(),
            body: body.into(),
        }
    }

    /// The frame with one more header, after those it has.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BadHeader`] if the name is empty, has a character that HTTP does not allow or
    /// is `Content-Length`, or if the value has a newline or a carriage return in it, or a blank at
    /// its ends, where a reader would strip it.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use pool_stdio::codec::{HeaderCodec, HeaderFrame};
    /// use tokio_util::codec::Encoder;
    ///
    /// let frame = HeaderFrame::new("{}").with_header("Content-Type", "application/json")?;
    /// let mut wire = BytesMut::new();
    /// HeaderCodec::new().encode(frame, &mut wire)?;
    /// assert_eq!(wire, "Content-Length: 2\r\nContent-Type: application/json\r\n\r\n{}");
    /// assert!(HeaderFrame::new("").with_header("Content-Length", "7").is_err());
    /// # Ok::<(), pool_stdio::codec::EncodeError>(())
    /// ```
    pub fn with_header(
        self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Self, EncodeError> {
        let (name, value) = (name.as_ref(), value.as_ref());
        let carried = is_name(name)
            && !is_content_length(name)
            && !value.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
            && trim_blanks(value) == value;
        if !carried {
            let (name, value) = (Fragment::first_of(name), Fragment::first_of(value));
            return Err(EncodeError::BadHeader { name, value });
        }
        let mut head = BytesMut::from(&self.head[..]);
        put_line(&mut head, name, value);
        Ok(Self {
            head: head.freeze(),
            body: self.body,
        })
    }

    /// The headers beside `Content-Length`, names and values, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.head
            .split(|byte| *byte == b'\n')
            .filter_map(|line| split_header(strip_carriage_return(line)))
            .filter(|(name, _)| !is_content_length(name))
    }
}

/// Equal headers beside `Content-Length` and equal bodies, however the block was written.
impl PartialEq for HeaderFrame {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body && self.headers().eq(other.headers())
    }
}

impl Eq for HeaderFrame {}

impl From<HeaderFrame> for Bytes {
    fn from(frame: HeaderFrame) -> Self {
        frame.body
    }
}

pub(super) fn split_header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], trim_blanks(&line[colon + 1..]));
    is_name(name).then_some((name, value))
}

/// Whether HTTP allows this as a header's name (a token, RFC 9110 section 5.6.2).
fn is_name(name: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(allowed)
}

pub(super) fn is_content_length(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(CONTENT_LENGTH)
}

fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

pub(super) fn put_line(dst: &mut BytesMut, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        dst.extend_from_slice(part);
    }
}

const CONTENT_LENGTH: &[u8] = b"Content-Length";
