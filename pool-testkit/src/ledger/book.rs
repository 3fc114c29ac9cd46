//! The state of a pool according to its events, and the check of each event against that state.
//!
//! A connection that was returned, opened or checked is *between*: it is idle, or about to be lent or
//! closed. The next event shows which, since the pool decides in the same critical section. So the
//! rules about idle connections are checked when the next event comes.

use std::collections::{BTreeMap, VecDeque};

use pool_core::{CloseReason, ConnectionId, EventKind, WaiterId};

use super::breach::{Checked, LedgerRule, Violation, violation};
use super::tally::{LedgerCounts, connection_of};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Opening,
    Idle,
    Leased,
    Checking,
    Resetting,
    Closing,
    Stuck,
}

#[derive(Debug)]
struct SlotEntry {
    state: SlotState,
    /// Why it must not be lent again, if so.
    doom: Option<&'static str>,
    reason: Option<CloseReason>,
    is_overdue: bool,
}

#[derive(Debug)]
pub(super) struct Book {
    limit: usize,
    slots: BTreeMap<ConnectionId, SlotEntry>,
    queue: VecDeque<WaiterId>,
    /// How many of the waiters at the front of the queue wait for the second time: the connection that
    /// they got was dead, or the idle one has to be checked first.
    again: usize,
    /// The connection whose state the next event shows.
    between: Option<ConnectionId>,
    last_id: Option<ConnectionId>,
    last_waiter: Option<WaiterId>,
    /// The numbers that cannot be counted from the slots and the queue.
    totals: LedgerCounts,
}

impl Book {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            slots: BTreeMap::new(),
            queue: VecDeque::new(),
            again: 0,
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
            opening: count(SlotState::Opening),
            idle: count(SlotState::Idle),
            leased: count(SlotState::Leased),
            checking: count(SlotState::Checking),
            resetting: count(SlotState::Resetting),
            closing: count(SlotState::Closing),
            stuck: count(SlotState::Stuck),
            waiting: self.queue.len(),
            ..self.totals
        }
    }

    /// Checks the next event and updates the state.
    pub(super) fn enter(&mut self, kind: &EventKind) -> Checked {
        self.resolve_between(connection_of(kind))?;
        match *kind {
            EventKind::Queued { waiter } => self.queued(waiter),
            EventKind::Requeued { waiter } => self.requeued(waiter),
            EventKind::TimedOut { waiter }
            | EventKind::Cancelled { waiter }
            | EventKind::Refused { waiter } => self.left(waiter),
            EventKind::Opening { id } => self.opening(id),
            EventKind::Opened { id } => {
                self.totals.opened += 1;
                self.moves(id, &[SlotState::Opening], SlotState::Idle)
            }
            EventKind::ConnectFailed { id, .. } | EventKind::ConnectAborted { id } => {
                self.totals.connects_failed += 1;
                self.moves(id, &[SlotState::Opening], SlotState::Closing)?;
                self.slots.remove(&id);
                Ok(())
            }
            EventKind::Leased { id, waiter } => self.leased(id, waiter),
            EventKind::Returned { id } => {
                self.is_returned(id, &[SlotState::Leased, SlotState::Resetting])
            }
            EventKind::Resetting { id } => {
                self.not_doomed(id, LedgerRule::Lifecycle)?;
                self.moves(id, &[SlotState::Leased], SlotState::Resetting)
            }
            EventKind::ResetFailed { id, .. } => self.stays(id, &[SlotState::Resetting]),
            EventKind::Checking { id } => self.moves(id, &[SlotState::Idle], SlotState::Checking),
            EventKind::Checked { id } => self.is_returned(id, &[SlotState::Checking]),
            EventKind::CheckFailed { id, .. } => self.stays(id, &[SlotState::Checking]),
            EventKind::Died { id } => self.doom(id, "it died", OPEN),
            EventKind::Killed { id, .. } => self.doom(id, "it was killed", OPEN),
            // A shared connection serves until it is replaced.
            EventKind::Overweight { id, .. }
            | EventKind::HeavyWhenNew { id, .. }
            | EventKind::Unweighed { id, .. } => self.stays(id, OPEN),
            EventKind::Discarded { id } => self.doom(id, "it was discarded", &[SlotState::Leased]),
            EventKind::Expired { id } => self.doom(id, "it expired", OPEN),
            EventKind::Closing { id, reason } => self.closing(id, reason),
            EventKind::Stuck { id, .. } => self.moves(
                id,
                &[SlotState::Closing, SlotState::Stuck],
                SlotState::Stuck,
            ),
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

    /// Checks what must be true when no more events are to come.
    pub(super) fn check_end(&mut self) -> Checked {
        self.resolve_between(None)?;
        let LedgerCounts {
            opened,
            closed,
            detached,
            ..
        } = self.totals;
        if let Some((id, slot)) = self.slots.first_key_value() {
            return violation(
                LedgerRule::Settled,
                format!("{id} is still {:?}", slot.state),
            );
        }
        if let Some(waiter) = self.queue.front() {
            return violation(LedgerRule::Settled, format!("{waiter:?} still waits"));
        }
        if opened != closed + detached {
            let what = format!("{opened} opened, {closed} closed, {detached} detached");
            return violation(LedgerRule::Settled, what);
        }
        Ok(())
    }

    /// An event of another connection, or of none, shows that the one between is idle.
    fn resolve_between(&mut self, next: Option<ConnectionId>) -> Checked {
        let Some(id) = self.between.take_if(|between| Some(*between) != next) else {
            return Ok(());
        };
        let Some(SlotEntry {
            state: SlotState::Idle,
            doom,
            ..
        }) = self.slots.get(&id)
        else {
            return Ok(());
        };
        if let Some(doom) = doom {
            return violation(
                LedgerRule::NoParkingOfDoomed,
                format!("{id} is idle although {doom}"),
            );
        }
        if let Some(waiter) = self.queue.front() {
            return violation(
                LedgerRule::NoIdleWhileQueued,
                format!("{id} idles while {waiter:?} waits"),
            );
        }
        if self.totals.is_closing {
            return violation(LedgerRule::AfterClose, format!("{id} became idle"));
        }
        Ok(())
    }

    fn queued(&mut self, waiter: WaiterId) -> Checked {
        if self.last_waiter.is_some_and(|last| waiter <= last) {
            return violation(LedgerRule::Queue, format!("{waiter:?} is not a new number"));
        }
        if self.totals.is_closing {
            return violation(LedgerRule::AfterClose, format!("{waiter:?} was queued"));
        }
        self.last_waiter = Some(waiter);
        self.queue.push_back(waiter);
        self.nothing_idle(waiter)
    }

    fn requeued(&mut self, waiter: WaiterId) -> Checked {
        if self.queue.contains(&waiter) {
            return violation(LedgerRule::Queue, format!("{waiter:?} waits already"));
        }
        // Callers that wait again are in front of all others, in the order of their numbers.
        let later = |queued: &WaiterId| *queued > waiter;
        let place = self.queue.iter().take(self.again).position(later);
        self.queue.insert(place.unwrap_or(self.again), waiter);
        self.again += 1;
        self.last_waiter = self.last_waiter.max(Some(waiter));
        // It may have found connections that must be checked first: then one of them is checked for it.
        if self.counts().checking >= self.queue.len() {
            return Ok(());
        }
        self.nothing_idle(waiter)
    }

    fn nothing_idle(&self, waiter: WaiterId) -> Checked {
        let mut idle = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.state == SlotState::Idle);
        match idle.find(|(_, slot)| slot.doom.is_none()) {
            Some((id, _)) => violation(
                LedgerRule::NoIdleWhileQueued,
                format!("{waiter:?} was queued while {id} idles"),
            ),
            None => Ok(()),
        }
    }

    fn left(&mut self, waiter: WaiterId) -> Checked {
        let Some(place) = self.queue.iter().position(|queued| *queued == waiter) else {
            return violation(
                LedgerRule::Queue,
                format!("{waiter:?} was not in the queue"),
            );
        };
        self.queue.remove(place);
        self.again -= usize::from(place < self.again);
        Ok(())
    }

    fn opening(&mut self, id: ConnectionId) -> Checked {
        if self.last_id.is_some_and(|last| id <= last) {
            return violation(LedgerRule::Lifecycle, format!("{id} is not a new number"));
        }
        if self.totals.is_closing {
            return violation(LedgerRule::AfterClose, format!("{id} is being opened"));
        }
        let (used, limit) = (self.slots.len(), self.limit);
        if used >= limit {
            return violation(
                LedgerRule::Capacity,
                format!("{id} opens with {used} of {limit} in use"),
            );
        }
        self.last_id = Some(id);
        let slot = SlotEntry {
            state: SlotState::Opening,
            doom: None,
            reason: None,
            is_overdue: false,
        };
        self.slots.insert(id, slot);
        self.totals.connects += 1;
        self.totals.slots_peak = self.totals.slots_peak.max(used + 1);
        Ok(())
    }

    fn leased(&mut self, id: ConnectionId, waiter: Option<WaiterId>) -> Checked {
        let state = self.slots.get(&id).map(|slot| slot.state);
        match state {
            Some(SlotState::Leased) => {
                return violation(LedgerRule::OneLease, format!("{id} is lent twice"));
            }
            None | Some(SlotState::Closing | SlotState::Stuck) => {
                return violation(
                    LedgerRule::NoLeaseOfDoomed,
                    format!("{id} is closed or being closed"),
                );
            }
            Some(
                SlotState::Idle | SlotState::Opening | SlotState::Checking | SlotState::Resetting,
            ) => {}
        }
        self.not_doomed(id, LedgerRule::NoLeaseOfDoomed)?;
        if self.totals.is_closing {
            return violation(LedgerRule::AfterClose, format!("{id} was lent"));
        }
        match (waiter, self.queue.front()) {
            (None, Some(first)) => {
                return violation(
                    LedgerRule::NoBarging,
                    format!("{id} was lent while {first:?} waits"),
                );
            }
            (Some(served), first) if first != Some(&served) => {
                return violation(
                    LedgerRule::Fifo,
                    format!("{served:?} was served before {first:?}"),
                );
            }
            (None, None) => {}
            (Some(_), _) => {
                self.queue.pop_front();
                self.again = self.again.saturating_sub(1);
            }
        }
        self.totals.leases += 1;
        self.moves(id, &[SlotState::Idle], SlotState::Leased)
    }

    fn is_returned(&mut self, id: ConnectionId, from: &[SlotState]) -> Checked {
        if self
            .slots
            .get(&id)
            .is_none_or(|slot| slot.state.is_leaving())
        {
            return violation(
                LedgerRule::NoParkingOfDoomed,
                format!("{id} is closed or being closed"),
            );
        }
        self.moves(id, from, SlotState::Idle)
    }

    fn closing(&mut self, id: ConnectionId, reason: CloseReason) -> Checked {
        if self
            .slots
            .get(&id)
            .is_none_or(|slot| slot.state.is_leaving())
        {
            return violation(
                LedgerRule::CloseOnce,
                format!("{id} is closed or being closed already"),
            );
        }
        self.moves(id, OPENED, SlotState::Closing)?;
        self.slot(id)?.reason = Some(reason);
        Ok(())
    }

    fn closed(&mut self, id: ConnectionId, reason: CloseReason) -> Checked {
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
                violation(LedgerRule::Lifecycle, what)
            }
            Some(slot) => {
                let what = format!("{id} was closed while {:?}", slot.state);
                violation(LedgerRule::Lifecycle, what)
            }
            None => violation(LedgerRule::CloseOnce, format!("{id} was gone already")),
        }
    }

    fn detached(&mut self, id: ConnectionId) -> Checked {
        if !self.slots.contains_key(&id) {
            return violation(LedgerRule::CloseOnce, format!("{id} was gone already"));
        }
        self.stays(id, &[SlotState::Leased])?;
        self.slots.remove(&id);
        self.totals.detached += 1;
        Ok(())
    }

    fn overdue(&mut self, id: ConnectionId) -> Checked {
        self.stays(id, &[SlotState::Leased])?;
        if std::mem::replace(&mut self.slot(id)?.is_overdue, true) {
            return violation(
                LedgerRule::Lifecycle,
                format!("{id} was reported overdue twice"),
            );
        }
        Ok(())
    }

    /// A connection that was returned and closed at once is not listed any more.
    fn overdue_ended(&mut self, id: ConnectionId) -> Checked {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Ok(());
        };
        if !std::mem::replace(&mut slot.is_overdue, false) {
            return violation(
                LedgerRule::Lifecycle,
                format!("{id} was not reported overdue"),
            );
        }
        Ok(())
    }

    fn resized(&mut self, from: usize, to: usize) -> Checked {
        let limit = std::mem::replace(&mut self.limit, to);
        if limit != from {
            return violation(
                LedgerRule::Lifecycle,
                format!("resized from {from}, but it was {limit}"),
            );
        }
        Ok(())
    }

    fn pool_closing(&mut self) -> Checked {
        if std::mem::replace(&mut self.totals.is_closing, true) {
            return violation(LedgerRule::Lifecycle, "the pool began to close twice");
        }
        Ok(())
    }

    fn pool_closed(&mut self) -> Checked {
        let was_closed = std::mem::replace(&mut self.totals.is_closed, true);
        if was_closed || !self.totals.is_closing || !self.slots.is_empty() {
            let what = format!("the pool closed with {} slots in use", self.slots.len());
            return violation(LedgerRule::Lifecycle, what);
        }
        Ok(())
    }

    fn doom(&mut self, id: ConnectionId, doom: &'static str, allowed: &[SlotState]) -> Checked {
        self.stays(id, allowed)?;
        self.slot(id)?.doom = Some(doom);
        Ok(())
    }

    fn not_doomed(&self, id: ConnectionId, rule: LedgerRule) -> Checked {
        match self.slots.get(&id).and_then(|slot| slot.doom) {
            Some(doom) => violation(rule, format!("{id} is in use although {doom}")),
            None => Ok(()),
        }
    }

    fn stays(&mut self, id: ConnectionId, allowed: &[SlotState]) -> Checked {
        let state = self.slot(id)?.state;
        if allowed.contains(&state) {
            return Ok(());
        }
        violation(
            LedgerRule::Lifecycle,
            format!("{id} is {state:?}, not one of {allowed:?}"),
        )
    }

    fn moves(&mut self, id: ConnectionId, from: &[SlotState], to: SlotState) -> Checked {
        self.stays(id, from)?;
        self.slot(id)?.state = to;
        if to == SlotState::Idle {
            self.between = Some(id);
        }
        Ok(())
    }

    fn slot(&mut self, id: ConnectionId) -> Result<&mut SlotEntry, Violation> {
        self.slots.get_mut(&id).ok_or_else(|| Violation {
            rule: LedgerRule::Lifecycle,
            what: format!("{id} does not exist"),
        })
    }
}

impl SlotState {
    const fn is_leaving(self) -> bool {
        matches!(self, Self::Closing | Self::Stuck)
    }
}

const OPENED: &[SlotState] = &[
    SlotState::Idle,
    SlotState::Leased,
    SlotState::Checking,
    SlotState::Resetting,
];

/// States in which a connection can be reported dead or expired. A death can be noticed as early as
/// during the connect and as late as during the close.
const OPEN: &[SlotState] = &[
    SlotState::Opening,
    SlotState::Idle,
    SlotState::Leased,
    SlotState::Checking,
    SlotState::Resetting,
    SlotState::Closing,
    SlotState::Stuck,
];
