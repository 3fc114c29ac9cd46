//! How many leases a shared connection should carry: a number, or learned.

/// How many leases each connection of a [`SharedPool`](crate::SharedPool) should carry.
///
/// # Examples
///
/// ```
/// use pool_core::TargetLeases;
///
/// assert_eq!(TargetLeases::from(8), TargetLeases::Fixed(8));
/// assert_eq!(TargetLeases::default(), TargetLeases::Adaptive { min: 1, max: 1024 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetLeases {
    /// Another connection is opened when all have this many leases or more.
    Fixed(u32),
    /// The pool finds out how many leases a connection serves at once without slowing down, and how
    /// many connections are worth having.
    ///
    /// It begins with one connection. While callers share it, another one is opened as an
    /// experiment. It is kept if leases end faster with it, and given back if they do not: because
    /// the peer serves many requests at once, or because all connections wait for the same thing. What
    /// is kept is built upon; what brought nothing is tried again ever more rarely, from every 2 s to
    /// every 10 min.
    ///
    /// Worst case: a pool that is served best by one connection has a second one for about a second
    /// in each of these experiments; one that is served best by sixteen takes two to three seconds, and
    /// the time of four connects, until it has them. A pool whose leases end rarely learns slowly: it
    /// needs some dozens of them for each step. Leases that are held much longer than most, as those of
    /// sessions, are not counted.
    Adaptive {
        /// A connection that has no more leases than this is never relieved.
        min: u32,
        /// When all connections have this many leases, another one is opened without an experiment. If
        /// it is more than [`max_leases_per_connection`](crate::SharedBuilder::max_leases_per_connection),
        /// that counts.
        max: u32,
    },
}

impl Default for TargetLeases {
    fn default() -> Self {
        Self::Adaptive { min: 1, max: 1024 }
    }
}

impl From<u32> for TargetLeases {
    fn from(leases: u32) -> Self {
        Self::Fixed(leases)
    }
}
