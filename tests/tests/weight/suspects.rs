//! Shared connections that are too heavy while they are suspected to hang.

use std::sync::{Arc, Mutex, PoisonError};

use pool_core::{
    Budget, CloseReason, ConnectionId, Event, EventKind, Observer, SharedBuilder, SharedLease,
    SharedPool,
};
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_tests::bed::{MINUTE, SECOND, TICK, Watchdog, pass, quiesce};

type Lease = SharedLease<FakeConnection>;

/// The connections that were reported as too heavy, in order.
#[derive(Default)]
struct Reports(Mutex<Vec<ConnectionId>>);

impl Reports {
    fn all(&self) -> Vec<ConnectionId> {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.clone()
    }
}

impl Observer for Reports {
    fn on_event(&self, event: &Event) {
        if let EventKind::Overweight { id, .. } = event.kind {
            let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            reports.push(id);
        }
    }
}

/// A pool of two connections, each with one lease.
struct Pair {
    pool: SharedPool<FakeConnection>,
    fake: FakeHandle,
    reports: Arc<Reports>,
    leases: Vec<Lease>,
    ids: Vec<ConnectionId>,
    _watchdog: Watchdog,
}

impl Pair {
    async fn new(
        tune: impl FnOnce(SharedBuilder<FakeConnection>) -> SharedBuilder<FakeConnection>,
    ) -> Self {
        let watchdog = Watchdog::start();
        let (connector, fake) = pair();
        let reports = Arc::new(Reports::default());
        let reporting: Arc<dyn Observer> = reports.clone();
        let builder = SharedPool::builder(connector)
            .max_size(2)
            .target_leases(1)
            .max_leases_per_connection(1)
            // There is no room for a replacement, so what hangs stays.
            .max_surge(0)
            .observer(reporting);
        let pool = tune(builder).build().expect("the settings are valid");
        let mut leases = Vec::new();
        for _ in 0..2 {
            leases.push(pool.acquire().await.expect("it opens"));
        }
        let ids = leases.iter().map(SharedLease::id).collect();
        Self {
            pool,
            fake,
            reports,
            leases,
            ids,
            _watchdog: watchdog,
        }
    }

    async fn finish(self) {
        drop(self.leases);
        assert!(self.pool.close(MINUTE).await.is_complete());
        assert_eq!(self.fake.counts().dropped_unclosed, 0);
    }
}

async fn weighing() {
    pass(SECOND + TICK).await;
}

fn budget(max_weight: u64) -> Budget {
    let budget = Budget::builder("memory").max_connections(16);
    let budget = budget.max_weight(max_weight).build();
    budget.expect("the settings are valid")
}

/// It hangs, so nobody knows when its leases end.
#[tokio::test(start_paused = true)]
async fn heavy_connection_that_hangs_does_not_keep_the_others_of_a_heavy_budget() {
    let budget = budget(1000);
    let mut pair = Pair::new(|builder| builder.budget(&budget)).await;
    let (hanging, working) = (pair.ids[0], pair.ids[1]);
    assert!(pair.fake.set_weight(hanging, 900) && pair.fake.set_weight(working, 300));
    assert!(pair.fake.suspect(hanging, true));
    for _ in 0..3 {
        weighing().await;
    }
    assert_eq!(pair.reports.all(), [hanging, working], "each of them once");
    drop(pair.leases.pop());
    quiesce().await;
    assert_eq!(pair.fake.closes(), [(working, CloseReason::Overweight)]);
    // A suspicion that is cleared excuses no weight.
    assert!(pair.fake.suspect(hanging, false));
    drop(pair.leases.pop());
    pass(MINUTE).await;
    assert_eq!(pair.fake.closes()[1], (hanging, CloseReason::Overweight));
    assert_eq!(budget.status().weight, 0);
    pair.finish().await;
}

#[tokio::test(start_paused = true)]
async fn heavy_connection_that_hangs_is_reported_once_and_goes_when_it_is_returned() {
    let mut pair = Pair::new(|builder| builder.max_weight(100)).await;
    let hanging = pair.ids[0];
    assert!(pair.fake.set_weight(hanging, 150));
    assert!(pair.fake.suspect(hanging, true));
    for _ in 0..3 {
        weighing().await;
    }
    assert_eq!(pair.reports.all(), [hanging]);
    assert!(pair.fake.suspect(hanging, false));
    drop(pair.leases.remove(0));
    quiesce().await;
    assert_eq!(pair.fake.closes(), [(hanging, CloseReason::Overweight)]);
    pair.finish().await;
}
