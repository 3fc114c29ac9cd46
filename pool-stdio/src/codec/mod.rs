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
//!    plus [`BUFFER_SLACK_BYTES`]. While it grows, the old and the new buffer exist side by side.
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

mod error;
mod headers;
mod length;
mod lines;

use bytes::{Buf, BytesMut};
use pool_core::BoxError;
use tokio_util::codec::Decoder;

pub use error::{DecodeError, EncodeError, Fragment, FramePart};
pub use headers::{HeaderCodec, HeaderFrame};
pub use length::{ByteOrder, LengthCodec, PrefixWidth};
pub use lines::{Line, LineCodec, LineEnd, OverlongLine, PartialLine};

/// What a connection needs of a codec to read with it; whatever can do it is one.
///
/// To write a message of type `M` it must be a [`tokio_util::codec::Encoder`] of `M` as well.
///
/// # Examples
///
/// ```
/// use pool_stdio::Codec;
/// use pool_stdio::codec::{HeaderCodec, LineCodec};
///
/// fn takes<C: Codec>(_: C) -> usize {
///     size_of::<C>()
/// }
/// assert!(takes(LineCodec::new()) > 0);
/// assert!(takes(HeaderCodec::new()) > 0);
/// assert!(takes(tokio_util::codec::LinesCodec::new()) > 0);
/// ```
pub trait Codec: Decoder<Item: Send, Error: Into<BoxError>> + Send + 'static {}

impl<C: Decoder<Item: Send, Error: Into<BoxError>> + Send + 'static> Codec for C {}

/// The default of every codec's `frame_bytes_max`: 16 MiB.
///
/// Large on purpose: smaller defaults were met by ordinary replies, and the limit is there to stop
/// a runaway peer. Its worst-case cost is one buffer of this size per connection.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 16 * 1024 * 1024;

/// What a read buffer may hold beyond the largest frame: room to read ahead into.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use pool_stdio::codec::{BUFFER_SLACK_BYTES, LengthCodec, PrefixWidth, ByteOrder};
/// use tokio_util::codec::Decoder;
///
/// let mut codec = LengthCodec::new(PrefixWidth::Four, ByteOrder::Big);
/// let mut buffer = BytesMut::from(&[0, 0xff, 0xff, 0xff][..]);
/// // Nearly 16 MiB announced, four bytes arrived: nothing is set aside for the rest.
/// assert!(codec.decode(&mut buffer)?.is_none());
/// assert!(buffer.capacity() <= BUFFER_SLACK_BYTES);
/// # Ok::<(), pool_stdio::codec::DecodeError>(())
/// ```
pub const BUFFER_SLACK_BYTES: usize = 2 * READ_BYTES;

/// Whether the byte order mark that may open a stream is still to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamStart {
    Ahead,
    Passed,
}

impl StreamStart {
    /// Strips the mark, and returns `false` while too few bytes are there to say if it is one.
    fn pass(&mut self, src: &mut BytesMut) -> bool {
        if *self == Self::Ahead {
            if src.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(src) {
                return false;
            }
            if src.starts_with(BYTE_ORDER_MARK) {
                src.advance(BYTE_ORDER_MARK.len());
            }
            *self = Self::Passed;
        }
        true
    }
}

/// Finds the first newline of `bytes` at or after `from`.
fn find_newline(bytes: &[u8], from: usize) -> Option<usize> {
    let searched = &bytes[from..];
    let found = memchr::memchr(b'\n', searched);
    work::add(found.map_or(searched.len(), |at| at + 1));
    found.map(|at| from + at)
}

/// The line without the one carriage return that may precede its newline.
fn strip_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Makes room for at least one more byte in a buffer that waits for the rest of a frame, of which
/// `frame_bytes_max` bytes are the most that can be needed.
///
/// `BytesMut::reserve`, which a reader would call next, doubles a full buffer, whatever the limit.
fn make_room(src: &mut BytesMut, frame_bytes_max: usize) {
    if src.len() < src.capacity() {
        return;
    }
    work::add(src.len());
    if src.try_reclaim(1) {
        return;
    }
    let doubled = src.len().saturating_mul(2).min(frame_bytes_max);
    let mut larger = BytesMut::with_capacity(doubled.max(src.len() + READ_BYTES));
    larger.extend_from_slice(src);
    *src = larger;
}

/// How much is read at once at least, as in tokio-util.
const READ_BYTES: usize = 8 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes searched or moved on this thread, for the tests that hold the decoders to linear work.
mod work {
    #[cfg(not(test))]
    pub(super) const fn add(_bytes: usize) {}

    #[cfg(test)]
    pub(super) fn add(bytes: usize) {
        DONE.with(|done| done.set(done.get() + bytes));
    }

    #[cfg(test)]
    pub(super) fn take() -> usize {
        DONE.with(std::cell::Cell::take)
    }

    #[cfg(test)]
    thread_local! {
        static DONE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use tokio_util::codec::Decoder;

    use super::{ByteOrder, HeaderCodec, LengthCodec, LineCodec, OverlongLine, PrefixWidth, work};

    /// Feeds `stream` in reads of `read_bytes` and returns the work per byte, rounded up.
    fn work_per_byte<D: Decoder>(mut decoder: D, stream: &[u8], read_bytes: usize) -> usize {
        let mut src = BytesMut::new();
        let mut frames = Vec::new();
        work::take();
        for read in stream.chunks(read_bytes) {
            src.put_slice(read);
            while let Ok(Some(frame)) = decoder.decode(&mut src) {
                frames.push(frame);
            }
        }
        work::take().div_ceil(stream.len())
    }

    #[test]
    fn work_grows_with_the_bytes_and_not_with_the_reads() {
        const BODY: usize = 1 << 18;
        let body = vec![b'x'; BODY];
        let line = [&body[..], b"\n"].concat();
        let framed = [format!("Content-Length: {BODY}\r\n\r\n").as_bytes(), &body].concat();
        let long_header = [b"a:", &body[..], b"\n\n"].concat();
        let head = [b"a: b\r\n".repeat(BODY / 6), b"\r\n".to_vec()].concat();
        let prefixed = [&u32::try_from(BODY).unwrap().to_be_bytes()[..], &body].concat();
        let short_lines = b"ab\r\n".repeat(BODY / 4);
        for read_bytes in [1, 2, 7, 4096, BODY + 64] {
            let lines = LineCodec::new();
            let skipping = lines
                .clone()
                .frame_bytes_max(999)
                .overlong_line(OverlongLine::Skip);
            let headers = HeaderCodec::new().header_bytes_max(2 * BODY);
            let length = LengthCodec::new(PrefixWidth::Four, ByteOrder::Big);
            let done = [
                (
                    "a long line",
                    work_per_byte(lines.clone(), &line, read_bytes),
                ),
                ("a skipped line", work_per_byte(skipping, &line, read_bytes)),
                (
                    "short lines",
                    work_per_byte(lines, &short_lines, read_bytes),
                ),
                (
                    "a body",
                    work_per_byte(headers.clone(), &framed, read_bytes),
                ),
                (
                    "a header block",
                    work_per_byte(headers.clone(), &head, read_bytes),
                ),
                (
                    "a long header",
                    work_per_byte(headers, &long_header, read_bytes),
                ),
                (
                    "a prefixed body",
                    work_per_byte(length, &prefixed, read_bytes),
                ),
            ];
            for (what, per_byte) in done {
                assert!(
                    per_byte <= 6,
                    "{what}, {read_bytes} per read: {per_byte} times its bytes"
                );
            }
        }
    }
}
