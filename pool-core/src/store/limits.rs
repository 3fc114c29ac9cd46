//! The settings that decisions depend on.

use std::sync::Arc;
use std::time::Duration;

use crate::store::{IdleOrder, PacerLimits, TargetLeases};

#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) name: Arc<str>,
    /// The name is that of a key of a keyed pool.
    pub(crate) is_key: bool,
    pub(crate) max_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) max_waiters: usize,
    pub(crate) max_connecting: usize,
    pub(crate) idle_order: IdleOrder,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) max_uses: Option<u64>,
    pub(crate) check_interval: Option<Duration>,
    pub(crate) check_after_idle: Option<Duration>,
    pub(crate) min_uptime: Duration,
    pub(crate) lease_warn_after: Option<Duration>,
    /// What a connection may weigh until it is replaced,
    pub(crate) max_weight: Option<u64>,
    /// and until it is killed.
    pub(crate) kill_weight: Option<u64>,
    pub(crate) weigh_interval: Duration,
    pub(crate) pacer: PacerLimits,
    /// Seeds the random delays and lifetimes.
    pub(crate) seed: u64,
    pub(crate) sharing: Sharing,
}

impl Limits {
    /// How many slots there may be at most.
    pub(crate) const fn slots_max(&self) -> usize {
        self.max_size + self.sharing.max_surge
    }

    /// After how long without use or check a connection must be checked before it is lent.
    ///
    /// That is the check interval at the latest: a connection that was not checked by then was the only
    /// idle one.
    pub(super) fn stale_after(&self) -> Option<Duration> {
        let limits = [self.check_after_idle, self.check_interval];
        limits.into_iter().flatten().min()
    }
}

/// How many callers may share a connection, and what replaces one that is old.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sharing {
    /// How many leases a connection should carry before another one is opened.
    pub(crate) target_leases: TargetLeases,
    /// No connection has more leases than this.
    pub(crate) max_leases: u32,
    /// How many slots beyond `max_size` may be used to replace superseded connections.
    pub(crate) max_surge: usize,
}

impl Sharing {
    /// One caller at a time, and nothing beyond `max_size`.
    pub(crate) const NONE: Self = Self {
        target_leases: TargetLeases::Fixed(1),
        max_leases: 1,
        max_surge: 0,
    };
}
