//! The pools of a history, and their settings.

use std::time::Duration;

use pool_core::{Budget, Builder, ConnectionPool, SharedBuilder, SharedPool};
use pool_testkit::connector::{FakeConnection, FakeConnector};

/// A pool of the history: a key, or a pool without keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) door: Door,
    pub(crate) share: u32,
    pub(crate) max_size: usize,
    /// Reserved in the budget, too.
    pub(crate) min_idle: usize,
}

/// How a pool is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Keyed,
    KeyedShared,
    Alone,
    AloneShared,
}

impl Door {
    pub(crate) const fn is_shared(self) -> bool {
        matches!(self, Self::KeyedShared | Self::AloneShared)
    }

    pub(crate) const fn is_keyed(self) -> bool {
        matches!(self, Self::Keyed | Self::KeyedShared)
    }
}

const fn place(door: Door, share: u32, max_size: usize, min_idle: usize) -> Place {
    Place {
        door,
        share,
        max_size,
        min_idle,
    }
}

pub(crate) const PLACES: [Place; 7] = [
    place(Door::Keyed, 1, 3, 0),
    place(Door::Keyed, 2, 3, 0),
    place(Door::Keyed, 1, 2, 0),
    place(Door::KeyedShared, 1, 2, 0),
    place(Door::KeyedShared, 1, 2, 0),
    place(Door::Alone, 1, 2, 1),
    place(Door::AloneShared, 2, 2, 0),
];

/// The place of the pool without keys whose `min_idle` is reserved.
pub(crate) const ALONE: usize = 5;
pub(crate) const ALONE_SHARED: usize = 6;

/// Of the keyed exclusive pool: one less than there are, so a new key can take the place of another.
pub(crate) const MAX_KEYS: usize = 2;

/// At first.
pub(crate) const MAX_CONNECTIONS: usize = 5;
pub(crate) const MAX_CONNECTING: usize = 2;
pub(crate) const BUDGET_WEIGHT: u64 = 100;
pub(crate) const MAX_WEIGHT: u64 = 30;
pub(crate) const KILL_WEIGHT: u64 = 60;
pub(crate) const MAX_LEASES: usize = 2;
pub(crate) const MAX_SURGE: usize = 1;
pub(crate) const WEIGH_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const RESIDENCE: Duration = Duration::from_millis(500);
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const KEY_IDLE_TIMEOUT: Duration = Duration::from_secs(40);
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(20);
pub(crate) const RETRY_DELAY: Duration = Duration::from_secs(8);
/// How long a slow connect takes: it is not late.
pub(crate) const SLOW: Duration = Duration::from_millis(300);
/// A shared connection that was used in this time is replaced before it is closed.
pub(crate) const RECENTLY: Duration = Duration::from_secs(10);
/// A close for another pool counts as one for so long.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(30);
/// How exactly pools know the time, with something to spare.
pub(crate) const SLACK: Duration = Duration::from_millis(250);

/// Longer than a close counts as on its way.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(40);

pub(crate) fn budget() -> Budget {
    let budget = Budget::builder("all")
        .max_connections(MAX_CONNECTIONS)
        .max_connecting(MAX_CONNECTING)
        .min_residence(RESIDENCE)
        .max_weight(BUDGET_WEIGHT)
        .build();
    budget.expect("the settings are valid")
}

fn common<T: Send + 'static, L>(builder: Builder<T, L>, place: &Place) -> Builder<T, L> {
    let builder = builder
        .max_size(place.max_size)
        .min_idle(place.min_idle)
        .budget_share(place.share)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .close_timeout(CLOSE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .max_lifetime(None)
        .check_interval(None)
        .min_uptime(Duration::ZERO)
        .retry_delay(RETRY_DELAY, RETRY_DELAY)
        .fail_fast_after(1)
        .max_weight(MAX_WEIGHT)
        .kill_weight(KILL_WEIGHT)
        .weigh_interval(WEIGH_INTERVAL);
    match place.min_idle {
        0 => builder,
        _ => builder.reserve_min_idle(),
    }
}

pub(crate) fn exclusive(connector: FakeConnector, place: &Place) -> Builder<FakeConnection> {
    common(ConnectionPool::builder(connector), place)
}

pub(crate) fn shared(connector: FakeConnector, place: &Place) -> SharedBuilder<FakeConnection> {
    let leases = u32::try_from(MAX_LEASES).expect("they are few");
    common(SharedPool::builder(connector), place)
        .target_leases(leases)
        .max_leases_per_connection(leases)
        .max_surge(MAX_SURGE)
}
