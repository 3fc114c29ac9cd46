//! Rolling replacement: the connections that exist when it starts are replaced one by one.
//!
//! # Algorithm
//!
//! A new connection is opened and checked: that is the *proof* for the next old one, which is then
//! evicted. So it goes on, spread over the time that was given. The first new connection that cannot be
//! opened, or fails its check, ends the replacement, and the other old ones stay.
//!
//! An old connection goes ahead of its proof in three cases. In a full pool there is no room for both.
//! Nor is there in a full budget; but if other pools wait for it, they would get the room, so the old
//! connections stay, and the report says so. A shared connection in service is superseded, so it serves
//! until its proof has passed, and goes on serving if there is none.

use std::time::Duration;

use crate::error::{ConnectError, Fault};
use crate::id::{CloseReason, ConnectionId};
use crate::status::EvictionReport;
use crate::store::renewal::Renewal;
use crate::store::slots::SlotRecord;
use crate::store::{Goal, GoalEnd, GoalKey, Lending, SlotKey, State, Store};
use crate::time::Time;

impl<C: Send + 'static, L: Lending> Store<C, L> {
    /// Starts to replace all connections within `time`, in place of an earlier replacement. It ends
    /// `patience` after that time at the latest.
    pub(crate) fn start_renewal(
        &mut self,
        time: Duration,
        patience: Duration,
        now: Time,
    ) -> GoalKey {
        self.finish_renewal(None);
        let goal = self.goals.add(Goal::Renewed, Time::NEVER);
        let first_new = ConnectionId::from_u64(self.next_connection);
        let count = self.old_generation(first_new).len();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.renewal = Some(Renewal {
            goal,
            first_new,
            step: time / count.max(1),
            next_at: now,
            deadline: now.after(time).after(patience),
            proofs: 0,
            replaced: 0,
            is_unbudgeted: false,
            last: None,
        });
        if self.is_closed {
            self.finish_renewal(None);
        }
        self.set_alarm(now);
        goal
    }

    /// Those that are to be replaced, the oldest first.
    fn old_generation(&self, first_new: ConnectionId) -> Vec<ConnectionId> {
        let records = self.slots.iter().filter(|record| {
            let is_there = record.is_open() || record.state() == State::Opening;
            let is_marked = record.close_reason.is_some() || record.superseded.is_some();
            record.id < first_new && is_there && !is_marked
        });
        let mut old: Vec<_> = records.map(|record| record.id).collect();
        old.sort_unstable();
        old
    }

    /// Evicts the old connections that are due, and returns when to look again.
    pub(super) fn renew(&mut self, now: Time) -> Time {
        loop {
            let Some(renewal) = &self.renewal else {
                return Time::NEVER;
            };
            let (next_at, deadline) = (renewal.next_at, renewal.deadline);
            // Nothing tells this pool that other pools wait no more.
            let can_be_refused = self.allotment.is_some() && self.wants_proof();
            let look_again_at = match renewal.is_unbudgeted || can_be_refused {
                true => now.after(BUDGET_LOOK).min(deadline),
                false => deadline,
            };
            let is_proved = renewal.proofs >= renewal.replaced;
            let old = self.old_generation(renewal.first_new).first().copied();
            if deadline <= now || old.is_none() && is_proved {
                self.finish_renewal(None);
                return Time::NEVER;
            }
            let Some(old) = old else {
                return deadline;
            };
            if next_at > now {
                return next_at.min(deadline);
            }
            // The check of a new connection sets the alarm.
            if !self.may_renew(old) {
                return look_again_at;
            }
            self.evict(|id| id == old);
            if let Some(renewal) = &mut self.renewal {
                renewal.replaced += 1;
                renewal.next_at = next_at.after(renewal.step);
                renewal.last = Some(old);
            }
            self.kick();
        }
    }

    /// Whether this old connection may be evicted.
    fn may_renew(&self, old: ConnectionId) -> bool {
        let goes_ahead = || {
            let mut records = self.slots.iter();
            let record = records.find(|record| record.id == old);
            let is_full = self.slots.len() >= L::size_limit(self) || self.can_make_room();
            is_full || record.is_some_and(|record| L::serves_until_replaced(self, record))
        };
        self.renewal.as_ref().is_some_and(|renewal| {
            renewal.proofs > renewal.replaced
                || renewal.proofs == renewal.replaced && self.renewing() == 0 && goes_ahead()
        })
    }

    /// Whether the budget is full, and what this pool closes leaves room for a new one of its own.
    fn can_make_room(&self) -> bool {
        let is_unbudgeted = self.renewal.as_ref().is_some_and(|it| it.is_unbudgeted);
        is_unbudgeted && !self.others_wait_for_budget() && !self.budget_is_too_heavy()
    }

    /// The budget granted nothing, although a connect was wanted.
    pub(super) fn note_ungranted(&mut self) {
        if !self.wants_proof() || self.budget_is_connecting() {
            return;
        }
        let tick = self.tick;
        if let Some(renewal) = &mut self.renewal
            && !renewal.is_unbudgeted
        {
            renewal.is_unbudgeted = true;
            self.set_alarm(tick);
        }
    }

    /// A connect begins.
    pub(super) fn note_granted_proof(&mut self) {
        if let Some(renewal) = &mut self.renewal {
            renewal.is_unbudgeted = false;
        }
    }

    /// New connections that are being opened or checked.
    fn renewing(&self) -> usize {
        let Some(renewal) = &self.renewal else {
            return 0;
        };
        let records = self.slots.iter();
        let new = records.filter(|record| record.id >= renewal.first_new);
        new.filter(|record| record.state() == State::Opening || record.is_proof)
            .count()
    }

    /// Whether a connection is to be opened as the next proof.
    pub(super) fn wants_proof(&self) -> bool {
        self.renewal.as_ref().is_some_and(|renewal| {
            let has_old = || !self.old_generation(renewal.first_new).is_empty();
            let has_debt = renewal.proofs < renewal.replaced;
            // One that is superseded has its replacement opened anyway.
            let is_superseded = || self.slots.iter().any(SlotRecord::is_superseded);
            renewal.proofs <= renewal.replaced
                && self.renewing() == 0
                && (has_debt || has_old())
                && !is_superseded()
        })
    }

    /// Whether this connection, which was just opened, is to be checked as a proof.
    pub(super) fn is_proof_wanted(&mut self, key: SlotKey) -> bool {
        let record = self.slots.get_mut(key);
        let is_new = |renewal: &Renewal| record.id >= renewal.first_new;
        record.is_proof =
            self.renewal.as_ref().is_some_and(is_new) && record.close_reason.is_none();
        record.is_proof
    }

    /// The check of a connection has ended.
    pub(super) fn note_proof(&mut self, key: SlotKey, failure: Option<ConnectError>, now: Time) {
        let record = self.slots.get_mut(key);
        if !std::mem::take(&mut record.is_proof) || record.close_reason.is_some() {
            return;
        }
        if failure.is_some() {
            return self.finish_renewal(failure);
        }
        L::proved(self);
        if let Some(renewal) = &mut self.renewal {
            renewal.proofs += 1;
            self.set_alarm(now);
        }
    }

    /// A connect failed: if it was one for a new connection, the old ones stay.
    pub(super) fn note_failed_connect(&mut self, id: ConnectionId, error: &ConnectError) {
        let is_new = |renewal: &Renewal| id >= renewal.first_new;
        if self.renewal.as_ref().is_some_and(is_new) {
            self.finish_renewal(Some(error.clone()));
        }
    }

    /// Nobody waits for this goal any more.
    pub(super) fn abandon_renewal(&mut self, goal: GoalKey) {
        if self
            .renewal
            .as_ref()
            .is_some_and(|renewal| renewal.goal == goal)
        {
            self.renewal = None;
        }
    }

    /// Ends the replacement that is under way, if there is one.
    pub(super) fn finish_renewal(&mut self, failure: Option<ConnectError>) {
        let Some(mut renewal) = self.renewal.take() else {
            return;
        };
        if failure.is_some() && self.keep_superseded(renewal.last) {
            renewal.replaced -= 1;
        }
        let left = self.old_generation(renewal.first_new).len();
        let is_short = left > 0 || renewal.proofs < renewal.replaced;
        let no_room = (is_short && renewal.is_unbudgeted).then(|| self.no_budget());
        let report = EvictionReport {
            replaced: renewal.replaced,
            left,
            failure: failure.or(no_room.flatten()),
            is_closed: self.is_closed,
        };
        let _: Time = self.end_goals(|goal, _| {
            matches!(goal, Goal::Renewed).then(|| GoalEnd::Renewed(report.clone()))
        });
    }

    /// The failure of a connection that was not opened, since the budget had no room for it.
    fn no_budget(&self) -> Option<ConnectError> {
        let usage = self.allotment.as_ref()?.usage();
        if let (true, Some(max_weight)) = (usage.is_too_heavy(), usage.max_weight) {
            return Some(ConnectError::transient(Fault::BudgetTooHeavy {
                budget: usage.name,
                weight: usage.weight,
                max_weight,
            }));
        }
        Some(ConnectError::transient(Fault::BudgetUsedUp {
            budget: usage.name,
            used: usage.used,
            limit: usage.limit,
        }))
    }

    /// There is no replacement for this shared connection: if it is still there, it goes on as before.
    fn keep_superseded(&mut self, id: Option<ConnectionId>) -> bool {
        let is_last = |record: &&mut SlotRecord| {
            Some(record.id) == id
                && record.is_superseded()
                && record.superseded == Some(CloseReason::Evicted)
        };
        let kept = self.slots.iter_mut().find(is_last);
        kept.map(|record| record.superseded = None).is_some()
    }
}

/// How long a pool waits before it looks again whether its budget is free for it.
const BUDGET_LOOK: Duration = Duration::from_secs(1);
