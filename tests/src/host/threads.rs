//! What other code does to the threads of the process layer.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pool_stdio::{Child, CommandSpec, StderrPolicy, Stop};

use super::tell;
use crate::children::{block_on, is_readable_within};

/// The sink of a child has something in it that does this when it is dropped.
pub(super) fn sink_drop(what: &str) {
    let trap = Trap {
        panics: what == "panics",
    };
    let spec = CommandSpec::new("sh").args(["-c", "echo up >&2; exec cat"]);
    let child = spawn(spec.stderr_lines(move |_| _ = &trap));
    block_on(child.terminate(Stop::Force));
    tell_end_of_another();
}

struct Trap {
    panics: bool,
}

impl Drop for Trap {
    #[expect(clippy::disallowed_methods, reason = "it blocks on purpose")]
    fn drop(&mut self) {
        assert!(!self.panics, "on purpose");
        thread::sleep(LONG);
    }
}

/// A waker sleeps.
pub(super) fn slow_waker() {
    let child = spawn(CommandSpec::new("cat"));
    let mut exited = pin!(child.exited());
    let waker = Waker::from(Arc::new(SlowWaker));
    assert!(
        exited
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    kill(pid_of(&child), Signal::SIGKILL).expect("it lives");
    while child.try_wait().is_none() {
        thread::yield_now();
    }
    tell_end_of_another();
}

struct SlowWaker;

impl Wake for SlowWaker {
    #[expect(clippy::disallowed_methods, reason = "it blocks on purpose")]
    fn wake(self: Arc<Self>) {
        thread::sleep(LONG);
    }
}

/// A descriptor is handed over that blocks, with more bytes than the child takes.
pub(super) fn blocking_descriptor() {
    let mut child = spawn(CommandSpec::new("sleep").arg("60"));
    let stdin = child.take_stdin().expect("nothing else took it");
    let flags = OFlag::from_bits_retain(fcntl(&stdin, FcntlArg::F_GETFL).expect("it is open"));
    let blocking = FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK);
    fcntl(&stdin, blocking).expect("it is open");
    child.return_stdin(stdin, vec![b'x'; 1_000_000]);
    let ending = child.terminate(Stop::Orderly);
    tell_end_of_another();
    drop(ending);
}

/// A child writes lines to stderr as fast as it can, and a sink gets them.
pub(super) fn noisy_child() {
    let quiet = median_end();
    let _noisy = spawn(
        CommandSpec::new("sh")
            .args(["-c", "exec yes '' >&2"])
            .stderr_lines(|_| {}),
    );
    let noisy = median_end();
    tell("quiet_micros", quiet.as_micros());
    tell("noisy_micros", noisy.as_micros());
}

/// How long the end of a child takes that is killed.
fn median_end() -> Duration {
    let mut times: Vec<_> = (0..41)
        .map(|_| {
            let child = spawn(CommandSpec::new("cat"));
            let begun = now();
            block_on(child.terminate(Stop::Force));
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Another process traces the child, and does not care for its end.
pub(super) fn traced_child() {
    let child = spawn(CommandSpec::new("sleep").arg("60"));
    let pid = child.pid();
    let seize = format!(
        "my $number = `uname -m` eq \"aarch64\\n\" ? 117 : 101;
        syscall($number, 0x4206, {pid}, 0, 0) == 0 or die $!;
        $| = 1; print \"up\\n\"; sleep 60"
    );
    let mut tracer = spawn(CommandSpec::new("perl").args(["-e", &seize]));
    let up = tracer.take_stdout().expect("it is there");
    assert!(is_readable_within(up.as_fd(), 10 * LONG));
    let busy_before = custodian_time();
    let begun = now();
    let end = block_on(child.terminate(Stop::Force));
    tell("rung", end.rung);
    tell("exit", end.exit);
    tell("is_soon", begun.elapsed() < Duration::from_secs(10));
    tell(
        "is_idle",
        custodian_time() - busy_before < Duration::from_millis(300),
    );
    block_on(tracer.terminate(Stop::Force));
    while fs::exists(format!("/proc/{pid}")).expect("there is a /proc") {
        thread::yield_now();
    }
    tell("is_reaped", true);
}

/// What a hundred lines of one child cost the custodian beside none and beside many idle ones.
pub(super) fn idle_children(count: usize) {
    let alone = cost_of_lines();
    let idle: Vec<_> = (0..count).map(|_| spawn(CommandSpec::new("cat"))).collect();
    // Each answers once, so that none is still starting while the others are measured.
    let idle: Vec<_> = idle.into_iter().map(answered).collect();
    let beside_many = cost_of_lines();
    tell("alone_micros", alone.as_micros());
    tell("beside_many_micros", beside_many.as_micros());
    drop(idle);
}

/// A `cat` that has echoed a line, with our ends of its pipes.
fn answered(mut cat: Child) -> (Child, OwnedFd, OwnedFd) {
    let mut stdin = fs::File::from(cat.take_stdin().expect("nothing else took it"));
    let stdout = cat.take_stdout().expect("nothing else took it");
    stdin.write_all(b"line\n").expect("it reads");
    assert!(is_readable_within(stdout.as_fd(), 10 * LONG));
    (cat, stdin.into(), stdout)
}

fn cost_of_lines() -> Duration {
    let echo = "while read -r line; do echo \"$line\" >&2; done";
    let mut child = spawn(CommandSpec::new("sh").args(["-c", echo]));
    let mut stdin = fs::File::from(child.take_stdin().expect("nothing else took it"));
    let mut say_line = |number| {
        stdin.write_all(b"line\n").expect("it reads");
        // One by one, so that each is an event of its own.
        while child.stderr_tail().lines_total < number {
            thread::yield_now();
        }
    };
    // Order: once it has read this line, it has done what it had to do for the children that were started.
    say_line(1);
    // The least of a few: other work of the machine makes some of them dear.
    let hundreds = (0..10).map(|hundred| {
        let before = custodian_time();
        for number in 1..=100 {
            say_line(1 + 100 * hundred + number);
        }
        custodian_time() - before
    });
    hundreds.min().expect("there are ten")
}

/// Megabytes of stderr are asked for again and again while another child ends.
pub(super) fn large_tails() {
    let quiet = median_end();
    let ring = StderrPolicy::Ring {
        bytes_max: 64 << 20,
        lines_max: usize::MAX,
    };
    let script = "head -c 60000000 /dev/zero >&2; echo done; while :; do echo more >&2; done";
    let mut noisy = spawn(CommandSpec::new("sh").args(["-c", script]).stderr(ring));
    let done = noisy.take_stdout().expect("it is there");
    assert!(is_readable_within(done.as_fd(), 10 * LONG));
    let ends = thread::scope(|scope| {
        let ends = scope.spawn(median_end);
        while !ends.is_finished() {
            drop(noisy.stderr_tail());
        }
        ends.join().expect("it does not panic")
    });
    tell("quiet_micros", quiet.as_micros());
    tell("noisy_micros", ends.as_micros());
}

/// Whether another child, and this takes no report, ends soon.
fn tell_end_of_another() {
    let mut other = spawn(CommandSpec::new("cat"));
    let stdout = other.take_stdout().expect("nothing else took it");
    let begun = now();
    drop(other.terminate(Stop::Force));
    let ended = is_readable_within(stdout.as_fd(), 4 * LONG);
    tell("ended", ended);
    tell("is_soon", begun.elapsed() < LONG / 2);
    // The next one is a second proof that all threads live.
    let last = spawn(CommandSpec::new("cat"));
    tell("rung", block_on(last.terminate(Stop::Orderly)).rung);
}

fn spawn(spec: CommandSpec) -> Child {
    let command = spec.build().expect("there is such a program");
    block_on(command.spawn()).expect("it starts")
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.pid().cast_signed())
}

/// How long the custodian was at work. A thread gets its name once it runs, which on a busy machine
/// can be after the first child runs.
fn custodian_time() -> Duration {
    loop {
        if let Some(time) = named_thread_time("stdio-custodian") {
            return time;
        }
        thread::yield_now();
    }
}

fn named_thread_time(wanted: &str) -> Option<Duration> {
    let threads = fs::read_dir("/proc/self/task")
        .expect("there is a /proc")
        .flatten();
    let times = threads.filter_map(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let statistics = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos = statistics.split_ascii_whitespace().next()?.parse().ok()?;
        // The kernel gives the name of a thread fifteen characters.
        (name.trim_end() == wanted).then_some(Duration::from_nanos(nanos))
    });
    times.max()
}

#[expect(clippy::disallowed_methods, reason = "real children take real time")]
fn now() -> Instant {
    Instant::now()
}

const LONG: Duration = Duration::from_secs(3);
