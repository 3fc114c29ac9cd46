//! Tells without waiting for a time whether processes live: each holds the write end of a pipe with a name.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::time::Instant;

use crate::driver::OUTER_DEADLINE;

/// A pipe that processes hold by `exec 9>PATH`.
pub(crate) struct LifeLine {
    pub(crate) path: PathBuf,
    reader: Option<File>,
}

impl LifeLine {
    pub(crate) fn new() -> Self {
        let path = new_pipe();
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        let mut options = OpenOptions::new();
        let reader = options
            .read(true)
            .custom_flags(nonblocking)
            .open(&path)
            .unwrap();
        rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::empty()).unwrap();
        Self {
            path,
            reader: Some(reader),
        }
    }

    /// What a script does first, so that its process holds the pipe: it writes a letter to it.
    pub(crate) fn hold(&self) -> String {
        format!("exec 9>{}; printf x >&9", self.path.display())
    }

    /// Waits until so many processes have written their letter.
    pub(crate) fn expect(&mut self, count: usize) {
        let mut letters = vec![0; count];
        // A pipe without writers reads as ended: it is tried until the first has come.
        let mut got = 0;
        let reader = self.reader.as_mut().unwrap();
        let deadline = Instant::now() + OUTER_DEADLINE;
        while got < count {
            assert!(Instant::now() < deadline, "{got} of {count} have come");
            match reader.read(&mut letters[got..]).unwrap() {
                0 => thread::yield_now(),
                read => got += read,
            }
        }
    }

    /// Whether all that held the pipe are gone within a time.
    pub(crate) fn ends_within(self, limit: Duration) -> bool {
        self.rest_within(limit).is_some()
    }

    /// What was written besides the letters, if all that held the pipe are gone within a time.
    pub(crate) fn rest_within(mut self, limit: Duration) -> Option<Vec<u8>> {
        let (sender, ended) = channel();
        let mut reader = self.reader.take().unwrap();
        thread::spawn(move || {
            let mut rest = Vec::new();
            drop(reader.read_to_end(&mut rest));
            let (Ok(()) | Err(_)) = sender.send(rest);
        });
        ended.recv_timeout(limit).ok()
    }
}

/// A pipe with a name, from which a script reads a line before it goes on.
pub(crate) struct Gate {
    pub(crate) path: PathBuf,
    file: File,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let path = new_pipe();
        // Both ends are held, so that no script waits in its open, and no line is lost.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        Self { path, file }
    }

    pub(crate) fn pass(&mut self, line: &str) {
        writeln!(self.file, "{line}").unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

fn new_pipe() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("pool-supervisor-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    drop(fs::remove_file(&path));
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    path
}

impl Drop for LifeLine {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}
