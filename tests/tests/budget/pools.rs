//! Pools of fakes with one budget, and the checks at their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pool_core::{
    Budget, BudgetBuilder, BudgetMember, Builder, CloseReason, ConnectionId, ConnectionPool, Event,
    EventKind, Observer, PooledConnection,
};
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_testkit::ledger::{BudgetLedger, Ledger};
use pool_tests::bed::{Lease, MINUTE, Pool, Watchdog, assert_clean};

/// Large enough that a pool is limited by its budget only.
const MAX_SIZE: usize = 1000;

/// A budget and its pools.
pub(crate) struct Pools {
    pub(crate) budget: Budget,
    together: BudgetLedger,
    _watchdog: Watchdog,
}

/// One of the pools.
pub(crate) struct Member {
    pub(crate) pool: Pool,
    pub(crate) fake: FakeHandle,
    ledger: Ledger,
    detached: Arc<AtomicUsize>,
}

impl Pools {
    pub(crate) fn new(max_connections: usize) -> Self {
        Self::with(|budget| budget.max_connections(max_connections))
    }

    pub(crate) fn with(tune: impl FnOnce(BudgetBuilder) -> BudgetBuilder) -> Self {
        let budget = tune(Budget::builder("children")).build();
        let budget = budget.expect("the settings are valid");
        Self {
            together: BudgetLedger::new(budget.status().limit),
            budget,
            _watchdog: Watchdog::start(),
        }
    }

    /// Another pool of the budget.
    pub(crate) fn add(&self, name: &str) -> Member {
        self.add_with(name, |builder| builder)
    }

    pub(crate) fn add_with(
        &self,
        name: &str,
        tune: impl FnOnce(Builder<FakeConnection>) -> Builder<FakeConnection>,
    ) -> Member {
        let (connector, fake) = pair();
        let ledger = Ledger::new(MAX_SIZE);
        let detached = Arc::new(AtomicUsize::new(0));
        let observer = Observers {
            ledgers: self.together.observer(ledger.clone()),
            detached: Arc::clone(&detached),
        };
        let builder = ConnectionPool::builder(connector)
            .name(name)
            .max_size(MAX_SIZE)
            .budget(&self.budget)
            .observer(Arc::new(observer));
        let pool = tune(builder).build().expect("the settings are valid");
        Member {
            pool,
            fake,
            ledger,
            detached,
        }
    }

    /// What the budget says of a pool.
    pub(crate) fn account(&self, name: &str) -> BudgetMember {
        let status = self.budget.status();
        let mut members = status.members.into_iter();
        let member = members.find(|member| &*member.pool == name);
        member.expect("the pool is a member")
    }

    /// Says that the limit was changed.
    pub(crate) fn resize(&self, max_connections: usize) {
        self.together.limit_at_least(max_connections);
        self.budget
            .resize(max_connections)
            .expect("nothing is reserved");
    }

    /// Closes the pools, and checks that nothing is left and no rule was broken.
    pub(crate) async fn finish(self, members: impl IntoIterator<Item = Member>) {
        for member in members {
            let report = member.pool.close(MINUTE).await;
            assert!(report.is_complete(), "the close left something: {report:?}");
            // The test dropped what it detached.
            let detached = member.detached.load(Ordering::Relaxed);
            assert_clean(&member.ledger, &member.fake, MAX_SIZE, detached).await;
        }
        let status = self.budget.status();
        assert_eq!(status.used, 0, "every permit came back: {status:?}");
        assert_eq!((status.connecting, status.reclaiming), (0, 0), "{status:?}");
        assert!(status.members.is_empty(), "{status:?}");
        // Invariant B1.
        self.together.assert_settled();
    }
}

impl Member {
    pub(crate) async fn lease(&self) -> Lease {
        self.pool
            .acquire()
            .await
            .expect("a connection can be opened")
    }

    pub(crate) async fn leases(&self, count: usize) -> Vec<Lease> {
        let mut leases = Vec::new();
        for _ in 0..count {
            leases.push(self.lease().await);
        }
        leases
    }

    /// Makes one idle connection.
    pub(crate) async fn idle(&self) -> ConnectionId {
        let lease = self.lease().await;
        PooledConnection::id(&lease)
    }

    /// Why connections were closed, in the order in which their closes began.
    pub(crate) fn reasons(&self) -> Vec<CloseReason> {
        let closes = self.fake.closes();
        closes.into_iter().map(|(_, reason)| reason).collect()
    }
}

/// Counts the detached connections of a pool, beside its ledgers.
struct Observers {
    ledgers: Arc<dyn Observer>,
    detached: Arc<AtomicUsize>,
}

impl Observer for Observers {
    fn on_event(&self, event: &Event) {
        self.ledgers.on_event(event);
        let is_detached = matches!(event.kind, EventKind::Detached { .. });
        self.detached
            .fetch_add(usize::from(is_detached), Ordering::Relaxed);
    }
}

/// The minimum residence of these tests.
pub(crate) const RESIDENCE: Duration = Duration::from_secs(1);
