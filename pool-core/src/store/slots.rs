//! The table of slots: what is known of each connection, and how many are in which state.
//!
//! # Invariants
//!
//! Only [`Slots::set_state`] changes the state of a slot. It keeps a tally of each state, and every
//! count of connections is read off the tally.

use std::panic::Location;
use std::time::Duration;

use crate::budget::Claim;
use crate::error::ConnectError;
use crate::id::{CloseReason, ConnectionId};
use crate::status::LastWeighing;
use crate::store::{Limits, VitalsHandle};
use crate::time::Time;
use crate::vitals::Overweight;

/// The index of a slot in the table; valid as long as the slot exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotKey(u32);

/// Where a slot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Opening,
    Idle,
    Leased,
    Checking,
    Returning,
    Closing,
    Stuck,
}

const STATES: usize = 7;

/// What is known about one slot and its connection.
// Order: what every lease and return looks at lies in one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct SlotRecord {
    pub(crate) id: ConnectionId,
    /// When its lifetime ends; the jitter is in it from birth.
    pub(crate) expires: Time,
    /// When it was last used.
    pub(crate) used: Time,
    pub(crate) leased: Time,
    pub(crate) uses: u64,
    /// How often it may be used; the jitter is in it from birth.
    pub(crate) uses_max: u64,
    pub(crate) site: Option<&'static Location<'static>>,
    state: State,
    /// Why it will be closed when its last lease ends, or is being closed.
    pub(crate) close_reason: Option<CloseReason>,
    /// It was opened and not detached, so its end is a close.
    pub(crate) opened: bool,
    /// Its lease was reported as overdue.
    pub(crate) overdue: bool,
    /// It was returned in good order at least once.
    served: bool,
    /// What its end says about connecting has been counted.
    pub(crate) is_judged: bool,
    /// It is being checked to show that old connections can be replaced.
    pub(crate) is_proof: bool,
    /// Its connect, reset or check takes longer than usual.
    is_late: bool,
    /// Its leases, if it is shared.
    pub(crate) load: u32,
    /// Its checks under way, if it is shared.
    pub(crate) holds: u32,
    /// Those of its leases that began in this generation of leases, and in the one before: they are not
    /// held for long.
    pub(crate) recent: [u32; 2],
    /// Those of its leases that were served to waiters which have not taken them yet.
    pub(crate) promised: u32,
    /// It is shared and not needed: lent only when no other connection can take a lease.
    pub(crate) spare: bool,
    /// Why it is to be replaced, if it is shared. It serves until then.
    pub(crate) superseded: Option<CloseReason>,
    /// Since when.
    pub(crate) superseded_at: Time,
    /// It is shared and suspected to hang: it gets no new leases until that is cleared.
    pub(crate) is_suspected: bool,
    /// When that was suspected last.
    pub(crate) suspected_at: Time,
    /// When the connect began, then when it succeeded.
    pub(crate) born: Time,
    /// When its connect, reset or check began.
    pub(crate) since: Time,
    /// When it was found dead or unfit.
    pub(crate) unfit_at: Option<Time>,
    /// The failed rounds the pacer had counted when the connect began.
    pub(crate) round: u32,
    /// Why it died, if its connector said so. Dropped outside of the lock.
    pub(crate) death_reason: Option<ConnectError>,
    /// When it was last known to work: used or checked.
    pub(crate) proven: Time,
    /// How long after its last use or check it is due for the next check.
    pub(crate) check_after: Duration,
    /// It is given up for another pool of the budget.
    pub(crate) claim: Option<Claim>,
    /// By which it is weighed. Dropped outside of the lock.
    pub(crate) vitals: Option<VitalsHandle>,
    /// What it weighed last.
    pub(crate) weight: u64,
    pub(crate) last_weighing: LastWeighing,
    /// Its weight may still be that of a program that starts.
    pub(crate) is_new: bool,
    /// Whether it weighed more than `max_weight` when it was new.
    pub(crate) was_heavy_when_new: bool,
    /// Why it was killed.
    pub(crate) kill_cause: Option<Overweight>,
}

impl SlotRecord {
    /// It was returned in good order. A waiter that left before it took it had no use of it.
    pub(crate) const fn note_served(&mut self) {
        self.served |= self.uses > 0;
    }

    pub(crate) const fn has_served(&self) -> bool {
        self.served
    }

    pub(crate) const fn opening(id: ConnectionId, now: Time, round: u32) -> Self {
        Self {
            id,
            state: State::Opening,
            born: now,
            since: now,
            unfit_at: None,
            death_reason: None,
            expires: Time::NEVER,
            used: now,
            proven: now,
            check_after: Duration::ZERO,
            leased: now,
            uses: 0,
            uses_max: u64::MAX,
            round,
            close_reason: None,
            opened: false,
            overdue: false,
            served: false,
            is_judged: false,
            is_proof: false,
            is_late: false,
            site: None,
            load: 0,
            holds: 0,
            recent: [0; 2],
            promised: 0,
            spare: false,
            superseded: None,
            superseded_at: now,
            is_suspected: false,
            suspected_at: now,
            claim: None,
            vitals: None,
            weight: 0,
            last_weighing: LastWeighing::NotYet,
            is_new: true,
            was_heavy_when_new: false,
            kill_cause: None,
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Open, and not being closed.
    pub(crate) const fn is_open(&self) -> bool {
        match self.state {
            State::Idle | State::Leased | State::Checking | State::Returning => true,
            State::Opening | State::Closing | State::Stuck => false,
        }
    }

    /// Why it ended: if it was killed, that is the reason, however its end was noticed.
    pub(crate) const fn reason_of_end(&self, noticed: CloseReason) -> CloseReason {
        match self.kill_cause {
            Some(_) => CloseReason::Killed,
            None => noticed,
        }
    }

    /// Being closed.
    pub(crate) const fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing | State::Stuck)
    }

    /// It is open no more, or will not be lent again, or is to be replaced.
    pub(crate) const fn is_outgoing(&self) -> bool {
        !self.is_open() || self.close_reason.is_some() || self.superseded.is_some()
    }

    /// Outgoing, and likely to be gone soon. Nobody knows when the leases of one that hangs end. A close that hangs
    /// counts as well: otherwise all others would be closed in its place, one after the other.
    pub(crate) const fn leaves_soon(&self) -> bool {
        let hangs = self.is_open() && self.is_suspected && self.load > 0;
        self.is_outgoing() && !hangs
    }

    /// Neither marked for close nor superseded nor suspected.
    pub(crate) const fn is_fresh(&self) -> bool {
        self.takes_leases() && self.superseded.is_none()
    }

    /// Whether a shared connection takes new leases, as far as their number permits.
    pub(crate) const fn takes_leases(&self) -> bool {
        self.close_reason.is_none() && !self.is_suspected
    }

    /// Whether another connection is to be opened in its place.
    pub(crate) const fn needs_replacement(&self) -> bool {
        self.close_reason.is_none() && (self.superseded.is_some() || self.is_suspected)
    }

    /// It is to be replaced, and serves until then.
    pub(crate) const fn is_superseded(&self) -> bool {
        self.superseded.is_some() && self.close_reason.is_none()
    }

    /// Its leases that are not held for long.
    pub(crate) const fn active(&self) -> u32 {
        self.recent[0] + self.recent[1]
    }

    /// Leases are spread over it.
    pub(crate) const fn is_in_spread(&self) -> bool {
        self.is_fresh() && !self.spare
    }

    /// It has no lease, and was neither used nor checked since then.
    #[inline]
    pub(crate) fn is_stale(&self, since: Time) -> bool {
        self.used < since && self.proven < since && self.load == 0
    }

    /// Whether a shared connection may take another lease, if it is not stale.
    pub(crate) fn may_be_lent(&self, limits: &Limits, stale_before: Time) -> bool {
        self.takes_leases()
            && !self.is_stale(stale_before)
            && self.load < limits.sharing.max_leases
            && self.uses_with_promised() < self.uses_max
    }

    /// How many more leases a shared connection may take.
    pub(crate) fn room(&self, limits: &Limits) -> usize {
        if !self.takes_leases() {
            return 0;
        }
        let leases = u64::from(limits.sharing.max_leases.saturating_sub(self.load));
        let uses_left = self.uses_max.saturating_sub(self.uses_with_promised());
        usize::try_from(leases.min(uses_left)).unwrap_or(usize::MAX)
    }

    fn uses_with_promised(&self) -> u64 {
        self.uses + u64::from(self.promised)
    }

    /// A shared connection has neither a lease nor a check under way.
    pub(crate) const fn is_unused(&self) -> bool {
        self.load == 0 && self.holds == 0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Slots {
    table: Vec<Option<SlotRecord>>,
    free: Vec<u32>,
    tally: [usize; STATES],
    /// Of those, the ones that take longer than usual.
    late: [usize; STATES],
}

impl Slots {
    pub(crate) fn insert(&mut self, record: SlotRecord) -> SlotKey {
        self.tally[record.state as usize] += 1;
        if let Some(place) = self.free.pop() {
            self.table[place as usize] = Some(record);
            return SlotKey(place);
        }
        let place = u32::try_from(self.table.len()).expect("max_size is limited to u32::MAX");
        self.table.push(Some(record));
        SlotKey(place)
    }

    pub(crate) fn remove(&mut self, key: SlotKey) -> SlotRecord {
        let record = self.table[key.0 as usize].take().expect(STALE);
        self.tally[record.state as usize] -= 1;
        self.late[record.state as usize] -= usize::from(record.is_late);
        self.free.push(key.0);
        record
    }

    #[inline]
    pub(crate) fn set_state(&mut self, key: SlotKey, state: State) -> &mut SlotRecord {
        let record = self.table[key.0 as usize].as_mut().expect(STALE);
        // A connection that goes from hand to hand stays leased.
        if record.state != state {
            self.tally[record.state as usize] -= 1;
            self.tally[state as usize] += 1;
            if std::mem::take(&mut record.is_late) {
                self.late[record.state as usize] -= 1;
            }
            record.state = state;
        }
        record
    }

    #[inline]
    pub(crate) fn get(&self, key: SlotKey) -> &SlotRecord {
        self.table[key.0 as usize].as_ref().expect(STALE)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: SlotKey) -> &mut SlotRecord {
        self.table[key.0 as usize].as_mut().expect(STALE)
    }

    /// The record at `key` if it still belongs to this connection.
    pub(crate) fn find(&mut self, key: SlotKey, id: ConnectionId) -> Option<&mut SlotRecord> {
        self.table[key.0 as usize]
            .as_mut()
            .filter(|record| record.id == id)
    }

    #[inline]
    pub(crate) const fn count(&self, state: State) -> usize {
        self.tally[state as usize]
    }

    /// How many slots in this state take no longer than usual.
    pub(crate) const fn on_time(&self, state: State) -> usize {
        self.tally[state as usize] - self.late[state as usize]
    }

    /// How many slots in this state take longer than usual.
    pub(crate) const fn late(&self, state: State) -> usize {
        self.late[state as usize]
    }

    /// The slots whose connect, reset or check is not late yet.
    pub(crate) fn busy_on_time(&self) -> Vec<SlotKey> {
        let states = [State::Opening, State::Returning, State::Checking];
        if states.iter().all(|state| self.on_time(*state) == 0) {
            return Vec::new();
        }
        let keys = (0..).map(SlotKey).zip(&self.table);
        keys.filter(|(_, entry)| {
            let record = entry.as_ref();
            record.is_some_and(|record| !record.is_late && states.contains(&record.state))
        })
        .map(|(key, _)| key)
        .collect()
    }

    /// This connect, reset or check takes longer than usual.
    pub(crate) fn set_late(&mut self, key: SlotKey) {
        let record = self.table[key.0 as usize].as_mut().expect(STALE);
        self.late[record.state as usize] += usize::from(!record.is_late);
        record.is_late = true;
    }

    /// All slots and their keys.
    pub(crate) fn iter_with_keys(&self) -> impl Iterator<Item = (SlotKey, &SlotRecord)> {
        let keys = (0..).map(SlotKey).zip(&self.table);
        keys.filter_map(|(key, entry)| Some((key, entry.as_ref()?)))
    }

    /// All slots.
    pub(crate) fn len(&self) -> usize {
        self.tally.iter().sum()
    }

    /// All slots whose connection can still serve a waiter.
    pub(crate) const fn serving(&self) -> usize {
        self.count(State::Opening) + self.open()
    }

    /// Those that its pool keeps: not those that were given up already and still have leases, and no connect that
    /// hangs.
    pub(crate) fn kept(&self) -> usize {
        let stays = |record: &&SlotRecord| record.is_open() && record.close_reason.is_none();
        self.on_time(State::Opening) + self.iter().filter(stays).count()
    }

    /// Whether more than `limit` connections are open, this one included, which may just have been opened.
    #[inline]
    pub(crate) fn has_no_room_for(&self, key: SlotKey, limit: usize) -> bool {
        // The table never shrinks, so while it is short its length suffices.
        self.table.len() > limit && {
            let is_new = self.get(key).state == State::Opening;
            self.open() + usize::from(is_new) > limit
        }
    }

    /// All connections that are open and not being closed.
    pub(crate) const fn open(&self) -> usize {
        self.count(State::Idle)
            + self.count(State::Leased)
            + self.count(State::Checking)
            + self.count(State::Returning)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SlotRecord> {
        self.table.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SlotRecord> {
        self.table.iter_mut().flatten()
    }
}

const STALE: &str = "a slot key does not outlive its slot";
