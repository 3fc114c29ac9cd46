//! Connects belong to the pool, not to the caller: how many there are, and who gets what they open.

use pool_core::{CloseReason, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, pass, quiesce};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn connect_outlives_its_caller_and_its_connection_goes_idle() {
    let bed = Bed::new(2);
    bed.fake.set(Call::Connect, Answer::Manual);
    let waiter = HandPolled::waiting(bed.pool.acquire());
    let connect = bed.fake.next(Call::Connect).await;
    drop(waiter);
    quiesce().await;
    assert!(!connect.is_cancelled());
    assert_eq!(bed.pool.status().opening, 1);
    connect.succeed();
    quiesce().await;
    assert_eq!((bed.pool.status().opening, bed.pool.status().idle), (0, 1));
    drop(bed.pool.try_acquire().expect("it is idle"));
    bed.finish().await;
}

/// Connects that take longer than any caller waits are not started again and again.
#[tokio::test(start_paused = true)]
async fn impatient_callers_do_not_multiply_slow_connects() {
    let bed = Bed::with(2, |builder| builder.acquire_timeout(SECOND));
    bed.fake.set(Call::Connect, Answer::After(5 * SECOND));
    let mut failed = 0;
    for _ in 0..4 {
        let mut tasks = JoinSet::new();
        for _ in 0..250 {
            let pool = bed.pool.clone();
            tasks.spawn(async move { pool.acquire().await.is_err() });
        }
        while let Some(task) = tasks.join_next().await {
            failed += usize::from(task.expect("the task does not panic"));
        }
    }
    assert_eq!(failed, 1_000, "nobody waits for five seconds");
    pass(5 * SECOND).await;
    assert_eq!(bed.fake.counts().connect.started, 2);
    assert_eq!(bed.pool.status().idle, 2);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn return_beats_a_pending_connect_and_the_surplus_goes_idle() {
    let bed = Bed::new(2);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    let connect = bed.fake.next(Call::Connect).await;
    drop(lease);
    let lease = waiter.ready().expect("the return serves it");
    assert_eq!(PooledConnection::id(&lease), id);
    let surplus = connect.id();
    connect.succeed();
    quiesce().await;
    let other = bed.pool.try_acquire().expect("the surplus is idle");
    assert_eq!(PooledConnection::id(&other), surplus);
    drop((lease, other, waiter));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connect_of_a_caller_that_left_serves_the_next() {
    let bed = Bed::new(2);
    bed.fake.set(Call::Connect, Answer::Manual);
    drop(HandPolled::waiting(bed.pool.acquire()));
    let mut second = HandPolled::waiting(bed.pool.acquire());
    let connect = bed.fake.next(Call::Connect).await;
    quiesce().await;
    assert!(bed.fake.try_next(Call::Connect).is_none(), "one is enough");
    connect.succeed();
    quiesce().await;
    drop(second.ready().expect("it is served"));
    drop(second);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connects_in_flight_are_bounded_by_demand_and_by_max_connecting() {
    let bed = Bed::with(10, |builder| builder.max_connecting(3));
    bed.fake.set(Call::Connect, Answer::Manual);
    let one = HandPolled::waiting(bed.pool.acquire());
    quiesce().await;
    assert_eq!(bed.pool.status().opening, 1);
    let more: Vec<_> = (0..9)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    quiesce().await;
    assert_eq!(bed.pool.status().opening, 3);
    bed.fake.set(Call::Connect, Answer::Ok);
    for _ in 0..3 {
        bed.fake.next(Call::Connect).await.succeed();
    }
    quiesce().await;
    assert_eq!(bed.pool.status().leased, 10);
    assert_eq!(bed.fake.counts().connecting_peak, 3);
    drop((one, more));
    bed.finish().await;
}

/// So a cold pool takes no longer than its connects do.
#[tokio::test(start_paused = true)]
async fn next_connect_starts_as_soon_as_one_is_done() {
    let bed = Bed::with(10, |builder| builder.max_connecting(1));
    bed.fake.stop_telling_deaths();
    bed.fake
        .set(Call::Connect, Answer::After(Duration::from_millis(10)));
    let began = Instant::now();
    let waiters: Vec<_> = (0..10).map(|_| bed.acquirer()).collect();
    let mut leases = Vec::new();
    for waiter in waiters {
        leases.push(
            waiter
                .await
                .expect("the task does not panic")
                .expect("it is served"),
        );
    }
    let took = began.elapsed();
    assert!(
        took <= Duration::from_millis(110),
        "ten connects of 10 ms took {took:?}"
    );
    drop(leases);
    bed.finish().await;
}

/// Fifty callers with two milliseconds of work each come to five idle connections. Connects take 150 ms.
/// The number of connections that are opened is bounded by `max_connecting`, not by the callers.
#[tokio::test(start_paused = true)]
async fn spike_ends_with_few_connections() {
    let bed = Bed::with(50, |builder| builder.min_idle(5));
    quiesce().await;
    assert_eq!(bed.pool.status().idle, 5);
    bed.fake
        .set(Call::Connect, Answer::After(Duration::from_millis(150)));
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let pool = bed.pool.clone();
        tasks.spawn(async move {
            let lease = pool.acquire().await.expect("all are served");
            tokio::time::sleep(Duration::from_millis(2)).await;
            drop(lease);
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("the task does not panic");
    }
    pass(SECOND).await;
    let size = bed.pool.status().size();
    assert!(
        size <= 5 + 4,
        "{size} connections for a spike that five could serve"
    );
    bed.finish().await;
}

/// Whatever became of the connects.
#[tokio::test(start_paused = true)]
async fn no_waiter_is_left_while_slots_are_free() {
    let bed = Bed::with(6, |builder| builder.max_connecting(6));
    bed.fake.set(Call::Connect, Answer::Manual);
    let leavers: Vec<_> = (0..3)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    let mut stayers: Vec<_> = (0..3)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    quiesce().await;
    assert_eq!(bed.pool.status().opening, 6);
    drop(leavers);
    for _ in 0..3 {
        bed.fake.next(Call::Connect).await.fail("no");
    }
    for _ in 0..3 {
        bed.fake.next(Call::Connect).await.succeed();
    }
    quiesce().await;
    for stayer in &mut stayers {
        drop(stayer.ready().expect("it is served"));
    }
    drop(stayers);
    bed.finish().await;
}

/// A connection that was just opened is not checked before its first use.
#[tokio::test(start_paused = true)]
async fn new_connection_is_lent_without_a_check() {
    let bed = Bed::new(1);
    drop(bed.lease().await);
    assert_eq!(bed.fake.counts().check.started, 0);
    bed.finish().await;
}

/// The size follows demand, not the number of callers.
#[tokio::test(start_paused = true)]
async fn serial_use_by_many_needs_one_connection() {
    let bed = Bed::new(10);
    for _ in 0..100 {
        drop(bed.lease().await);
    }
    let counts = bed.fake.counts();
    assert_eq!((counts.connect.started, counts.alive), (1, 1));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn as_many_as_allowed_are_opened_and_not_one_more() {
    let bed = Bed::new(5);
    let leases = bed.leases(5).await;
    let sixth = HandPolled::waiting(bed.pool.acquire());
    pass(MINUTE / 3).await;
    assert_eq!(bed.fake.counts().connect.started, 5);
    drop((leases, sixth));
    assert_eq!(bed.pool.status().idle, 5);
    bed.finish().await;
}

/// A pool without a minimum empties itself and works from empty.
#[tokio::test(start_paused = true)]
async fn pool_works_again_from_empty() {
    let bed = Bed::with(3, |builder| builder.idle_timeout(SECOND));
    for _ in 0..3 {
        bed.idle(3).await;
        pass(2 * SECOND).await;
        assert_eq!(bed.pool.status().size(), 0);
    }
    assert_eq!(bed.reasons(), [CloseReason::Idle; 9]);
    bed.finish().await;
}

/// What the pool tells a connect.
#[tokio::test(start_paused = true)]
async fn connect_is_told_its_number_its_attempt_and_its_deadline() {
    let bed = Bed::with(1, |builder| {
        builder
            .connect_timeout(7 * SECOND)
            .min_uptime(SECOND)
            .fail_fast_after(100)
    });
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    for attempt in 1..=3 {
        let connect = bed.fake.next(Call::Connect).await;
        assert_eq!(connect.context().map(|cx| cx.attempt), Some(attempt));
        assert_eq!(connect.id().as_u64(), u64::from(attempt) - 1);
        let deadline = connect.context().map(|cx| cx.deadline);
        assert_eq!(deadline, Some(Instant::now() + 7 * SECOND));
        connect.fail("not yet");
    }
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    drop(waiter.ready().expect("it is served"));
    drop(waiter);
    bed.finish().await;
}
