//! Resets: they run between two leases, delay no other return, and end by their deadline.

use pool_core::{CloseReason, EventKind, PooledConnection};
use pool_testkit::connector::{Answer, QueryAnswer};
use pool_testkit::{Call, Query};
use pool_tests::bed::{Bed, HandPolled, SECOND, pass, quiesce};

#[tokio::test(start_paused = true)]
async fn connection_that_needs_a_reset_is_reset_before_the_next_holder() {
    let bed = Bed::new(1);
    bed.fake.set(Call::Reset, Answer::Manual);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    lease.mark_needs_reset();
    drop(lease);
    let reset = bed.fake.next(Call::Reset).await;
    assert_eq!((reset.id(), bed.pool.status().returning), (id, 1));
    assert!(waiter.poll().is_pending(), "it is not served before");
    reset.succeed();
    quiesce().await;
    let lease = waiter.ready().expect("it was reset");
    assert_eq!(PooledConnection::id(&lease), id);
    drop((lease, waiter));
    assert_eq!(bed.fake.counts().reset.started, 1, "it needed one reset");
    bed.finish().await;
}

/// `needs_reset` is true even after the reset.
#[tokio::test(start_paused = true)]
async fn one_return_causes_one_reset() {
    let bed = Bed::new(1);
    bed.fake.set_query(Query::NeedsReset, QueryAnswer::Yes);
    for uses in 1..=3 {
        drop(bed.lease().await);
        quiesce().await;
        assert_eq!(bed.fake.counts().reset.started, uses);
        assert_eq!(bed.pool.status().idle, 1);
    }
    bed.finish().await;
}

/// It fails, panics or hangs; a reset that hangs ends at its deadline.
#[tokio::test(start_paused = true)]
async fn reset_that_does_not_succeed_closes_its_connection() {
    for answer in [Answer::Transient, Answer::Panic, Answer::Never] {
        let bed = Bed::with(2, |builder| builder.reset_timeout(3 * SECOND));
        bed.fake.set(Call::Reset, answer);
        for lease in bed.leases(2).await {
            lease.mark_needs_reset();
        }
        let mut waiters: Vec<_> = (0..2)
            .map(|_| HandPolled::waiting(bed.pool.acquire()))
            .collect();
        quiesce().await;
        if answer == Answer::Never {
            assert_eq!(bed.pool.status().returning, 2);
            pass(3 * SECOND).await;
            assert_eq!(bed.fake.counts().reset.aborted, 2);
        }
        for waiter in &mut waiters {
            drop(waiter.ready().expect("a new one was opened"));
        }
        assert_eq!(bed.reasons(), [CloseReason::ResetFailed; 2], "{answer:?}");
        let failed = |kind: &EventKind| matches!(kind, EventKind::ResetFailed { .. });
        assert_eq!(bed.ledger.count_events(failed), 2);
        drop(waiters);
        bed.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn hung_reset_stalls_no_other_return() {
    let bed = Bed::new(3);
    bed.fake.queue(Call::Reset, [Answer::Never]);
    let mut leases = bed.leases(3).await;
    for _ in 0..2 {
        let lease = leases.pop().expect("three were leased");
        lease.mark_needs_reset();
        drop(lease);
        quiesce().await;
    }
    drop(leases);
    let status = bed.pool.status();
    assert_eq!((status.returning, status.idle), (1, 2));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_dies_during_its_reset_is_closed() {
    for told in [true, false] {
        let bed = Bed::new(1);
        bed.fake.set(Call::Reset, Answer::Manual);
        let lease = bed.lease().await;
        let id = PooledConnection::id(&lease);
        pass(2 * SECOND).await;
        lease.mark_needs_reset();
        drop(lease);
        let reset = bed.fake.next(Call::Reset).await;
        assert!(if told {
            bed.fake.kill(id)
        } else {
            bed.fake.kill_silently(id)
        });
        quiesce().await;
        reset.succeed();
        quiesce().await;
        assert_eq!(bed.fake.closes(), [(id, CloseReason::Died)]);
        bed.finish().await;
    }
}

/// It has reached `max_uses`.
#[tokio::test(start_paused = true)]
async fn connection_that_is_to_be_closed_is_not_reset() {
    let bed = Bed::with(1, |builder| builder.max_uses(1));
    let lease = bed.lease().await;
    lease.mark_needs_reset();
    drop(lease);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::MaxUses]);
    assert_eq!(bed.fake.counts().reset.started, 0);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_evicted_during_its_reset_is_closed_after_it() {
    let bed = Bed::new(1);
    bed.fake.set(Call::Reset, Answer::Manual);
    let lease = bed.lease().await;
    lease.mark_needs_reset();
    drop(lease);
    let reset = bed.fake.next(Call::Reset).await;
    assert_eq!(bed.pool.evict_all(), 1);
    reset.succeed();
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.finish().await;
}
