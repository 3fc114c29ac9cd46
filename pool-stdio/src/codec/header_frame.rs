//! One frame with its headers, and what a header line is.

use bytes::{Bytes, BytesMut};

use super::buffer::strip_carriage_return;
use super::error::{EncodeError, Fragment};

/// A body and the headers that come with it, beside `Content-Length`.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::{HeaderCodec, HeaderFrame};
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut frame = HeaderFrame { body: "{}".into(), ..HeaderFrame::default() };
/// frame.headers.push(("Content-Type".into(), "application/json".into()));
/// let mut wire = BytesMut::new();
/// HeaderCodec::new().encode(frame.clone(), &mut wire)?;
/// assert_eq!(wire, "Content-Length: 2\r\nContent-Type: application/json\r\n\r\n{}");
///
/// assert_eq!(HeaderCodec::new().decode(&mut wire).unwrap(), Some(frame));
/// # Ok::<(), pool_stdio::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderFrame {
    /// The headers beside `Content-Length`, names and values, in their order. The encoder adds
    /// `Content-Length`, and refuses what it [cannot write](EncodeError::BadHeader).
    ///
    /// Each costs 64 bytes beside its text, and as much may be spare. So the headers of a frame that was
    /// read take at most 43 times as much as [a header block](super::HeaderCodec::header_bytes_max).
    pub headers: Vec<(Bytes, Bytes)>,
    /// The body.
    pub body: Bytes,
}

impl HeaderFrame {
    /// As it was read, behind a block of headers.
    pub(super) fn read(head: &Bytes, body: Bytes) -> Self {
        let lines = head.split(|byte| *byte == b'\n');
        let headers = lines.filter_map(|line| split_header(strip_carriage_return(line)));
        let headers = headers.filter(|(name, _)| !is_content_length(name));
        Self {
            headers: headers
                .map(|(name, value)| (head.slice_ref(name), head.slice_ref(value)))
                .collect(),
            body,
        }
    }

    /// Whether all headers can be written so that a reader finds the same ones.
    pub(super) fn check(&self) -> Result<(), EncodeError> {
        let is_carried = |(name, value): &&(Bytes, Bytes)| {
            is_name(name)
                && !is_content_length(name)
                && !value.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
                && trim_blanks(value) == value
        };
        match self.headers.iter().find(|header| !is_carried(header)) {
            None => Ok(()),
            Some((name, value)) => Err(EncodeError::BadHeader {
                name: Fragment::first_of(name),
                value: Fragment::first_of(value),
            }),
        }
    }
}

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
