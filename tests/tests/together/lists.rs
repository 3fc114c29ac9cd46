//! The lists of the model: the pools, and the connections of each.

use std::collections::VecDeque;

use pool_core::{CloseReason, ConnectionId, WaiterId};
use tokio::time::Instant;

use crate::model::{Checked, ensure};
use crate::terms::{CLOSE_TIMEOUT, Door, MAX_WEIGHT, PLACES, SLACK, WEIGH_INTERVAL};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Opening,
    Open,
    Closing(CloseReason),
}

#[derive(Debug, Clone)]
pub(crate) struct Conn {
    pub(crate) id: ConnectionId,
    pub(crate) phase: Phase,
    pub(crate) leases: usize,
    /// When its phase began.
    pub(crate) since: Instant,
    pub(crate) born: Instant,
    /// When it was returned last, or opened.
    pub(crate) used: Instant,
    /// It was lent at least once.
    pub(crate) has_served: bool,
    /// The larger, the later it was returned.
    pub(crate) turn: u64,
    /// What it can have been measured at, the present weight last, each with the time from which on it can.
    pub(crate) weights: Vec<(Instant, u64)>,
    /// It can have been too heavy when it was weighed for the first time.
    pub(crate) was_heavy_early: bool,
    /// Why it gets no lease any more.
    pub(crate) marks: Vec<CloseReason>,
    /// Why it is to be replaced, if it is shared.
    pub(crate) superseded: Option<CloseReason>,
    /// It is shared, and its pool may have marked it so: there is no event for it.
    pub(crate) may_leave: Vec<CloseReason>,
    /// When it can have been marked to be reclaimed, at the latest.
    pub(crate) gave_way: Option<Instant>,
    pub(crate) is_killed: bool,
    /// Its close takes longer than its timeout.
    pub(crate) is_stuck: bool,
}

impl Conn {
    pub(crate) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.is_open() && self.leases == 0
    }

    /// It gets no lease.
    pub(crate) fn is_outgoing(&self) -> bool {
        self.is_closing() || !self.marks.is_empty()
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.is_open() && !self.is_outgoing() && self.superseded.is_none()
    }

    pub(crate) fn may_stay(&self) -> bool {
        self.may_leave.is_empty()
    }

    /// The least and the most that it can have been measured at.
    pub(crate) fn weight(&self) -> (u64, u64) {
        let weights = self.weights.iter().map(|(_, weight)| *weight);
        weights.fold((u64::MAX, 0), |(least, most), weight| {
            (least.min(weight), most.max(weight))
        })
    }

    pub(crate) fn can_weigh(&self, weight: u64) -> bool {
        self.weights.iter().any(|(_, other)| *other == weight)
    }
}

/// A pool of a place: of a key there can be several, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) place: usize,
    pub(crate) max_size: usize,
    pub(crate) queue: VecDeque<WaiterId>,
    /// A waiter was put back into its place, so the order is not known until the queue is empty.
    pub(crate) is_reordered: bool,
    /// Waiters that were served and have not taken it yet.
    pub(crate) served: Vec<(WaiterId, ConnectionId)>,
    /// How many waiters were refused while connects failed, and do not know it yet.
    pub(crate) refused: usize,
    pub(crate) conns: Vec<Conn>,
    pub(crate) handles: usize,
    pub(crate) is_closed: bool,
    pub(crate) closes: Vec<(ConnectionId, CloseReason)>,
    pub(crate) kills: Vec<ConnectionId>,
    /// New connections are too heavy, so it replaces them less and less often.
    pub(crate) keeps_heavy: bool,
    pub(crate) detached: usize,
    /// When it was last in use.
    pub(crate) used: Instant,
    /// When a lease began or ended last, or the size changed.
    pub(crate) moved: Instant,
    next_turn: u64,
    /// The most that it wanted since the operation began.
    pub(crate) wanted: usize,
    /// The fewest slots with which it has waited since then.
    pub(crate) waited_with: Option<usize>,
}

impl Pool {
    pub(crate) fn new(place: usize, now: Instant) -> Self {
        Self {
            place,
            max_size: PLACES[place].max_size,
            queue: VecDeque::new(),
            is_reordered: false,
            served: Vec::new(),
            refused: 0,
            conns: Vec::new(),
            handles: 0,
            is_closed: false,
            closes: Vec::new(),
            kills: Vec::new(),
            keeps_heavy: false,
            detached: 0,
            used: now,
            moved: now,
            next_turn: 0,
            wanted: 0,
            waited_with: None,
        }
    }

    pub(crate) fn door(&self) -> Door {
        PLACES[self.place].door
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.door().is_shared()
    }

    pub(crate) fn share(&self) -> usize {
        PLACES[self.place].share as usize
    }

    pub(crate) fn leases(&self) -> usize {
        self.conns.iter().map(|conn| conn.leases).sum()
    }

    pub(crate) fn weight(&self) -> (u64, u64) {
        let weights = self.conns.iter().map(Conn::weight);
        weights.fold((0, 0), |sum, (least, most)| (sum.0 + least, sum.1 + most))
    }

    pub(crate) fn is_in_use(&self) -> bool {
        !self.queue.is_empty() || self.leases() > 0 || self.handles > 0
    }

    pub(crate) fn conn(&mut self, id: ConnectionId) -> Result<&mut Conn, String> {
        let conn = self.conns.iter_mut().find(|conn| conn.id == id);
        conn.ok_or_else(|| format!("{id} does not exist"))
    }

    pub(crate) fn open(&mut self, id: ConnectionId) -> Result<&mut Conn, String> {
        let conn = self.conn(id)?;
        match conn.is_open() {
            true => Ok(conn),
            false => Err(format!("{id} is not open: {conn:?}")),
        }
    }

    /// One of those that may have been too many has gone.
    pub(crate) fn note_shrunk(&mut self) {
        if self.count(|conn| conn.is_open() && !conn.is_outgoing()) <= self.max_size {
            for conn in &mut self.conns {
                conn.may_leave.retain(|why| *why != CloseReason::Shrunk);
            }
        }
    }

    pub(crate) fn take_turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    pub(crate) fn leave_queue(&mut self, waiter: WaiterId) -> Checked {
        let place = self.queue.iter().position(|queued| *queued == waiter);
        let place = place.ok_or_else(|| format!("{waiter} was not in the queue"))?;
        self.queue.remove(place);
        self.is_reordered &= !self.queue.is_empty();
        Ok(())
    }

    pub(crate) fn died(&mut self, id: ConnectionId) -> Checked {
        let conn = self.open(id)?;
        let is_dead = conn.is_killed || conn.marks.contains(&CloseReason::Died);
        ensure(is_dead, || format!("{id} lives"))
    }

    pub(crate) fn closed(&mut self, id: ConnectionId, reason: CloseReason) -> Checked {
        let conn = self.conn(id)?;
        ensure(conn.phase == Phase::Closing(reason), || {
            format!("{id} was closed for {reason}: {conn:?}")
        })?;
        self.conns.retain(|conn| conn.id != id);
        Ok(())
    }

    pub(crate) fn stuck(&mut self, id: ConnectionId, at: Instant) -> Checked {
        let conn = self.conn(id)?;
        let waited = at.duration_since(conn.since);
        conn.is_stuck = true;
        ensure(conn.is_closing() && waited + SLACK >= CLOSE_TIMEOUT, || {
            format!("{id} is stuck after {waited:?}: {conn:?}")
        })
    }

    pub(crate) fn detached(&mut self, id: ConnectionId) -> Checked {
        let conn = self.open(id)?;
        let leases = conn.leases;
        self.conns.retain(|conn| conn.id != id);
        self.detached += 1;
        ensure(leases == 0, || {
            format!("{id} is detached, and lent to others")
        })
    }

    /// The leases of a connection that waiters have not taken yet.
    pub(crate) fn untaken(&self, id: ConnectionId) -> usize {
        self.served.iter().filter(|(_, of)| *of == id).count()
    }
}

impl Conn {
    pub(crate) fn measured(&mut self, weight: u64) {
        if let Some(place) = self.weights.iter().rposition(|(_, other)| *other == weight) {
            self.weights.drain(..place);
        }
    }

    pub(crate) fn weighs_from_now_on(&mut self, weight: u64) {
        self.was_heavy_early |=
            weight > MAX_WEIGHT && self.born.elapsed() <= 3 * WEIGH_INTERVAL + SLACK;
        self.weights.push((Instant::now(), weight));
    }
}
