//! What a pool reports: events to its observer, logs through `tracing`, and metrics through `metrics`.
//!
//! The hot path reports nothing. Leases are counted by the store and published once a tick, gauges are
//! read off the store's status, and events of single leases exist only while there is an observer or
//! a trace log.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, IntoF64};
use tracing::Level;

use crate::error::AcquireError;
use crate::event::{Event, EventKind, Observer};
use crate::foreign::{catch, drop_quietly, report};
use crate::id::CloseReason;
use crate::status::{LastWeighing, PoolStatus};
use crate::store::Totals;

pub(crate) struct Telemetry {
    pool: Arc<str>,
    observer: Option<Arc<dyn Observer>>,
    meters: Arc<Meters>,
    /// Other pools have the same metrics.
    shares_meters: bool,
    is_metered: bool,
    /// How much of the totals was published so far.
    leases: AtomicU64,
    limit_reached: AtomicU64,
    /// Of a shared pool.
    target_leases: Option<Gauge>,
    /// What the gauges were told of this pool, in the order of [`Meters::gauges`].
    told: [AtomicUsize; GAUGES],
}

const GAUGES: usize = 11;

/// The handles of all metrics, resolved once.
pub(crate) struct Meters {
    leases: Counter,
    opened: Counter,
    connect_failures: Counter,
    check_failures: Counter,
    detached: Counter,
    overdue: Counter,
    closed: Vec<(CloseReason, Counter)>,
    refused: [Counter; 4],
    max_size: Gauge,
    waiting: Gauge,
    weight: Gauge,
    unweighed: Gauge,
    killed: Counter,
    states: [Gauge; 7],
    limit_reached: Counter,
    wait: Histogram,
    lease: Histogram,
    connect: Histogram,
}

impl Telemetry {
    pub(crate) fn new(
        pool: Arc<str>,
        meters: Option<Arc<Meters>>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let shares_meters = meters.is_some();
        let meters = meters.unwrap_or_else(|| Arc::new(Meters::new(&pool)));
        let is_metered = meters.is_recorded();
        Self {
            pool,
            observer,
            meters,
            shares_meters,
            is_metered,
            leases: AtomicU64::new(0),
            limit_reached: AtomicU64::new(0),
            target_leases: None,
            told: [const { AtomicUsize::new(0) }; GAUGES],
        }
    }

    /// Has the target of leases among the metrics: of a pool whose connections are shared.
    pub(crate) fn with_target_leases(mut self) -> Self {
        let pool = self.pool.to_string();
        self.target_leases = Some(metrics::gauge!("pool_target_leases", "pool" => pool));
        self
    }

    /// The pool's name.
    pub(crate) fn pool(&self) -> &str {
        &self.pool
    }

    /// Whether there is an observer or a trace log, which receive events of single leases.
    pub(crate) fn wants_hot_events(&self) -> bool {
        let is_traced = || tracing::enabled!(target: "pool_core", Level::TRACE);
        self.observer.is_some() || catch("tracing", is_traced).unwrap_or(false)
    }

    /// Whether a metrics recorder was installed when the pool was built.
    pub(crate) const fn is_metered(&self) -> bool {
        self.is_metered
    }

    /// An acquire was served from the queue.
    pub(crate) fn waited(&self, time: Duration) {
        report(catch("metrics", || self.meters.wait.record(time)));
    }

    /// A lease is over.
    #[cold]
    pub(crate) fn leased(&self, time: Duration) {
        report(catch("metrics", || self.meters.lease.record(time)));
    }

    /// A connect succeeded.
    pub(crate) fn connected(&self, time: Duration) {
        report(catch("metrics", || self.meters.connect.record(time)));
    }

    /// An acquire failed.
    pub(crate) fn refused(&self, error: &AcquireError) {
        let which = match error {
            AcquireError::Timeout { .. } => 0,
            AcquireError::Overloaded { .. } => 1,
            AcquireError::Closed { .. } => 2,
            AcquireError::Unavailable { .. } => 3,
        };
        report(catch("telemetry", || {
            self.meters.refused[which].increment(1);
            tracing::debug!(target: "pool_core", pool = %self.pool, %error, "acquire failed");
        }));
    }

    /// Publishes what is read off the store.
    pub(crate) fn publish(&self, status: &PoolStatus, totals: Totals) {
        if self.is_metered {
            report(catch("metrics", || self.set_meters(status, totals)));
        }
    }

    fn set_meters(&self, status: &PoolStatus, totals: Totals) {
        let meters = &self.meters;
        // The difference, since another pool of this name may count as well. A lease that was counted
        // and proved dead may have been published, so the count may fall.
        let new = |published: &AtomicU64, total: u64| {
            total.saturating_sub(published.fetch_max(total, Ordering::Relaxed))
        };
        meters.leases.increment(new(&self.leases, totals.leases));
        let limit_reached = new(&self.limit_reached, totals.limit_reached);
        meters.limit_reached.increment(limit_reached);
        if let (Some(target), Some(gauge)) = (status.target_leases, &self.target_leases) {
            gauge.set(f64::from(target));
        }
        self.set_gauges([
            status.max_size,
            status.waiting,
            usize::try_from(status.weight).unwrap_or(usize::MAX),
            status.unweighed as usize,
            status.opening,
            status.idle,
            status.leased,
            status.checking,
            status.returning,
            status.closing,
            status.stuck,
        ]);
    }

    /// The keys of a keyed pool have gauges in common, so each adds what has changed.
    fn set_gauges(&self, counts: [usize; GAUGES]) {
        let gauges = self.meters.gauges().zip(&self.told);
        for ((gauge, told), count) in gauges.zip(counts) {
            if self.shares_meters {
                gauge.increment(real(count) - real(told.swap(count, Ordering::Relaxed)));
            } else {
                gauge.set(real(count));
            }
        }
    }

    /// Tells of what happened, in the order it happened in one critical section.
    pub(crate) fn deliver(&self, events: Vec<(u64, EventKind)>) {
        for (seq, kind) in events {
            report(catch("telemetry", || {
                self.count(&kind);
                self.trace(&kind);
            }));
            let event = Event {
                seq,
                pool: Arc::clone(&self.pool),
                kind,
            };
            if let Some(observer) = &self.observer {
                report(catch("on_event", || observer.on_event(&event)));
            }
            // The error in it can be foreign code.
            drop_quietly(event);
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most events have no counter"
    )]
    fn count(&self, kind: &EventKind) {
        match kind {
            EventKind::Opened { .. } => self.meters.opened.increment(1),
            EventKind::ConnectFailed { .. } => self.meters.connect_failures.increment(1),
            EventKind::CheckFailed { .. } => self.meters.check_failures.increment(1),
            EventKind::Killed { .. } => self.meters.killed.increment(1),
            EventKind::Detached { .. } => self.meters.detached.increment(1),
            EventKind::LeaseOverdue { .. } => self.meters.overdue.increment(1),
            EventKind::Closed { reason, .. } => {
                let counter = self.meters.closed.iter().find(|(other, _)| other == reason);
                if let Some((_, counter)) = counter {
                    counter.increment(1);
                }
            }
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is all alike")]
    fn trace(&self, kind: &EventKind) {
        let pool = &*self.pool;
        match kind {
            EventKind::ConnectFailed { id, error } => {
                let source: &dyn std::error::Error = error;
                tracing::warn!(target: "pool_core", pool, %id, error = source, "connect failed");
            }
            EventKind::CheckFailed { id, error } | EventKind::ResetFailed { id, error } => {
                let source: &dyn std::error::Error = error;
                tracing::warn!(target: "pool_core", pool, %id, error = source, "a check or reset failed");
            }
            EventKind::Killed { id, weight, limit } => tracing::warn!(
                target: "pool_core", pool, %id, weight, limit,
                "a connection weighs more than kill_weight, and is killed"
            ),
            EventKind::HeavyWhenNew { id, weight, limit } => tracing::warn!(
                target: "pool_core", pool, %id, weight, limit,
                "a new connection weighs more than max_weight, so replacing it does not help"
            ),
            EventKind::Overweight { id, weight, limit } => tracing::info!(
                target: "pool_core", pool, %id, weight, limit,
                "a connection is too heavy, and is to be replaced"
            ),
            EventKind::Unweighed {
                id,
                why: LastWeighing::Late,
            } => tracing::warn!(
                target: "pool_core", pool, %id,
                "the weight of a connection did not come in time; what it weighed before counts"
            ),
            EventKind::Stuck { id, reason, since } => tracing::warn!(
                target: "pool_core", pool, %id, %reason, ?since,
                "a close takes too long; the connection still occupies its slot"
            ),
            EventKind::LeaseOverdue { id, site, held } => tracing::warn!(
                target: "pool_core", pool, %id, %site, ?held,
                "a lease has lasted for long; is it leaked?"
            ),
            EventKind::OverdueLeaseReturned { id, site, held } => tracing::info!(
                target: "pool_core", pool, %id, %site, ?held, "an overdue lease ended"
            ),
            EventKind::Queued { .. }
            | EventKind::Requeued { .. }
            | EventKind::Leased { .. }
            | EventKind::Returned { .. } => {
                tracing::trace!(target: "pool_core", pool, event = ?kind);
            }
            _ => tracing::debug!(target: "pool_core", pool, event = ?kind),
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if self.is_metered && self.shares_meters {
            report(catch("metrics", || self.set_gauges([0; GAUGES])));
        }
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl Meters {
    fn gauges(&self) -> impl Iterator<Item = &Gauge> {
        let counts = [&self.max_size, &self.waiting, &self.weight, &self.unweighed];
        counts.into_iter().chain(&self.states)
    }

    pub(crate) fn new(pool: &str) -> Self {
        let pool = || pool.to_owned();
        let state = |state| metrics::gauge!("pool_connections", "pool" => pool(), "state" => state);
        let refused = |error| metrics::counter!("pool_acquire_failures_total", "pool" => pool(), "error" => error);
        let closed = |reason: CloseReason| {
            let label = reason.as_str();
            let counter =
                metrics::counter!("pool_closed_total", "pool" => pool(), "reason" => label);
            (reason, counter)
        };
        Self {
            leases: metrics::counter!("pool_leases_total", "pool" => pool()),
            opened: metrics::counter!("pool_opened_total", "pool" => pool()),
            connect_failures: metrics::counter!("pool_connect_failures_total", "pool" => pool()),
            check_failures: metrics::counter!("pool_check_failures_total", "pool" => pool()),
            detached: metrics::counter!("pool_detached_total", "pool" => pool()),
            overdue: metrics::counter!("pool_overdue_leases_total", "pool" => pool()),
            closed: CloseReason::ALL.map(closed).into(),
            refused: ["timeout", "overloaded", "closed", "unavailable"].map(refused),
            max_size: metrics::gauge!("pool_max_size", "pool" => pool()),
            waiting: metrics::gauge!("pool_waiting", "pool" => pool()),
            weight: metrics::gauge!("pool_weight", "pool" => pool()),
            unweighed: metrics::gauge!("pool_unweighed", "pool" => pool()),
            killed: metrics::counter!("pool_killed_total", "pool" => pool()),
            states: [
                "opening",
                "idle",
                "leased",
                "checking",
                "returning",
                "closing",
                "stuck",
            ]
            .map(state),
            limit_reached: metrics::counter!("pool_limit_reached_total", "pool" => pool()),
            wait: metrics::histogram!("pool_acquire_wait_seconds", "pool" => pool()),
            lease: metrics::histogram!("pool_lease_seconds", "pool" => pool()),
            connect: metrics::histogram!("pool_connect_seconds", "pool" => pool()),
        }
    }

    /// Whether a recorder is there, found out by adding nothing to a gauge: without a recorder the
    /// facade does not even look at the value.
    fn is_recorded(&self) -> bool {
        struct Probe<'a>(&'a Cell<bool>);
        impl IntoF64 for Probe<'_> {
            fn into_f64(self) -> f64 {
                self.0.set(true);
                0.0
            }
        }
        let seen = Cell::new(false);
        self.waiting.increment(Probe(&seen));
        seen.get()
    }
}

/// A count as the facade wants it.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of connections are far below 2^52"
)]
const fn real(count: usize) -> f64 {
    count as f64
}
