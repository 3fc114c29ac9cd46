//! A shared pool over a fake, and the checks at its end.

use pool_core::{CloseReason, ConnectionId, SharedBuilder, SharedLease, SharedPool};
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_tests::bed::{MINUTE, Watchdog, quiesce};

pub(crate) type Lease = SharedLease<FakeConnection>;

/// How many leases a connection has when another one is opened, and how many it has at most.
pub(crate) const TARGET: u32 = 2;
pub(crate) const FULL: u32 = 3;

pub(crate) struct SharedBed {
    pub(crate) pool: SharedPool<FakeConnection>,
    pub(crate) fake: FakeHandle,
    limit: usize,
    _watchdog: Watchdog,
}

impl SharedBed {
    pub(crate) fn new(max_size: usize) -> Self {
        Self::with(max_size, |builder| builder)
    }

    pub(crate) fn with(
        max_size: usize,
        tune: impl FnOnce(SharedBuilder<FakeConnection>) -> SharedBuilder<FakeConnection>,
    ) -> Self {
        let (connector, fake) = pair();
        let builder = SharedPool::builder(connector)
            .max_size(max_size)
            .target_leases(TARGET)
            .max_leases_per_connection(FULL);
        Self {
            pool: tune(builder).build().expect("the settings are valid"),
            fake,
            limit: max_size + 1,
            _watchdog: Watchdog::start(),
        }
    }

    pub(crate) async fn lease(&self) -> Lease {
        self.pool
            .acquire()
            .await
            .expect("a connection can serve it")
    }

    /// Several leases, one after the other. After each the pool gets the time to open a connection.
    pub(crate) async fn leases(&self, count: usize) -> Vec<Lease> {
        let mut leases = Vec::new();
        for _ in 0..count {
            leases.push(self.lease().await);
            quiesce().await;
        }
        leases
    }

    pub(crate) fn reasons(&self) -> Vec<CloseReason> {
        let closes = self.fake.closes();
        closes.into_iter().map(|(_, reason)| reason).collect()
    }

    /// Closes the pool and checks that nothing is left.
    pub(crate) async fn finish(self) {
        let report = self.pool.close(MINUTE).await;
        assert!(report.is_complete(), "{report:?}");
        let counts = self.fake.until(|counts| counts.watchers == 0).await;
        assert_eq!(counts.alive, 0, "left: {:?}", self.fake.alive());
        assert_eq!(counts.dropped_unclosed, 0, "dropped, not closed");
        assert_eq!(counts.check.running(), 0, "checks are left");
        assert!(
            counts.occupied_peak <= self.limit,
            "{} of {} were in use together",
            counts.occupied_peak,
            self.limit
        );
    }
}

/// The ids of these leases' connections.
pub(crate) fn ids(leases: &[Lease]) -> Vec<u64> {
    leases.iter().map(|lease| id(lease).as_u64()).collect()
}

pub(crate) fn id(lease: &Lease) -> ConnectionId {
    SharedLease::id(lease)
}
