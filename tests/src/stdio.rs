//! What everything that starts real children shares, tests and the soak alike.

use std::env;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use pool_core::Builder;
use pool_stdio::CommandSpec;
use pool_testkit::census::Census;
use pool_testkit::fixture::{self, Behaviour};

/// The fixture program, and the census that counts its processes.
#[derive(Debug)]
pub struct Stage<'a> {
    program: PathBuf,
    is_this: bool,
    census: &'a Census,
}

impl<'a> Stage<'a> {
    /// The program at this path.
    pub fn at(program: impl Into<PathBuf>, census: &'a Census) -> Self {
        Self {
            program: program.into(),
            is_this: false,
            census,
        }
    }

    /// This very program, which must begin with [`act_if_asked`].
    ///
    /// # Panics
    ///
    /// If the system does not tell which file it is.
    #[must_use]
    pub fn this_program(census: &'a Census) -> Self {
        Self {
            program: env::current_exe().expect("Linux tells"),
            is_this: true,
            census,
        }
    }

    /// What starts a child of this behaviour.
    #[must_use]
    pub fn spec(&self, behaviour: &Behaviour) -> CommandSpec {
        let spec = self.census.mark(behaviour.command(&self.program));
        if self.is_this {
            spec.env(IS_FIXTURE, "1")
        } else {
            spec
        }
    }

    /// The census.
    #[must_use]
    pub const fn census(&self) -> &'a Census {
        self.census
    }
}

/// Is the fixture, if this process was started as one. Descendants inherit that they are.
#[must_use]
pub fn act_if_asked() -> Option<ExitCode> {
    env::var_os(IS_FIXTURE).map(|_| fixture::main())
}

/// Replaces what dies without waiting long: what kills a lot would otherwise measure the pacer.
///
/// The pacer's settings: `min_uptime` zero, so that no death counts as a failure, and `retry_delay`
/// one millisecond, first and last.
pub fn eager<T: Send + 'static, L>(builder: Builder<T, L>) -> Builder<T, L> {
    let millisecond = Duration::from_millis(1);
    builder
        .min_uptime(Duration::ZERO)
        .retry_delay(millisecond, millisecond)
}

/// Polls a future this often at most, waiting for its wake-up in between, and drops it. Says whether
/// it came to its end before.
pub async fn poll_times<F: IntoFuture>(future: F, times: usize) -> Option<F::Output> {
    let mut future = Box::pin(future.into_future());
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Sends SIGKILL to a child by its id, behind the back of whoever holds it. It may have ended.
///
/// # Panics
///
/// If the system does not allow it.
pub fn kill(pid: u32) {
    match signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("cannot kill {pid}: {error}"),
    }
}

/// How late the machine is: a busy one is no fault of who is measured, but a blocked runtime is.
///
/// A thread that only naps adds up how much too late it was woken. A machine may wake those who
/// sleep at once, and let those wait who work: so the time that threads of this process were ready
/// to run and did not is added.
#[derive(Debug)]
pub struct Pulse {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Duration>,
    waited_before: Duration,
}

impl Pulse {
    /// Starts to nap.
    #[must_use]
    pub fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || nap(&over));
        Self {
            is_over,
            thread,
            waited_before: waited_for_a_core(),
        }
    }

    /// Ends, and says how late it was in all.
    ///
    /// # Panics
    ///
    /// Never: naps do not.
    #[must_use]
    pub fn stop(self) -> Duration {
        let waited = waited_for_a_core().saturating_sub(self.waited_before);
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("naps do not panic") + waited
    }
}

/// How long the threads of this process that live were ready to run and did not, where the system
/// tells.
fn waited_for_a_core() -> Duration {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Duration::ZERO;
    };
    let waited = |thread: io::Result<fs::DirEntry>| -> Option<u64> {
        let statistics = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        statistics.split_whitespace().nth(1)?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(waited).sum())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a nap that is too long is what is looked for"
)]
fn nap(is_over: &AtomicBool) -> Duration {
    let mut late = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        let begun = std::time::Instant::now();
        thread::sleep(NAP);
        late += begun.elapsed().saturating_sub(NAP);
    }
    late
}

/// The same decisions for the same seed.
#[derive(Debug, Clone, Copy)]
pub struct Chance {
    /// Of the whole run.
    pub seed: u64,
    /// Whose decisions they are.
    pub actor: u64,
}

impl Chance {
    /// The decision of this number, evenly distributed.
    #[must_use]
    pub const fn number(&self, number: u64) -> u64 {
        // SplitMix64.
        let mut mixed = self.seed ^ (self.actor << 48) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether the decision of this number is yes, which one in so many is.
    #[must_use]
    pub const fn is_one_in(&self, count: u64, number: u64) -> bool {
        self.number(number).is_multiple_of(count)
    }
}

const IS_FIXTURE: &str = "POOL_TESTS_IS_FIXTURE";
const NAP: Duration = Duration::from_millis(5);
