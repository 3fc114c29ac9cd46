//! How a read buffer is searched and enlarged, by all codecs alike.

use bytes::{Buf, BytesMut};

/// Whether the byte order mark that may open a stream is still to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamStart {
    Ahead,
    Passed,
}

impl StreamStart {
    /// Strips the mark, and returns `false` while too few bytes are there to say if it is one.
    pub(super) fn pass(&mut self, src: &mut BytesMut) -> bool {
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
pub(super) fn find_newline(bytes: &[u8], from: usize) -> Option<usize> {
    let searched = &bytes[from..];
    let found = memchr::memchr(b'\n', searched);
    work::add(found.map_or(searched.len(), |at| at + 1));
    found.map(|at| from + at)
}

/// The line without the carriage return that may precede its newline.
pub(super) fn strip_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Makes room for at least one more byte in a buffer that waits for the rest of a frame, of which
/// `frame_bytes_max` bytes are the most that can be needed.
///
/// `BytesMut::reserve`, which a reader would call next, doubles a full buffer, whatever the limit.
pub(super) fn make_room(src: &mut BytesMut, frame_bytes_max: usize) {
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
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes searched or moved on this thread, for the tests that hold the decoders to linear work.
pub(super) mod work {
    #[cfg(not(test))]
    pub(in crate::codec) const fn add(_bytes: usize) {}

    #[cfg(test)]
    pub(in crate::codec) fn add(bytes: usize) {
        DONE.with(|done| done.set(done.get() + bytes));
    }

    #[cfg(test)]
    pub(in crate::codec) fn take() -> usize {
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

    use super::work;
    use crate::codec::{
        HeaderCodec, LengthCodec, LengthLineCodec, LengthPrefix, LineCodec, PromptCodec,
        TerminatorCodec,
    };

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

    fn announced_by_line() -> LengthLineCodec {
        LengthLineCodec::new(|line| std::str::from_utf8(line).ok()?.parse().ok())
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
        let prompted = [&body[..], b"> "].concat();
        let ended = [&short_lines[..], b"end\n"].concat();
        let announced = [format!("{BODY}\n").as_bytes(), &body].concat();
        for read_bytes in [1, 2, 7, 4096, BODY + 64] {
            let lines = LineCodec::new();
            let skipping = lines.clone().frame_bytes_max(999).skip_overlong_lines();
            let headers = HeaderCodec::new().header_bytes_max(2 * BODY);
            let length = LengthCodec::new(LengthPrefix::U32Be);
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
                (
                    "a reply before a prompt",
                    work_per_byte(PromptCodec::new("> "), &prompted, read_bytes),
                ),
                (
                    "lines before a last one",
                    work_per_byte(
                        TerminatorCodec::new(|line| line == b"end"),
                        &ended,
                        read_bytes,
                    ),
                ),
                (
                    "a body behind a line",
                    work_per_byte(announced_by_line(), &announced, read_bytes),
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
