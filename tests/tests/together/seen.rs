//! The lists of the model beside what the pools, the budget and the fakes show.

use std::fmt::Debug;

use pool_core::{BudgetStatus, PoolStatus};
use tokio::time::Instant;

use crate::doors::{Doors, MadePool};
use crate::lists::{Conn, Phase, Pool};
use crate::model::{Checked, Model, ensure};
use crate::terms::{Door, PLACES};

impl Model {
    pub(crate) fn compare(&self, doors: &Doors, now: Instant) -> Checked {
        for (place, current) in self.current.iter().enumerate() {
            let status = doors.status(place);
            let pool = current.map(|number| &self.pools[number]);
            match (pool, status) {
                (None, None) => {}
                (Some(pool), Some(status)) => compare_pool(pool, &status)?,
                (pool, status) => {
                    return Err(format!("place {place} has {pool:?}, and shows {status:?}"));
                }
            }
        }
        for door in [Door::Keyed, Door::KeyedShared] {
            self.compare_keys(doors, door)?;
        }
        for (pool, made) in self.pools.iter().zip(doors.stage.made()) {
            compare_fake(pool, &made)?;
        }
        self.compare_budget(&doors.budget.status(), now)
    }

    fn compare_keys(&self, doors: &Doors, door: Door) -> Checked {
        let status = doors.keyed_status(door).ok_or("it has no keys")?;
        let pools = || self.pools.iter().filter(|pool| pool.door() == door);
        let at_work = |pool: &&Pool| !pool.is_closed && pool.is_at_work();
        let left = pools().filter(|pool| pool.is_closed && pool.slots() > 0);
        same("keys", self.keys(door), status.keys)?;
        same(
            "at work",
            pools().filter(at_work).count(),
            status.keys_at_work,
        )?;
        same("keys that are closing", left.count(), status.keys_closing)?;
        let slots: usize = pools().map(Pool::slots).sum();
        same("connections of all keys", slots, status.total.size())?;
        let leases: usize = pools().map(Pool::leases).sum();
        same("leases of all keys", leases, status.total.leases)?;
        same(
            "closed",
            self.closed.contains(&door),
            status.total.is_closed,
        )
    }

    fn compare_budget(&self, status: &BudgetStatus, now: Instant) -> Checked {
        same("limit", self.limit, status.limit)?;
        same("used", self.used(), status.used)?;
        let stuck = |pool: &Pool| pool.count(|conn| conn.is_stuck);
        same("stuck", self.pools.iter().map(stuck).sum(), status.stuck)?;
        same("connecting", self.connecting(), status.connecting)?;
        let reserved: usize = self.pools.iter().map(Pool::reserved).sum();
        same("reserved", reserved, status.reserved)?;
        within("weight of all", self.weight(), status.weight)?;
        let (leaving, _) = self.leaving(now);
        let conns = || self.pools.iter().flat_map(|pool| &pool.conns);
        let draining = conns().filter(|conn| !conn.may_leave.is_empty()).count();
        let closing = conns().filter(|conn| conn.is_closing()).count();
        let most = closing + draining;
        let shown = status.reclaiming;
        ensure(leaving <= shown && shown <= most, || {
            format!("{leaving} to {most} leave for others, and {shown} are shown")
        })?;
        for (number, pool) in self.pools.iter().enumerate() {
            let name = number.to_string();
            let mut members = status.members.iter();
            let Some(member) = members.find(|member| *member.pool == *name) else {
                let is_gone = pool.is_closed && pool.slots() == 0;
                return_unless(is_gone, "a member is missing", pool)?;
                continue;
            };
            same("held", pool.slots(), member.held)?;
            same("stuck of a member", stuck(pool), member.stuck)?;
            within("weight of a member", pool.weight(), member.weight)?;
            let is_failing = self.peers[pool.place].is_failing;
            let is_changing = pool.conns.iter().any(|conn| !conn.may_stay());
            if is_failing || is_changing || pool.superseded() > 0 {
                continue;
            }
            // It need not know at once that a spare one is not needed any more.
            let wants = [pool.wants(), pool.wants_at_most()];
            let asks = (wants[0], wants[1] + PLACES[pool.place].min_idle);
            ensure(asks.0 <= member.asks && member.asks <= asks.1, || {
                format!("{member:?} asks for {asks:?}: {pool:?}")
            })?;
            let waits = member.waiting_for.is_some();
            let [least, most] = wants.map(|wants| wants > 0);
            let may_wait = [least && !pool.queue.is_empty(), most].contains(&waits);
            ensure(may_wait, || format!("{member:?} wants {wants:?}"))?;
        }
        Ok(())
    }

    /// Checks that nothing is left when everything is closed.
    pub(crate) fn check_end(&self, doors: &Doors) -> Checked {
        let status = doors.budget.status();
        let left = [
            self.used(),
            status.used,
            status.connecting,
            status.reclaiming,
            status.reserved,
            status.members.len(),
        ];
        return_unless(left == [0; 6] && status.weight == 0, "left", &status)
    }
}

impl Pool {
    fn is_at_work(&self) -> bool {
        self.leases() > 0 || !self.queue.is_empty()
    }
}

fn compare_pool(pool: &Pool, status: &PoolStatus) -> Checked {
    let leased = pool.count(|conn| conn.is_open() && conn.leases > 0);
    let closing = pool.count(Conn::is_closing);
    let stuck = pool.count(|conn| conn.is_stuck);
    let ours = [
        ("max_size", pool.max_size, status.max_size),
        ("opening", pool.opening(), status.opening),
        ("idle", pool.idle(), status.idle),
        ("leased", leased, status.leased),
        ("leases", pool.leases(), status.leases),
        ("closing", closing - stuck, status.closing),
        ("stuck", stuck, status.stuck),
        ("waiting", pool.queue.len(), status.waiting),
        ("others", 0, status.checking + status.returning),
    ];
    for (what, ours, shown) in ours {
        same(what, ours, shown).map_err(|what| format!("{what}: {status}, {pool:?}"))?;
    }
    same("is closed", pool.is_closed, status.is_closed)?;
    within("weight of a pool", pool.weight(), status.weight)
}

/// The fake knows its connections, and why they were closed, by itself.
fn compare_fake(pool: &Pool, made: &MadePool) -> Checked {
    let conns = pool
        .conns
        .iter()
        .filter(|conn| conn.phase != Phase::Opening);
    let mut present: Vec<_> = conns.map(|conn| conn.id).collect();
    present.sort_unstable();
    same("present", present, made.fake.alive())?;
    same("closes", pool.closes.clone(), made.fake.closes())?;
    let kills: Vec<_> = made.fake.kills().into_iter().map(|(id, _)| id).collect();
    same("kills", pool.kills.clone(), kills)
}

fn same<T: PartialEq + Debug>(what: &str, ours: T, shown: T) -> Checked {
    ensure(ours == shown, || {
        format!("{what}: {ours:?}, and {shown:?} is shown")
    })
}

fn within(what: &str, (least, most): (u64, u64), shown: u64) -> Checked {
    ensure(least <= shown && shown <= most, || {
        format!("{what}: {least} to {most}, and {shown} is shown")
    })
}

fn return_unless(holds: bool, what: &str, of: &impl Debug) -> Checked {
    ensure(holds, || format!("{what}: {of:?}"))
}
