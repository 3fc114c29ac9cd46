//! The settings of a budget, with their defaults.

use std::sync::Arc;
use std::time::Duration;

/// Settings of a [`Budget`](crate::Budget), made by [`Budget::builder`](crate::Budget::builder).
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct BudgetBuilder {
    pub(super) name: Arc<str>,
    pub(super) max_connections: usize,
    pub(super) max_connecting: usize,
    pub(super) min_residence: Duration,
    pub(super) max_weight: Option<u64>,
}

impl BudgetBuilder {
    pub(super) const fn new(name: Arc<str>) -> Self {
        Self {
            name,
            max_connections: 64,
            max_connecting: 8,
            min_residence: Duration::from_millis(500),
            max_weight: None,
        }
    }

    /// The largest number of connections of all pools together, including those being opened and
    /// closed, and the surge of shared pools.
    ///
    /// Default 64: as many child processes as a machine of a few cores bears. Worst case: this many
    /// resources are held at the same time.
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// How many connects of all pools together may run at the same time.
    ///
    /// Default 8, twice that of one pool: connects can be expensive, for example when each starts a
    /// process. A connect that is overdue does not count, as in each
    /// [pool](crate::Builder::max_connecting). Worst case: n pools that start together need n / 8
    /// connect times.
    pub const fn max_connecting(mut self, connects: usize) -> Self {
        self.max_connecting = connects;
        self
    }

    /// How much all connections together may weigh: bytes of memory, if they are child processes.
    ///
    /// Default `None`: without limit, since only the program knows what its machine can spare. As long
    /// as they weigh as much or more, no pool opens another one, and idle connections are closed for
    /// pools that wait. A spare connection, for `min_idle`, is opened only if it fits beside the others with what the
    /// heaviest of its pool weighed last, unless it is reserved. If they weigh more, idle ones are closed
    /// ([`Overweight`](crate::CloseReason::Overweight)), those of the heaviest pool first; if none is
    /// left, the heaviest connection of the heaviest pool is closed when it is returned, one in each
    /// [`weigh_interval`](crate::Builder::weigh_interval). Worst case: the connections weigh more by
    /// what they gain in an interval and a lease, and by what is opened while little is known of its
    /// weight.
    pub fn max_weight(mut self, weight: impl Into<Option<u64>>) -> Self {
        self.max_weight = weight.into();
        self
    }

    /// How long a connection serves until its pool must give way with it to a pool that has none.
    ///
    /// Default 500 ms: several times as long as it takes to start most children. With more busy pools
    /// than connections each pool gets a connection for this long, and one lease, in turn: a longer time
    /// means fewer connects and longer waits. An idle connection is kept for as long after its last use, unless
    /// a pool that has none, or less for its share, waits for one.
    pub const fn min_residence(mut self, residence: Duration) -> Self {
        self.min_residence = residence;
        self
    }
}
