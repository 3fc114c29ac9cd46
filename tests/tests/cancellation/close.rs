//! A close of the pool during a reset, a check, a close and a connect, with a waiter, and with or without
//! a lease.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{AcquireError, PooledConnection};
use pool_testkit::Call;
use tokio::task::{JoinSet, yield_now};

use crate::rig::{Fate, Pool, Rig, at_each_point, drive, in_case};

#[derive(Debug, Clone, Copy)]
struct Case {
    connect: Fate,
    reset: Fate,
    check: Fate,
    close: Fate,
    lease_is_out: bool,
}

pub(crate) fn matrix() -> usize {
    let mut count = 0;
    for connect in Fate::ALL {
        for reset in Fate::ALL {
            for check in Fate::ALL {
                for close in Fate::ALL {
                    for lease_is_out in [false, true] {
                        let case = Case {
                            connect,
                            reset,
                            check,
                            close,
                            lease_is_out,
                        };
                        count += at_each_point(|point| {
                            in_case((case, point), 5, async |rig, pool| {
                                run(case, point, &rig, pool).await
                            })
                        });
                    }
                }
            }
        }
    }
    count
}

async fn run(case: Case, point: usize, rig: &Arc<Rig>, pool: Pool) -> bool {
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(
            pool.acquire()
                .await
                .expect("nothing fails before the faults begin"),
        );
    }
    let kept = leases.pop().filter(|_| case.lease_is_out);
    rig.doom(Call::Check, case.check);
    drop(leases.pop());
    rig.begin_check(&pool).await;
    rig.doom(Call::Reset, case.reset);
    rig.doom(Call::Close, case.close);
    rig.doom(Call::Connect, case.connect);
    if let Some(lease) = leases.pop() {
        lease.mark_needs_reset();
    }
    if let Some(lease) = leases.pop() {
        PooledConnection::discard(lease);
    }
    let mut waiter = JoinSet::new();
    let (waiting, waiters_pool) = (Arc::clone(rig), pool.clone());
    waiter.spawn(async move {
        let result = waiters_pool.acquire().await;
        let is_closed = matches!(result, Err(AcquireError::Closed { .. }));
        let is_served = waiting.finish(result).await;
        assert!(!(is_served && is_closed));
        is_closed
    });
    yield_now().await;

    let was_queued = pool.status().waiting == 1;
    let report = drive(pool.close(Duration::from_millis(50)), point, drop).await;
    let has_begun = point > 0;
    assert_eq!(pool.status().is_closed, has_begun);
    if has_begun {
        assert_eq!((pool.status().idle, pool.status().waiting), (0, 0));
        let late = pool.acquire().await.map(drop);
        assert!(matches!(late, Err(AcquireError::Closed { .. })), "{late:?}");
        let was_refused = waiter.join_next().await.expect("there is one");
        let was_refused = was_refused.expect("nothing cancels it");
        assert!(
            was_refused || !was_queued,
            "a waiter is answered with the close"
        );
        if let Some(report) = &report {
            assert_eq!(report.still_leased, usize::from(case.lease_is_out));
        }
    }
    rig.end_all_faults();
    drop(kept);
    rig.closes(&pool).await;
    drop(waiter);
    report.is_some()
}
