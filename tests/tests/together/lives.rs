//! What the model says of the life of a connection, from its connect to its last lease.

use pool_core::{CloseReason, ConnectionId, WaiterId};
use tokio::time::Instant;

use crate::lists::{Conn, Phase};
use crate::model::{Checked, LATE, Model, ensure};
use crate::terms::{BUDGET_WEIGHT, KILL_WEIGHT, MAX_CONNECTING, MAX_LEASES, MAX_WEIGHT, PLACES};

impl Model {
    pub(crate) fn opening(&mut self, number: usize, id: ConnectionId, at: Instant) -> Checked {
        let pool = &self.pools[number];
        ensure(!pool.is_closed, || {
            format!("{id} is opened by a closed pool")
        })?;
        let (slots, size_max) = (pool.slots(), pool.size_max());
        ensure(slots < size_max, || {
            format!("{id} is opened with {slots} of {size_max}")
        })?;
        let (used, committed, limit) = (self.used(), self.committed(), self.limit);
        ensure(self.has_room_for(pool), || {
            format!("{id} is opened with {used} in use and {committed} not free of {limit}")
        })?;
        let connecting = self.connecting();
        ensure(connecting < MAX_CONNECTING, || {
            format!("{id} is opened beside {connecting} connects")
        })?;
        ensure(!self.is_surely_heavy(), || {
            format!("{id} is opened although all weigh {:?}", self.weight())
        })?;
        let missing = PLACES[pool.place].min_idle.saturating_sub(pool.idle());
        let superseded = pool.count(|conn| conn.superseded.is_some());
        let needed = match pool.is_shared() {
            true => pool.queue.len() + 1 + superseded,
            false => pool.queue.len() + missing,
        };
        ensure(pool.opening() < needed, || {
            format!("nobody needs {id}: {needed} do")
        })?;
        let not_before = self.peers[pool.place].not_before;
        ensure(not_before.is_none_or(|time| time <= at + LATE), || {
            format!("{id} is opened before the delay after a failure is over")
        })?;
        self.check_precedence(number, id)?;
        let asked = &mut self.cause.asked[self.pools[number].place];
        *asked = asked.saturating_sub(1);
        let conn = Conn {
            id,
            phase: Phase::Opening,
            leases: 0,
            since: at,
            born: at,
            used: at,
            has_served: false,
            turn: 0,
            weights: vec![(at, 0)],
            was_heavy_early: false,
            marks: Vec::new(),
            superseded: None,
            may_leave: Vec::new(),
            gave_way: None,
            is_killed: false,
            is_stuck: false,
        };
        self.pools[number].conns.push(conn);
        Ok(())
    }

    /// A pool that has waited all the time, and has fewer for its share, is served before.
    fn check_precedence(&self, number: usize, id: ConnectionId) -> Checked {
        let pool = &self.pools[number];
        let has_room_for_two =
            self.committed() + 1 < self.limit && self.connecting() + 1 < MAX_CONNECTING;
        if pool.slots() < pool.reserved() || has_room_for_two {
            return Ok(());
        }
        for place in (0..PLACES.len()).filter(|place| *place != pool.place) {
            let other = self.current[place].map(|other| &self.pools[other]);
            let (Some(other), Some(slots)) = (other, self.cause.waited[place]) else {
                continue;
            };
            let has_fewer =
                slots.max(other.present()) * pool.share() < pool.present() * other.share();
            let asks = self.cause.asked[place].min(other.wants()) > 0;
            let waits = asks && !other.queue.is_empty();
            let may_connect = !self.peers[place].is_failing;
            ensure(!(has_fewer && waits && may_connect), || {
                format!("{id} is opened although place {place} has less for its share, and waits")
            })?;
        }
        Ok(())
    }

    pub(crate) fn opened(&mut self, number: usize, id: ConnectionId, at: Instant) -> Checked {
        let place = self.pools[number].place;
        let pool = &mut self.pools[number];
        // One that is closed at once helps nobody who was told of a failure.
        if pool.conn(id)?.marks.is_empty() {
            self.peers[place].is_failing = false;
        }
        let turn = pool.take_turn();
        let (max_size, is_shared) = (pool.max_size, pool.is_shared());
        let conn = pool.conn(id)?;
        ensure(conn.phase == Phase::Opening, || {
            format!("{id} was opened: {conn:?}")
        })?;
        let serves = conn.marks.is_empty();
        (conn.phase, conn.turn) = (Phase::Open, turn);
        (conn.since, conn.born, conn.used) = (at, at, at);
        for (since, _) in &mut conn.weights {
            *since = at;
        }
        let others = pool.count(|conn| conn.id != id && conn.is_open() && !conn.is_outgoing());
        if is_shared && serves && !pool.is_closed && others <= max_size {
            let outgoing = |conn: &&mut Conn| {
                conn.superseded.is_some() && conn.is_open() && !conn.is_outgoing()
            };
            let conns = pool.conns.iter_mut();
            if let Some(oldest) = conns.filter(outgoing).min_by_key(|conn| conn.id) {
                oldest.marks.extend(oldest.superseded);
            }
        }
        Ok(())
    }

    pub(crate) fn leased(
        &mut self,
        number: usize,
        id: ConnectionId,
        waiter: Option<WaiterId>,
    ) -> Checked {
        let pool = &mut self.pools[number];
        ensure(!pool.is_closed, || format!("{id} is lent after the close"))?;
        let first = pool.queue.front().copied();
        match waiter {
            None => ensure(first.is_none(), || {
                format!("{id} is lent while {first:?} waits")
            })?,
            Some(waiter) => {
                let is_next = first == Some(waiter) || pool.is_reordered;
                ensure(is_next, || format!("{waiter} is served before {first:?}"))?;
                pool.leave_queue(waiter)?;
                pool.served.push((waiter, id));
            }
        }
        let conn = pool.open(id)?.clone();
        ensure(!conn.is_outgoing(), || format!("{id} is lent: {conn:?}"))?;
        let limit = if pool.is_shared() { MAX_LEASES } else { 1 };
        ensure(conn.leases < limit, || format!("{id} is lent: {conn:?}"))?;
        let better = pool.conns.iter().find(|other| {
            let has_room = other.is_fresh() && other.leases < limit && other.may_stay();
            match pool.is_shared() {
                true => has_room && (other.leases < conn.leases || !conn.is_fresh()),
                false => has_room && waiter.is_none() && other.turn > conn.turn,
            }
        });
        ensure(better.is_none(), || {
            format!("{id} is lent before {better:?}")
        })?;
        let conn = pool.open(id)?;
        conn.leases += 1;
        conn.has_served = true;
        conn.may_leave.clear();
        conn.gave_way = None;
        Ok(())
    }

    pub(crate) fn overweight(&mut self, number: usize, id: ConnectionId, of: [u64; 2]) -> Checked {
        let [weight, limit] = of;
        let all = self.weight().1;
        let pool = &mut self.pools[number];
        let is_shared = pool.is_shared();
        let conn = pool.open(id)?;
        let is_heavy = match limit {
            MAX_WEIGHT => weight > limit,
            BUDGET_WEIGHT => weight > 0 && all > limit,
            _ => false,
        };
        ensure(is_heavy && conn.can_weigh(weight), || {
            format!("{id} is too heavy with {weight} of {limit}: {conn:?}")
        })?;
        conn.measured(weight);
        match is_shared {
            true => conn.superseded = conn.superseded.or(Some(CloseReason::Overweight)),
            false => conn.marks.push(CloseReason::Overweight),
        }
        Ok(())
    }

    pub(crate) fn killed(&mut self, number: usize, id: ConnectionId, of: [u64; 2]) -> Checked {
        let [weight, limit] = of;
        let pool = &mut self.pools[number];
        pool.kills.push(id);
        let conn = pool.open(id)?;
        let is_right = weight > limit && limit == KILL_WEIGHT && conn.can_weigh(weight);
        ensure(is_right && !conn.is_killed, || {
            format!("{id} is killed with {weight} of {limit}: {conn:?}")
        })?;
        conn.measured(weight);
        conn.is_killed = true;
        conn.marks.push(CloseReason::Killed);
        Ok(())
    }
}
