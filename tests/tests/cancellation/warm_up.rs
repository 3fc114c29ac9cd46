//! A warm-up while one connection is being closed.

use std::sync::Arc;

use pool_core::PooledConnection;
use pool_testkit::Call;

use crate::rig::{Fate, Pool, Rig, at_each_point, drive, in_case};

pub(crate) fn matrix() -> usize {
    let mut count = 0;
    for connect in Fate::ALL {
        for close in Fate::ALL {
            count += at_each_point(|point| {
                in_case((connect, close, point), 6, async |rig, pool| {
                    run(connect, close, point, &rig, pool).await
                })
            });
        }
    }
    count
}

async fn run(connect: Fate, close: Fate, point: usize, rig: &Arc<Rig>, pool: Pool) -> bool {
    rig.doom(Call::Close, close);
    let lease = pool
        .acquire()
        .await
        .expect("nothing fails before the faults begin");
    PooledConnection::discard(lease);
    rig.doom(Call::Connect, connect);

    let result = drive(pool.warm_up(6), point, drop).await;
    let started = rig.fake.counts().connect.started;
    if let Some(Ok(())) = result {
        assert_eq!(rig.ledger.counts().opened, 7);
    }
    rig.end_all_faults();
    rig.at_rest(&pool).await;
    assert_eq!(
        rig.fake.counts().connect.started,
        started,
        "connects were started for a warm-up that was dropped"
    );
    rig.recovers(&pool).await;
    rig.closes(&pool).await;
    result.is_some()
}
