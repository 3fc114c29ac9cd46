//! An acquire with one waiter before it and one behind it, during a reset, a check, a close and connects.

use std::sync::Arc;

use pool_core::PooledConnection;
use pool_testkit::Call;
use tokio::task::{JoinSet, yield_now};

use crate::rig::{Fate, Life, Pool, Rig, at_each_point, drive, in_case};

#[derive(Debug, Clone, Copy)]
struct Case {
    connect: Fate,
    life: Life,
    reset: Fate,
    check: Fate,
    close: Fate,
}

impl Case {
    /// Whether the pool can serve the acquire before its timeout, if it uses every connection at once.
    const fn can_serve(self) -> bool {
        let closes_end = !matches!(self.close, Fate::Never);
        let connects_succeed = matches!(self.connect, Fate::Ok | Fate::Slow);
        closes_end && connects_succeed && matches!(self.life, Life::Alive)
    }
}

/// Runs all cases with this connect. Returns how many there were, counting each cancellation point.
pub(crate) fn matrix(connect: Fate) -> usize {
    let mut count = 0;
    for life in Life::ALL {
        for reset in Fate::ALL {
            for check in Fate::ALL {
                for close in Fate::ALL {
                    let case = Case {
                        connect,
                        life,
                        reset,
                        check,
                        close,
                    };
                    count += at_each_point(|point| {
                        in_case((case, point), 3, async |rig, pool| {
                            run(case, point, &rig, pool).await
                        })
                    });
                }
            }
        }
    }
    count
}

/// Whether the acquire ended before the point.
async fn run(case: Case, point: usize, rig: &Arc<Rig>, pool: Pool) -> bool {
    // One connection is being checked, one reset, one closed.
    let mut leases = rig.lend_all(&pool).await;
    rig.doom(Call::Check, case.check);
    drop(leases.pop());
    rig.begin_check(&pool).await;
    rig.doom(Call::Reset, case.reset);
    rig.doom(Call::Close, case.close);
    if let Some(lease) = leases.pop() {
        lease.mark_needs_reset();
    }
    if let Some(lease) = leases.pop() {
        PooledConnection::discard(lease);
    }
    rig.doom(Call::Connect, case.connect);
    rig.doom_life(case.life);

    let mut others = JoinSet::new();
    let other = |rig: &Arc<Rig>, pool: &Pool| {
        let (rig, pool) = (Arc::clone(rig), pool.clone());
        async move { rig.finish(pool.acquire().await).await }
    };
    others.spawn(other(rig, &pool));
    yield_now().await;
    let visit = |point| match point {
        1 => drop(others.spawn(other(rig, &pool))),
        _ if point % 2 == 0 => rig.strike(case.life),
        _ => {}
    };
    let result = drive(pool.acquire(), point, visit).await;
    let has_ended = result.is_some();
    if let Some(result) = result {
        let is_served = rig.finish(result).await;
        assert!(
            is_served || !case.can_serve(),
            "it was not served, though it could be"
        );
    }

    rig.end_all_faults();
    while let Some(other) = others.join_next().await {
        let is_served = other.expect("nothing cancels the others, and they do not panic");
        assert!(
            is_served || !case.can_serve(),
            "another was not served, though it could be"
        );
    }
    rig.recovers(&pool).await;
    rig.closes(&pool).await;
    has_ended
}
