//! Frames: where one message ends and the next one begins.
//!
//! A pipe carries bytes, a conversation consists of messages. Each codec here is a
//! [`Decoder`](tokio_util::codec::Decoder) and an [`Encoder`](tokio_util::codec::Encoder) at once,
//! so that a codec of your own fits wherever one of these does.
//!
//! | codec | a frame is | spoken by | longer than the limit |
//! |---|---|---|---|
//! | [`LineCodec`] | a line | MCP, `git cat-file --batch`, most hand-written workers | error, or skip and count |
//! | [`HeaderCodec`] | a `Content-Length` header block and a body | LSP, DAP, BSP | error |
//! | [`LengthCodec`] | a length of 1, 2, 4 or 8 bytes and a body | Erlang ports, native messaging of browsers | error |
//!
//! A frame is bytes. Whether they are UTF-8 or JSON is for the layer above to say, frame by frame:
//! one bad message must not end a stream whose framing is intact.
//!
//! # Invariants
//!
//! 1. No input panics, and no input is looked at or copied more than a constant number of times:
//!    what has been searched is not searched again, so one byte per read stays linear.
//! 2. A buffer with nothing to spare is enlarged by the decoder itself, as bytes *arrive*, never as
//!    the peer *announces*, and never beyond the largest frame, with its header block or prefix,
//!    plus 16 KiB to read ahead into. While it grows, the old and the new buffer exist side by side.
//! 3. A limit is compared before anything is allocated for the frame, and it is exact: a frame of
//!    `frame_bytes_max` bytes passes, one byte more does not.
//! 4. Frames and errors depend on the bytes alone, not on how reads cut them.
//! 5. An error is final. After it `decode` takes whatever it is given and answers
//!    [`DecodeError::OutOfStep`], and `decode_eof` answers `None`: nothing that follows an error can
//!    be taken for a frame.
//! 6. An encoder that refuses a frame has not touched its output.
//!
//! A frame shares the read buffer's memory: a small frame that is kept for long keeps up to a
//! whole buffer alive. Copy what is to be stored.
//!
//! # What tokio-util has, and what is used of it
//!
//! [`LengthDelimitedCodec`](tokio_util::codec::LengthDelimitedCodec) cuts and writes the frames of
//! [`LengthCodec`]. [`LinesCodec`](tokio_util::codec::LinesCodec) does not fit: it demands UTF-8
//! and ends the stream where it is missing, hands out a fresh `String` per line, does not tell a
//! line that the end of the stream cut off from a whole one, and after a line that is too long
//! throws the rest away without a count.
//! [`AnyDelimiterCodec`](tokio_util::codec::AnyDelimiterCodec) returns bytes, but encodes only
//! `str`, knows no carriage return, refuses no delimiter inside a frame, and shares the rest.
//!
//! # Examples
//!
//! ```
//! use pool_stdio::codec::LineCodec;
//! use tokio_stream::StreamExt;
//! use tokio_util::codec::FramedRead;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pool_stdio::codec::DecodeError> {
//! let mut lines = FramedRead::new(&b"first\r\nsecond\n"[..], LineCodec::new());
//! let mut seen = Vec::new();
//! while let Some(line) = lines.next().await {
//!     seen.push(line?.bytes);
//! }
//! assert_eq!(seen, ["first", "second"]);
//! # Ok(())
//! # }
//! ```

mod buffer;
mod error;
mod frame;
mod header_frame;
mod headers;
mod length;
mod lines;

pub use error::{DecodeError, EncodeError, Fragment, FramePart};
pub use frame::{Codec, FRAME_BYTES_MAX_DEFAULT};
pub use header_frame::HeaderFrame;
pub use headers::HeaderCodec;
pub use length::{LengthCodec, LengthPrefix};
pub use lines::{Line, LineCodec, PartialLine};
