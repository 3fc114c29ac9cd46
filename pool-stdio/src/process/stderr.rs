//! What happens to a child's stderr: how much of it is kept, and which sink gets its lines.
//!
//! The ring keeps the end of the stream under a limit of bytes and a limit of lines. It is written
//! by the thread that drains the pipe, so it never waits: what does not fit is dropped from the
//! front, and lines that come faster than their sink takes them are counted and skipped.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Where a child's stderr goes.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, StderrPolicy};
///
/// let last_two = StderrPolicy::Ring { bytes_max: 1024, lines_max: 2 };
/// let noisy = CommandSpec::new("sh").args(["-c", "for n in 1 2 3; do echo $n >&2; done"]);
/// let child = noisy.stderr(last_two).build()?.spawn().await?;
/// child.exited().await;
/// let tail = child.stderr_tail();
/// assert_eq!((tail.text.as_str(), tail.lines_total, tail.is_cut), ("2\n3\n", 3, true));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StderrPolicy {
    /// It is read for as long as the child lives, also without a runtime, and its end is kept for
    /// error reports.
    Ring {
        /// How many bytes are kept. 64 KiB by default. Memory is taken as it fills, not in advance.
        bytes_max: usize,
        /// How many lines are kept. 200 by default: few people read more than that in an error report.
        lines_max: usize,
    },
    /// It is a pipe that the owner of the child [takes](crate::Child::take_stderr) and reads. If it was not
    /// taken, a termination reads it and throws the bytes away. For children that you start yourself:
    /// connectors refuse it.
    Pipe,
    /// The child writes to the stderr of this program.
    Inherit,
    /// It goes to `/dev/null`.
    Null,
}

impl Default for StderrPolicy {
    fn default() -> Self {
        Self::Ring {
            bytes_max: 64 * 1024,
            lines_max: 200,
        }
    }
}

/// How much of stderr is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RingLimits {
    pub(super) bytes_max: usize,
    pub(super) lines_max: usize,
}

/// The function that gets the lines of a child's stderr.
#[derive(Clone)]
pub(crate) struct LineSink(Arc<dyn Fn(&StderrLine<'_>) + Send + Sync>);

impl LineSink {
    pub(super) fn new(sink: impl Fn(&StderrLine<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    pub(super) fn call(&self, line: &StderrLine<'_>) {
        (self.0)(line);
    }
}

impl fmt::Debug for LineSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSink").finish_non_exhaustive()
    }
}

/// One line of stderr, as [`stderr_lines`](crate::CommandSpec::stderr_lines) passes it on.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct StderrLine<'a> {
    /// Which child wrote it.
    pub pid: u32,
    /// Without the line end, invalid UTF-8 replaced, cut at 8 KiB.
    pub text: &'a str,
    /// How many lines of all children were skipped since the last one that reached a sink.
    pub skipped: u64,
}

/// The end of what a child wrote to stderr.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StderrTail {
    /// The last lines, invalid UTF-8 replaced. It begins at a character, and at a line unless the
    /// last line alone exceeds the limit.
    pub text: String,
    /// How many bytes the child has written in all.
    pub bytes_total: u64,
    /// How many finished lines the child has written in all.
    pub lines_total: u64,
    /// Whether the child has written more than `text`.
    pub is_cut: bool,
}

impl StderrTail {
    /// As much of its end as fits into a message.
    pub(crate) fn end(&self) -> &str {
        let text = self.text.trim_end();
        let mut from = text.len().saturating_sub(SHOWN_BYTES);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        &text[from..]
    }
}

const SHOWN_BYTES: usize = 512;

impl fmt::Display for StderrTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_cut {
            write!(f, "[… of {} bytes] ", self.bytes_total)?;
        }
        f.write_str(self.text.trim_end())
    }
}

/// Keeps the end of a stream.
///
/// The bytes lie in segments that are shared with those who ask for the tail, so that asking takes
/// no time under the lock that the custodian needs to write.
#[derive(Debug)]
pub(crate) struct Ring {
    limits: RingLimits,
    segments: VecDeque<Arc<Vec<u8>>>,
    /// How much of the first segment is forgotten.
    forgotten_of_first: usize,
    bytes: usize,
    newlines: usize,
    bytes_total: u64,
    lines_total: u64,
    forgotten_last: Option<u8>,
}

/// A ring as it was at one moment.
#[derive(Debug)]
pub(crate) struct RingView {
    segments: Vec<Arc<Vec<u8>>>,
    forgotten_of_first: usize,
    bytes_total: u64,
    lines_total: u64,
    forgotten_last: Option<u8>,
}

impl Ring {
    pub(super) const fn new(limits: RingLimits) -> Self {
        Self {
            limits,
            segments: VecDeque::new(),
            forgotten_of_first: 0,
            bytes: 0,
            newlines: 0,
            bytes_total: 0,
            lines_total: 0,
            forgotten_last: None,
        }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.bytes_total = self.bytes_total.saturating_add(chunk.len() as u64);
        self.lines_total = self
            .lines_total
            .saturating_add(count_newlines(chunk) as u64);
        let kept = self.end_that_fits(chunk);
        let lost = &chunk[..chunk.len() - kept.len()];
        if let Some(last) = lost.last() {
            self.forget(self.bytes);
            self.forgotten_last = Some(*last);
        }
        self.forget((self.bytes + kept.len()).saturating_sub(self.limits.bytes_max));
        self.add(kept);
        while self.lines() > self.limits.lines_max {
            self.forget_line();
        }
    }

    pub(crate) fn view(&self) -> RingView {
        RingView {
            segments: self.segments.iter().cloned().collect(),
            forgotten_of_first: self.forgotten_of_first,
            bytes_total: self.bytes_total,
            lines_total: self.lines_total,
            forgotten_last: self.forgotten_last,
        }
    }

    /// As much of the end of a chunk as the limits allow.
    fn end_that_fits<'a>(&self, chunk: &'a [u8]) -> &'a [u8] {
        let end = &chunk[chunk.len().saturating_sub(self.limits.bytes_max)..];
        let unfinished = usize::from(end.last().is_some_and(|byte| *byte != b'\n'));
        let Some(finished_max) = self.limits.lines_max.checked_sub(unfinished) else {
            return &[];
        };
        let mut newlines = memchr::memrchr_iter(b'\n', end);
        let before_first = newlines.nth(finished_max);
        &end[before_first.map_or(0, |at| at + 1)..]
    }

    fn add(&mut self, bytes: &[u8]) {
        self.newlines += count_newlines(bytes);
        self.bytes += bytes.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            // A segment that somebody is looking at is not written to any more.
            let room = self.segments.back_mut().and_then(Arc::get_mut);
            let room = room.filter(|segment| segment.len() < SEGMENT_BYTES);
            let Some(segment) = room else {
                self.segments.push_back(Arc::default());
                continue;
            };
            let (now, later) = rest.split_at(rest.len().min(SEGMENT_BYTES - segment.len()));
            segment.extend_from_slice(now);
            rest = later;
        }
    }

    fn lines(&self) -> usize {
        let last = self.segments.back().and_then(|segment| segment.last());
        let unfinished = self.bytes > 0 && last.is_some_and(|byte| *byte != b'\n');
        self.newlines + usize::from(unfinished)
    }

    fn forget_line(&mut self) {
        let Some(first) = self.segments.front() else {
            return;
        };
        let bytes = &first[self.forgotten_of_first..];
        let count = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        self.forget(count);
    }

    fn forget(&mut self, count: usize) {
        let mut left = count;
        while left > 0
            && let Some(first) = self.segments.front()
        {
            let bytes = &first[self.forgotten_of_first..];
            let bytes = &bytes[..bytes.len().min(left)];
            self.newlines -= count_newlines(bytes);
            self.forgotten_last = bytes.last().copied().or(self.forgotten_last);
            self.bytes -= bytes.len();
            left -= bytes.len();
            self.forgotten_of_first += bytes.len();
            if self.forgotten_of_first == first.len() {
                self.segments.pop_front();
                self.forgotten_of_first = 0;
            }
        }
    }
}

impl RingView {
    pub(crate) fn into_tail(self) -> StderrTail {
        let mut bytes = self
            .segments
            .iter()
            .map(|segment| segment.as_slice())
            .collect::<Vec<_>>()
            .concat();
        bytes.drain(..self.forgotten_of_first);
        let start = match self.forgotten_last {
            None | Some(b'\n') => 0,
            Some(_) => first_whole(&bytes),
        };
        StderrTail {
            text: String::from_utf8_lossy(&bytes[start..]).into_owned(),
            bytes_total: self.bytes_total,
            lines_total: self.lines_total,
            is_cut: self.forgotten_last.is_some(),
        }
    }
}

fn count_newlines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

/// How much lies in one piece.
const SEGMENT_BYTES: usize = 16 * 1024;

/// Where the tail of a cut stream begins: after the first line end if a line follows it, else at the
/// first byte that does not continue a character.
fn first_whole(bytes: &[u8]) -> usize {
    let line = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .map(|at| at + 1);
    let is_continuation = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    let character = || {
        bytes
            .iter()
            .take(3)
            .take_while(|byte| is_continuation(byte))
            .count()
    };
    line.filter(|at| *at < bytes.len())
        .unwrap_or_else(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(bytes_max: usize, lines_max: usize) -> Ring {
        Ring::new(RingLimits {
            bytes_max,
            lines_max,
        })
    }

    #[test]
    fn keeps_all_of_a_short_stream() {
        let mut ring = ring(64, 9);
        ring.push(b"one\ntw");
        ring.push(b"o");
        let tail = ring.view().into_tail();
        assert_eq!(
            (tail.text.as_str(), tail.bytes_total, tail.is_cut),
            ("one\ntwo", 7, false)
        );
    }

    #[test]
    fn keeps_the_last_lines_only() {
        let mut ring = ring(64, 2);
        for line in ["a\n", "b\n", "c\n", "d"] {
            ring.push(line.as_bytes());
        }
        assert_eq!(ring.view().into_tail().text, "c\nd");
        assert!(ring.view().into_tail().is_cut);
    }

    #[test]
    fn never_holds_more_bytes_than_its_limit_however_they_come() {
        for chunk in [1, 3, 7, 10, 11, 100] {
            let mut ring = ring(10, 100);
            let all: Vec<u8> = (0..100)
                .map(|n| if n % 13 == 0 { b'\n' } else { b'x' })
                .collect();
            for piece in all.chunks(chunk) {
                ring.push(piece);
                assert!(ring.bytes <= 10);
                let held: usize = ring.segments.iter().map(|segment| segment.len()).sum();
                assert_eq!(held - ring.forgotten_of_first, ring.bytes);
                let newlines: usize = ring.segments.iter().map(|one| count_newlines(one)).sum();
                let forgotten = ring
                    .segments
                    .front()
                    .map_or(0, |first| count_newlines(&first[..ring.forgotten_of_first]));
                assert_eq!(ring.newlines, newlines - forgotten);
            }
            assert_eq!(ring.view().into_tail().bytes_total, 100);
        }
    }

    #[test]
    fn a_cut_tail_begins_at_a_line() {
        let mut ring = ring(10, 9);
        ring.push(b"long first line\nshort\n");
        assert_eq!(ring.view().into_tail().text, "short\n");
    }

    #[test]
    fn a_cut_tail_is_never_cut_inside_a_character() {
        let text = "aé€😀".repeat(20);
        for bytes_max in 1..40 {
            let mut ring = ring(bytes_max, 9);
            ring.push(text.as_bytes());
            let tail = ring.view().into_tail().text;
            assert!(text.ends_with(&tail), "{bytes_max}: {tail:?}");
            assert!(tail.len() + 4 > bytes_max);
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        let mut ring = ring(64, 9);
        ring.push(b"bad \xff byte");
        assert_eq!(ring.view().into_tail().text, "bad \u{fffd} byte");
    }

    #[test]
    fn a_ring_keeps_the_same_as_a_plain_text_would() {
        let stream: Vec<u8> = (0..3000_u32)
            .map(|n| {
                if n % 7 == 0 || n % 31 == 5 {
                    b'\n'
                } else {
                    b'a' + (n % 26) as u8
                }
            })
            .collect();
        for (bytes_max, lines_max) in [(50, 3), (50, 100), (1000, 5), (9, 1), (3000, 300)] {
            for chunk in [1, 5, 64, 700, 3000] {
                let mut ring = ring(bytes_max, lines_max);
                for piece in stream.chunks(chunk) {
                    ring.push(piece);
                }
                let end = &stream[stream.len() - bytes_max..];
                let lines: Vec<&[u8]> = end.split_inclusive(|byte| *byte == b'\n').collect();
                let kept = lines[lines.len().saturating_sub(lines_max)..].concat();
                let view = ring.view();
                let held = view
                    .segments
                    .iter()
                    .map(|one| one.as_slice())
                    .collect::<Vec<_>>()
                    .concat();
                assert_eq!(
                    held[view.forgotten_of_first..],
                    kept,
                    "{bytes_max} {lines_max} {chunk}"
                );
            }
        }
    }

    #[test]
    fn a_look_at_a_large_ring_copies_nothing() {
        let mut ring = ring(1 << 20, usize::MAX);
        ring.push(&vec![b'x'; 1 << 20]);
        let view = ring.view();
        let shared = ring
            .segments
            .iter()
            .zip(&view.segments)
            .filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(shared.count(), ring.segments.len());
        ring.push(b"more");
        assert!(
            view.into_tail().text.ends_with("xx"),
            "it does not change any more"
        );
        assert!(ring.view().into_tail().text.ends_with("xmore"));
    }

    #[test]
    fn a_ring_of_size_zero_only_counts() {
        let mut ring = ring(0, 0);
        ring.push(b"gone\n");
        assert_eq!(
            (
                ring.view().into_tail().text.as_str(),
                ring.view().into_tail().bytes_total
            ),
            ("", 5)
        );
    }
}
