//! A pool whose connections have many leases at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    AcquireError, CloseReport, ConnectionId, ConnectionStats, EvictionReport, PoolStatus,
    ResizeError, SharedLease, SharedPool, TryAcquireError, WarmUpError,
};
use pool_testkit::connector::FakeConnection;
use tokio::time::sleep;

use crate::kind::{SoupConnector, SoupPool};
use crate::scenario::Scenario;
use crate::share_ledger::ShareLedger;
use crate::world::{World, ids};

pub(crate) type MultiplexedPool = SharedPool<FakeConnection>;

impl SoupPool for MultiplexedPool {
    const IS_SHARED: bool = true;
    /// Beside the usual ones, to be suspected and to be cleared of that, which are likelier.
    const HARMS: u64 = 9;
    const EXPECTED: &'static [&'static str] = &EXPECTED;

    type Lease = SharedLease<FakeConnection>;
    type Ledger = ShareLedger;

    fn build(scenario: &Scenario, connector: SoupConnector) -> (Self, ShareLedger) {
        let sharing = scenario.sharing;
        let ledger = ShareLedger::new(scenario.max_size, sharing.max_surge, sharing.max_leases);
        let builder = Self::builder(connector)
            .target_leases(sharing.target)
            .max_leases_per_connection(sharing.max_leases)
            .max_surge(sharing.max_surge);
        let pool = scenario.settle(builder, Arc::new(ledger.clone())).build();
        (
            pool.expect("the settings are drawn from valid ones"),
            ledger,
        )
    }

    fn slots_max(scenario: &Scenario) -> usize {
        scenario.largest() + scenario.sharing.max_surge
    }

    fn assert_status(scenario: &Scenario, status: &PoolStatus) {
        assert!(
            status.size() <= Self::slots_max(scenario),
            "more than any limit allowed: {status}"
        );
        let most = status.leased * scenario.sharing.max_leases as usize;
        assert!(
            (status.leased..=most).contains(&status.leases),
            "invariant 2a broken: {} leases, {status}",
            status.leases
        );
    }

    fn assert_lease(scenario: &Scenario, lease: &Self::Lease) {
        let leases = SharedLease::stats(lease).leases;
        assert!(
            (1..=scenario.sharing.max_leases).contains(&leases),
            "invariant 2a broken: {leases} leases"
        );
    }

    fn id(lease: &Self::Lease) -> ConnectionId {
        SharedLease::id(lease)
    }

    fn discard(lease: Self::Lease) {
        SharedLease::discard(lease);
    }

    fn part(world: &World<Self>, lease: Self::Lease) {
        world.spoil(&lease);
        SharedLease::discard(lease);
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

/// Once all leases are returned, each of `max_size` connections can have as many leases as it may again.
async fn recover(world: &World<MultiplexedPool>, pool: &MultiplexedPool) {
    let scenario = &world.scenario;
    let full = scenario.max_size;
    assert_eq!(pool.resize(full), Ok(()));
    let old = world.fake.alive();
    for id in &old {
        // It may be gone by now.
        let _was_there = world.fake.suspect(*id, false);
    }
    pool.evict_all();
    all_gone(world, pool, &BTreeSet::from_iter(old)).await;

    // None of the connections was lent before, so none is used up.
    let max_leases = u64::from(scenario.sharing.max_leases);
    let each = scenario
        .max_uses()
        .map_or(max_leases, |uses| uses.min(max_leases));
    let capacity = full * usize::try_from(each).expect("a handful");
    let leases = world.acquire_all(pool, capacity).await;
    // One that reaches its lifetime meanwhile is replaced, and its leases count in addition.
    if !scenario.has_lifetime() {
        let status = pool.status();
        assert_eq!(
            (status.size(), status.leases, status.waiting),
            (full, capacity, 0)
        );
        assert!(matches!(
            pool.try_acquire(),
            Err(TryAcquireError::Empty { .. })
        ));
    }

    // Evicted connections go after their last lease, and all that they carried can be lent again.
    pool.evict_all();
    let evicted = ids::<MultiplexedPool>(&leases);
    drop(leases);
    all_gone(world, pool, &evicted).await;
    let mut leases = world.acquire_all(pool, capacity).await;

    // The same for those that `retain` is told to close, be they idle or leased.
    let kept = SharedLease::id(&leases[0]);
    leases.truncate(capacity.div_ceil(2));
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
    all_gone(world, pool, &unwanted).await;
    if scenario.max_uses().is_some() {
        // The one that was kept could be used up before it has all its leases.
        pool.evict_all();
        all_gone(world, pool, &BTreeSet::from([kept])).await;
    }
    drop(world.acquire_all(pool, capacity).await);
    world.count_unwanted(unwanted.len());
}

/// Waits until these connections are closed, and there are no more than `max_size` others.
async fn all_gone(
    world: &World<MultiplexedPool>,
    pool: &MultiplexedPool,
    old: &BTreeSet<ConnectionId>,
) {
    world
        .fake
        .until(|_| world.fake.alive().iter().all(|id| !old.contains(id)))
        .await;
    // The slot of a connection is free a moment after the connection is gone. The outer deadline
    // bounds this.
    while pool.status().size() > world.scenario.max_size {
        sleep(world.scenario.units(1)).await;
    }
}

const EXPECTED: [&str; 33] = [
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
    "Stuck",
    "Closed",
    "PoolClosing",
    "PoolClosed",
    "several leases of one connection",
    "as many leases as a connection may have",
    "more slots than max_size",
];
