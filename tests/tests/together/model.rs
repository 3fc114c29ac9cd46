//! What a history knows of the pools: lists that follow the events, and what it says of each event.

use std::time::Duration;

use pool_core::{CloseReason, ConnectionId, EventKind, WaiterId};
use tokio::time::Instant;

use crate::doors::Fact;
use crate::lists::{Conn, Phase, Pool};
use crate::terms::{
    BUDGET_WEIGHT, Door, KEY_IDLE_TIMEOUT, MAX_CONNECTIONS, MAX_KEYS, PLACES, RESIDENCE, SLACK,
    WEIGH_INTERVAL,
};

pub(crate) type Checked = Result<(), String>;

pub(crate) fn ensure(is_kept: bool, what: impl FnOnce() -> String) -> Checked {
    match is_kept {
        true => Ok(()),
        false => Err(what()),
    }
}

/// What is known of the connects of a place; it outlives the pools of a key.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Peer {
    /// The last connect failed.
    pub(crate) is_failing: bool,
    /// When the next one may begin, as far as callers were told.
    pub(crate) not_before: Option<Instant>,
}

/// What the present operation is the reason for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    pub(crate) entered: Option<usize>,
    pub(crate) evicted: Option<usize>,
    /// The most connections that there were too many.
    pub(crate) excess: usize,
    /// With how many connections each place waited when all was settled before,
    pub(crate) waited: [Option<usize>; PLACES.len()],
    /// and how many connects it asked for then and has not begun: it asks for more a moment later.
    pub(crate) asked: [usize; PLACES.len()],
}

#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) limit: usize,
    pub(crate) pools: Vec<Pool>,
    /// The pool that each place has.
    pub(crate) current: [Option<usize>; PLACES.len()],
    pub(crate) peers: [Peer; PLACES.len()],
    pub(crate) closed: Vec<Door>,
    pub(crate) cause: Cause,
    /// Since when all together are too heavy.
    pub(crate) heavy_since: Option<Instant>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            limit: MAX_CONNECTIONS,
            pools: Vec::new(),
            current: [None; PLACES.len()],
            peers: [Peer::default(); PLACES.len()],
            closed: Vec::new(),
            cause: Cause::default(),
            heavy_since: None,
        }
    }

    pub(crate) fn add_pool(&mut self, place: usize, now: Instant) {
        self.current[place] = Some(self.pools.len());
        self.pools.push(Pool::new(place, now));
    }

    /// An operation begins.
    pub(crate) fn begin(&mut self, cause: Cause) {
        self.cause = cause;
        for place in 0..PLACES.len() {
            let pool = self.current[place].map(|pool| &self.pools[pool]);
            let waits = pool.filter(|pool| pool.wants() > 0 && !pool.queue.is_empty());
            self.cause.waited[place] = waits.map(Pool::present);
            self.cause.asked[place] = waits.map_or(0, Pool::wants);
        }
        for pool in &mut self.pools {
            (pool.wanted, pool.waited_with) = (0, None);
        }
        self.note_wants();
    }

    pub(crate) fn note_wants(&mut self) {
        for pool in &mut self.pools {
            if pool.may_wait() {
                let slots = pool.present();
                pool.waited_with = Some(pool.waited_with.map_or(slots, |least| least.min(slots)));
            }
            pool.wanted = pool.wanted.max(pool.wants_of_others().1);
        }
        self.cause.excess = self.cause.excess.max(self.excess());
    }

    /// A caller gives its lease back, or gives the connection up.
    pub(crate) fn lease_ends(&mut self, pool: usize, id: ConnectionId, why: Option<CloseReason>) {
        let now = Instant::now();
        let is_shared = self.pools[pool].is_shared();
        let turn = self.pools[pool].take_turn();
        let may_give = self.may_give(pool);
        let pool = &mut self.pools[pool];
        (pool.used, pool.moved) = (now, now);
        let conn = pool.conn(id).expect("what is lent exists");
        conn.leases -= 1;
        conn.marks.extend(why);
        if why.is_none() {
            conn.used = now;
            conn.turn = turn;
        }
        let has_served = now.duration_since(conn.born) + SLACK >= RESIDENCE;
        if is_shared && conn.leases > 0 && may_give && has_served {
            conn.may_leave.push(CloseReason::Reclaimed);
            conn.gave_way = Some(now);
        }
    }

    /// A caller has the lease that it waited for.
    pub(crate) fn lease_taken(&mut self, pool: usize, id: ConnectionId) {
        let pool = &mut self.pools[pool];
        let served = pool.served.iter().position(|(_, of)| *of == id);
        served.map(|place| pool.served.remove(place));
    }

    /// Takes an event in, and says whether it was allowed.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the settings allow no others"
    )]
    pub(crate) fn enter(&mut self, fact: &Fact) -> Checked {
        self.note_wants();
        let (at, pool) = (fact.at, fact.pool);
        match fact.kind {
            EventKind::Queued { waiter } => {
                let pool = &mut self.pools[pool];
                ensure(!pool.is_closed, || format!("{waiter} joins a closed pool"))?;
                pool.queue.push_back(waiter);
                Ok(())
            }
            EventKind::Requeued { waiter } => self.requeued(pool, waiter),
            EventKind::TimedOut { waiter } | EventKind::Cancelled { waiter } => {
                self.pools[pool].leave_queue(waiter)
            }
            EventKind::Refused { waiter } => self.refused(pool, waiter),
            EventKind::Opening { id } => self.opening(pool, id, at),
            EventKind::Opened { id } => self.opened(pool, id, at),
            EventKind::ConnectFailed { id, .. } => {
                self.peers[self.pools[pool].place] = Peer {
                    is_failing: true,
                    not_before: None,
                };
                self.connect_ended(pool, id)
            }
            EventKind::ConnectAborted { id } => {
                let is_closed = self.pools[pool].is_closed;
                ensure(is_closed, || format!("the connect of {id} was given up"))?;
                self.connect_ended(pool, id)
            }
            EventKind::Leased { id, waiter } => {
                self.pools[pool].moved = at;
                self.leased(pool, id, waiter)
            }
            EventKind::Overweight { id, weight, limit } => {
                self.overweight(pool, id, [weight, limit])
            }
            EventKind::HeavyWhenNew { id, .. } => {
                let pool = &mut self.pools[pool];
                pool.keeps_heavy = true;
                let is_right = pool.open(id)?.was_heavy_early;
                ensure(is_right, || format!("{id} was not heavy when it was new"))
            }
            EventKind::Killed { id, weight, limit } => self.killed(pool, id, [weight, limit]),
            EventKind::Died { id } => self.pools[pool].died(id),
            EventKind::Closing { id, reason } => self.closing(pool, id, reason, at),
            EventKind::Closed { id, reason } => self.pools[pool].closed(id, reason),
            EventKind::Stuck { id, .. } => self.pools[pool].stuck(id, at),
            EventKind::Detached { id } => self.pools[pool].detached(id),
            EventKind::Resized { to, .. } => {
                self.pools[pool].moved = at;
                self.resized(pool, to);
                Ok(())
            }
            EventKind::PoolClosing => self.pool_closing(pool, at),
            EventKind::PoolClosed => {
                let left = self.pools[pool].slots();
                ensure(left == 0, || format!("a closed pool has {left} left"))
            }
            EventKind::Returned { .. }
            | EventKind::Discarded { .. }
            | EventKind::Expired { .. } => Ok(()),
            ref kind => Err(format!("{kind:?} does not belong here")),
        }?;
        self.note_wants();
        Ok(())
    }

    fn refused(&mut self, pool: usize, waiter: WaiterId) -> Checked {
        let is_failing = self.peers[self.pools[pool].place].is_failing;
        let pool = &mut self.pools[pool];
        ensure(pool.is_closed || is_failing, || {
            format!("{waiter} was refused")
        })?;
        pool.refused += usize::from(is_failing && !pool.is_closed);
        pool.leave_queue(waiter)
    }

    fn requeued(&mut self, pool: usize, waiter: WaiterId) -> Checked {
        let pool = &mut self.pools[pool];
        if let Some(place) = pool.served.iter().position(|(other, _)| *other == waiter) {
            let (_, id) = pool.served.remove(place);
            if let Ok(conn) = pool.conn(id) {
                conn.leases -= 1;
            }
        }
        pool.queue.push_front(waiter);
        pool.is_reordered = true;
        ensure(!pool.is_closed, || format!("{waiter} joins a closed pool"))
    }

    fn connect_ended(&mut self, pool: usize, id: ConnectionId) -> Checked {
        let conn = self.pools[pool].conn(id)?;
        let is_opening = conn.phase == Phase::Opening;
        ensure(is_opening, || format!("{id} is not being opened"))?;
        self.pools[pool].conns.retain(|conn| conn.id != id);
        Ok(())
    }

    fn resized(&mut self, number: usize, max_size: usize) {
        let pool = &mut self.pools[number];
        pool.max_size = max_size;
        if pool.is_shared() {
            let stay = |conn: &Conn| conn.is_open() && !conn.is_outgoing();
            if pool.count(stay) > max_size {
                let conns = pool.conns.iter_mut().filter(|conn| conn.is_open());
                conns.for_each(|conn| conn.may_leave.push(CloseReason::Shrunk));
            }
        }
    }

    /// All connections of a place are to be replaced.
    pub(crate) fn evict(&mut self, place: usize) {
        let Some(number) = self.current[place] else {
            return;
        };
        let pool = &mut self.pools[number];
        let is_shared = pool.is_shared();
        for conn in pool.conns.iter_mut().filter(|conn| !conn.is_outgoing()) {
            match is_shared && conn.is_open() {
                true => conn.superseded = conn.superseded.or(Some(CloseReason::Evicted)),
                false => conn.marks.push(CloseReason::Evicted),
            }
        }
    }

    fn pool_closing(&mut self, number: usize, at: Instant) -> Checked {
        let keys = self.keys(self.pools[number].door());
        let pool = &mut self.pools[number];
        let door = pool.door();
        let is_asked = self.closed.contains(&door);
        if !is_asked {
            let needs_place = self.cause.entered.is_some_and(|entered| {
                entered != pool.place && PLACES[entered].door == door && keys >= MAX_KEYS
            });
            // Accurate to a quarter.
            let unused_for = at.duration_since(pool.used) + SLACK;
            let is_unused = unused_for >= KEY_IDLE_TIMEOUT * 3 / 4;
            let is_evicted = self.cause.evicted == Some(pool.place);
            let is_dropped = is_evicted || is_unused || needs_place && door == Door::Keyed;
            ensure(door.is_keyed() && is_dropped && !pool.is_in_use(), || {
                format!("pool {number} is closed after {unused_for:?}: {pool:?}")
            })?;
        }
        pool.is_closed = true;
        if door.is_keyed() {
            self.current[pool.place] = None;
        }
        Ok(())
    }

    /// How many keys have a pool.
    pub(crate) fn keys(&self, door: Door) -> usize {
        let of_door = |place: &usize| PLACES[*place].door == door && self.current[*place].is_some();
        (0..PLACES.len()).filter(of_door).count()
    }

    /// Forgets the weights that a connection cannot have been measured at last.
    pub(crate) fn note_weighings(&mut self, now: Instant) {
        let certain = |since: Instant| now.duration_since(since) > WEIGH_INTERVAL + SLACK;
        for pool in &mut self.pools {
            for conn in pool.conns.iter_mut().filter(|conn| conn.is_open()) {
                while conn.weights.get(1).is_some_and(|next| certain(next.0)) {
                    conn.weights.remove(0);
                }
            }
        }
        let is_heavy = self.weight().0 > BUDGET_WEIGHT;
        self.heavy_since = is_heavy.then(|| self.heavy_since.unwrap_or(now));
    }
}

/// How long a caller may wait beyond its time.
pub(crate) const LATE: Duration = Duration::from_millis(600);
