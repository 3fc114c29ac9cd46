//! Frames: where one message ends and the next one begins.
//!
//! A pipe carries bytes; a protocol consists of messages. Each codec here is both a
//! [`Decoder`](tokio_util::codec::Decoder) and an [`Encoder`](tokio_util::codec::Encoder), and a
//! codec of your own can take its place.
//!
//! | codec | a frame is | spoken by | longer than the limit |
//! |---|---|---|---|
//! | [`LineCodec`] | a line | MCP, most hand-written workers | error, or skip and count |
//! | [`HeaderCodec`] | a `Content-Length` header block and a body | LSP, DAP, BSP | error |
//! | [`LengthCodec`] | a length of 1, 2, 4 or 8 bytes and a body | Erlang ports, native messaging of browsers | error |
//! | [`LengthLineCodec`] | a line that tells the length of the body behind it | `git cat-file --batch` | error |
//! | [`TerminatorCodec`] | lines up to one that ends the reply | `exiftool -stay_open`, `ispell -a`, chess engines | error |
//! | [`PromptCodec`] | everything up to the next prompt | `python3 -i`, `sqlite3`, `gdb` | error |
//!
//! The limit of a frame is 16 MiB unless you set another. That is large on purpose: ordinary replies
//! exceeded smaller defaults, and the limit is only there to stop a runaway peer. Its worst-case cost
//! is one buffer of this size per connection.
//!
//! A frame is bytes. The layer above checks, frame by frame, whether they are UTF-8 or JSON: one bad
//! message must not end a stream whose framing is intact.
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
//! 5. An error is final. After it `decode` drops its input and returns
//!    [`DecodeError::OutOfStep`], and `decode_eof` returns `None`: bytes that follow an error are
//!    never taken for a frame.
//! 6. An encoder that refuses a frame has not touched its output.
//!
//! A frame shares the memory of the read buffer: a small frame that you keep for long keeps up to a
//! whole buffer alive. Copy what you store.
//!
//! # Why not the codecs of tokio-util
//!
//! [`LengthDelimitedCodec`](tokio_util::codec::LengthDelimitedCodec) is used: it cuts and writes the
//! frames of [`LengthCodec`]. [`LinesCodec`](tokio_util::codec::LinesCodec) is not: it ends the
//! stream at the first line that is not UTF-8, allocates a `String` per line, does not mark a line
//! that the end of the stream has cut off, and drops the rest of a line that is too long without
//! counting it. [`AnyDelimiterCodec`](tokio_util::codec::AnyDelimiterCodec) returns bytes, but
//! encodes only `str`, does not strip carriage returns, accepts a delimiter inside a frame, and has
//! the other faults of `LinesCodec`.
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
mod length_line;
mod lines;
mod prompt;
mod terminator;

pub use error::{DecodeError, EncodeError, Fragment};
pub use frame::Codec;
pub use header_frame::HeaderFrame;
pub use headers::HeaderCodec;
pub use length::{LengthCodec, LengthPrefix};
pub use length_line::{LengthLineCodec, LengthLineFrame};
pub use lines::{Line, LineCodec};
pub use prompt::PromptCodec;
pub use terminator::{TerminatedLines, TerminatorCodec};

pub(crate) use frame::FRAME_BYTES_MAX_DEFAULT;
