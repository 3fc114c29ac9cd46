//! What the ladder is shown, and what it orders.

use std::time::{Duration, Instant};

use super::Stop;
use crate::process::outcome::{CountFailure, Drain, Rung, Survivors};

/// What is seen at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) root: RootSight,
    pub(crate) stdin: StdinSight,
    pub(crate) pipes: PipeSight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootSight {
    Running,
    Exited,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StdinSight {
    /// Bytes wait to be written.
    Pending,
    /// Nothing waits, or nothing can be written.
    Flushed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PipeSight {
    /// At least one pipe has not reached its end; the last bytes came at this time.
    Open { last_read: Option<Instant> },
    /// All have.
    Ended,
}

/// What lives of the scope besides the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    Alive(usize),
    Gone,
    /// Some may live. Another scan may tell.
    Unknown(CountFailure),
    /// Some may live, and no scan will ever tell.
    Uncountable(CountFailure),
}

/// What the ladder wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Order {
    /// Close the child's stdin, written out or not.
    DropStdin,
    /// SIGTERM, then SIGCONT, to the scope.
    Terminate,
    /// SIGKILL to the scope.
    Kill,
    /// Count what lives besides the root (in the kill stage: and kill it), and tell
    /// [`Ladder::scanned`].
    Scan(ScanFor),
    /// Collect the root's status. The group may not be signalled by its number after this.
    Reap,
    /// Come back at this time, or when something else is seen.
    Wait(Option<Instant>),
    /// It is over.
    Finish(Ending),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanFor {
    /// While the root lives, to know its descendants later. The count is of no interest.
    Record,
    Count,
    Kill,
}

/// The ladder's part of a [`Termination`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) rung: Rung,
    pub(crate) drain: Drain,
    pub(crate) survivors_found: usize,
    pub(crate) survivors: Survivors,
    pub(crate) elapsed: Duration,
}

/// Where a ladder begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Stop(Stop),
    /// Without a grace. SIGKILL was already sent to a root that lived.
    Killed,
    /// SIGTERM now, SIGKILL after this.
    Shutdown(Duration),
}
