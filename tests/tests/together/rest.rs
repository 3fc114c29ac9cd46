//! What must not be left undone when nothing more happens without an operation.

use tokio::time::Instant;

use crate::lists::{Conn, Pool};
use crate::model::{Checked, Model, ensure};
use crate::terms::{
    BUDGET_WEIGHT, IDLE_TIMEOUT, KILL_WEIGHT, MAX_CONNECTING, MAX_LEASES, MAX_WEIGHT, PLACES,
    RECENTLY, RESIDENCE, SLACK, WEIGH_INTERVAL,
};

impl Model {
    /// Checks that all is done that is due. Invariants 3, 3a, B3, B4, W1, W2 and W4.
    pub(crate) fn check_rest(&self, now: Instant) -> Checked {
        for (number, pool) in self.pools.iter().enumerate() {
            let told = |what: String| format!("pool {number}, place {}: {what}", pool.place);
            for conn in pool.conns.iter().filter(|conn| conn.is_open()) {
                check_weight(pool, conn).map_err(told)?;
                check_idle(pool, conn, now).map_err(told)?;
            }
            check_waiters(pool).map_err(told)?;
            self.check_connects(pool).map_err(told)?;
        }
        self.check_reclaims(now)?;
        self.check_total_weight(now)
    }

    /// A pool that may connect for its callers does.
    fn check_connects(&self, pool: &Pool) -> Checked {
        let is_waiting = pool.wants() > 0 && !self.peers[pool.place].is_failing;
        let is_allowed = self.has_room_for(pool) && self.connecting() < MAX_CONNECTING;
        let could = is_waiting && is_allowed && !self.may_be_heavy();
        ensure(!could, || {
            format!("it wants {} and opens none: {pool:?}", pool.wants())
        })
    }

    /// No connection is idle that another pool waits for.
    fn check_reclaims(&self, now: Instant) -> Checked {
        let excess = self.excess();
        let (_, leaving) = self.leaving(now);
        let leaving = leaving + self.draining(now);
        for (number, oldest) in self.reclaimable() {
            let pool = &self.pools[number];
            if pool.wants() > 0 || !oldest.may_stay() {
                continue;
            }
            // One that has none gets even what is in use or needed, but the last one if all weigh too much.
            let wanted = match self.may_weigh_too_much() {
                true => 0,
                false => self.have_none(number).saturating_sub(self.free()),
            };
            ensure(wanted <= leaving, || {
                format!(
                    "{wanted} have none, {leaving} leave, and pool {number} keeps {oldest:?}, {pool:?}"
                )
            })?;
            if now.duration_since(oldest.used) <= RESIDENCE + SLACK {
                continue;
            }
            // What it needs itself it gives up only for pools that have less, or if there are too many.
            let wanted = match pool.needs_idle() {
                true => 0,
                false => self.wanted_surely(number).saturating_sub(self.free()),
            };
            let wanted = wanted + excess;
            ensure(wanted <= leaving, || {
                format!(
                    "{wanted} are wanted, {leaving} leave, and pool {number} keeps {oldest:?}, {pool:?}"
                )
            })?;
        }
        Ok(())
    }

    /// How many connections the others want of this pool, at least.
    fn wanted_surely(&self, number: usize) -> usize {
        let pools = self.pools.iter().enumerate();
        let asks = |pool: &Pool| !pool.is_closed && !self.peers[pool.place].is_failing;
        let others = pools.filter(|(other, pool)| *other != number && asks(pool));
        others.map(|(_, pool)| pool.wants_of_others().0).sum()
    }

    /// Idle connections of a budget that is too heavy are closed.
    fn check_total_weight(&self, now: Instant) -> Checked {
        let is_due = |since: Instant| now.duration_since(since) > 2 * WEIGH_INTERVAL + SLACK;
        if !self.heavy_since.is_some_and(is_due) {
            return Ok(());
        }
        let conns = || self.pools.iter().flat_map(|pool| &pool.conns);
        let outgoing = conns().filter(|conn| conn.is_outgoing() || !conn.is_fresh());
        let outgoing: u64 = outgoing.map(|conn| conn.weight().1).sum();
        let excess = self.weight().0.saturating_sub(BUDGET_WEIGHT);
        for (number, pool) in self.pools.iter().enumerate() {
            let kept = pool.idle() <= pool.reserved();
            let idle = pool.conns.iter().find(|conn| {
                conn.is_idle() && conn.is_fresh() && conn.weight().0 > 0 && is_due(conn.used)
            });
            let idle = idle.filter(|_| !kept && excess > outgoing);
            ensure(idle.is_none(), || {
                format!("{excess} too much, and pool {number} keeps {idle:?}")
            })?;
        }
        Ok(())
    }
}

fn check_weight(pool: &Pool, conn: &Conn) -> Checked {
    let surely = conn.weight().0;
    ensure(surely <= KILL_WEIGHT || conn.is_killed, || {
        format!("it is not killed: {conn:?}")
    })?;
    let is_to_go =
        pool.is_closed || conn.is_outgoing() || conn.superseded.is_some() || !conn.may_stay();
    let is_kept = pool.keeps_heavy && conn.was_heavy_early;
    ensure(surely <= MAX_WEIGHT || is_to_go || is_kept, || {
        format!("it is too heavy and stays: {conn:?}")
    })
}

fn check_idle(pool: &Pool, conn: &Conn, now: Instant) -> Checked {
    if !conn.is_idle() {
        return Ok(());
    }
    let left = || format!("it is left idle: {conn:?} of {pool:?}");
    ensure(conn.marks.is_empty() && !pool.is_closed, left)?;
    let unused_for = now.duration_since(conn.used);
    if conn.superseded.is_some() {
        return ensure(conn.has_served && unused_for <= RECENTLY + SLACK, left);
    }
    // A shared pool whose connections carry their target keeps another one.
    let is_needed = pool.is_shared() && pool.leases() > 0;
    let is_spare = pool.idle() > PLACES[pool.place].min_idle && !is_needed;
    let is_settled = now.duration_since(pool.moved) > SLACK;
    let is_due = is_settled && unused_for > IDLE_TIMEOUT + SLACK;
    ensure(!(is_spare && is_due), left)?;
    let serving = match pool.is_shared() {
        true => pool.count(|conn| {
            conn.is_open() && !conn.is_outgoing() && (conn.may_stay() || conn.leases == 0)
        }),
        false => pool.serving(),
    };
    let is_surplus = serving > pool.size_max();
    ensure(!is_surplus || pool.opening() > 0, left)
}

/// No connection has room for a lease while a caller waits.
fn check_waiters(pool: &Pool) -> Checked {
    ensure(!pool.is_closed || pool.queue.is_empty(), || {
        "callers of a closed pool wait".to_owned()
    })?;
    let limit = if pool.is_shared() { MAX_LEASES } else { 1 };
    // Callers may wait for what is being opened for them.
    if pool.queue.is_empty() || pool.is_shared() && pool.opening() > 0 {
        return Ok(());
    }
    let free = pool
        .conns
        .iter()
        .find(|conn| conn.is_fresh() && conn.may_stay() && conn.leases < limit);
    ensure(free.is_none(), || {
        format!("{:?} wait beside {free:?}", pool.queue)
    })
}
