//! The state of a pool as its events tell it, and the check of each event against that state.
//!
//! A connection that came home, or was opened or checked, is *between*: idle or about to be lent
//! or closed. Which of them shows with the next event, since the pool decides in the same critical
//! section. So the rules about idle connections are checked then.

use std::collections::{BTreeMap, VecDeque};

use pool_core::{CloseReason, ConnectionId, EventKind, WaiterId};

use super::breach::{Offence, Rule, Verdict, offence};
use super::counts::{LedgerCounts, connection_of};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Idle,
    Leased,
    Checking,
    Resetting,
    Closing,
    Stuck,
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// What marked it for its end.
    doom: Option<&'static str>,
    reason: Option<CloseReason>,
    is_overdue: bool,
}

#[derive(Debug)]
pub(super) struct Book {
    limit: usize,
    slots: BTreeMap<ConnectionId, Slot>,
    queue: VecDeque<WaiterId>,
    /// The connection whose next state shows with the next event.
    between: Option<ConnectionId>,
    last_id: Option<ConnectionId>,
    last_waiter: Option<WaiterId>,
    /// Those that are not derived from the slots and the queue.
    totals: LedgerCounts,
}

impl Book {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            slots: BTreeMap::new(),
            queue: VecDeque::new(),
            between: None,
            last_id: None,
            last_waiter: None,
            totals: LedgerCounts::default(),
        }
    }

    pub(super) fn counts(&self) -> LedgerCounts {
        let count = |state| {
            self.slots
                .values()
                .filter(|slot| slot.state == state)
                .count()
        };
        LedgerCounts {
            opening: count(State::Opening),
            idle: count(State::Idle),
            leased: count(State::Leased),
            checking: count(State::Checking),
            resetting: count(State::Resetting),
            closing: count(State::Closing),
            stuck: count(State::Stuck),
            waiting: self.queue.len(),
            ..self.totals
        }
    }

    /// Checks the next event and enters it.
    pub(super) fn enter(&mut self, kind: &EventKind) -> Verdict {
        self.settle_between(connection_of(kind))?;
        match *kind {
            EventKind::Queued { waiter } => self.queued(waiter),
            EventKind::Requeued { waiter } => self.requeued(waiter),
            EventKind::TimedOut { waiter }
            | EventKind::Cancelled { waiter }
            | EventKind::Refused { waiter } => self.left(waiter),
            EventKind::Opening { id } => self.opening(id),
            EventKind::Opened { id } => {
                self.totals.opened += 1;
                self.moves(id, &[State::Opening], State::Idle)
            }
            EventKind::ConnectFailed { id, .. } | EventKind::ConnectAborted { id } => {
                self.totals.connects_failed += 1;
                self.moves(id, &[State::Opening], State::Closing)?;
                self.slots.remove(&id);
                Ok(())
            }
            EventKind::Leased { id, waiter } => self.leased(id, waiter),
            EventKind::Returned { id } => self.comes_home(id, &[State::Leased, State::Resetting]),
            EventKind::Resetting { id } => {
                self.marked_for_its_end(id, Rule::Lifecycle)?;
                self.moves(id, &[State::Leased], State::Resetting)
            }
            EventKind::ResetFailed { id, .. } => self.stays(id, &[State::Resetting]),
            EventKind::Checking { id } => self.moves(id, &[State::Idle], State::Checking),
            EventKind::Checked { id } => self.comes_home(id, &[State::Checking]),
            EventKind::CheckFailed { id, .. } => self.stays(id, &[State::Checking]),
            EventKind::Died { id } => self.doom(id, "it died", OPEN),
            EventKind::Discarded { id } => self.doom(id, "it was discarded", &[State::Leased]),
            EventKind::Expired { id } => self.doom(id, "it expired", OPEN),
            EventKind::Closing { id, reason } => self.closing(id, reason),
            EventKind::Stuck { id, .. } => {
                self.moves(id, &[State::Closing, State::Stuck], State::Stuck)
            }
            EventKind::Closed { id, reason } => self.closed(id, reason),
            EventKind::Detached { id } => self.detached(id),
            EventKind::LeaseOverdue { id, .. } => self.overdue(id),
            EventKind::OverdueLeaseReturned { id, .. } => self.overdue_ended(id),
            EventKind::Resized { from, to } => self.resized(from, to),
            EventKind::PoolClosing => self.pool_closing(),
            EventKind::PoolClosed => self.pool_closed(),
            _ => Ok(()),
        }
    }

    /// What must be true when nothing more is to come.
    pub(super) fn settle(&mut self) -> Verdict {
        self.settle_between(None)?;
        let LedgerCounts {
            opened,
            closed,
            detached,
            ..
        } = self.totals;
        if let Some((id, slot)) = self.slots.first_key_value() {
            return offence(Rule::Settled, format!("{id} is still {:?}", slot.state));
        }
        if let Some(waiter) = self.queue.front() {
            return offence(Rule::Settled, format!("{waiter:?} still waits"));
        }
        if opened != closed + detached {
            let what = format!("{opened} opened, {closed} closed, {detached} detached");
            return offence(Rule::Settled, what);
        }
        Ok(())
    }

    /// The event of another connection, or of none, shows that the one between is idle.
    fn settle_between(&mut self, next: Option<ConnectionId>) -> Verdict {
        let Some(id) = self.between.take_if(|between| Some(*between) != next) else {
            return Ok(());
        };
        let Some(Slot {
            state: State::Idle,
            doom,
            ..
        }) = self.slots.get(&id)
        else {
            return Ok(());
        };
        if let Some(doom) = doom {
            return offence(
                Rule::NoParkingOfDoomed,
                format!("{id} is idle although {doom}"),
            );
        }
        if let Some(waiter) = self.queue.front() {
            return offence(
                Rule::NoIdleWhileQueued,
                format!("{id} idles while {waiter:?} waits"),
            );
        }
        if self.totals.is_closing {
            return offence(Rule::AfterClose, format!("{id} was parked"));
        }
        Ok(())
    }

    fn queued(&mut self, waiter: WaiterId) -> Verdict {
        if self.last_waiter.is_some_and(|last| waiter <= last) {
            return offence(Rule::Queue, format!("{waiter:?} is not a new number"));
        }
        if self.totals.is_closing {
            return offence(Rule::AfterClose, format!("{waiter:?} was queued"));
        }
        self.last_waiter = Some(waiter);
        self.queue.push_back(waiter);
        self.nothing_idle(waiter)
    }

    fn requeued(&mut self, waiter: WaiterId) -> Verdict {
        if self.queue.contains(&waiter) {
            return offence(Rule::Queue, format!("{waiter:?} waits already"));
        }
        // One that has waited before is back before all who came later; a new one is at the head.
        let later = |queued: &WaiterId| *queued > waiter;
        let place = match self.last_waiter {
            Some(last) if waiter <= last => self.queue.iter().position(later),
            _ => Some(0),
        };
        self.last_waiter = self.last_waiter.max(Some(waiter));
        self.queue.insert(place.unwrap_or(self.queue.len()), waiter);
        self.nothing_idle(waiter)
    }

    fn nothing_idle(&self, waiter: WaiterId) -> Verdict {
        let mut idle = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.state == State::Idle);
        match idle.find(|(_, slot)| slot.doom.is_none()) {
            Some((id, _)) => offence(
                Rule::NoIdleWhileQueued,
                format!("{waiter:?} was queued while {id} idles"),
            ),
            None => Ok(()),
        }
    }

    fn left(&mut self, waiter: WaiterId) -> Verdict {
        let Some(place) = self.queue.iter().position(|queued| *queued == waiter) else {
            return offence(Rule::Queue, format!("{waiter:?} was not in the queue"));
        };
        self.queue.remove(place);
        Ok(())
    }

    fn opening(&mut self, id: ConnectionId) -> Verdict {
        if self.last_id.is_some_and(|last| id <= last) {
            return offence(Rule::Lifecycle, format!("{id} is not a new number"));
        }
        if self.totals.is_closing {
            return offence(Rule::AfterClose, format!("{id} is being opened"));
        }
        let (used, limit) = (self.slots.len(), self.limit);
        if used >= limit {
            return offence(
                Rule::Capacity,
                format!("{id} opens with {used} of {limit} in use"),
            );
        }
        self.last_id = Some(id);
        let slot = Slot {
            state: State::Opening,
            doom: None,
            reason: None,
            is_overdue: false,
        };
        self.slots.insert(id, slot);
        self.totals.connects += 1;
        self.totals.slots_peak = self.totals.slots_peak.max(used + 1);
        Ok(())
    }

    fn leased(&mut self, id: ConnectionId, waiter: Option<WaiterId>) -> Verdict {
        let state = self.slots.get(&id).map(|slot| slot.state);
        match state {
            Some(State::Leased) => return offence(Rule::OneLease, format!("{id} is lent twice")),
            None | Some(State::Closing | State::Stuck) => {
                return offence(
                    Rule::NoLeaseOfDoomed,
                    format!("{id} is closed or being closed"),
                );
            }
            Some(State::Idle | State::Opening | State::Checking | State::Resetting) => {}
        }
        self.marked_for_its_end(id, Rule::NoLeaseOfDoomed)?;
        if self.totals.is_closing {
            return offence(Rule::AfterClose, format!("{id} was lent"));
        }
        match (waiter, self.queue.front()) {
            (None, Some(first)) => {
                return offence(
                    Rule::NoBarging,
                    format!("{id} was lent while {first:?} waits"),
                );
            }
            (Some(served), first) if first != Some(&served) => {
                return offence(
                    Rule::Fifo,
                    format!("{served:?} was served before {first:?}"),
                );
            }
            (None, None) => {}
            (Some(_), _) => drop(self.queue.pop_front()),
        }
        self.totals.leases += 1;
        self.moves(id, &[State::Idle], State::Leased)
    }

    fn comes_home(&mut self, id: ConnectionId, from: &[State]) -> Verdict {
        if self
            .slots
            .get(&id)
            .is_none_or(|slot| slot.state.is_leaving())
        {
            return offence(
                Rule::NoParkingOfDoomed,
                format!("{id} is closed or being closed"),
            );
        }
        self.moves(id, from, State::Idle)
    }

    fn closing(&mut self, id: ConnectionId, reason: CloseReason) -> Verdict {
        if self
            .slots
            .get(&id)
            .is_none_or(|slot| slot.state.is_leaving())
        {
            return offence(
                Rule::CloseOnce,
                format!("{id} is closed or being closed already"),
            );
        }
        self.moves(id, OPENED, State::Closing)?;
        self.slot(id)?.reason = Some(reason);
        Ok(())
    }

    fn closed(&mut self, id: ConnectionId, reason: CloseReason) -> Verdict {
        match self.slots.remove(&id) {
            Some(slot) if slot.state.is_leaving() => {
                self.totals.closed += 1;
                if slot.reason == Some(reason) {
                    return Ok(());
                }
                let what = format!(
                    "{id} was closing for {:?}, closed for {reason}",
                    slot.reason
                );
                offence(Rule::Lifecycle, what)
            }
            Some(slot) => {
                let what = format!("{id} was closed while {:?}", slot.state);
                offence(Rule::Lifecycle, what)
            }
            None => offence(Rule::CloseOnce, format!("{id} was gone already")),
        }
    }

    fn detached(&mut self, id: ConnectionId) -> Verdict {
        if !self.slots.contains_key(&id) {
            return offence(Rule::CloseOnce, format!("{id} was gone already"));
        }
        self.stays(id, &[State::Leased])?;
        self.slots.remove(&id);
        self.totals.detached += 1;
        Ok(())
    }

    fn overdue(&mut self, id: ConnectionId) -> Verdict {
        self.stays(id, &[State::Leased])?;
        if std::mem::replace(&mut self.slot(id)?.is_overdue, true) {
            return offence(Rule::Lifecycle, format!("{id} was told as overdue twice"));
        }
        Ok(())
    }

    /// A connection that came home and went at once is no longer listed.
    fn overdue_ended(&mut self, id: ConnectionId) -> Verdict {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Ok(());
        };
        if !std::mem::replace(&mut slot.is_overdue, false) {
            return offence(Rule::Lifecycle, format!("{id} was not told as overdue"));
        }
        Ok(())
    }

    fn resized(&mut self, from: usize, to: usize) -> Verdict {
        let limit = std::mem::replace(&mut self.limit, to);
        if limit != from {
            return offence(
                Rule::Lifecycle,
                format!("resized from {from}, but it was {limit}"),
            );
        }
        Ok(())
    }

    fn pool_closing(&mut self) -> Verdict {
        if std::mem::replace(&mut self.totals.is_closing, true) {
            return offence(Rule::Lifecycle, "the pool began to close twice");
        }
        Ok(())
    }

    fn pool_closed(&mut self) -> Verdict {
        let was_closed = std::mem::replace(&mut self.totals.is_closed, true);
        if was_closed || !self.totals.is_closing || !self.slots.is_empty() {
            let what = format!("the pool closed with {} slots in use", self.slots.len());
            return offence(Rule::Lifecycle, what);
        }
        Ok(())
    }

    fn doom(&mut self, id: ConnectionId, doom: &'static str, allowed: &[State]) -> Verdict {
        self.stays(id, allowed)?;
        self.slot(id)?.doom = Some(doom);
        Ok(())
    }

    fn marked_for_its_end(&self, id: ConnectionId, rule: Rule) -> Verdict {
        match self.slots.get(&id).and_then(|slot| slot.doom) {
            Some(doom) => offence(rule, format!("{id} is in use although {doom}")),
            None => Ok(()),
        }
    }

    fn stays(&mut self, id: ConnectionId, allowed: &[State]) -> Verdict {
        let state = self.slot(id)?.state;
        if allowed.contains(&state) {
            return Ok(());
        }
        offence(
            Rule::Lifecycle,
            format!("{id} is {state:?}, not one of {allowed:?}"),
        )
    }

    fn moves(&mut self, id: ConnectionId, from: &[State], to: State) -> Verdict {
        self.stays(id, from)?;
        self.slot(id)?.state = to;
        if to == State::Idle {
            self.between = Some(id);
        }
        Ok(())
    }

    fn slot(&mut self, id: ConnectionId) -> Result<&mut Slot, Offence> {
        self.slots.get_mut(&id).ok_or_else(|| Offence {
            rule: Rule::Lifecycle,
            what: format!("{id} does not exist"),
        })
    }
}

impl State {
    const fn is_leaving(self) -> bool {
        matches!(self, Self::Closing | Self::Stuck)
    }
}

const OPENED: &[State] = &[
    State::Idle,
    State::Leased,
    State::Checking,
    State::Resetting,
];

/// States in which a connection can be found dead or old: a death may be told as early as the
/// connect that opened it, and as late as the close.
const OPEN: &[State] = &[
    State::Opening,
    State::Idle,
    State::Leased,
    State::Checking,
    State::Resetting,
    State::Closing,
    State::Stuck,
];
