//! How lines of the log reach stderr: a thread of their own writes them.
//!
//! stderr can be a pipe that nobody reads, or a terminal that is stopped. Then a write waits, and only this
//! thread with it. The queue in front of it is bounded; lines that find no room are lost and counted.
//!
//! The thread waits for more lines before it writes the first: to wake it for each line would cost a busy proxy
//! a third of its time.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The queue of lines. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LogLines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is a line, or all were written.
    changed: Condvar,
    lines_max: usize,
    /// How long the first line waits for others.
    gathers_for: Duration,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    /// What the lines say that wait.
    bytes: Vec<u8>,
    lines: usize,
    /// How many lines the thread has taken and not yet written.
    in_write: usize,
    /// How many callers wait until all is written.
    flushing: usize,
}

impl LogLines {
    /// Begins the thread, which writes to `out`. It lives as long as the process.
    pub(crate) fn begin(
        lines_max: usize,
        gathers_for: Duration,
        out: impl Write + Send + 'static,
    ) -> Result<Self, io::Error> {
        let lines = Self(Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            lines_max,
            gathers_for,
            lost: AtomicU64::new(0),
        }));
        let shared = Arc::clone(&lines.0);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || shared.write_all(out))?;
        Ok(lines)
    }

    /// How many lines were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written, no longer than this. Returns whether they are.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let mut queue = self.0.lock();
        queue.flushing += 1;
        self.0.changed.notify_all();
        let is_busy = |queue: &mut Queue| queue.in_write > 0 || queue.lines > 0;
        let waited = self.0.changed.wait_timeout_while(queue, limit, is_busy);
        let (mut queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.flushing -= 1;
        !waited.timed_out()
    }
}

impl Shared {
    fn push(&self, line: &[u8]) {
        let mut queue = self.lock();
        if queue.lines + queue.in_write >= self.lines_max {
            drop(queue);
            self.lost.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("proxy_log_lines_lost_total").increment(1);
            return;
        }
        queue.bytes.extend_from_slice(line);
        queue.lines += 1;
        // The thread looks again after each write.
        let is_looked_for = queue.lines == 1 || queue.lines == self.lines_that_fill();
        let is_told = is_looked_for && queue.in_write == 0;
        drop(queue);
        if is_told {
            self.changed.notify_all();
        }
    }

    fn write_all(&self, mut out: impl Write) {
        let mut queue = self.lock();
        loop {
            queue = self
                .changed
                .wait_while(queue, |queue| queue.lines == 0)
                .unwrap_or_else(PoisonError::into_inner);
            let is_gathering =
                |queue: &mut Queue| queue.lines < self.lines_that_fill() && queue.flushing == 0;
            (queue, _) = self
                .changed
                .wait_timeout_while(queue, self.gathers_for, is_gathering)
                .unwrap_or_else(PoisonError::into_inner);
            let bytes = std::mem::take(&mut queue.bytes);
            queue.in_write = std::mem::take(&mut queue.lines);
            // Order: never written under the lock, which callers take.
            drop(queue);
            // Nobody reads the log if stderr is closed.
            drop(out.write_all(&bytes).and_then(|()| out.flush()));
            queue = self.lock();
            queue.in_write = 0;
            self.changed.notify_all();
        }
    }

    /// So many lines are written at once: half of those that find room.
    const fn lines_that_fill(&self) -> usize {
        self.lines_max / 2
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one line.
#[derive(Debug)]
pub(crate) struct LineWriter<'l>(&'l Shared);

impl<'l> MakeWriter<'l> for LogLines {
    type Writer = LineWriter<'l>;

    fn make_writer(&'l self) -> LineWriter<'l> {
        LineWriter(&self.0)
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Says when it is written to, and then waits for a word.
    struct Gate {
        entered: Sender<Vec<u8>>,
        open: Receiver<()>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.send(bytes.to_vec()).unwrap();
            // Without a sender it is open for good.
            self.open.recv().unwrap_or_default();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const NO_TIME: Duration = Duration::ZERO;
    const FOR_EVER: Duration = Duration::from_secs(3600);
    const OUTER_DEADLINE: Duration = Duration::from_secs(60);

    fn say(lines: &LogLines, line: &str) {
        lines.make_writer().write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn who_writes_a_line_never_waits_and_what_finds_no_room_is_counted() {
        let ((entered, writes), (opened, open)) = (channel(), channel());
        let lines = LogLines::begin(3, NO_TIME, Gate { entered, open }).unwrap();
        say(&lines, "1\n");
        assert_eq!(writes.recv().unwrap(), b"1\n");
        // The write waits. Two more find room beside it.
        for line in ["2\n", "3\n", "4\n", "5\n"] {
            say(&lines, line);
        }
        assert_eq!(lines.lost(), 2);
        assert!(!lines.flush(Duration::ZERO));
        drop(opened);
        assert_eq!(writes.recv().unwrap(), b"2\n3\n");
        assert!(lines.flush(OUTER_DEADLINE));
        say(&lines, "6\n");
        assert_eq!(writes.recv().unwrap(), b"6\n");
        assert_eq!(lines.lost(), 2);
    }

    #[test]
    fn lines_are_written_together_when_half_of_the_room_is_taken_or_somebody_waits_for_them() {
        let ((entered, writes), (opened, open)) = (channel(), channel());
        drop(opened);
        let lines = LogLines::begin(6, FOR_EVER, Gate { entered, open }).unwrap();
        for line in ["1\n", "2\n", "3\n"] {
            say(&lines, line);
        }
        assert_eq!(writes.recv_timeout(OUTER_DEADLINE).unwrap(), b"1\n2\n3\n");
        assert!(lines.flush(OUTER_DEADLINE));
        say(&lines, "4\n");
        assert!(lines.flush(OUTER_DEADLINE));
        assert_eq!(writes.recv_timeout(OUTER_DEADLINE).unwrap(), b"4\n");
    }
}
