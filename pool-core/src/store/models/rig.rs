//! A pool without its maintenance task, as the models use it.

use std::panic::Location;
use std::sync::Arc as StdArc;
use std::time::Duration;

use async_trait::async_trait;

use crate::acquire::Acquire;
use crate::budget::{Budget, MemberTerms, Membership};
use crate::connector::{ConnectContext, Connector};
use crate::engine::{Engine, Lends, Next, Stored, Timeouts, attach_to_budget};
use crate::error::ConnectError;
use crate::inbox::{Inbox, Receiver};
use crate::lease::{Leased, PooledConnection};
use crate::slot::{OpenConnection, Slot};
use crate::store::{Errand, Exclusive, IdleOrder, Limits, PacerLimits, Sharing};
use crate::sync::Arc;
use crate::telemetry::Telemetry;
use crate::wait::{Patience, draw};

struct Units;

#[async_trait]
impl Connector for Units {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }
}

/// A pool, and what its maintenance task would receive.
pub(super) type EngineAndErrands<T, L> = (Arc<Engine<T, L>>, Receiver<Errand<Stored<T, L>, L>>);
pub(super) type Pool = Arc<Engine<(), Exclusive>>;
pub(super) type Errands = Receiver<Errand<Leased<()>, Exclusive>>;

pub(super) const LONG: Duration = Duration::from_secs(3600);

/// A pool of at most one connection, without its maintenance task.
pub(super) fn start(min_idle: usize) -> (Pool, Errands) {
    start_engine(Units, min_idle, Sharing::NONE, None)
}

/// The same, as a member of a budget.
pub(super) fn start_in(budget: &Budget, min_idle: usize) -> (Pool, Errands) {
    let terms = MemberTerms {
        budget: budget.clone(),
        share: 1,
        reserves_min_idle: false,
    };
    let membership = Membership::join(&terms, &"model".into(), 0).expect("nothing is reserved");
    let (pool, errands) = start_engine(Units, min_idle, Sharing::NONE, Some(membership));
    attach_to_budget(&pool);
    (pool, errands)
}

/// The same, without a budget. A connection that was idle for a second is checked before it is lent.
pub(super) fn start_with_checks(min_idle: usize) -> (Pool, Errands) {
    let limits = Limits {
        check_after_idle: Some(Duration::from_secs(1)),
        ..limits(min_idle, Sharing::NONE)
    };
    start_limited(Units, limits, None)
}

pub(super) fn start_engine<T: Send + 'static, L: Lends<T>>(
    connector: impl Connector<Connection = T>,
    min_idle: usize,
    sharing: Sharing,
    membership: Option<Arc<Membership>>,
) -> EngineAndErrands<T, L> {
    start_limited(connector, limits(min_idle, sharing), membership)
}

fn limits(min_idle: usize, sharing: Sharing) -> Limits {
    let pacer = PacerLimits {
        delay: LONG,
        delay_max: LONG,
        fail_fast_after: 3,
    };
    Limits {
        name: "model".into(),
        is_key: false,
        max_size: 1,
        min_idle,
        max_waiters: 8,
        max_connecting: 1,
        idle_order: IdleOrder::Lifo,
        idle_timeout: None,
        max_lifetime: None,
        max_uses: None,
        check_interval: None,
        check_after_idle: None,
        min_uptime: Duration::ZERO,
        lease_warn_after: None,
        max_weight: None,
        kill_weight: None,
        weigh_interval: Duration::from_secs(1),
        pacer,
        seed: 0,
        sharing,
    }
}

fn start_limited<T: Send + 'static, L: Lends<T>>(
    connector: impl Connector<Connection = T>,
    limits: Limits,
    membership: Option<Arc<Membership>>,
) -> EngineAndErrands<T, L> {
    let timeouts = Timeouts {
        acquire: LONG,
        connect: LONG,
        check: LONG,
        reset: LONG,
        close: LONG,
    };
    let telemetry = Telemetry::new("model".into(), None, None);
    let (inbox, errands) = Inbox::new();
    (
        Arc::new(Engine::new(
            StdArc::new(connector),
            limits,
            timeouts,
            telemetry,
            inbox,
            membership,
        )),
        errands,
    )
}

/// What the maintenance task does when it is kicked; returns whether it opened one.
pub(super) fn open_one(pool: &Pool) -> bool {
    let now = pool.clock.now();
    let Next::Connect(opening, permit, of_budget) = pool.next(pool.lock(), now) else {
        return false;
    };
    let slot = Slot::new(Arc::clone(pool), opening.key, opening.id, permit, of_budget);
    let key = slot.key;
    let mut store = pool.enter();
    store.opened(key, Box::new(OpenConnection::new((), slot, None)), now);
    pool.finish(store);
    true
}

/// A pool whose one connection is idle.
pub(super) fn opened() -> (Pool, Errands) {
    let (pool, errands) = start(1);
    assert!(open_one(&pool), "min_idle wants one");
    (pool, errands)
}

#[track_caller]
pub(super) fn take(pool: &Pool) -> PooledConnection<()> {
    PooledConnection::new(
        draw(pool, Location::caller(), Patience::None)
            .lent
            .expect("one is idle"),
    )
}

#[track_caller]
pub(super) fn acquire(pool: &Pool) -> Acquire<'_, ()> {
    Acquire::new(pool, Location::caller(), LONG)
}

pub(super) fn run_errands(pool: &Pool, errands: &mut Errands) {
    for errand in errands.close() {
        pool.drop_errand(errand);
    }
}

/// The end of each model: nothing may keep the pool in memory.
pub(super) fn tear_down(pool: Pool, mut errands: Errands) {
    pool.close();
    run_errands(&pool, &mut errands);
    assert_eq!(pool.lock().status().size(), 0, "everything is closed");
}
