//! The rules that the events of a shared pool keep.

use std::collections::{BTreeMap, VecDeque};

use pool_core::{CloseReason, ConnectionId, EventKind, WaiterId};

type Checked = Result<(), String>;

#[derive(Debug, Clone, Copy)]
pub(crate) struct ShareLimits {
    /// At first.
    pub(crate) max_size: usize,
    pub(crate) max_surge: usize,
    pub(crate) max_leases: u32,
}

/// A connection, from the beginning of its connect to the end of its close.
#[derive(Debug, Default)]
struct Life {
    is_open: bool,
    /// It died or failed a check, so it gets no new leases.
    is_doomed: bool,
    /// The leases that began, without those that ended with a `Returned`.
    leases: u32,
    closing: Option<CloseReason>,
}

#[derive(Debug)]
pub(crate) struct ShareBook {
    limits: ShareLimits,
    lives: BTreeMap<ConnectionId, Life>,
    queue: VecDeque<WaiterId>,
    /// How many at the front of the queue have had their turn and wait again.
    again: usize,
    last_id: Option<ConnectionId>,
    last_waiter: Option<WaiterId>,
    is_closing: bool,
    is_closed: bool,
    leases_peak: u32,
    surge_peak: usize,
}

impl ShareBook {
    pub(crate) const fn new(limits: ShareLimits) -> Self {
        Self {
            limits,
            lives: BTreeMap::new(),
            queue: VecDeque::new(),
            again: 0,
            last_id: None,
            last_waiter: None,
            is_closing: false,
            is_closed: false,
            leases_peak: 0,
            surge_peak: 0,
        }
    }

    /// Checks the next event, and takes it into the books.
    pub(crate) fn enter(&mut self, kind: &EventKind) -> Checked {
        // They are refused in the critical section in which the pool begins to close.
        ensure(
            !self.is_closing || self.queue.is_empty() || matches!(kind, EventKind::Refused { .. }),
            || format!("{:?} of a closed pool are not told", self.queue),
        )?;
        match *kind {
            EventKind::Queued { waiter } => self.queued(waiter),
            EventKind::Requeued { waiter } => self.requeued(waiter),
            EventKind::TimedOut { waiter }
            | EventKind::Cancelled { waiter }
            | EventKind::Refused { waiter } => self.left(waiter),
            EventKind::Opening { id } => self.opening(id),
            EventKind::Opened { id } => {
                let life = self.life(id)?;
                let was_open = std::mem::replace(&mut life.is_open, true);
                ensure(!was_open, || format!("{id} was opened twice"))
            }
            EventKind::ConnectFailed { id, .. } | EventKind::ConnectAborted { id } => {
                let life = self.lives.remove(&id);
                ensure(life.is_some_and(|life| !life.is_open), || {
                    format!("{id} was not being opened")
                })
            }
            EventKind::Leased { id, waiter } => self.leased(id, waiter),
            EventKind::Returned { id } => {
                let life = self.open(id)?;
                ensure(life.leases > 0, || format!("{id} has no lease"))?;
                life.leases -= 1;
                Ok(())
            }
            EventKind::Died { id } | EventKind::CheckFailed { id, .. } => {
                self.open(id)?.is_doomed = true;
                Ok(())
            }
            EventKind::Checking { id }
            | EventKind::Checked { id }
            | EventKind::Discarded { id }
            | EventKind::Expired { id } => self.open(id).map(drop),
            EventKind::Closing { id, reason } => self.closing(id, reason),
            EventKind::Stuck { id, reason, .. } => self.is_closing_for(id, reason),
            EventKind::Closed { id, reason } => {
                self.is_closing_for(id, reason)?;
                self.lives.remove(&id);
                Ok(())
            }
            EventKind::Resized { from, to } => self.resized(from, to),
            EventKind::PoolClosing => {
                let was_closing = std::mem::replace(&mut self.is_closing, true);
                ensure(!was_closing, || "the pool began to close twice".to_owned())
            }
            EventKind::PoolClosed => {
                let was_closed = std::mem::replace(&mut self.is_closed, true);
                ensure(
                    self.is_closing && !was_closed && self.lives.is_empty(),
                    || format!("the pool closed with {:?}", self.lives),
                )
            }
            EventKind::Resetting { .. }
            | EventKind::ResetFailed { .. }
            | EventKind::Detached { .. }
            | EventKind::Overweight { .. }
            | EventKind::HeavyWhenNew { .. }
            | EventKind::Killed { .. }
            | EventKind::Unweighed { .. }
            | EventKind::LeaseOverdue { .. }
            | EventKind::OverdueLeaseReturned { .. }
            | _ => Err(format!("{kind:?} of a shared pool without weights")),
        }
    }

    /// Checks what must be true when no more events are to come.
    pub(crate) fn check_end(&self) -> Checked {
        ensure(self.is_closed, || "the pool was not closed".to_owned())?;
        ensure(self.queue.is_empty(), || {
            format!("{:?} still wait", self.queue)
        })
    }

    pub(crate) fn feats(&self) -> Vec<&'static str> {
        let feats = [
            (self.leases_peak > 1, "several leases of one connection"),
            (
                self.leases_peak == self.limits.max_leases,
                "as many leases as a connection may have",
            ),
            (self.surge_peak > 0, "more slots than max_size"),
        ];
        let seen = feats.into_iter().filter(|(is_seen, _)| *is_seen);
        seen.map(|(_, feat)| feat).collect()
    }

    fn queued(&mut self, waiter: WaiterId) -> Checked {
        ensure(!self.is_closing, || format!("{waiter:?} was queued"))?;
        ensure(self.last_waiter < Some(waiter), || {
            format!("{waiter:?} is not a new number")
        })?;
        self.last_waiter = Some(waiter);
        self.queue.push_back(waiter);
        Ok(())
    }

    fn requeued(&mut self, waiter: WaiterId) -> Checked {
        ensure(!self.is_closing, || format!("{waiter:?} was queued"))?;
        ensure(!self.queue.contains(&waiter), || {
            format!("{waiter:?} waits already")
        })?;
        let later = |queued: &WaiterId| *queued > waiter;
        let place = self.queue.iter().take(self.again).position(later);
        self.queue.insert(place.unwrap_or(self.again), waiter);
        self.again += 1;
        self.last_waiter = self.last_waiter.max(Some(waiter));
        Ok(())
    }

    fn left(&mut self, waiter: WaiterId) -> Checked {
        let place = self.queue.iter().position(|queued| *queued == waiter);
        let place = place.ok_or_else(|| format!("{waiter:?} was not in the queue"))?;
        self.queue.remove(place);
        self.again -= usize::from(place < self.again);
        Ok(())
    }

    fn opening(&mut self, id: ConnectionId) -> Checked {
        ensure(!self.is_closing, || format!("{id} is being opened"))?;
        ensure(self.last_id < Some(id), || {
            format!("{id} is not a new number")
        })?;
        let used = self.lives.len();
        let ShareLimits {
            max_size,
            max_surge,
            ..
        } = self.limits;
        ensure(used < max_size + max_surge, || {
            format!("{id} opens with {used} of {max_size} and {max_surge} in use")
        })?;
        self.last_id = Some(id);
        self.lives.insert(id, Life::default());
        self.surge_peak = self.surge_peak.max((used + 1).saturating_sub(max_size));
        Ok(())
    }

    fn leased(&mut self, id: ConnectionId, waiter: Option<WaiterId>) -> Checked {
        let max_leases = self.limits.max_leases;
        ensure(!self.is_closing, || format!("{id} was lent"))?;
        let life = self.open(id)?;
        ensure(!life.is_doomed, || {
            format!("{id} was lent although it failed")
        })?;
        ensure(life.leases < max_leases, || {
            format!("{id} was lent with {} of {max_leases} leases", life.leases)
        })?;
        life.leases += 1;
        let leases = life.leases;
        self.leases_peak = self.leases_peak.max(leases);
        let first = self.queue.front().copied();
        match waiter {
            None => ensure(first.is_none(), || {
                format!("{id} was lent while {first:?} waits")
            }),
            Some(_) => {
                ensure(waiter == first, || {
                    format!("{waiter:?} was served before {first:?}")
                })?;
                self.queue.pop_front();
                self.again = self.again.saturating_sub(1);
                Ok(())
            }
        }
    }

    fn closing(&mut self, id: ConnectionId, reason: CloseReason) -> Checked {
        let life = self.open(id)?;
        // If one of its leases had ended with an unfit connection, that would be the reason.
        ensure(life.leases == 0 || !reason.is_orderly(), || {
            format!("{id} is closed with {} leases", life.leases)
        })?;
        life.closing = Some(reason);
        Ok(())
    }

    fn resized(&mut self, from: usize, to: usize) -> Checked {
        let limit = std::mem::replace(&mut self.limits.max_size, to);
        ensure(limit == from, || {
            format!("resized from {from}, it was {limit}")
        })
    }

    fn is_closing_for(&mut self, id: ConnectionId, reason: CloseReason) -> Checked {
        let closing = self.life(id)?.closing;
        ensure(closing == Some(reason), || {
            format!("{id} was closing for {closing:?}, not {reason}")
        })
    }

    fn open(&mut self, id: ConnectionId) -> Result<&mut Life, String> {
        let life = self.life(id)?;
        match life.is_open && life.closing.is_none() {
            true => Ok(life),
            false => Err(format!("{id} is not open: {life:?}")),
        }
    }

    fn life(&mut self, id: ConnectionId) -> Result<&mut Life, String> {
        let life = self.lives.get_mut(&id);
        life.ok_or_else(|| format!("{id} does not exist"))
    }
}

fn ensure(is_kept: bool, what: impl FnOnce() -> String) -> Checked {
    match is_kept {
        true => Ok(()),
        false => Err(what()),
    }
}
