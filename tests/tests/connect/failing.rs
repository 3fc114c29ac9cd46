//! Connects that fail, panic or hang: which callers get the error, and that no capacity is lost.

use std::error::Error;
use std::time::Duration;

use pool_core::{AcquireError, AcquirePhase, CloseReason, ConnectError, EventKind, Fault};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, FakeError};
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, TICK, pass, quiesce};
use tokio::time::Instant;

/// A delay so long that the minutes of a test do not matter.
const AGES: Duration = Duration::from_secs(1_000_000_000);

fn fault(error: &dyn Error) -> Option<&Fault> {
    error.source().and_then(|source| source.downcast_ref())
}

#[tokio::test(start_paused = true)]
async fn connect_that_panics_frees_its_slot() {
    let bed = Bed::new(1);
    bed.fake.queue(Call::Connect, [Answer::Panic]);
    drop(bed.lease().await);
    assert_eq!(bed.fake.counts().connect.started, 2);
    let mut failures = Vec::new();
    for event in bed.ledger.events() {
        if let EventKind::ConnectFailed { error, .. } = event.kind {
            failures.push(error);
        }
    }
    assert_eq!(failures.len(), 1);
    let panic = fault(&failures[0]).expect("the pool noted the panic");
    assert!(
        matches!(panic, Fault::Panicked { call: "connect", message } if message.contains("#0"))
    );
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connect_that_fails_once_is_repeated_for_the_waiter() {
    let bed = Bed::new(1);
    bed.fake.queue(Call::Connect, [Answer::Transient]);
    drop(bed.lease().await);
    assert_eq!(bed.fake.counts().connect.started, 2);
    bed.finish().await;
}

/// It holds its slot until then.
#[tokio::test(start_paused = true)]
async fn hung_connect_is_dropped_at_its_deadline_and_delays_no_other() {
    let bed = Bed::with(2, |builder| builder.connect_timeout(5 * SECOND));
    bed.fake.queue(Call::Connect, [Answer::Never]);
    let mut first = HandPolled::waiting(bed.pool.acquire());
    let mut second = HandPolled::waiting(bed.pool.acquire());
    quiesce().await;
    drop(first.ready().expect("the other connect serves it"));
    drop(second.ready().expect("the return serves it"));
    assert_eq!(bed.pool.status().opening, 1);
    pass(5 * SECOND).await;
    assert_eq!(
        (bed.pool.status().opening, bed.pool.status().size()),
        (0, 1)
    );
    let counts = bed.fake.counts();
    assert_eq!((counts.connect.aborted, counts.connect.running()), (1, 0));
    drop((first, second));
    bed.finish().await;
}

/// Callers come one after the other, and would all wait for the connect that hangs.
#[tokio::test(start_paused = true)]
async fn hung_connect_delays_callers_by_no_more_than_its_patience() {
    let bed = Bed::with(2, |builder| builder.max_connecting(1));
    bed.fake.queue(Call::Connect, [Answer::Never]);
    for _ in 0..6 {
        let began = Instant::now();
        let lease = bed.pool.acquire_within(5 * SECOND).await;
        drop(lease.expect("another connect serves it"));
        assert!(began.elapsed() <= SECOND + TICK, "{:?}", began.elapsed());
    }
    assert_eq!(bed.fake.counts().connect.started, 2);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connects_that_all_hang_are_few() {
    let bed = Bed::with(32, |builder| builder.max_connecting(2));
    bed.fake.set(Call::Connect, Answer::Never);
    let callers: Vec<_> = (0..32).map(|_| bed.acquirer()).collect();
    pass(14 * SECOND).await;
    let hanging = bed.pool.status().opening;
    assert!(
        (2..=2 + 4).contains(&hanging),
        "{hanging} of two and four late"
    );
    for caller in callers {
        let error = caller.await.expect("no panic").expect_err("all hang");
        assert!(error.source().is_some(), "a connect ended before: {error}");
    }
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn timeout_names_the_connect_in_flight() {
    let bed = Bed::new(1);
    bed.fake.set(Call::Connect, Answer::Never);
    let error = bed.pool.acquire_within(5 * SECOND).await;
    let error = error.expect_err("the connect hangs");
    let connect = error.context().oldest_connect.expect("one is in flight");
    assert_eq!((connect.id.as_u64(), connect.elapsed), (0, 5 * SECOND));
    assert!(
        error
            .to_string()
            .contains("waiting for a connect (#0 for 5.0s); "),
        "{error}"
    );
    bed.finish().await;
}

/// The error names the limit.
#[tokio::test(start_paused = true)]
async fn connect_timeout_is_the_cause_in_the_callers_error() {
    let bed = Bed::with(1, |builder| {
        builder.connect_timeout(5 * SECOND).fail_fast_after(1)
    });
    bed.fake.set(Call::Connect, Answer::Never);
    let began = Instant::now();
    let error = bed.pool.acquire().await.expect_err("the connect hangs");
    assert_eq!(began.elapsed(), 5 * SECOND);
    let cause = error.source().expect("the failed connect");
    let limit = 5 * SECOND;
    assert_eq!(
        fault(cause),
        Some(&Fault::TimedOut {
            call: "connect",
            limit
        })
    );
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn permanent_failure_answers_all_waiters_at_once_with_the_cause() {
    let bed = Bed::with(4, |builder| {
        builder.max_connecting(1).retry_delay(AGES, AGES)
    });
    bed.fake.set(Call::Connect, Answer::Permanent);
    let began = Instant::now();
    let waiters: Vec<_> = (0..4).map(|_| bed.acquirer()).collect();
    for waiter in waiters {
        let error = waiter
            .await
            .expect("the task does not panic")
            .expect_err("it cannot connect");
        let AcquireError::Unavailable {
            retry_after,
            ref context,
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert!(retry_after > Duration::ZERO && retry_after <= AGES);
        // The delay is random, so its last digits mean nothing and are not shown.
        let told = format!("retry after {retry_after:.1?}: ");
        assert!(error.to_string().contains(&told), "{error}");
        assert_eq!(context.phase, AcquirePhase::Backoff);
        let cause = error
            .source()
            .and_then(|cause| cause.downcast_ref::<ConnectError>());
        let cause = cause.expect("the failed connect");
        assert!(cause.is_permanent());
        let origin = cause
            .source()
            .and_then(|origin| origin.downcast_ref::<FakeError>());
        assert_eq!(
            origin.expect("the connector's own error").call,
            Call::Connect
        );
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(bed.fake.counts().connect.started, 1);
    let error = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect_err("until the delay is over");
    assert!(matches!(error, AcquireError::Unavailable { .. }));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn transient_failures_answer_the_waiters_after_enough_rounds() {
    let bed = Bed::with(1, |builder| builder.fail_fast_after(3));
    bed.fake.set(Call::Connect, Answer::Transient);
    let error = bed.pool.acquire().await.expect_err("it never connects");
    assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
    assert_eq!(bed.fake.counts().connect.started, 3);
    bed.finish().await;
}

/// Connects that fail together are one round of failures.
#[tokio::test(start_paused = true)]
async fn connects_that_fail_together_count_once() {
    let bed = Bed::with(4, |builder| builder.max_connecting(4).fail_fast_after(2));
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiters: Vec<_> = (0..4)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    quiesce().await;
    for _ in 0..4 {
        bed.fake.next(Call::Connect).await.fail("no");
    }
    quiesce().await;
    assert!(
        waiters.iter_mut().all(|waiter| waiter.poll().is_pending()),
        "two failures of one round count as one"
    );
    bed.fake.set(Call::Connect, Answer::Ok);
    pass(SECOND).await;
    while let Some(connect) = bed.fake.try_next(Call::Connect) {
        connect.succeed();
    }
    quiesce().await;
    for waiter in &mut waiters {
        drop(waiter.ready().expect("it is served"));
    }
    drop(waiters);
    bed.finish().await;
}

/// No waiter is refused while a connection is left that could serve it.
#[tokio::test(start_paused = true)]
async fn waiter_is_not_refused_while_a_lease_is_out() {
    let bed = Bed::with(2, |builder| builder.fail_fast_after(1));
    let lease = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Permanent);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    pass(SECOND).await;
    assert!(waiter.poll().is_pending(), "the lease will be returned");
    drop(lease);
    drop(waiter.ready().expect("it was returned"));
    drop(waiter);
    bed.finish().await;
}

/// A lease that is to be closed when it comes back serves nobody: who waits is told so while it is out, and who comes
/// does not wait.
#[tokio::test(start_paused = true)]
async fn waiter_is_refused_while_a_lease_is_out_that_will_not_be_lent_again() {
    let bed = Bed::with(2, |builder| builder.retry_delay(MINUTE, MINUTE));
    let lease = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Permanent);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    quiesce().await;
    assert!(waiter.poll().is_pending(), "the lease will be returned");
    bed.pool.evict_all();
    quiesce().await;
    let error = waiter.ready().expect_err("nothing can serve it");
    assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
    let error = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect_err("nor a later one");
    assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
    drop((waiter, lease));
    bed.finish().await;
}

/// Waiters are refused as soon as the last connection that could serve them is gone.
#[tokio::test(start_paused = true)]
async fn waiter_is_refused_when_the_last_lease_is_lost() {
    let bed = Bed::with(2, |builder| builder.retry_delay(MINUTE, MINUTE));
    let lease = bed.lease().await;
    pass(2 * SECOND).await;
    bed.fake.set(Call::Connect, Answer::Permanent);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    pass(SECOND).await;
    assert!(waiter.poll().is_pending(), "the lease will be returned");
    lease.mark_dirty();
    drop(lease);
    quiesce().await;
    let error = waiter.ready().expect_err("nothing is left");
    assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
    assert_eq!(bed.reasons(), [CloseReason::Dirty]);
    drop(waiter);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn waiter_is_not_refused_while_another_connect_is_in_flight() {
    let bed = Bed::with(2, |builder| builder.fail_fast_after(1));
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiters: Vec<_> = (0..2)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    let (first, second) = (
        bed.fake.next(Call::Connect).await,
        bed.fake.next(Call::Connect).await,
    );
    first.fail_permanently("no");
    quiesce().await;
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_pending()));
    second.succeed();
    quiesce().await;
    drop(waiters[0].ready().expect("the second connect serves it"));
    drop(waiters[1].ready().expect("the return serves it"));
    drop(waiters);
    bed.finish().await;
}

/// One caller after the delay is enough to try again.
#[tokio::test(start_paused = true)]
async fn pool_recovers_with_the_first_attempt_after_the_delay() {
    let bed = Bed::with(2, |builder| builder.retry_delay(SECOND, SECOND));
    bed.fake.queue(Call::Connect, [Answer::Permanent]);
    let error = bed.pool.acquire().await.expect_err("it cannot connect");
    let AcquireError::Unavailable { retry_after, .. } = error else {
        panic!("{error}");
    };
    pass(retry_after).await;
    drop(bed.lease().await);
    assert_eq!(bed.fake.counts().connect.started, 2);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn failed_attempt_after_the_delay_answers_all_waiters() {
    let bed = Bed::with(4, |builder| {
        builder.retry_delay(SECOND, SECOND).max_connecting(1)
    });
    bed.fake.queue(Call::Connect, [Answer::Permanent]);
    bed.pool.acquire().await.expect_err("it cannot connect");
    pass(SECOND).await;
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiters: Vec<_> = (0..3)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    bed.fake
        .next(Call::Connect)
        .await
        .fail_permanently("still not");
    quiesce().await;
    for waiter in &mut waiters {
        let error = waiter.ready().expect_err("it failed again");
        assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
    }
    assert_eq!(bed.fake.counts().connect.started, 2);
    drop(waiters);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn failure_is_forgotten_in_errors_once_connections_live() {
    let bed = Bed::with(1, |builder| builder.acquire_timeout(MINUTE));
    bed.fake.queue(Call::Connect, [Answer::Transient]);
    let lease = bed.lease().await;
    pass(2 * SECOND).await;
    let error = bed
        .pool
        .acquire_within(SECOND)
        .await
        .expect_err("it is lent");
    assert!(error.context().last_failure.is_none(), "{error}");
    assert!(error.source().is_none());
    drop(lease);
    bed.finish().await;
}

/// Two connects in flight, and one caller: the first failure leaves the second connect to serve it,
/// and the second failure answers it. Neither is followed by another connect at once.
#[tokio::test(start_paused = true)]
async fn permanent_failures_of_two_connects_are_followed_by_a_delay_and_an_answer() {
    let bed = Bed::new(2);
    bed.fake.set(Call::Connect, Answer::Manual);
    let (leaver, stayer) = (bed.acquirer(), bed.acquirer());
    let first = bed.fake.next(Call::Connect).await;
    let second = bed.fake.next(Call::Connect).await;
    leaver.abort();
    first.fail_permanently("no such program");
    // The delay passes, and the second connect is not late yet.
    pass(SECOND / 2).await;
    assert!(bed.fake.try_next(Call::Connect).is_none());
    second.fail_permanently("no such program");
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
    let is_delayed = bed.fake.try_next(Call::Connect).is_none();
    assert!(
        stayer.is_finished() && is_delayed,
        "not answered; next connect delayed: {is_delayed}"
    );
    bed.finish().await;
}
