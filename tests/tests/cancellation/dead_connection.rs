//! An acquire that is served dead connections while others wait behind it keeps its turn.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use pool_testkit::Call;

use crate::rig::{Fate, Life, Pool, Rig, at_each_point, drive, in_case};

pub(crate) fn matrix() -> usize {
    let mut count = 0;
    for connect in Fate::ALL {
        for close in Fate::ALL {
            for life in [Life::Killed, Life::KilledSilently] {
                count += at_each_point(|point| {
                    in_case((connect, close, life, point), 1, async |rig, pool| {
                        run([connect, close], life, point, &rig, pool).await
                    })
                });
            }
        }
    }
    count
}

async fn run(fates: [Fate; 2], life: Life, point: usize, rig: &Arc<Rig>, pool: Pool) -> bool {
    let mut lease = rig.lend_all(&pool).await.pop();
    let [connect, close] = fates;
    let mut others = [pool.acquire(), pool.acquire()];
    let mut deaths_left = 2;
    let visit = |point: usize| {
        if point == 1 {
            for other in &mut others {
                let early = Pin::new(other).poll(&mut Context::from_waker(Waker::noop()));
                assert!(early.is_pending(), "the only connection is lent");
            }
            // This serves the acquire. The connection dies before the acquire is polled, and so does
            // the next one that is opened for it.
            drop(lease.take());
        } else if deaths_left > 0 && point.is_multiple_of(2) {
            deaths_left -= 1;
            rig.strike(life);
        }
    };
    rig.doom(Call::Close, close);
    let result = drive(pool.acquire(), point, visit).await;
    let has_ended = result.is_some();
    if let Some(result) = result {
        let is_served = rig.finish(result).await;
        assert!(is_served || close == Fate::Never, "it lost its turn");
    }
    rig.doom(Call::Connect, connect);
    rig.after_a_while().await;

    rig.end_all_faults();
    for other in others {
        let _may_be_late: bool = rig.finish(other.await).await;
    }
    drop(lease);
    rig.recovers(&pool).await;
    rig.closes(&pool).await;
    has_ended
}
