//! Which processes a termination ends, how it begins, and how long each rung may last.

use std::time::Duration;

/// Which processes a termination ends.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, KillScope};
///
/// assert_eq!(KillScope::default(), KillScope::Group);
/// // For servers that start daemons of their own.
/// let spec = CommandSpec::new("cat").kill_scope(KillScope::Tree);
/// # assert!(spec.build().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum KillScope {
    /// The child alone. What it started is left running.
    Root,
    /// The child's process group: everything it started that did not leave the group.
    #[default]
    Group,
    /// The group, and the descendants that left it by `setsid` or a double fork. They are found by a
    /// cookie that every descendant inherits in its environment, and by their parents while those
    /// live. One that cleared its environment and lost its parents is not found; if an environment
    /// cannot be read, the count is [unknown](crate::Survivors::Unknown). On systems other than Linux
    /// the same as [`Group`](Self::Group).
    Tree,
}

/// How a termination begins.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_stdio::{CommandSpec, Rung, Stop};
///
/// let cat = CommandSpec::new("cat").build()?;
/// let end = cat.spawn().await?.terminate(Stop::Orderly).await;
/// assert_eq!(end.rung, Rung::Eof);
/// let end = cat.spawn().await?.terminate(Stop::Force).await;
/// assert_eq!(end.rung, Rung::Kill);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The whole ladder: flush, end of input, SIGTERM, SIGKILL. For a child that did nothing wrong.
    Orderly,
    /// SIGKILL at once, or after [`force_grace`](LadderTimes::force_grace). For a child that is dead,
    /// dirty or failed a check: waiting for it would only hold up others.
    Force,
}

/// How long each rung may last.
///
/// An orderly termination takes at most the sum of all but `force_grace`, a forced one at most
/// `force_grace + kill_wait + drain_timeout`. Each rung can take a second more if the scan for
/// survivors of a dead root is stuck. Only a root that the kernel does not kill (stuck on a dead file
/// system) takes longer.
///
/// A time may be as long as [`Duration::MAX`]; more than 30 years count as 30 years.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, LadderTimes};
/// use std::time::Duration;
///
/// let mut times = LadderTimes::default();
/// times.eof_grace = Duration::from_secs(1); // it knows how to end
/// let spec = CommandSpec::new("cat").ladder_times(times);
/// # assert!(spec.build().is_ok());
/// assert_eq!(times.term_grace, Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LadderTimes {
    /// How long it may take to write what was queued for the child. Default 500 ms: a child that reads
    /// takes microseconds, and one that does not read must not delay its own end.
    pub flush: Duration,
    /// The time from the end of input to SIGTERM. Default 5 s: some servers leave corrupt files behind if they
    /// are killed 500 ms after the end of their input.
    pub eof_grace: Duration,
    /// The time from SIGTERM to SIGKILL. Default 5 s.
    pub term_grace: Duration,
    /// The time from SIGTERM to SIGKILL in a [forced](Stop::Force) termination. Default zero: no SIGTERM, and
    /// the child is dead before its stdin is closed. With any other value it sees the end of its
    /// input first, possibly in the middle of a request.
    pub force_grace: Duration,
    /// How long the rest of the scope has to die after SIGKILL, counted from the death of the root.
    /// Default 2 s.
    pub kill_wait: Duration,
    /// How long what is left in the pipes is read, counted from the end of the scope. Default 2 s.
    pub drain_timeout: Duration,
    /// How long a pipe may stay open without a byte, held by a process outside the scope. Default
    /// 500 ms: shorter times give false alarms on a loaded machine.
    pub drain_idle: Duration,
}

impl Default for LadderTimes {
    fn default() -> Self {
        Self {
            flush: Duration::from_millis(500),
            eof_grace: Duration::from_secs(5),
            term_grace: Duration::from_secs(5),
            force_grace: Duration::ZERO,
            kill_wait: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(2),
            drain_idle: Duration::from_millis(500),
        }
    }
}

impl LadderTimes {
    /// The same, with each time short enough to be added to a point in time.
    pub(crate) fn clamped(self) -> Self {
        Self {
            flush: self.flush.min(TIME_MAX),
            eof_grace: self.eof_grace.min(TIME_MAX),
            term_grace: self.term_grace.min(TIME_MAX),
            force_grace: self.force_grace.min(TIME_MAX),
            kill_wait: self.kill_wait.min(TIME_MAX),
            drain_timeout: self.drain_timeout.min(TIME_MAX),
            drain_idle: self.drain_idle.min(TIME_MAX),
        }
    }

    /// The same, but with SIGTERM as the first rung and this long until SIGKILL.
    pub(super) const fn hastened(self, grace: Duration) -> Self {
        Self {
            flush: Duration::ZERO,
            eof_grace: Duration::ZERO,
            term_grace: grace,
            ..self
        }
    }
}

/// As good as for ever, and can be added to any point in time, so that no user's value makes the
/// custodian panic.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
