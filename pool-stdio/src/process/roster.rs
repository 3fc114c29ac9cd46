//! The members of a set of children, those that are being started for it, and the tasks that wait for
//! the set to be empty.
//!
//! A place in the set is a value: a [`Reservation`] while the child is being started, a
//! [`Membership`] from then until it has ended. Dropping either gives the place up, and tells the
//! tasks that wait for an empty set.
//!
//! # Locking
//!
//! One mutex, held for a few instructions. Tasks are woken after it is unlocked, by the notifier.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::time::Instant;

use super::lock::lock;
use super::once::{Once, Wait};
use super::outcome::TerminateAllReport;
use super::record::{ChildId, ChildRecord};
use super::sys::Root;

/// The children of one set.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    state: RosterState,
    /// Wakes the custodian, once the set is closed: it may wait for the set to be empty.
    custodian: Option<Waker>,
    reserved: usize,
    /// How many children have become members so far.
    admitted: usize,
    members: BTreeMap<ChildId, Member>,
    waiting_for_empty: Vec<Arc<Once<()>>>,
}

/// Whether children may join a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RosterState {
    #[default]
    Open,
    /// All of its children are to end.
    Closed,
}

/// A child of the set.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) record: Arc<ChildRecord>,
    /// Weak, so that the set does not keep descriptors open.
    pub(crate) root: Weak<Root>,
}

impl Places {
    fn count(&self) -> usize {
        self.reserved + self.members.len()
    }

    fn pids(&self) -> Vec<u32> {
        let members = self.members.values();
        members.map(|member| member.record.pid).collect()
    }

    fn take_waiting_if_empty(&mut self) -> Vec<Arc<Once<()>>> {
        if self.count() == 0 {
            std::mem::take(&mut self.waiting_for_empty)
        } else {
            Vec::new()
        }
    }
}

impl Roster {
    /// How many children are being started, alive, or being terminated.
    pub(crate) fn count(&self) -> usize {
        lock(&self.places).count()
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        lock(&self.places).members.values().cloned().collect()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        lock(&self.places).pids()
    }

    /// A place for a child that is to be started; `None` if the set is closed.
    pub(crate) fn reserve(self: &Arc<Self>) -> Option<Reservation> {
        let mut places = lock(&self.places);
        if places.state == RosterState::Closed {
            return None;
        }
        places.reserved += 1;
        Some(Reservation {
            roster: Arc::clone(self),
        })
    }

    /// Lets no more children join. The custodian is woken when a start that was begun before leaves
    /// the set empty.
    pub(crate) fn close(&self, custodian: Option<Waker>) {
        let mut places = lock(&self.places);
        places.state = RosterState::Closed;
        let replaced = std::mem::replace(&mut places.custodian, custodian);
        // Order: unlocked before a waker is dropped.
        drop(places);
        drop(replaced);
    }

    /// Resolves when the set is empty.
    pub(crate) fn emptied(&self) -> Wait<()> {
        let emptied = Once::new();
        let is_empty = {
            let mut places = lock(&self.places);
            let is_empty = places.count() == 0;
            if !is_empty {
                places.waiting_for_empty.push(Arc::clone(&emptied));
            }
            is_empty
        };
        if is_empty {
            emptied.set(());
        }
        Wait::new(emptied)
    }
}

fn wake(waiting: Vec<Arc<Once<()>>>) {
    for emptied in waiting {
        emptied.publish(());
    }
}

/// A place in the set for a child that is being started.
#[derive(Debug)]
pub(crate) struct Reservation {
    roster: Arc<Roster>,
}

/// What a reservation becomes when the child has started.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) membership: Membership,
    /// Closed if the set was closed while the child was being started: then it is to be ended.
    pub(crate) roster_state: RosterState,
}

impl Reservation {
    /// Makes the child a member.
    pub(crate) fn admit(self, record: &Arc<ChildRecord>, root: &Arc<Root>) -> Admission {
        let member = Member {
            record: Arc::clone(record),
            root: Arc::downgrade(root),
        };
        let roster_state = {
            let mut places = lock(&self.roster.places);
            places.members.insert(record.id, member);
            places.admitted += 1;
            places.state
        };
        Admission {
            membership: Membership {
                roster: Arc::clone(&self.roster),
                id: record.id,
            },
            roster_state,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let (waiting, custodian) = {
            let mut places = lock(&self.roster.places);
            places.reserved -= 1;
            let is_empty = places.count() == 0;
            let custodian = places.custodian.clone().filter(|_| is_empty);
            (places.take_waiting_if_empty(), custodian)
        };
        wake(waiting);
        if let Some(custodian) = custodian {
            custodian.wake();
        }
    }
}

/// A child's place in the set.
#[derive(Debug)]
pub(crate) struct Membership {
    roster: Arc<Roster>,
    id: ChildId,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let (member, waiting) = {
            let mut places = lock(&self.roster.places);
            let member = places.members.remove(&self.id);
            (member, places.take_waiting_if_empty())
        };
        drop(member);
        wake(waiting);
    }
}

/// A `terminate_all` under way. The custodian asks it after each event whether it is over.
#[derive(Debug)]
pub(crate) struct RoundUp {
    roster: Arc<Roster>,
    /// How many children had gone before.
    gone_before: usize,
    until: Instant,
    report: Arc<Once<TerminateAllReport>>,
}

impl RoundUp {
    pub(crate) fn begin(roster: &Arc<Roster>, until: Instant) -> Self {
        let gone_before = {
            let places = lock(&roster.places);
            places.admitted - places.members.len()
        };
        Self {
            roster: Arc::clone(roster),
            gone_before,
            until,
            report: Once::new(),
        }
    }

    /// Resolves when it is over.
    pub(crate) fn reported(&self) -> Wait<TerminateAllReport> {
        Wait::new(Arc::clone(&self.report))
    }

    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Publishes the report if the set is empty or the time is over, and says whether it did.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let is_over = self.roster.count() == 0 || now >= self.until;
        if is_over {
            self.publish();
        }
        is_over
    }

    /// Publishes what there is to report now.
    pub(crate) fn publish(&self) {
        let report = {
            let places = lock(&self.roster.places);
            let left: Vec<u32> = places.pids();
            // A start that failed was never a child.
            let ended = places.admitted - left.len() - self.gone_before;
            TerminateAllReport { ended, left }
        };
        self.report.publish(report);
    }
}
