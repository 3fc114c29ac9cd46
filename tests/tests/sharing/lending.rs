//! Which connection a lease gets, and when another one is opened.

use std::time::Duration;

use pool_core::{AcquireError, CloseReason, SharedLease, TryAcquireError};
use pool_testkit::connector::{Answer, QueryAnswer};
use pool_testkit::{Call, Query};
use pool_tests::bed::{HandPolled, MINUTE, SECOND, pass, quiesce};
use tokio::time::Instant;

use crate::bed::{SharedBed, id, ids};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn one_connection_serves_many_callers_and_another_is_opened_when_it_carries_its_target() {
    let bed = SharedBed::new(2);
    let first = bed.leases(1).await;
    assert_eq!(bed.pool.status().size(), 1);
    let second = bed.leases(1).await;
    assert_eq!(ids(&first), ids(&second), "it serves both");
    assert_eq!(bed.pool.status().size(), 2, "it carries its target now");
    assert_eq!(bed.pool.status().idle, 1);
    drop((first, second));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_below_its_target_keeps_others_from_being_opened() {
    let bed = SharedBed::new(2);
    for _ in 0..20 {
        let lease = bed.lease().await;
        drop(lease);
    }
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn least_loaded_connection_is_lent_first() {
    let bed = SharedBed::new(2);
    let mut leases = bed.leases(6).await;
    assert_eq!(ids(&leases), [0, 0, 1, 1, 0, 1]);
    drop(leases.remove(0));
    drop(leases.remove(0));
    assert_eq!(bed.pool.status().leases, 4);
    assert_eq!(ids(&bed.leases(2).await), [0, 0]);
    drop(leases);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn callers_wait_only_when_all_are_full_and_are_served_in_their_order() {
    let bed = SharedBed::new(2);
    let mut leases = bed.leases(6).await;
    let mut first = HandPolled::waiting(bed.pool.acquire());
    let mut second = HandPolled::waiting(bed.pool.acquire());
    assert!(matches!(
        bed.pool.try_acquire(),
        Err(TryAcquireError::Empty { .. })
    ));
    let freed = id(&leases[3]);
    drop(leases.remove(3));
    assert!(second.poll().is_pending(), "the first waiter comes first");
    let lease = first.ready().expect("a connection can serve it");
    assert_eq!(id(&lease), freed);
    drop(lease);
    drop(second.ready().expect("served in its turn"));
    drop((leases, first, second));
    assert_eq!(bed.fake.counts().connect.started, 2);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn one_connect_serves_as_many_waiters_as_the_connection_can_take() {
    let bed = SharedBed::new(1);
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiters: Vec<_> = (0..4)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    let connect = bed.fake.next(Call::Connect).await;
    connect.succeed();
    quiesce().await;
    let leases: Vec<_> = waiters
        .iter_mut()
        .take(3)
        .map(|waiter| waiter.ready().expect("a connection can serve it"))
        .collect();
    assert!(waiters[3].poll().is_pending(), "the connection is full");
    drop(leases);
    drop(waiters[3].ready().expect("a lease was returned"));
    drop(waiters);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_connects_are_started_than_the_waiters_need() {
    let bed = SharedBed::new(4);
    bed.fake.set(Call::Connect, Answer::Manual);
    let waiters: Vec<_> = (0..5)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    quiesce().await;
    // Three connections with a target of two each are enough for five.
    assert_eq!(bed.fake.counts().connect.running(), 3);
    drop(waiters);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn lease_that_was_served_to_a_caller_that_left_goes_to_the_next() {
    let bed = SharedBed::new(1);
    let mut leases = bed.leases(3).await;
    let gone = HandPolled::waiting(bed.pool.acquire());
    let mut next = HandPolled::waiting(bed.pool.acquire());
    drop(leases.pop());
    drop(gone);
    drop(next.ready().expect("what the other one was served"));
    assert_eq!(bed.pool.status().leases, 2);
    drop((leases, next));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn acquire_dropped_after_any_poll_leaves_no_lease_behind() {
    let bed = SharedBed::new(1);
    for polls in 0..4 {
        let held = bed.leases(3).await;
        let mut acquire = HandPolled::new(bed.pool.acquire());
        for _ in 0..polls {
            if acquire.poll().is_ready() {
                break;
            }
        }
        let mut leases = held.into_iter();
        drop(leases.next());
        drop(acquire);
        drop(leases);
        assert_eq!(bed.pool.status().leases, 0, "after {polls} polls");
    }
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn acquire_of_a_full_pool_ends_at_its_timeout() {
    let bed = SharedBed::new(1);
    let leases = bed.leases(3).await;
    let error = bed.pool.acquire_within(SECOND).await.unwrap_err();
    assert!(matches!(error, AcquireError::Timeout { .. }), "{error}");
    drop(leases);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn dead_connection_is_not_handed_out() {
    let bed = SharedBed::new(2);
    let first = bed.lease().await;
    bed.fake.kill_silently(id(&first));
    let second = bed.lease().await;
    assert_ne!(
        id(&second),
        id(&first),
        "`is_alive` found the first one dead"
    );
    drop((first, second));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn stats_count_the_leases_of_a_connection() {
    let bed = SharedBed::new(1);
    let leases = bed.leases(3).await;
    let stats = SharedLease::stats(&leases[0]);
    assert_eq!((stats.leases, stats.uses), (3, 3));
    let status = bed.pool.status();
    assert_eq!((status.leased, status.leases), (1, 3));
    drop(leases);
    assert_eq!(bed.pool.status().leases, 0);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_work_are_refused() {
    let build = |target, most| {
        let (connector, _) = pool_testkit::connector::pair();
        pool_core::SharedPool::builder(connector)
            .target_leases(target)
            .max_leases_per_connection(most)
            .build()
            .map(drop)
    };
    let error = build(4, 3).unwrap_err();
    assert!(error.to_string().contains("target_leases is 4"), "{error}");
    build(0, 3).unwrap_err();
    build(1, 0).unwrap_err();
    build(3, 3).unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiter_does_not_get_a_connection_that_broke_since_it_was_served() {
    let bed = SharedBed::new(2);
    let mut leases = bed.leases(6).await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    let broken = id(&leases[0]);
    drop(leases.remove(0));
    SharedLease::discard(leases.remove(0));
    assert!(
        waiter.poll().is_pending(),
        "it has its place in the queue again"
    );
    drop(leases.pop());
    assert_ne!(id(&waiter.ready().expect("the other one")), broken);
    drop((leases, waiter));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn waiter_that_was_served_before_the_pool_closed_gets_nothing_after_it() {
    let bed = SharedBed::new(1);
    let mut leases = bed.leases(3).await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    drop(leases.pop());
    let closing = bed.pool.close(SECOND);
    let closing = HandPolled::waiting(closing);
    assert!(matches!(waiter.ready(), Err(AcquireError::Closed { .. })));
    drop((leases, waiter, closing));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_a_full_connection_though_no_other_can_be_opened() {
    let bed = SharedBed::with(2, |builder| {
        builder.retry_delay(HOUR, HOUR).min_uptime(Duration::ZERO)
    });
    bed.fake.queue(Call::Connect, [Answer::Ok]);
    bed.fake.set(Call::Connect, Answer::Permanent);
    let mut leases = bed.leases(3).await;
    // So short that the clock is exact, and shows that no connect can start in time.
    let mut waiter = HandPolled::waiting(bed.pool.acquire_within(SECOND));
    quiesce().await;
    assert!(waiter.poll().is_pending(), "it could still be served");
    drop(leases.pop());
    drop(waiter.ready().expect("a lease was returned"));

    // A connection that takes no new leases cannot serve a waiter.
    bed.fake.kill(id(&leases[0]));
    quiesce().await;
    let error = bed.pool.acquire_within(SECOND).await.unwrap_err();
    assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
    drop((leases, waiter));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_dead_when_they_are_drawn_are_not_opened_again_and_again() {
    let bed = SharedBed::with(1, |builder| builder.max_uses(1));
    bed.fake.set_query(Query::IsAlive, QueryAnswer::No);
    bed.pool.acquire_within(SECOND).await.unwrap_err();
    let connects = bed.fake.counts().connect.started;
    assert!(connects < 20, "{connects} connects in a second");
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_dead_at_its_last_permitted_use_counts_as_a_failure() {
    let bed = SharedBed::with(1, |builder| builder.max_uses(1).fail_fast_after(100));
    let began = Instant::now();
    bed.fake
        .queue_query(Query::IsAlive, [const { QueryAnswer::No }; 8]);
    let lease = bed.lease().await;
    assert_eq!(bed.reasons(), [CloseReason::Died; 8]);
    assert!(
        began.elapsed() > SECOND / 10,
        "the delay grows with each one"
    );
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connection_beside_busy_ones_is_not_closed_only_to_be_opened_again() {
    let bed = SharedBed::with(3, |builder| builder.idle_timeout(SECOND));
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
        "no lease is left that needs one ready"
    );
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn no_connection_is_opened_beside_an_idle_one() {
    let bed = SharedBed::with(4, |builder| builder.min_idle(1));
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    let leases = (bed.lease().await, bed.lease().await);
    quiesce().await;
    assert_eq!(
        bed.fake.counts().connect.running(),
        1,
        "one is idle, and carries less than its target"
    );
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.running(), 0);
    drop(leases);
    bed.finish().await;
}
