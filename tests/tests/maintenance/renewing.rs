//! `evict_all_within`: new connections are opened and checked, then old ones are evicted.

use std::time::Duration;

use pool_core::{CloseReason, ConnectionId, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, pass, quiesce, start};

fn numbers(ids: impl IntoIterator<Item = ConnectionId>) -> Vec<u64> {
    ids.into_iter().map(ConnectionId::as_u64).collect()
}

#[tokio::test(start_paused = true)]
async fn each_old_connection_goes_after_a_new_one_was_checked_spread_over_the_time() {
    let bed = Bed::with(10, |builder| builder.check_interval(None));
    bed.idle(3).await;
    let renewal = start({
        let pool = bed.pool.clone();
        async move { pool.evict_all_within(30 * SECOND).await }
    });
    for (closed, alive) in [(1, [1, 2, 3]), (2, [2, 3, 4]), (3, [3, 4, 5])] {
        quiesce().await;
        assert_eq!(numbers(bed.fake.alive())[..3], alive);
        assert_eq!(bed.fake.closes().len(), closed);
        pass(10 * SECOND).await;
    }
    let report = renewal.await.expect("the task does not panic");
    assert_eq!((report.replaced, report.left), (3, 0));
    assert!(report.is_complete() && report.failure.is_none() && !report.is_closed);
    assert_eq!(bed.reasons(), [CloseReason::Evicted; 3]);
    assert_eq!(bed.fake.counts().check.succeeded, 3);
    assert_eq!(bed.pool.status().idle, 3);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn all_stay_if_none_can_be_opened_and_the_report_says_why() {
    let bed = Bed::new(10);
    bed.idle(3).await;
    bed.fake.set(Call::Connect, Answer::Permanent);
    let report = bed.pool.evict_all_within(MINUTE).await;
    assert_eq!((report.replaced, report.left), (0, 3));
    assert!(report.failure.is_some_and(|failure| failure.is_permanent()));
    pass(MINUTE).await;
    assert_eq!(bed.reasons(), []);
    assert_eq!(bed.pool.status().idle, 3);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn all_stay_if_the_new_one_fails_its_check() {
    let bed = Bed::new(10);
    bed.idle(3).await;
    bed.fake.set(Call::Check, Answer::Transient);
    let report = bed.pool.evict_all_within(MINUTE).await;
    assert_eq!((report.replaced, report.left), (0, 3));
    assert!(report.failure.is_some());
    assert_eq!(bed.reasons(), [CloseReason::CheckFailed]);
    assert_eq!(numbers(bed.fake.alive()), [0, 1, 2]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn new_connection_is_not_lent_before_it_is_checked() {
    let bed = Bed::new(2);
    let old = bed.lease().await;
    bed.fake.set(Call::Check, Answer::Manual);
    let mut renewal = HandPolled::waiting(bed.pool.evict_all_within(SECOND));
    let check = bed.fake.next(Call::Check).await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    check.succeed();
    quiesce().await;
    let new = waiter.ready().expect("it is served");
    assert_eq!(PooledConnection::id(&new).as_u64(), 1);
    assert_eq!(renewal.ready().replaced, 1);
    assert_eq!(bed.reasons(), [], "the old one is in use");
    drop(old);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    drop((new, waiter, renewal));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn in_a_full_pool_one_goes_ahead_of_its_replacement() {
    let bed = Bed::new(2);
    bed.idle(2).await;
    let report = bed.pool.evict_all_within(10 * SECOND).await;
    assert_eq!((report.replaced, report.left), (2, 0));
    pass(SECOND).await;
    assert_eq!(numbers(bed.fake.alive()), [2, 3]);
    bed.finish().await;

    let bed = Bed::new(2);
    bed.idle(2).await;
    bed.fake.set(Call::Connect, Answer::Transient);
    let report = bed.pool.evict_all_within(10 * SECOND).await;
    assert_eq!((report.replaced, report.left), (1, 1));
    assert!(report.failure.is_some());
    assert_eq!(numbers(bed.fake.alive()), [1]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn replacement_that_is_dropped_or_replaced_goes_no_further() {
    let bed = Bed::new(10);
    bed.idle(2).await;
    let mut first = HandPolled::waiting(bed.pool.evict_all_within(MINUTE));
    quiesce().await;
    assert_eq!(bed.fake.closes().len(), 1);
    let second = HandPolled::waiting(bed.pool.evict_all_within(MINUTE));
    let report = first.ready();
    assert_eq!((report.replaced, report.left), (1, 1), "another took over");
    quiesce().await;
    assert_eq!(bed.fake.closes().len(), 2);
    drop(second);
    pass(2 * MINUTE).await;
    assert_eq!(bed.fake.closes().len(), 2);
    drop(first);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn replacement_ends_with_the_pool_and_at_its_deadline() {
    let bed = Bed::with(10, |builder| {
        builder.connect_timeout(5 * SECOND).check_timeout(SECOND)
    });
    bed.idle(1).await;
    bed.fake.set(Call::Connect, Answer::Never);
    let began = tokio::time::Instant::now();
    let report = bed.pool.evict_all_within(Duration::ZERO).await;
    assert_eq!((report.replaced, report.left), (0, 1));
    assert_eq!(began.elapsed(), 5 * SECOND, "the connect timeout");
    let pool = bed.pool.clone();
    let mut waiting = HandPolled::waiting(pool.evict_all_within(MINUTE));
    bed.finish().await;
    let report = waiting.ready();
    assert_eq!((report.replaced, report.left), (0, 1));
    assert!(report.is_closed && !report.is_complete(), "{report:?}");
    let report = pool.evict_all_within(MINUTE).await;
    assert_eq!((report.replaced, report.left), (0, 0), "nothing is there");
    assert!(report.is_closed && !report.is_complete(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn replacement_of_nothing_ends_at_once() {
    let bed = Bed::new(2);
    let report = bed.pool.evict_all_within(MINUTE).await;
    assert!(report.is_complete());
    assert_eq!(report.replaced, 0);
    assert_eq!(bed.fake.counts().connect.started, 0, "and opens nothing");
    bed.finish().await;
}
