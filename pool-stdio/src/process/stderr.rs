//! What happens to a child's stderr: how much of it is kept, and which sink gets its lines.
//!
//! The ring keeps the end of the stream under a limit of bytes and a limit of lines. It is written
//! by the thread that drains the pipe, so it never waits: what does not fit is dropped from the
//! front, and lines that come faster than their sink takes them are counted and skipped.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Where a child's stderr goes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StderrPolicy {
    /// It is read for as long as the child lives, also without a runtime, and its end is kept for
    /// error reports.
    Ring(RingLimits),
    /// The child writes to the stderr of this program.
    Inherit,
    /// It goes to `/dev/null`.
    Null,
}

impl Default for StderrPolicy {
    fn default() -> Self {
        Self::Ring(RingLimits::default())
    }
}

/// How much of stderr is kept.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, RingLimits, StderrPolicy};
///
/// let limits = RingLimits { lines_max: 2, ..RingLimits::default() };
/// let noisy = CommandSpec::new("sh").args(["-c", "for n in 1 2 3; do echo $n >&2; done"]);
/// let child = noisy.stderr(StderrPolicy::Ring(limits)).build()?.spawn().await?;
/// child.exited().await;
/// let tail = child.stderr_tail();
/// assert_eq!((tail.text.as_str(), tail.lines_total, tail.is_cut), ("2\n3\n", 3, true));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// Default 64 KiB. Memory is taken as it fills, not in advance.
    pub bytes_max: usize,
    /// Default 200: few people read more than that in an error report.
    pub lines_max: usize,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self {
            bytes_max: 64 * 1024,
            lines_max: 200,
        }
    }
}

/// What gets the lines of stderr as they come. One thread calls the sinks of all children: a sink that
/// blocks delays the lines of others, never a child. Lines that come too fast are skipped.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, LineSink};
/// use std::sync::{Arc, mpsc};
///
/// let (sender, lines) = mpsc::channel();
/// let sink = LineSink::Callback(Arc::new(move |line| {
///     drop(sender.send((line.pid, line.text.to_owned())));
/// }));
/// let noisy = CommandSpec::new("sh").args(["-c", "echo 'low on memory' >&2"]);
/// let child = noisy.stderr_lines(sink).build()?.spawn().await?;
/// assert_eq!(lines.recv()?, (child.pid(), String::from("low on memory")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum LineSink {
    /// A `tracing` event for each line, at level `INFO`, with the target `pool_stdio::stderr`, and the
    /// fields `pid`, `line`, and `skipped`: how many were skipped before it.
    Tracing,
    /// A function of yours. If it panics, the panic is caught and ignored.
    Callback(Arc<dyn Fn(&StderrLine<'_>) + Send + Sync>),
}

impl fmt::Debug for LineSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracing => "Tracing",
            Self::Callback(_) => "Callback(..)",
        })
    }
}

/// One line of stderr.
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
#[derive(Debug)]
pub(crate) struct Ring {
    limits: RingLimits,
    bytes: VecDeque<u8>,
    newlines: usize,
    bytes_total: u64,
    lines_total: u64,
    forgotten_last: Option<u8>,
}

impl Ring {
    pub(crate) const fn new(limits: RingLimits) -> Self {
        Self {
            limits,
            bytes: VecDeque::new(),
            newlines: 0,
            bytes_total: 0,
            lines_total: 0,
            forgotten_last: None,
        }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.bytes_total = self.bytes_total.saturating_add(chunk.len() as u64);
        let (lost, kept) = chunk.split_at(chunk.len().saturating_sub(self.limits.bytes_max));
        let room = self.limits.bytes_max - kept.len();
        self.forget(self.bytes.len().saturating_sub(room));
        self.forgotten_last = lost.last().copied().or(self.forgotten_last);
        self.bytes.extend(kept);
        let newlines = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count();
        self.newlines += newlines(kept);
        let lines = newlines(lost) + newlines(kept);
        self.lines_total = self.lines_total.saturating_add(lines as u64);
        while self.lines() > self.limits.lines_max {
            let first = self.bytes.iter().position(|byte| *byte == b'\n');
            self.forget(first.map_or(self.bytes.len(), |at| at + 1));
        }
    }

    pub(crate) fn tail(&self) -> StderrTail {
        let (front, back) = self.bytes.as_slices();
        let bytes = [front, back].concat();
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

    fn lines(&self) -> usize {
        let unfinished = self.bytes.back().is_some_and(|byte| *byte != b'\n');
        self.newlines + usize::from(unfinished)
    }

    fn forget(&mut self, count: usize) {
        for byte in self.bytes.drain(..count) {
            self.newlines -= usize::from(byte == b'\n');
            self.forgotten_last = Some(byte);
        }
    }
}

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
        let tail = ring.tail();
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
        assert_eq!(ring.tail().text, "c\nd");
        assert!(ring.tail().is_cut);
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
                assert!(ring.bytes.len() <= 10);
                let newlines = ring.bytes.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(ring.newlines, newlines);
            }
            assert_eq!(ring.tail().bytes_total, 100);
        }
    }

    #[test]
    fn a_cut_tail_begins_at_a_line() {
        let mut ring = ring(10, 9);
        ring.push(b"long first line\nshort\n");
        assert_eq!(ring.tail().text, "short\n");
    }

    #[test]
    fn a_cut_tail_is_never_cut_inside_a_character() {
        let text = "aé€😀".repeat(20);
        for bytes_max in 1..40 {
            let mut ring = ring(bytes_max, 9);
            ring.push(text.as_bytes());
            let tail = ring.tail().text;
            assert!(text.ends_with(&tail), "{bytes_max}: {tail:?}");
            assert!(tail.len() + 4 > bytes_max);
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        let mut ring = ring(64, 9);
        ring.push(b"bad \xff byte");
        assert_eq!(ring.tail().text, "bad \u{fffd} byte");
    }

    #[test]
    fn a_ring_of_size_zero_only_counts() {
        let mut ring = ring(0, 0);
        ring.push(b"gone\n");
        assert_eq!(
            (ring.tail().text.as_str(), ring.tail().bytes_total),
            ("", 5)
        );
    }
}
