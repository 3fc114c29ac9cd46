//! Shared connections that are to be closed while they have leases. A live one is replaced without a gap;
//! each is closed after its last lease.

use pool_core::{CloseReason, SharedLease};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{HandPolled, SECOND, pass, quiesce};

use crate::bed::{SharedBed, id, ids};

#[tokio::test(start_paused = true)]
async fn broken_connection_takes_no_new_leases_and_is_closed_after_its_last() {
    let bed = SharedBed::new(2);
    let old = bed.leases(2).await;
    bed.fake.kill(id(&old[0]));
    quiesce().await;
    let new = bed.leases(1).await;
    assert_eq!(ids(&new), [1]);
    assert_eq!(bed.reasons(), [], "it still has leases");
    let mut old = old.into_iter();
    drop(old.next());
    quiesce().await;
    assert_eq!(bed.reasons(), []);
    drop(old);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Died]);
    drop(new);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_unfit_on_return_is_not_lent_again() {
    let bed = SharedBed::new(2);
    for (ruin, reason) in [
        (0, CloseReason::Dirty),
        (1, CloseReason::Died),
        (2, CloseReason::Discarded),
    ] {
        let mut leases = bed.leases(2).await;
        let bad = id(&leases[0]);
        match ruin {
            0 => leases[0].mark_dirty(),
            1 => drop(bed.fake.kill_silently(bad)),
            _ => SharedLease::discard(leases.remove(0)),
        }
        leases.truncate(1);
        quiesce().await;
        let next = bed.lease().await;
        assert_ne!(id(&next), bad);
        drop((leases, next));
        quiesce().await;
        assert_eq!(bed.reasons().last(), Some(&reason));
        bed.pool.evict_all();
        quiesce().await;
    }
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn expired_connection_serves_until_its_replacement_is_open() {
    let bed = SharedBed::with(1, |builder| builder.max_lifetime(60 * SECOND));
    let old = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    pass(60 * SECOND).await;
    let connect = bed.fake.next(Call::Connect).await;
    let meanwhile = bed.lease().await;
    assert_eq!(id(&meanwhile), id(&old), "it still serves");
    assert_eq!(bed.pool.status().size(), 2, "one more than the limit");
    connect.succeed();
    quiesce().await;
    let new = bed.lease().await;
    assert_ne!(id(&new), id(&old));
    assert_eq!(bed.reasons(), []);
    drop((old, meanwhile));
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Lifetime]);
    assert_eq!(bed.pool.status().size(), 1);
    drop(new);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn one_replacement_is_opened_and_the_old_connection_is_not_lent_again() {
    let bed = SharedBed::new(3);
    let old = bed.lease().await;
    bed.pool.evict_all();
    quiesce().await;
    assert_eq!(bed.fake.counts().connect.started, 2, "one, and no more");
    let mut leases = bed.leases(6).await;
    assert_eq!(ids(&leases), [1, 1, 2, 2, 1, 2], "none from the old one");
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    leases.truncate(5);
    drop(waiter.ready().expect("a share was returned"));
    drop((old, leases, waiter));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn without_surge_an_expired_connection_serves_until_there_is_room() {
    let bed = SharedBed::with(1, |builder| builder.max_lifetime(60 * SECOND).max_surge(0));
    let old = bed.lease().await;
    pass(600 * SECOND).await;
    assert_eq!(bed.fake.counts().connect.started, 1, "there is no room");
    let more = bed.lease().await;
    assert_eq!(id(&more), id(&old));
    drop((old, more));
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Lifetime]);
    let new = bed.lease().await;
    assert_eq!(id(&new).as_u64(), 1);
    drop(new);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn expired_connection_without_leases_is_closed_at_once() {
    let bed = SharedBed::with(1, |builder| builder.max_lifetime(60 * SECOND));
    drop(bed.lease().await);
    pass(60 * SECOND).await;
    assert_eq!(bed.reasons(), [CloseReason::Lifetime]);
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn evicted_connections_are_replaced_one_by_one() {
    let bed = SharedBed::new(2);
    let leases = bed.leases(4).await;
    bed.fake.set(Call::Connect, Answer::Manual);
    assert_eq!(bed.pool.evict_all(), 2);
    assert_eq!(bed.pool.evict_all(), 0, "they are evicted already");
    quiesce().await;
    let connect = bed.fake.next(Call::Connect).await;
    assert!(
        bed.fake.try_next(Call::Connect).is_none(),
        "one beyond the limit"
    );
    connect.succeed();
    quiesce().await;
    assert!(
        bed.fake.try_next(Call::Connect).is_none(),
        "the first one still has its slot"
    );
    let mut leases = leases.into_iter();
    leases.by_ref().take(2).for_each(drop);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    drop(leases);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted; 2]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn evicted_connection_that_dies_before_its_replacement_is_open_is_not_lent() {
    let bed = SharedBed::new(1);
    let old = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.pool.evict_all();
    quiesce().await;
    bed.fake.kill(id(&old));
    quiesce().await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    let new = waiter.ready().expect("its replacement");
    assert_ne!(id(&new), id(&old));
    drop((old, new, waiter));
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Died]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_was_lent_as_often_as_allowed_is_closed_after_its_last_lease() {
    let bed = SharedBed::with(2, |builder| builder.max_uses(2));
    let leases = bed.leases(3).await;
    assert_eq!(ids(&leases), [0, 0, 1]);
    drop(leases);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::MaxUses]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn unused_connections_are_closed_after_the_idle_timeout_down_to_min_idle() {
    let bed = SharedBed::with(3, |builder| {
        builder
            .idle_timeout(10 * SECOND)
            .min_idle(1)
            .check_interval(None)
    });
    let leases = bed.leases(6).await;
    drop(leases);
    pass(20 * SECOND).await;
    assert_eq!(bed.reasons(), [CloseReason::Idle; 2]);
    assert_eq!(bed.pool.status().idle, 1);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_breaks_after_it_was_evicted_is_closed_as_broken() {
    for (ruin, how) in [
        (0, CloseReason::Died),
        (1, CloseReason::Discarded),
        (2, CloseReason::Dirty),
    ] {
        let bed = SharedBed::new(1);
        let mut old = bed.leases(2).await;
        bed.pool.evict_all();
        quiesce().await;
        assert_eq!(ids(&bed.leases(1).await), [1], "it was replaced");
        match ruin {
            0 => drop(bed.fake.kill(id(&old[0]))),
            1 => SharedLease::discard(old.remove(0)),
            _ => old[0].mark_dirty(),
        }
        drop(old);
        quiesce().await;
        assert_eq!(
            bed.reasons(),
            [how],
            "a broken connection gets no orderly close"
        );
        bed.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn replacement_that_dies_is_replaced_while_its_predecessor_has_leases() {
    let bed = SharedBed::new(1);
    let old = bed.lease().await;
    bed.pool.evict_all();
    quiesce().await;
    let new = bed.lease().await;
    bed.fake.kill(id(&new));
    drop(new);
    quiesce().await;
    let newer = bed.lease().await;
    assert_eq!(ids(&[old, newer]), [0, 2]);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Died, CloseReason::Evicted]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_evicted_while_it_is_opened_is_never_lent() {
    let bed = SharedBed::new(1);
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    let first = bed.fake.next(Call::Connect).await;
    assert_eq!(bed.pool.evict_all(), 1);
    first.succeed();
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    let lease = waiter.ready().expect("a connection can serve it");
    drop(waiter);
    assert_eq!(ids(&[lease]), [1]);
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.finish().await;
}
