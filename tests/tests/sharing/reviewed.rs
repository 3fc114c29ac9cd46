//! Corners in which two rules meet.

use pool_core::{CloseReason, SharedLease};
use pool_testkit::Query;
use pool_testkit::connector::Verdict;
use pool_tests::bed::{SECOND, settle};
use tokio::time::Instant;

use crate::bed::{Bed, id, ids};

#[tokio::test(start_paused = true)]
async fn connection_that_is_dead_at_its_last_permitted_use_is_a_death() {
    let bed = Bed::with(1, |builder| builder.max_uses(1).fail_fast_after(100));
    let began = Instant::now();
    bed.fake
        .queue_verdicts(Query::IsAlive, [const { Verdict::No }; 8]);
    let lease = bed.lease().await;
    assert_eq!(bed.reasons(), [CloseReason::Died; 8]);
    assert!(
        began.elapsed() > SECOND / 10,
        "each one is waited for longer"
    );
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_breaks_when_it_is_to_be_closed_anyway_is_closed_as_broken() {
    for how in [
        CloseReason::Died,
        CloseReason::Discarded,
        CloseReason::Dirty,
    ] {
        let bed = Bed::new(1);
        let mut old = bed.leases(2).await;
        bed.pool.evict_all();
        settle().await;
        assert_eq!(ids(&bed.leases(1).await), [1], "it was replaced");
        match how {
            CloseReason::Died => drop(bed.fake.kill(id(&old[0]))),
            CloseReason::Discarded => SharedLease::discard(old.remove(0)),
            _ => old[0].mark_dirty(),
        }
        drop(old);
        settle().await;
        assert_eq!(bed.reasons(), [how], "nothing polite is to be expected");
        bed.finish().await;
    }
}
