//! A pool whose connections have one lease at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    AcquireError, CloseReport, ConnectionId, ConnectionPool, ConnectionStats, Event,
    EvictionReport, PoolStatus, PooledConnection, ResizeError, TryAcquireError, WarmUpError,
};
use pool_testkit::connector::FakeConnection;
use pool_testkit::ledger::{Ledger, LedgerCounts};

use crate::kind::{SoupConnector, SoupLedger, SoupPool};
use crate::scenario::{RuntimeKind, Scenario};
use crate::world::{World, ids};

pub(crate) type ExclusivePool = ConnectionPool<FakeConnection>;

impl SoupPool for ExclusivePool {
    const IS_SHARED: bool = false;
    const HARMS: u64 = 3;
    const EXPECTED: &'static [&'static str] = &EXPECTED;

    type Lease = PooledConnection<FakeConnection>;
    type Ledger = Ledger;

    fn build(scenario: &Scenario, connector: SoupConnector) -> (Self, Ledger) {
        let ledger = Ledger::new(scenario.max_size);
        let builder = Self::builder(connector).lease_warn_after(scenario.lease_warn_after());
        let builder = scenario.settle(builder, Arc::new(ledger.clone()));
        let pool = builder.reset_timeout(scenario.units(6)).build();
        (
            pool.expect("the settings are drawn from valid ones"),
            ledger,
        )
    }

    fn slots_max(scenario: &Scenario) -> usize {
        scenario.largest()
    }

    fn assert_status(scenario: &Scenario, status: &PoolStatus) {
        let largest = scenario.largest();
        assert!(
            status.size() <= largest,
            "more than any limit allowed: {status}"
        );
        assert!(
            status.idle == 0 || status.waiting == 0,
            "invariant 3 broken: {status}"
        );
    }

    fn assert_lease(_: &Scenario, _: &Self::Lease) {}

    fn id(lease: &Self::Lease) -> ConnectionId {
        PooledConnection::id(lease)
    }

    fn discard(lease: Self::Lease) {
        PooledConnection::discard(lease);
    }

    fn part(world: &World<Self>, lease: Self::Lease) {
        world.drop_detached(PooledConnection::detach(lease));
    }

    fn acquire(&self) -> impl Future<Output = Result<Self::Lease, AcquireError>> + Send + Unpin {
        self.acquire()
    }

    fn acquire_within(
        &self,
        limit: Duration,
    ) -> impl Future<Output = Result<Self::Lease, AcquireError>> + Send + Unpin {
        self.acquire_within(limit)
    }

    fn try_acquire(&self) -> Result<Self::Lease, TryAcquireError> {
        self.try_acquire()
    }

    async fn warm_up(&self, connections: usize) -> Result<(), WarmUpError> {
        self.warm_up(connections).await
    }

    fn status(&self) -> PoolStatus {
        self.status()
    }

    fn resize(&self, max_size: usize) -> Result<(), ResizeError> {
        self.resize(max_size)
    }

    fn evict_all(&self) -> usize {
        self.evict_all()
    }

    async fn evict_all_within(&self, time: Duration) -> EvictionReport {
        self.evict_all_within(time).await
    }

    fn retain(&self, keep: impl FnMut(&ConnectionStats) -> bool) -> usize {
        self.retain(keep)
    }

    async fn close(&self, deadline: Duration) -> CloseReport {
        self.close(deadline).await
    }

    async fn recover(world: &Arc<World<Self>>, pool: &Self) {
        recover(world, pool).await;
    }
}

impl SoupLedger for Ledger {
    async fn closed(&self) {
        self.until(|counts| counts.is_closed).await;
    }

    fn assert_settled(&self) {
        self.assert_settled();
    }

    fn events(&self) -> Vec<Event> {
        self.events()
    }
}

/// Once all leases are returned, the pool can lend `max_size` connections again.
async fn recover(world: &World<ExclusivePool>, pool: &ExclusivePool) {
    let full = world.scenario.max_size;
    assert_eq!(pool.resize(full), Ok(()));
    let leases = world.acquire_all(pool, full).await;
    let only_leased = |counts: &LedgerCounts| {
        counts.leased == full && counts.closing + counts.stuck + counts.opening == 0
    };
    world.ledger.until(only_leased).await;
    let status = pool.status();
    assert_eq!(
        (status.size(), status.leased, status.waiting),
        (full, full, 0)
    );
    assert!(matches!(
        pool.try_acquire(),
        Err(TryAcquireError::Empty { .. })
    ));

    // An evicted connection is not lent again, though it is returned in good order.
    let count = pool.evict_all();
    // On threads, the pool may only now see a death that was injected before the faults ended. Such a
    // connection is to be closed already, and not counted.
    let is_all =
        count == full || world.scenario.runtime_kind == RuntimeKind::Threads && count < full;
    assert!(is_all, "{count} evicted: {}", pool.status());
    let evicted = ids::<ExclusivePool>(&leases);
    drop(leases);
    let mut leases = world.acquire_all(pool, full).await;
    let lent = ids::<ExclusivePool>(&leases);
    assert!(
        lent.is_disjoint(&evicted),
        "{evicted:?} were evicted, and {lent:?} lent"
    );

    // The same for those that `retain` is told to close, be they idle or leased. Nothing is known
    // of the others: `retain` does not see a connection that is still being opened.
    let kept = PooledConnection::id(&leases[0]);
    leases.truncate(full.div_ceil(2));
    let mut unwanted = BTreeSet::new();
    let picked = pool.retain(|stats| {
        let is_kept = stats.id == kept;
        if !is_kept {
            unwanted.insert(stats.id);
        }
        is_kept
    });
    assert!(picked <= unwanted.len(), "{picked} of {unwanted:?}");
    drop(leases);
    let lent = ids::<ExclusivePool>(&world.acquire_all(pool, full).await);
    assert!(
        lent.is_disjoint(&unwanted),
        "{unwanted:?} were to be closed, and {lent:?} lent"
    );
    world.count_unwanted(unwanted.len());
}

const EXPECTED: [&str; 36] = [
    "Queued",
    "Requeued",
    "TimedOut",
    "Cancelled",
    "Refused",
    "Opening",
    "Opened",
    "ConnectFailed",
    "Leased",
    "Returned",
    "Resetting",
    "ResetFailed",
    "Checking",
    "Checked",
    "CheckFailed",
    "Died",
    "Discarded",
    "Expired",
    "Closing idle",
    "Closing lifetime",
    "Closing max_uses",
    "Closing shrunk",
    "Closing evicted",
    "Closing pool_closed",
    "Closing died",
    "Closing dirty",
    "Closing discarded",
    "Closing check_failed",
    "Closing reset_failed",
    "Stuck",
    "Closed",
    "Detached",
    "LeaseOverdue",
    "OverdueLeaseReturned",
    "PoolClosing",
    "PoolClosed",
];
