//! Whether there was a reason to close a connection.

use pool_core::{CloseReason, ConnectionId};
use tokio::time::Instant;

use crate::lists::{Conn, Phase};
use crate::model::{Checked, Model, ensure};
use crate::terms::{CLOSE_PATIENCE, IDLE_TIMEOUT, PLACES, RESIDENCE, SLACK};

impl Model {
    pub(crate) fn closing(
        &mut self,
        number: usize,
        id: ConnectionId,
        reason: CloseReason,
        at: Instant,
    ) -> Checked {
        let untaken = self.pools[number].untaken(id);
        let conn = self.pools[number].open(id)?.clone();
        ensure(conn.leases == untaken, || {
            format!("{id} is closed for {reason} with leases: {conn:?}")
        })?;
        self.check_reason(number, &conn, reason, at)?;
        let pool = &mut self.pools[number];
        pool.closes.push((id, reason));
        let conn = pool.open(id)?;
        conn.phase = Phase::Closing(reason);
        conn.since = at;
        if reason == CloseReason::Shrunk {
            pool.note_shrunk();
        }
        Ok(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "others are planned")]
    fn check_reason(
        &self,
        number: usize,
        conn: &Conn,
        reason: CloseReason,
        at: Instant,
    ) -> Checked {
        let pool = &self.pools[number];
        let wrong = || format!("{} is closed for {reason}: {conn:?}", conn.id);
        if conn.is_killed {
            return ensure(reason == CloseReason::Killed, wrong);
        }
        let is_planned = conn.marks.contains(&reason)
            || conn.may_leave.contains(&reason)
            || conn.superseded == Some(reason);
        if is_planned || reason == CloseReason::PoolClosed && pool.is_closed {
            return Ok(());
        }
        ensure(conn.marks.is_empty(), wrong)?;
        match reason {
            CloseReason::Idle => {
                let idle_for = at.duration_since(conn.used);
                let is_spare = pool.idle() > PLACES[pool.place].min_idle;
                // A shared pool counts one that it does not need as unused since then, also if it is new.
                let is_due = pool.is_shared() || idle_for + SLACK >= IDLE_TIMEOUT;
                ensure(is_due && is_spare, wrong)
            }
            CloseReason::Shrunk => ensure(pool.slots() > pool.max_size, wrong),
            CloseReason::Reclaimed => self.check_reclaim(number, conn, at),
            _ => Err(wrong()),
        }
    }

    fn check_reclaim(&self, number: usize, conn: &Conn, at: Instant) -> Checked {
        let (id, pool) = (conn.id, &self.pools[number]);
        let wrong = |why: &str| format!("{id} is reclaimed {why}: {conn:?}");
        let is_reserved = pool.serving() <= pool.reserved();
        ensure(!is_reserved, || wrong("although it is reserved"))?;
        let wanted = self.wanted_of(number);
        let (leaving, _) = self.leaving(at);
        ensure(leaving < wanted, || {
            format!("{id} is reclaimed although {leaving} leave for {wanted}: {conn:?}")
        })?;
        if !pool.queue.is_empty() {
            let served_for = at.duration_since(conn.born);
            ensure(self.may_give(number), || {
                wrong("from its own callers, for a pool that has as much")
            })?;
            let has_served = served_for + SLACK >= RESIDENCE;
            return ensure(has_served, || wrong("from its own callers, too early"));
        }
        ensure(pool.idle() > pool.reserved(), || {
            wrong("although it is reserved")
        })?;
        let unused_for = at.duration_since(conn.used);
        let is_in_use = unused_for + SLACK < RESIDENCE;
        let is_kept = is_in_use || pool.needs_idle();
        let is_given = self.cause.excess > 0 || self.is_richer(number);
        ensure(!is_kept || is_given, || {
            wrong("though it is needed, for a pool that has as much")
        })?;
        let older = pool.conns.iter().find(|other| {
            other.is_idle() && other.used + SLACK < conn.used && other.marks.is_empty()
        });
        ensure(older.is_none(), || {
            format!("{id} is reclaimed before {older:?}")
        })?;
        let is_older = |other: &&Conn| {
            let unused_for = at.duration_since(other.used);
            other.used + SLACK < conn.used && unused_for > RESIDENCE + SLACK
        };
        // What was found a moment ago is taken without another look.
        for (other, its) in self.reclaimable() {
            let older = Some(its).filter(is_older);
            let its_pool = &self.pools[other];
            let asks_itself = its_pool.wanted > 0 || its_pool.needs_idle();
            let has_moved = at.duration_since(its_pool.moved) <= SLACK;
            let is_exempt = other == number || asks_itself || has_moved;
            ensure(is_exempt || older.is_none(), || {
                format!("{id} is reclaimed before {its:?} of pool {other}")
            })?;
        }
        Ok(())
    }

    /// How many connections others want of this pool, at most.
    fn wanted_of(&self, number: usize) -> usize {
        let pools = self.pools.iter().enumerate();
        let others = pools.filter(|(other, _)| *other != number);
        let wanted: usize = others.map(|(_, other)| other.wanted).sum();
        wanted + self.cause.excess
    }

    /// How many may have given way, still have leases, and count as on their way out: for the minimum residence.
    pub(crate) fn draining(&self, at: Instant) -> usize {
        let conns = self.pools.iter().flat_map(|pool| &pool.conns);
        let counts = |since: Instant| at.duration_since(since) <= RESIDENCE + SLACK;
        conns
            .filter(|conn| conn.gave_way.is_some_and(counts))
            .count()
    }

    /// How many are being closed for others and count as such, at least, and at most.
    pub(crate) fn leaving(&self, at: Instant) -> (usize, usize) {
        let reclaimed = CloseReason::Reclaimed;
        let is_closed_for = |conn: &Conn| conn.phase == Phase::Closing(reclaimed);
        let closed_for = |conn: &&Conn| at.duration_since(conn.since);
        // One that gave way under a lease counts for the minimum residence only, or is closed for another reason.
        let surely = |conn: &&Conn| {
            let is_recent = closed_for(conn) + SLACK < CLOSE_PATIENCE;
            is_closed_for(conn) && conn.may_stay() && is_recent
        };
        let maybe = |conn: &&Conn| {
            let gave_way = conn.is_closing() && conn.may_leave.contains(&reclaimed);
            let is_recent = closed_for(conn) <= CLOSE_PATIENCE + SLACK;
            (is_closed_for(conn) || gave_way) && is_recent
        };
        let conns = || self.pools.iter().flat_map(|pool| &pool.conns);
        (
            conns().filter(surely).count(),
            conns().filter(maybe).count(),
        )
    }

    /// The least recently used idle connection of each pool that may have to give one up.
    pub(crate) fn reclaimable(&self) -> Vec<(usize, &Conn)> {
        let mut found = Vec::new();
        for (number, pool) in self.pools.iter().enumerate() {
            let kept = pool.reserved();
            if pool.is_closed || !pool.queue.is_empty() || pool.idle() <= kept {
                continue;
            }
            let idle = pool.conns.iter().filter(|conn| conn.is_idle());
            let oldest = idle.min_by_key(|conn| (conn.used, conn.turn));
            if let Some(oldest) = oldest.filter(|_| pool.serving() > kept) {
                found.push((number, oldest));
            }
        }
        found
    }
}
