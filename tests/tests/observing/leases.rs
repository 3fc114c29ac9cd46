//! Leases that are held for longer than `lease_warn_after`.

use std::panic::Location;
use std::time::Duration;

use pool_core::{EventKind, PooledConnection};
use pool_tests::bed::{Bed, HandPolled, Lease, MINUTE, SECOND, TICK, pass, quiesce};

/// An event about an overdue lease: where it was acquired, how long it was held, whether it was returned.
type Report = (&'static Location<'static>, Duration, bool);

fn reports(bed: &Bed) -> Vec<Report> {
    let mut reports = Vec::new();
    for event in bed.ledger.events() {
        if let EventKind::LeaseOverdue { site, held, .. } = event.kind {
            reports.push((site, held, false));
        } else if let EventKind::OverdueLeaseReturned { site, held, .. } = event.kind {
            reports.push((site, held, true));
        }
    }
    reports
}

/// With the place where it was acquired.
#[tokio::test(start_paused = true)]
async fn overdue_lease_is_reported_once_and_again_when_it_is_returned() {
    let bed = Bed::with(1, |builder| builder.lease_warn_after(10 * SECOND));
    let (lease, line) = (bed.pool.acquire().await.expect("it is free"), line!());
    pass(9 * SECOND).await;
    assert!(reports(&bed).is_empty());
    pass(MINUTE).await;
    let warned = reports(&bed);
    assert_eq!(warned.len(), 1, "{warned:?}");
    let (site, held, is_back) = warned[0];
    assert!(site.file().ends_with("leases.rs"), "{site}");
    assert_eq!((site.line(), is_back), (line, false));
    assert!(
        held >= 10 * SECOND && held <= 10 * SECOND + 2 * TICK,
        "{held:?}"
    );
    drop(lease);
    let warned = reports(&bed);
    assert_eq!((warned.len(), warned[1].0, warned[1].2), (2, site, true));
    assert!(warned[1].1 >= MINUTE + 8 * SECOND);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn each_overdue_lease_of_a_connection_is_reported() {
    let bed = Bed::with(1, |builder| builder.lease_warn_after(10 * SECOND));
    for round in 1..=3 {
        let lease = bed.lease().await;
        pass(11 * SECOND).await;
        drop(lease);
        assert_eq!(reports(&bed).len(), 2 * round);
    }
    drop(bed.lease().await);
    pass(MINUTE).await;
    assert_eq!(reports(&bed).len(), 6, "what is idle is not overdue");
    bed.finish().await;
}

/// The times of a connect and of a wait do not count.
#[tokio::test(start_paused = true)]
async fn lease_is_overdue_by_the_time_for_which_it_is_held() {
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
    assert!(reports(&bed).is_empty());
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn every_end_of_an_overdue_lease_is_reported() {
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
        let back = reports(&bed).into_iter().filter(|(.., back)| *back).count();
        assert_eq!(back, 1, "end {number}");
        bed.finish_with(1, usize::from(number == 3)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn overdue_lease_of_a_closed_pool_is_reported() {
    let bed = Bed::with(1, |builder| builder.lease_warn_after(10 * SECOND));
    let lease = bed.lease().await;
    bed.pool.close(SECOND).await;
    pass(MINUTE).await;
    assert_eq!(reports(&bed).len(), 1);
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_served_to_a_future_that_is_never_polled_is_overdue() {
    let bed = Bed::with(1, |builder| builder.lease_warn_after(SECOND));
    let lease = bed.lease().await;
    let waiter = HandPolled::waiting(bed.pool.acquire());
    drop(lease);
    pass(MINUTE).await;
    assert_eq!(bed.pool.status().leased, 1);
    assert_eq!(reports(&bed).len(), 1);
    drop(waiter);
    bed.finish().await;
}
