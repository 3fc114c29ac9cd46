//! Connections whose end has come while they serve: replaced without a gap if they are well, and
//! closed after their last lease in any case.

use pool_core::{CloseReason, SharedLease};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{Held, SECOND, pass, settle};

use crate::bed::{Bed, id, ids};

#[tokio::test(start_paused = true)]
async fn broken_connection_takes_no_new_leases_and_is_closed_after_its_last() {
    let bed = Bed::new(2);
    let old = bed.leases(2).await;
    bed.fake.kill(id(&old[0]));
    settle().await;
    let new = bed.leases(1).await;
    assert_eq!(ids(&new), [1]);
    assert_eq!(bed.reasons(), [], "it still has leases");
    let mut old = old.into_iter();
    drop(old.next());
    settle().await;
    assert_eq!(bed.reasons(), []);
    drop(old);
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Died]);
    drop(new);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_told_to_be_unfit_on_return_is_not_lent_again() {
    let bed = Bed::new(2);
    for (ruin, reason) in [
        (0, CloseReason::Dirty),
        (1, CloseReason::Died),
        (2, CloseReason::Discarded),
    ] {
        let mut leases = bed.leases(2).await;
        let bad = id(&leases[0]);
        match ruin {
            0 => drop(bed.fake.set_dirty(bad)),
            1 => drop(bed.fake.kill_silently(bad)),
            _ => SharedLease::discard(leases.remove(0)),
        }
        leases.truncate(1);
        settle().await;
        let next = bed.lease().await;
        assert_ne!(id(&next), bad);
        drop((leases, next));
        settle().await;
        assert_eq!(bed.reasons().last(), Some(&reason));
        bed.pool.evict_all();
        settle().await;
    }
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn expired_connection_serves_until_its_replacement_is_open() {
    let bed = Bed::with(1, |builder| builder.max_lifetime(60 * SECOND));
    let old = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    pass(60 * SECOND).await;
    let connect = bed.fake.next(Call::Connect).await;
    let meanwhile = bed.lease().await;
    assert_eq!(id(&meanwhile), id(&old), "it goes on");
    assert_eq!(bed.pool.status().size(), 2, "one more than the limit");
    connect.succeed();
    settle().await;
    let new = bed.lease().await;
    assert_ne!(id(&new), id(&old));
    assert_eq!(bed.reasons(), []);
    drop((old, meanwhile));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Lifetime]);
    assert_eq!(bed.pool.status().size(), 1);
    drop(new);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn one_replacement_is_opened_and_what_it_replaces_is_not_lent_again() {
    let bed = Bed::new(3);
    let old = bed.lease().await;
    bed.pool.evict_all();
    settle().await;
    assert_eq!(bed.fake.counts().connect.started, 2, "one, and no more");
    let mut leases = bed.leases(6).await;
    assert_eq!(ids(&leases), [1, 1, 2, 2, 1, 2], "none from the old one");
    let mut waiter = Held::waiting(bed.pool.acquire());
    leases.truncate(5);
    drop(waiter.ready().expect("a share came home"));
    drop((old, leases, waiter));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn without_surge_an_expired_connection_serves_until_there_is_room() {
    let bed = Bed::with(1, |builder| builder.max_lifetime(60 * SECOND).max_surge(0));
    let old = bed.lease().await;
    pass(600 * SECOND).await;
    assert_eq!(bed.fake.counts().connect.started, 1, "there is no room");
    let more = bed.lease().await;
    assert_eq!(id(&more), id(&old));
    drop((old, more));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Lifetime]);
    let new = bed.lease().await;
    assert_eq!(id(&new).as_u64(), 1);
    drop(new);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn expired_connection_that_nobody_uses_is_closed_at_once() {
    let bed = Bed::with(1, |builder| builder.max_lifetime(60 * SECOND));
    drop(bed.lease().await);
    pass(60 * SECOND).await;
    assert_eq!(bed.reasons(), [CloseReason::Lifetime]);
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn evicted_connections_are_replaced_one_by_one() {
    let bed = Bed::new(2);
    let leases = bed.leases(4).await;
    bed.fake.set(Call::Connect, Answer::Manual);
    assert_eq!(bed.pool.evict_all(), 2);
    assert_eq!(bed.pool.evict_all(), 0, "they know");
    settle().await;
    let connect = bed.fake.next(Call::Connect).await;
    assert!(
        bed.fake.try_next(Call::Connect).is_none(),
        "one beyond the limit"
    );
    connect.succeed();
    settle().await;
    assert!(
        bed.fake.try_next(Call::Connect).is_none(),
        "the first one still has its slot"
    );
    let mut leases = leases.into_iter();
    leases.by_ref().take(2).for_each(drop);
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.fake.next(Call::Connect).await.succeed();
    settle().await;
    drop(leases);
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted; 2]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn evicted_connection_that_dies_meanwhile_is_not_used_any_more() {
    let bed = Bed::new(1);
    let old = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.pool.evict_all();
    settle().await;
    bed.fake.kill(id(&old));
    settle().await;
    let mut waiter = Held::waiting(bed.pool.acquire());
    bed.fake.next(Call::Connect).await.succeed();
    settle().await;
    let new = waiter.ready().expect("its replacement");
    assert_ne!(id(&new), id(&old));
    drop((old, new, waiter));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Died]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn check_runs_while_the_connection_serves() {
    let bed = Bed::with(2, |builder| builder.check_interval(SECOND));
    let lease = bed.lease().await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(2 * SECOND).await;
    let check = bed.fake.next(Call::Check).await;
    let other = bed.lease().await;
    assert_eq!(id(&other), id(&lease), "it serves while it is checked");
    check.succeed();
    settle().await;
    pass(2 * SECOND).await;
    bed.fake.next(Call::Check).await.fail("no answer");
    settle().await;
    let new = bed.lease().await;
    assert_ne!(id(&new), id(&lease), "it takes no new leases");
    assert_eq!(bed.reasons(), []);
    drop((lease, other));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::CheckFailed]);
    bed.fake.set(Call::Check, Answer::Ok);
    drop(new);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_is_not_closed_before_its_check_has_ended() {
    let bed = Bed::with(1, |builder| builder.check_interval(SECOND));
    let lease = bed.lease().await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(2 * SECOND).await;
    let check = bed.fake.next(Call::Check).await;
    bed.fake.kill(id(&lease));
    drop(lease);
    settle().await;
    assert_eq!(bed.reasons(), [], "its check has it");
    check.succeed();
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Died]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_is_checked_by_one_check_at_a_time() {
    let bed = Bed::with(1, |builder| {
        builder.check_interval(SECOND).check_timeout(60 * SECOND)
    });
    let lease = bed.lease().await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(2 * SECOND).await;
    // It is looked at again while something moves.
    let others = bed.leases(2).await;
    pass(2 * SECOND).await;
    assert_eq!(bed.fake.counts().check.running(), 1);
    bed.fake.next(Call::Check).await.succeed();
    drop((lease, others));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn hung_check_ends_at_its_deadline() {
    let bed = Bed::with(1, |builder| {
        builder.check_interval(SECOND).check_timeout(SECOND)
    });
    let lease = bed.lease().await;
    bed.fake.set(Call::Check, Answer::Manual);
    pass(4 * SECOND).await;
    drop(lease);
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::CheckFailed]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_was_lent_as_often_as_allowed_is_closed_after_its_last_lease() {
    let bed = Bed::with(2, |builder| builder.max_uses(2));
    let leases = bed.leases(3).await;
    assert_eq!(ids(&leases), [0, 0, 1]);
    drop(leases);
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::MaxUses]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_ends_the_connections_with_the_fewest_leases() {
    let bed = Bed::new(2);
    let mut leases = bed.leases(5).await;
    assert_eq!(ids(&leases), [0, 0, 1, 1, 0]);
    bed.pool.resize(1).unwrap();
    drop(leases.pop());
    let next = bed.lease().await;
    assert_eq!(id(&next).as_u64(), 0);
    drop(next);
    leases.truncate(2);
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk]);
    bed.pool.resize(2).unwrap();
    drop(leases);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn unused_connections_are_closed_after_a_while_but_for_the_floor() {
    let bed = Bed::with(3, |builder| {
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
