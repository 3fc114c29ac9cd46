//! Where a message ends, and what the user's request is.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use clap::ValueEnum;
use pool_core::BoxError;
use pool_stdio::Codec;
use pool_stdio::codec::{EncodeError, HeaderCodec, LengthCodec, LengthPrefix, LineCodec};
use tokio_util::codec::{Decoder, Encoder};

/// How messages are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Framing {
    /// One message per line
    Lines,
    /// A Content-Length header, an empty line, the message (LSP)
    ContentLength,
    /// Four bytes of length, most significant first, then the message
    Length,
}

impl Framing {
    /// Its name on the command line.
    #[must_use]
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::ContentLength => "content-length",
            Self::Length => "length",
        }
    }

    /// The same framing for JSON-RPC, which knows only two of them.
    #[must_use]
    pub(super) const fn of_json_rpc(self) -> Option<pool_stdio::Framing> {
        match self {
            Self::Lines => Some(pool_stdio::Framing::Lines),
            Self::ContentLength => Some(pool_stdio::Framing::ContentLength),
            Self::Length => None,
        }
    }

    /// The message with its frame, for a child that is asked without a connection.
    ///
    /// # Errors
    ///
    /// If the message cannot be framed: a line cannot contain a line end.
    pub(super) fn frame(self, message: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let mut wire = bytes::BytesMut::new();
        match self {
            Self::Lines => line_codec().encode(message, &mut wire)?,
            Self::ContentLength => HeaderCodec::new().encode(message, &mut wire)?,
            Self::Length => length_codec().encode(message, &mut wire)?,
        }
        Ok(wire.to_vec())
    }
}

/// A codec that can write the user's request.
pub(super) trait MessageCodec:
    Codec + Decoder<Item: Into<Bytes>> + for<'a> Encoder<&'a [u8], Error: Into<BoxError>>
{
}

impl<C> MessageCodec for C where
    C: Codec + Decoder<Item: Into<Bytes>> + for<'a> Encoder<&'a [u8], Error: Into<BoxError>>
{
}

/// Half a reply must not pass for a whole one.
pub(super) fn line_codec() -> LineCodec {
    LineCodec::new()
}

pub(super) fn length_codec() -> LengthCodec {
    LengthCodec::new(LengthPrefix::U32Be)
}

/// The content of the file with this name, or the text itself if there is no such file.
///
/// The line end that an editor leaves at the end of a file is not part of the message.
///
/// # Errors
///
/// If the file cannot be read, or if it is missing and the text looks like a file name: otherwise a
/// mistyped name would be sent as the request.
pub(super) fn message(file_or_text: &str) -> io::Result<Vec<u8>> {
    let path = Path::new(file_or_text);
    let mut message = if path.is_file() || is_named_as_a_file(path) {
        fs::read(path)?
    } else {
        file_or_text.as_bytes().to_vec()
    };
    if message.last() == Some(&b'\n') {
        message.pop();
        if message.last() == Some(&b'\r') {
            message.pop();
        }
    }
    Ok(message)
}

fn is_named_as_a_file(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end == "json" || end == "jsonl" || end == "txt")
}

#[cfg(test)]
mod tests {
    use super::{Framing, message};

    #[test]
    fn a_message_is_framed_as_the_command_line_says() {
        let framed = |framing: Framing| framing.frame(b"ping").expect("it can be framed");
        assert_eq!(framed(Framing::Lines), b"ping\n");
        assert_eq!(
            framed(Framing::ContentLength),
            b"Content-Length: 4\r\n\r\nping"
        );
        assert_eq!(framed(Framing::Length), b"\0\0\0\x04ping");
    }

    #[test]
    fn a_message_of_two_lines_is_no_line() {
        assert!(Framing::Lines.frame(b"one\ntwo").is_err());
    }

    #[test]
    fn text_is_itself_without_the_end_of_its_last_line() {
        assert_eq!(message("{}\r\n").expect("no file is read"), b"{}");
        assert_eq!(message("two\n\n").expect("no file is read"), b"two\n");
    }

    #[test]
    fn the_name_of_a_file_that_is_missing_is_no_text() {
        assert!(message("no-such-request.json").is_err());
        assert!(message("no-such-request.txt").is_err());
        assert!(message(r#"{"method":"no-such-request.json"}"#).is_ok());
    }
}
