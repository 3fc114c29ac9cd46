//! The calls that a run makes, on either kind of pool.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    AcquireError, CloseReport, ConnectionId, ConnectionStats, Event, EvictionReport, PoolStatus,
    ResizeError, TryAcquireError, WarmUpError,
};
use pool_testkit::connector::{FakeConnection, FakeConnector};
use pool_testkit::fault::FaultyConnector;

use crate::scenario::Scenario;
use crate::traced::TracedConnector;
use crate::world::World;

pub(crate) type SoupConnector = TracedConnector<FaultyConnector<FakeConnector>>;

/// A pool, exclusive or shared.
pub(crate) trait SoupPool: Clone + fmt::Debug + Send + Sync + Sized + 'static {
    const IS_SHARED: bool;
    /// In how many ways an actor can harm a connection.
    const HARMS: u64;
    /// Events that must happen in a hundred runs that end by a close.
    const EXPECTED: &'static [&'static str];

    type Lease: Deref<Target = FakeConnection> + Send + 'static;
    type Ledger: SoupLedger;

    fn build(scenario: &Scenario, connector: SoupConnector) -> (Self, Self::Ledger);

    /// The most slots that there ever are.
    fn slots_max(scenario: &Scenario) -> usize;

    fn assert_status(scenario: &Scenario, status: &PoolStatus);

    fn assert_lease(scenario: &Scenario, lease: &Self::Lease);

    fn id(lease: &Self::Lease) -> ConnectionId;

    fn discard(lease: Self::Lease);

    /// Ends a lease in a way of its own.
    fn part(world: &World<Self>, lease: Self::Lease);

    fn acquire(&self) -> impl Future<Output = Result<Self::Lease, AcquireError>> + Send + Unpin;

    fn acquire_within(
        &self,
        limit: Duration,
    ) -> impl Future<Output = Result<Self::Lease, AcquireError>> + Send + Unpin;

    #[expect(clippy::result_large_err, reason = "it is the pool's own error")]
    fn try_acquire(&self) -> Result<Self::Lease, TryAcquireError>;

    fn warm_up(&self, connections: usize) -> impl Future<Output = Result<(), WarmUpError>> + Send;

    fn status(&self) -> PoolStatus;

    fn resize(&self, max_size: usize) -> Result<(), ResizeError>;

    fn evict_all(&self) -> usize;

    fn evict_all_within(&self, time: Duration) -> impl Future<Output = EvictionReport> + Send;

    fn retain(&self, keep: impl FnMut(&ConnectionStats) -> bool) -> usize;

    fn close(&self, deadline: Duration) -> impl Future<Output = CloseReport> + Send;

    /// Invariant 7: once all leases are returned, the pool can lend all of its capacity again.
    fn recover(world: &Arc<World<Self>>, pool: &Self) -> impl Future<Output = ()>;
}

/// Checks every event of a pool.
pub(crate) trait SoupLedger: fmt::Debug + Send + Sync + 'static {
    /// Waits for the event that the pool is closed, and for all events before it.
    fn closed(&self) -> impl Future<Output = ()>;

    /// Checks that no rule was broken and nothing is left.
    fn assert_settled(&self);

    /// The events so far, in order.
    fn events(&self) -> Vec<Event>;

    /// Counts for the tally that no event has.
    fn feats(&self) -> Vec<&'static str> {
        Vec::new()
    }
}
