//! A host that a test ends, to see what is left of its children.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::children::{OUTER_DEADLINE, is_readable_within};

/// The grace of a guardian by default.
pub const GRACE: Duration = Duration::from_millis(700);
/// What it may take beyond that.
pub const MARGIN: Duration = Duration::from_millis(300);

/// What takes longer than this hangs, however busy the machine is.
pub const HANG: Duration = Duration::from_secs(120);

/// The ways in which a host ends.
pub const ENDINGS: [&str; 10] = [
    "kill",
    "segv",
    "abort",
    "panic",
    "exit",
    "return",
    "return-in-termination",
    "close-the-pool",
    "drop-the-pool",
    "kill-with-a-fork",
];

/// It acts neither on the end of its input nor on SIGTERM.
pub const DEAF: &str = "trap '' TERM; echo up >&2; while :; do sleep 300; done";

/// A host that was started for a test.
#[derive(Debug)]
pub struct Host {
    program: String,
    process: Child,
    said: ChildStdout,
    mark: String,
}

impl Host {
    /// Starts the host program with the words of a scene. Returns when the scene has said `up`.
    ///
    /// # Panics
    ///
    /// If it does not say so in time.
    #[must_use]
    pub fn start(program: &str, words: &[&str], variables: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{number}.", std::process::id());
        let mut command = Command::new(program);
        command.args(words).envs(variables.iter().copied());
        command
            .env(MARK, &mark)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        #[expect(
            clippy::disallowed_methods,
            reason = "a host, which is no child of a pool"
        )]
        let mut process = command.spawn().expect("it is built");
        let said = process.stdout.take().expect("it is a pipe");
        let mut host = Self {
            program: program.into(),
            process,
            said,
            mark,
        };
        assert_eq!(host.read_line(), *b"up\n", "{words:?}");
        host
    }

    /// The next thing that the host says.
    fn read_line(&mut self) -> [u8; 3] {
        let is_there = is_readable_within(self.said.as_fd(), HANG);
        assert!(is_there, "it says nothing");
        let mut line = [0; 3];
        self.said.read_exact(&mut line).expect("it says all of it");
        line
    }

    /// The host's pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The process that is to end the children, if there is one.
    ///
    /// # Panics
    ///
    /// If the host has gone.
    #[must_use]
    pub fn guardian(&self) -> Option<u32> {
        let children = format!("/proc/{}/task", self.pid());
        let threads = fs::read_dir(children).expect("it lives").flatten();
        let mut children = threads.flat_map(|thread| {
            let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            list.split_ascii_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        let is_guardian = |pid: &String| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("Ends the children") || line.starts_with("/proc/self/exe")
        };
        let found = children.find(is_guardian)?;
        found.parse().ok()
    }

    /// Kills its guardian. Returns the guardian that the host starts then, once it knows all children.
    ///
    /// # Panics
    ///
    /// If there is none, before or then.
    pub fn replace_guardian(&mut self) -> u32 {
        let first = wait_for(OUTER_DEADLINE, || self.guardian()).expect("one was started");
        kill(pid(first), Signal::SIGKILL).expect("it lives");
        assert_eq!(self.read_line(), *b"gd\n");
        // The list of children can miss one while others come and go.
        let second = || self.guardian().filter(|pid| *pid != first);
        wait_for(OUTER_DEADLINE, second).expect("the host says so")
    }

    /// Everything that was started by it, wherever it is, and its guardians, but not the host itself
    /// and forks of it.
    ///
    /// # Panics
    ///
    /// If there is no `/proc`.
    #[must_use]
    pub fn processes(&self) -> Vec<String> {
        let wanted = format!("{MARK}={}", self.mark);
        let guarded = format!("\0{}-", self.pid());
        let all = fs::read_dir("/proc").expect("Linux has it").flatten();
        let found = all.filter_map(|entry| {
            let pid = entry.file_name().into_string().ok()?;
            pid.parse::<u32>().ok()?;
            let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            let mut variables = environ.split(|byte| *byte == 0);
            let is_child = variables.any(|entry| entry == wanted.as_bytes())
                && !line.starts_with(&self.program);
            let is_guardian = line.contains("Ends the children") && line.contains(&guarded);
            (!line.is_empty() && (is_child || is_guardian)).then(|| {
                let line: String = line.replace('\0', " ").chars().take(80).collect();
                let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                // State, parent, group and session.
                let stat = stat.rsplit(") ").next().unwrap_or_default();
                let stat: Vec<&str> = stat.split(' ').take(4).collect();
                format!("{pid} {line}[{}]", stat.join(" "))
            })
        });
        found.collect()
    }

    /// Ends the host if its scene does not. Returns how long after the kill, or after it has ended by itself, nothing is
    /// left.
    ///
    /// # Errors
    ///
    /// What is left after `limit`, which is killed.
    ///
    /// # Panics
    ///
    /// If the host has gone before.
    pub fn end(mut self, is_killed: bool, limit: Duration) -> Result<Duration, Vec<String>> {
        // Order: it can be gone for a while before this thread hears of it.
        let killed = is_killed.then(|| {
            let begun = now();
            self.process.kill().expect("it lives");
            begun
        });
        self.process.wait().expect("it is our child");
        self.watch_since(killed.unwrap_or_else(now), limit)
    }

    /// Kills it, and returns when it has gone.
    ///
    /// # Panics
    ///
    /// If it has gone before.
    pub fn kill(&mut self) {
        self.process.kill().expect("it lives");
        self.process.wait().expect("it is our child");
    }

    /// Once the host has ended: returns how long until nothing is left.
    ///
    /// # Errors
    ///
    /// What is left after `limit`, which is killed.
    ///
    /// # Panics
    ///
    /// If there is no `/proc`.
    pub fn watch_the_rest(&self, limit: Duration) -> Result<Duration, Vec<String>> {
        self.watch_since(now(), limit)
    }

    fn watch_since(&self, ended: Instant, limit: Duration) -> Result<Duration, Vec<String>> {
        let gone = wait_for(limit, || self.processes().is_empty().then_some(()));
        let took = ended.elapsed();
        let left = self.processes();
        for process in &left {
            let pid = process.split(' ').next().and_then(|pid| pid.parse().ok());
            let pid = Pid::from_raw(pid.expect("it begins with it"));
            let (Ok(()) | Err(_)) = kill(pid, Signal::SIGKILL);
        }
        gone.map(|()| took).ok_or(left)
    }

    /// The same, where nothing is to be left.
    ///
    /// # Panics
    ///
    /// If something is left.
    #[track_caller]
    pub fn assert_end(self) -> Duration {
        let end = self.end(true, HANG);
        end.unwrap_or_else(|left| panic!("left {left:?}"))
    }
}

/// Asks again and again.
pub fn wait_for<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let until = now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if now() > until {
            return None;
        }
        nap();
    }
}

/// The time. Hosts are real processes.
#[expect(clippy::disallowed_methods, reason = "hosts take real time to end")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing tells of the end of a process of another's"
)]
fn nap() {
    thread::sleep(Duration::from_millis(10));
}

/// Waits until this guardian has gone.
///
/// # Panics
///
/// If it does not go in time.
pub fn assert_gone(guardian: u32) {
    let is_gone = || {
        let status = fs::read_to_string(format!("/proc/{guardian}/stat")).unwrap_or_default();
        (status.is_empty() || status.contains(") Z ")).then_some(())
    };
    wait_for(GRACE + 10 * MARGIN, is_gone).expect("it has nothing left to do");
}

/// A pid, as calls want it.
#[must_use]
pub fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed())
}

const MARK: &str = "POOL_TESTS_HOST";
