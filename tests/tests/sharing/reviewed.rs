//! Corners in which two rules meet.

use pool_core::{CloseReason, ResizeError, SharedLease};
use pool_testkit::connector::Verdict;
use pool_testkit::{Call, Query};
use pool_tests::bed::{Held, MINUTE, SECOND, pass, settle, start};
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

#[tokio::test(start_paused = true)]
async fn resize_that_changes_nothing_does_not_end_what_is_being_replaced() {
    let bed = Bed::new(1);
    let old = bed.lease().await;
    bed.fake.set_manual(Call::Connect);
    bed.pool.evict_all();
    let connect = bed.fake.next_connect().await;
    bed.pool.resize(1).unwrap();
    let more = Held::new(bed.pool.acquire()).ready().expect("it serves on");
    connect.succeed();
    settle().await;
    drop((old, more));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    assert_eq!(bed.pool.status().idle, 1, "its replacement is there");
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_keeps_what_serves_and_gives_up_what_is_being_opened() {
    let bed = Bed::new(2);
    bed.fake.set_manual(Call::Connect);
    let mut first = Held::waiting(bed.pool.acquire());
    bed.fake.next_connect().await.succeed();
    settle().await;
    let served = first.ready().expect("served");
    drop(first);
    let second = bed.lease().await;
    let connect = bed.fake.next_connect().await;
    bed.pool.resize(1).unwrap();
    let third = Held::new(bed.pool.acquire()).ready().expect("it serves on");
    connect.succeed();
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk]);
    assert_eq!(ids(&[served, second, third]), [0; 3]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_ends_what_is_to_be_replaced_first() {
    let bed = Bed::with(2, |builder| builder.max_surge(0));
    let leases = bed.leases(5).await;
    assert_eq!(ids(&leases), [0, 0, 1, 1, 0]);
    bed.pool
        .retain(|connection| connection.id != id(&leases[0]));
    bed.pool.resize(1).unwrap();
    let next = bed.lease().await;
    assert_eq!(id(&next).as_u64(), 1, "the one that is to stay");
    drop((leases, next));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_does_not_turn_a_replacement_away() {
    let bed = Bed::with(2, |builder| builder.max_surge(0));
    let old = bed.lease().await;
    bed.fake.set_manual(Call::Connect);
    bed.pool.evict_all();
    let connect = bed.fake.next_connect().await;
    bed.pool.resize(1).unwrap();
    connect.succeed();
    settle().await;
    let new = bed.lease().await;
    assert_eq!(id(&new).as_u64(), 1);
    drop((old, new));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn limit_and_surge_together_must_be_countable() {
    let bed = Bed::with(1, |builder| builder.max_surge(10));
    let error = bed.pool.resize(u32::MAX as usize - 5).unwrap_err();
    assert!(matches!(error, ResizeError::TooLarge { .. }), "{error}");
    bed.pool.resize(u32::MAX as usize - 20).unwrap();
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn spare_beside_busy_connections_is_not_closed_only_to_be_opened_again() {
    let bed = Bed::with(3, |builder| builder.idle_timeout(SECOND));
    let busy = bed.leases(2).await;
    assert_eq!(bed.fake.counts().connect.started, 2);
    pass(MINUTE).await;
    assert_eq!(bed.fake.counts().connect.started, 2);
    assert_eq!(bed.reasons(), []);
    drop(busy);
    pass(MINUTE).await;
    assert_eq!(
        bed.reasons(),
        [CloseReason::Idle; 2],
        "nobody needs a spare"
    );
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connection_that_is_kept_ready_is_room_enough() {
    let bed = Bed::with(4, |builder| builder.min_idle(1));
    bed.fake.set_manual(Call::Connect);
    bed.fake.next_connect().await.succeed();
    settle().await;
    let leases = (bed.lease().await, bed.lease().await);
    settle().await;
    assert_eq!(
        bed.fake.counts().connect.running(),
        1,
        "one is idle, and carries less than its target"
    );
    bed.fake.next_connect().await.succeed();
    settle().await;
    assert_eq!(bed.fake.counts().connect.running(), 0);
    drop(leases);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_only_its_check_has_is_not_replaced() {
    let bed = Bed::with(1, |builder| builder.check_interval(SECOND));
    drop(bed.lease().await);
    bed.fake.set_manual(Call::Check);
    pass(2 * SECOND).await;
    let check = bed.fake.next_check().await;
    assert_eq!(bed.pool.evict_all(), 1);
    settle().await;
    assert_eq!(bed.fake.counts().connect.started, 1, "nobody needs another");
    check.succeed();
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    assert_eq!(bed.pool.status().size(), 0);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn few_are_checked_at_the_same_time_and_all_in_turn() {
    const CONNECTIONS: usize = 10;
    let bed = Bed::with(CONNECTIONS, |builder| builder.check_interval(SECOND));
    bed.pool.warm_up(CONNECTIONS).await.unwrap();
    bed.fake.set_manual(Call::Check);
    let pool = bed.pool.clone();
    let mut seen = Vec::new();
    pass(2 * SECOND).await;
    while seen.len() < CONNECTIONS {
        assert!(bed.fake.counts().check.running() <= 4);
        let check = bed.fake.next_check().await;
        seen.push(check.id());
        check.succeed();
        settle().await;
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), CONNECTIONS, "the longest unproven first");
    let closing = start(async move { pool.close(MINUTE).await });
    pass(MINUTE).await;
    drop(closing);
    bed.finish().await;
}
