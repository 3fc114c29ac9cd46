//! `evict_all_within` of a shared pool: an old connection serves until a new one has passed its check.

use pool_core::CloseReason;
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{HandPolled, SECOND, quiesce};

use crate::bed::{SharedBed, id};

#[tokio::test(start_paused = true)]
async fn old_connection_goes_when_its_replacement_has_passed_its_check() {
    let bed = SharedBed::new(1);
    let old = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.fake.set(Call::Check, Answer::Manual);
    let mut renewal = HandPolled::waiting(bed.pool.evict_all_within(SECOND));
    let connect = bed.fake.next(Call::Connect).await;
    let meanwhile = bed.lease().await;
    assert_eq!(id(&meanwhile), id(&old), "it still serves");
    connect.succeed();
    let check = bed.fake.next(Call::Check).await;
    drop((old, meanwhile));
    quiesce().await;
    assert_eq!(bed.reasons(), [], "the new one may fail its check");
    check.succeed();
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    let report = renewal.ready();
    assert_eq!((report.replaced, report.left), (1, 0));
    drop(renewal);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn old_connection_goes_on_if_there_is_no_replacement() {
    for (call, reasons) in [
        (Call::Connect, vec![]),
        (Call::Check, vec![CloseReason::CheckFailed]),
    ] {
        for max_size in [1, 3] {
            let bed = SharedBed::new(max_size);
            let old = bed.lease().await;
            bed.fake.set(call, Answer::Transient);
            let report = bed.pool.evict_all_within(SECOND).await;
            assert_eq!((report.replaced, report.left), (0, 1));
            assert!(report.failure.is_some());
            quiesce().await;
            assert_eq!(bed.reasons(), reasons);
            let next = bed.lease().await;
            assert_eq!(id(&next), id(&old));
            assert_eq!(bed.pool.evict_all(), 1, "it is as before");
            drop((old, next));
            bed.finish().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unused_connections_are_replaced_by_as_many() {
    for max_size in [2, 5] {
        let bed = SharedBed::new(max_size);
        bed.pool.warm_up(2).await.expect("they can be opened");
        let report = bed.pool.evict_all_within(10 * SECOND).await;
        assert_eq!((report.replaced, report.left), (2, 0));
        quiesce().await;
        assert_eq!(bed.reasons(), [CloseReason::Evicted; 2]);
        assert_eq!(bed.pool.status().size(), 2);
        bed.finish().await;
    }
}
