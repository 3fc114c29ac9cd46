//! What is asked of a scan, and what it answers.

use std::sync::Arc;

use crate::process::cgroup::Cgroup;
use crate::process::outcome::CountFailure;
use crate::process::record::ChildId;
use crate::process::signal::Signal;
use crate::process::sys::ProcessId;
use crate::process::terminate::Others;

/// A request for a scan.
#[derive(Debug)]
pub(crate) struct ScanRequest {
    pub(crate) key: ScanKey,
    /// The root's pid, unless it was reaped. It is not counted.
    pub(crate) unreaped_root: Option<u32>,
    /// The process group, if it is still the child's.
    pub(crate) group: Option<u32>,
    /// Descendants that left the group are looked for among the processes that were started at this
    /// time or later; `None` if they are not looked for.
    pub(crate) descendants_since: Option<u64>,
    /// The control group that the child and all its descendants are in, if it has one.
    pub(crate) cgroup: Option<Arc<Cgroup>>,
    /// Descendants that earlier scans found.
    pub(crate) recorded: Vec<ProcessId>,
    pub(crate) purpose: ScanPurpose,
}

/// Which scan an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanKey {
    pub(crate) child: ChildId,
    /// Counts the scans of one child.
    pub(crate) number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanPurpose {
    /// To answer how many live.
    Count,
    /// The same, and to kill those outside the group.
    Kill,
    /// To send signals to those outside the group, once. There is no answer.
    Signal(&'static [Signal]),
}

/// A [`ScanPurpose`] without its signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ScanKind {
    Signal,
    Count,
    Kill,
}

impl ScanPurpose {
    /// What requests of one child are told apart by while they wait. A later one replaces an earlier one
    /// of the same kind.
    pub(crate) const fn kind(self) -> ScanKind {
        match self {
            Self::Count => ScanKind::Count,
            Self::Kill => ScanKind::Kill,
            Self::Signal(_) => ScanKind::Signal,
        }
    }

    /// The signals for those outside the group.
    pub(crate) const fn signals(self) -> &'static [Signal] {
        match self {
            Self::Count => &[],
            Self::Kill => &[Signal::Kill],
            Self::Signal(signals) => signals,
        }
    }
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct ScanAnswer {
    pub(crate) key: ScanKey,
    pub(crate) others: Others,
    /// Those of the group that live.
    pub(crate) members: Vec<ProcessId>,
    /// Descendants outside the group that live.
    pub(crate) outside: Vec<ProcessId>,
    /// Those of both that are dead, and may be our children because their parents have ended.
    pub(crate) adopted: Vec<ProcessId>,
    /// Members of the group that are dead and not yet reaped.
    pub(crate) dead_members: Vec<ProcessId>,
    /// Whether some of those that live are shown by the control group alone.
    pub(crate) has_unseen: bool,
}

impl ScanAnswer {
    pub(crate) const fn failed(key: ScanKey, why: CountFailure) -> Self {
        Self {
            key,
            others: Others::Unknown(why),
            members: Vec::new(),
            outside: Vec::new(),
            adopted: Vec::new(),
            dead_members: Vec::new(),
            has_unseen: false,
        }
    }
}
