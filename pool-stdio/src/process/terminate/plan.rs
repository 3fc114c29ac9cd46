//! What a termination is aimed at, how it begins, and how long each rung may last.

use std::time::Duration;

/// What a termination is aimed at.
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
    /// The group, and whatever left it by `setsid` or a double fork, found by a cookie that every
    /// descendant inherits in its environment. A descendant that cleared or overwrote its
    /// environment escapes. On systems without `/proc` the same as [`Group`](Self::Group).
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
    /// SIGKILL at once, or after [`force_grace`](LadderTimes::force_grace). For a child that is
    /// dead, dirty or distrusted: nobody should wait out its graces.
    Force,
}

/// How long each rung may last.
///
/// The worst case of an orderly termination is the sum of all but `force_grace`, of a forced one
/// `force_grace + kill_wait + drain_timeout`; where the looks for survivors of a dead root are stuck,
/// a second more for each rung. Both are exceeded only by a process that the kernel cannot kill
/// (stuck on a dead file system).
///
/// A time may be as long as [`Duration::MAX`]; what exceeds 30 years is cut to that.
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
    /// For writing what was queued for the child. Default 500 ms: a child that reads takes
    /// microseconds, one that does not read must not delay its own end.
    pub flush: Duration,
    /// From end of input to SIGTERM. Default 5 s: servers that were killed 500 ms after end of
    /// input have been seen to leave corrupt files behind.
    pub eof_grace: Duration,
    /// From SIGTERM to SIGKILL. Default 5 s.
    pub term_grace: Duration,
    /// From SIGTERM to SIGKILL in a [forced](Stop::Force) termination. Default zero: no SIGTERM, and
    /// the child is dead before its stdin is closed. With any other it sees the end of its input
    /// first, in the middle of a request perhaps.
    pub force_grace: Duration,
    /// After the root's death by SIGKILL, for the rest of the subject to die. Default 2 s.
    pub kill_wait: Duration,
    /// From the subject's end, for reading what is left in the pipes. Default 2 s.
    pub drain_timeout: Duration,
    /// For a pipe that is held open in silence by a process outside the subject. Default 500 ms;
    /// shorter ones give false alarms on a loaded machine.
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
    /// The same, but with no time that cannot be added to a point in time.
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

/// As good as for ever, and can be added to any point in time: the thread that watches over every
/// child must not panic because somebody asked for more.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
