//! Leases that are out for long.

use std::panic::Location;
use std::time::Duration;

use pool_core::{EventKind, PooledConnection};
use pool_tests::bed::{Bed, HandPolled, Lease, MINUTE, SECOND, TICK, pass, quiesce};

/// What the ledger heard of an overdue lease: where acquired, how long held, whether it is back.
type Heard = (&'static Location<'static>, Duration, bool);

fn heard(bed: &Bed) -> Vec<Heard> {
    let mut heard = Vec::new();
    for event in bed.ledger.events() {
        if let EventKind::LeaseOverdue { site, held, .. } = event.kind {
            heard.push((site, held, false));
        } else if let EventKind::OverdueLeaseReturned { site, held, .. } = event.kind {
            heard.push((site, held, true));
        }
    }
    heard
}

/// Once per lease, with the place it was acquired at, and a notice when it is back.
#[tokio::test(start_paused = true)]
async fn overdue_lease_is_told_once_and_again_when_it_comes_home() {
    let bed = Bed::with(1, |builder| builder.lease_warn_after(10 * SECOND));
    let (lease, line) = (bed.pool.acquire().await.expect("it is free"), line!());
    pass(9 * SECOND).await;
    assert!(heard(&bed).is_empty());
    pass(MINUTE).await;
    let warned = heard(&bed);
    assert_eq!(warned.len(), 1, "{warned:?}");
    let (site, held, is_back) = warned[0];
    assert!(site.file().ends_with("leases.rs"), "{site}");
    assert_eq!((site.line(), is_back), (line, false));
    assert!(
        held >= 10 * SECOND && held <= 10 * SECOND + 2 * TICK,
        "{held:?}"
    );
    drop(lease);
    let warned = heard(&bed);
    assert_eq!((warned.len(), warned[1].0, warned[1].2), (2, site, true));
    assert!(warned[1].1 >= MINUTE + 8 * SECOND);
    bed.finish().await;
}

/// A lease of the same connection that follows is another lease.
#[tokio::test(start_paused = true)]
async fn each_overdue_lease_of_a_connection_is_told() {
    let bed = Bed::with(1, |builder| builder.lease_warn_after(10 * SECOND));
    for round in 1..=3 {
        let lease = bed.lease().await;
        pass(11 * SECOND).await;
        drop(lease);
        assert_eq!(heard(&bed).len(), 2 * round);
    }
    drop(bed.lease().await);
    pass(MINUTE).await;
    assert_eq!(heard(&bed).len(), 6, "what is idle is not overdue");
    bed.finish().await;
}

/// Neither a connect nor a wait makes a lease overdue.
#[tokio::test(start_paused = true)]
async fn only_the_time_in_a_holders_hands_counts() {
    let bed = Bed::with(1, |builder| {
        builder
            .lease_warn_after(10 * SECOND)
            .acquire_timeout(MINUTE)
    });
    let first = bed.lease().await;
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    pass(9 * SECOND).await;
    drop(first);
    let second = waiter.ready().expect("it was served");
    pass(9 * SECOND).await;
    drop(second);
    drop(waiter);
    pass(MINUTE).await;
    assert!(heard(&bed).is_empty());
    bed.finish().await;
}

/// Whatever way an overdue lease ends, its end is told.
#[tokio::test(start_paused = true)]
async fn every_end_of_an_overdue_lease_is_told() {
    let ends: [fn(Lease); 4] = [
        drop,
        |lease| lease.mark_dirty(),
        PooledConnection::discard,
        |lease| drop(PooledConnection::detach(lease)),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let bed = Bed::with(1, |builder| builder.lease_warn_after(SECOND));
        let lease = bed.lease().await;
        pass(2 * SECOND).await;
        end(lease);
        quiesce().await;
        let back = heard(&bed).into_iter().filter(|(.., back)| *back).count();
        assert_eq!(back, 1, "end {number}");
        bed.finish_with(1, usize::from(number == 3)).await;
    }
}

/// And a closed pool still tells.
#[tokio::test(start_paused = true)]
async fn overdue_lease_of_a_closed_pool_is_told() {
    let bed = Bed::with(1, |builder| builder.lease_warn_after(10 * SECOND));
    let lease = bed.lease().await;
    bed.pool.close(SECOND).await;
    pass(MINUTE).await;
    assert_eq!(heard(&bed).len(), 1);
    drop(lease);
    bed.finish().await;
}

/// A connection that was served to a future that nobody polls is out as well.
#[tokio::test(start_paused = true)]
async fn connection_served_to_a_future_that_is_never_polled_is_overdue() {
    let bed = Bed::with(1, |builder| builder.lease_warn_after(SECOND));
    let lease = bed.lease().await;
    let waiter = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    pass(MINUTE).await;
    assert_eq!(bed.pool.status().leased, 1);
    assert_eq!(heard(&bed).len(), 1);
    drop(waiter);
    bed.finish().await;
}
