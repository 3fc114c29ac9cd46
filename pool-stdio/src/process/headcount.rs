//! What the scans of a child's scope are worth: whether one is to be believed, and who is alive.
//!
//! A process that is forked while a scan goes on, by one that has left when the scan comes to it, is not
//! found. So a scan that finds no member of the group, though the group is not empty, is made again while
//! all members are stopped.

use std::collections::BTreeSet;

use super::outcome::CountFailure;
use super::proc_scan::ScanAnswer;
use super::sys::ProcessId;
use super::terminate::{Others, ScanFor};

/// The scans of one termination.
#[derive(Debug)]
pub(super) struct Headcount {
    /// Of the last scan. Answers to earlier ones prove nothing.
    number: u64,
    mode: ScanMode,
    /// The members of the group that the last scan saw dead.
    dead: BTreeSet<ProcessId>,
    /// Those that the last scan saw alive, so that they are known when their parents are dead.
    seen: Vec<ProcessId>,
}

/// Whether a scan that finds no member of the group is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanMode {
    /// It is not.
    Plain,
    /// All members are stopped meanwhile, so that none can fork. It is believed if no member has died
    /// since the scan before. If one has, somebody may have let them go on. The kernel does that too: a
    /// stopped group that loses its last link to its session gets SIGHUP and SIGCONT.
    Held,
    /// All members have been killed, or run again: it is.
    Final,
}

/// What is asked of the process group, which can change at any time.
pub(super) trait GroupSight {
    fn is_empty(&self) -> bool;

    /// Whether its number is still its own.
    fn holds_number(&self) -> bool;
}

impl Headcount {
    pub(super) const fn new() -> Self {
        Self {
            number: 0,
            mode: ScanMode::Plain,
            dead: BTreeSet::new(),
            seen: Vec::new(),
        }
    }

    /// Another count begins: earlier scans prove nothing any more.
    pub(super) const fn begin(&mut self, purpose: ScanFor) {
        self.number += 1;
        self.mode = match purpose {
            ScanFor::Count => ScanMode::Plain,
            // No member can have been forked after the signal.
            ScanFor::Record | ScanFor::Kill => ScanMode::Final,
        };
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Those that were seen alive.
    pub(super) fn seen(&self) -> &[ProcessId] {
        &self.seen
    }

    /// The system has counted them without a scan.
    pub(super) fn counted(&mut self, members: Vec<ProcessId>) {
        self.seen = members;
    }

    /// Whether the scan must be made again with all members stopped. If so, it has begun.
    #[must_use]
    pub(super) fn must_hold(&mut self, answer: &ScanAnswer, group: &impl GroupSight) -> bool {
        let can_miss = answer.others == Others::Gone && !group.is_empty();
        let dead = answer.dead_members.iter().copied().collect();
        let before = std::mem::replace(&mut self.dead, dead);
        let is_believed = match self.mode {
            ScanMode::Plain => false,
            ScanMode::Held => self.dead.is_subset(&before),
            ScanMode::Final => true,
        };
        let must_hold = can_miss && !is_believed;
        if must_hold {
            self.mode = ScanMode::Held;
            self.number += 1;
        }
        must_hold
    }

    /// Whether the members were stopped. From now on they run again.
    #[must_use]
    pub(super) fn release(&mut self) -> bool {
        let is_held = self.mode == ScanMode::Held;
        if is_held {
            self.mode = ScanMode::Final;
        }
        is_held
    }

    /// What an answer that is believed says of those that live besides the root.
    #[must_use]
    pub(super) fn conclude(&mut self, answer: ScanAnswer, group: &impl GroupSight) -> Others {
        let others = match answer.others {
            // The members that it saw have gone since.
            Others::Alive(_)
                if answer.outside.is_empty() && !answer.has_unseen && group.is_empty() =>
            {
                Others::Gone
            }
            // A member that was not shown, not even dead, can live.
            Others::Gone if answer.dead_members.is_empty() && !group.is_empty() => {
                Others::Unknown(CountFailure::Unreadable)
            }
            Others::Unknown(why @ CountFailure::NoProc) if group.is_empty() => {
                Others::Uncountable(why)
            }
            Others::Alive(_) | Others::Gone | Others::Unknown(_) | Others::Uncountable(_) => {
                answer.others
            }
        };
        if !matches!(others, Others::Unknown(_) | Others::Uncountable(_)) {
            self.seen = answer.outside;
            // Order: asked after the scan. Once the group is empty, its number can be another's.
            if group.holds_number() {
                self.seen.extend(answer.members);
            }
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::proc_scan::ScanKey;
    use crate::process::record::ChildId;

    struct Group {
        is_empty: bool,
        holds_number: bool,
    }

    const INHABITED: Group = Group {
        is_empty: false,
        holds_number: true,
    };
    const EMPTY: Group = Group {
        is_empty: true,
        holds_number: false,
    };

    impl GroupSight for Group {
        fn is_empty(&self) -> bool {
            self.is_empty
        }

        fn holds_number(&self) -> bool {
            self.holds_number
        }
    }

    fn process(pid: u32) -> ProcessId {
        ProcessId {
            pid,
            started_ticks: 0,
        }
    }

    fn answer(others: Others, members: &[u32], dead_members: &[u32]) -> ScanAnswer {
        let of = |pids: &[u32]| pids.iter().copied().map(process).collect();
        ScanAnswer {
            key: ScanKey {
                child: ChildId(0),
                number: 0,
            },
            others,
            members: of(members),
            outside: Vec::new(),
            adopted: Vec::new(),
            dead_members: of(dead_members),
            has_unseen: false,
        }
    }

    #[test]
    fn a_scan_that_finds_nobody_in_an_inhabited_group_is_made_again_until_no_member_has_died_since()
    {
        let mut count = Headcount::new();
        count.begin(ScanFor::Count);
        let gone = |dead: &[u32]| answer(Others::Gone, &[], dead);
        assert!(!count.must_hold(&gone(&[]), &EMPTY), "nobody can be missed");
        assert!(count.must_hold(&gone(&[7]), &INHABITED));
        assert_eq!(count.number(), 2, "the answers to the first one are stale");
        assert!(
            count.must_hold(&gone(&[7, 8]), &INHABITED),
            "8 may have let others go on"
        );
        assert!(!count.must_hold(&gone(&[8]), &INHABITED));
        assert!(count.release() && !count.release());
        assert!(!count.must_hold(&gone(&[9]), &INHABITED), "they run again");
    }

    #[test]
    fn after_a_kill_a_scan_is_believed_at_once() {
        let mut count = Headcount::new();
        count.begin(ScanFor::Kill);
        assert!(!count.must_hold(&answer(Others::Gone, &[], &[7]), &INHABITED));
        assert!(!count.release());
    }

    #[test]
    fn what_is_concluded_heeds_what_the_group_shows_after_the_scan() {
        let mut count = Headcount::new();
        let gone = count.conclude(answer(Others::Alive(1), &[7], &[]), &EMPTY);
        assert_eq!(gone, Others::Gone);
        assert!(count.seen().is_empty(), "the number can be another group's");
        let alive = count.conclude(answer(Others::Alive(1), &[7], &[]), &INHABITED);
        assert_eq!((alive, count.seen()), (Others::Alive(1), &[process(7)][..]));
        let unseen = count.conclude(answer(Others::Gone, &[], &[]), &INHABITED);
        assert_eq!(unseen, Others::Unknown(CountFailure::Unreadable));
        assert_eq!(count.seen(), [process(7)], "it may live");
        let dead = count.conclude(answer(Others::Gone, &[], &[8]), &INHABITED);
        assert_eq!(dead, Others::Gone);
    }
}
