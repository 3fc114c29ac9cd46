//! The metrics of a keyed pool beside those of the pools of its keys: how many keys there are, and the
//! callers whose key got no pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Counter, Gauge};

use crate::foreign::{catch, report};
use crate::keyed::keyed_error::KeyedAcquireError;

/// The handles of all metrics, resolved once. Another keyed pool may have the same name, so the gauges
/// are told what has changed.
pub(super) struct KeyMeters {
    pool: Arc<str>,
    keys: Gauge,
    max_keys: Gauge,
    too_many_keys: Counter,
    not_built: Counter,
    closed: Counter,
    /// How many of this keyed pool are in the gauge, or are about to be told.
    keys_counted: AtomicUsize,
    /// How many are in the other gauge.
    max_keys_told: usize,
}

impl KeyMeters {
    pub(super) fn new(pool: Arc<str>, max_keys: usize) -> Self {
        let name = || pool.to_string();
        let refused = |error| metrics::counter!("pool_acquire_failures_total", "pool" => name(), "error" => error);
        let meters = Self {
            keys: metrics::gauge!("pool_keys", "pool" => name()),
            max_keys: metrics::gauge!("pool_max_keys", "pool" => name()),
            too_many_keys: refused("too_many_keys"),
            not_built: refused("not_built"),
            closed: refused("closed"),
            keys_counted: AtomicUsize::new(0),
            max_keys_told: max_keys,
            pool,
        };
        report(catch("metrics", || {
            meters.max_keys.increment(real(max_keys));
        }));
        meters
    }

    /// Counts the keys, under the lock of the table. Returns by how many the gauge is to change.
    pub(super) fn count(&self, keys: usize) -> f64 {
        real(keys) - real(self.keys_counted.swap(keys, Ordering::Relaxed))
    }

    /// Tells the gauge what [`count`](Self::count) returned. Changes can be told in any order.
    pub(super) fn tell(&self, change: f64) {
        if change != 0.0 {
            report(catch("metrics", || self.keys.increment(change)));
        }
    }

    /// A caller's key got no pool.
    pub(super) fn refused(&self, error: &KeyedAcquireError) {
        let counter = match error {
            KeyedAcquireError::TooManyKeys { .. } => &self.too_many_keys,
            KeyedAcquireError::NotBuilt { .. } => &self.not_built,
            KeyedAcquireError::Closed { .. } => &self.closed,
            // The pool of the key counts it.
            KeyedAcquireError::Acquire(_) => return,
        };
        report(catch("telemetry", || {
            counter.increment(1);
            tracing::debug!(target: "pool_core", pool = %self.pool, %error, "acquire failed");
        }));
    }
}

impl Drop for KeyMeters {
    fn drop(&mut self) {
        let keys = *self.keys_counted.get_mut();
        report(catch("metrics", || {
            self.keys.decrement(real(keys));
            self.max_keys.decrement(real(self.max_keys_told));
        }));
    }
}

/// A count as the facade wants it.
#[expect(clippy::cast_precision_loss, reason = "keys are far fewer than 2^52")]
const fn real(count: usize) -> f64 {
    count as f64
}
