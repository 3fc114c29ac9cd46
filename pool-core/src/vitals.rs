//! What can be measured and ended of a connection from outside, also while it is lent.

use thiserror::Error;

/// What [`Connector::vitals`](crate::Connector::vitals) returns: measures a connection and ends it, while
/// its caller has it.
///
/// # Duties of an implementer
///
/// * **[`weight`](Self::weight) may block for a moment.** It is called on a thread for blocking work, once
///   in each [`weigh_interval`](crate::Builder::weigh_interval), for one connection of a pool after the
///   other. If it has no weight after 2 to 4 seconds, that is reported
///   ([`Unweighed`](crate::EventKind::Unweighed)), and another thread goes on with the other connections. At
///   most four threads of a pool are held up by such calls; with all four held up, none of its connections
///   is weighed. A runtime that shuts down waits for the calls.
/// * **[`kill`](Self::kill) does not wait for the end.** It is called on such a thread, too, at most once.
/// * **The connection may have ended.** Then the weight is unknown, and a kill does nothing. It must not
///   reach anything that took the place of the connection, such as a process with the same number.
/// * **It does not keep the resource.** It is dropped some time after the connection was closed.
///
/// A panic of either is caught and logged.
///
/// # Examples
///
/// ```
/// use pool_core::{Overweight, Vitals};
/// use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
///
/// /// What a cache and its owner share.
/// #[derive(Default)]
/// struct Gauge { bytes: AtomicU64, is_condemned: AtomicBool }
///
/// impl Vitals for Gauge {
///     fn weight(&self) -> Option<u64> {
///         Some(self.bytes.load(Ordering::Relaxed))
///     }
///     fn kill(&self, _cause: &Overweight) {
///         self.is_condemned.store(true, Ordering::Relaxed);
///     }
/// }
///
/// let gauge = Gauge::default();
/// gauge.bytes.store(300, Ordering::Relaxed);
/// let cause = Overweight::new(300, 200);
/// gauge.kill(&cause);
/// assert_eq!(cause.to_string(), "weight 300 exceeds kill_weight 200");
/// ```
pub trait Vitals: Send + Sync + 'static {
    /// How much it weighs, in a unit of the connector's choice: bytes of memory, for a process. `None` if
    /// that is not known now; then the weight before counts.
    fn weight(&self) -> Option<u64>;

    /// Ends the connection now, by force: it is too heavy. What its caller does with it fails from then
    /// on, as far as possible with this cause.
    fn kill(&self, cause: &Overweight);
}

/// Why a connection was [killed](Vitals::kill).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("weight {weight} exceeds kill_weight {limit}")]
#[non_exhaustive]
pub struct Overweight {
    /// What it weighed.
    pub weight: u64,
    /// [`kill_weight`](crate::Builder::kill_weight).
    pub limit: u64,
}

impl Overweight {
    /// A cause for tests of connectors outside a pool.
    #[must_use]
    pub const fn new(weight: u64, limit: u64) -> Self {
        Self { weight, limit }
    }
}
