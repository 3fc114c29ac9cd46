//! The switch that ends all faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::gate::Gate;

/// Ends all faults of a [`FaultyConnector`](super::FaultyConnector), and counts them.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
/// use pool_testkit::Call;
/// use pool_testkit::connector::pair;
/// use pool_testkit::fault::{FaultPlan, FaultyConnector, Odds};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let plan = FaultPlan::new(7).call_odds(Call::Connect, Odds::none().hang(1000));
/// let connector = FaultyConnector::new(pair().0, plan);
/// let faults = connector.switch();
/// let pool = ConnectionPool::builder(connector).build()?;
/// let test = async {
///     while faults.hanging() == 0 {
///         tokio::task::yield_now().await;
///     }
///     faults.turn_off();
/// };
/// let (lease, ()) = tokio::join!(pool.acquire(), test);
/// assert!(lease.is_ok(), "the connect that hung went on");
/// assert_eq!(faults.injected(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FaultSwitch {
    inner: Arc<Switch>,
}

#[derive(Debug)]
struct Switch {
    /// Opened when the faults are switched off. Calls that hang wait here.
    off: Gate,
    injected: AtomicU64,
}

impl FaultSwitch {
    pub(super) fn new() -> Self {
        Self {
            inner: Arc::new(Switch {
                off: Gate::new(),
                injected: AtomicU64::new(0),
            }),
        }
    }

    /// Ends all faults for good: no more are injected, calls that hang go on as real ones, and
    /// planned deaths do not happen.
    pub fn turn_off(&self) {
        self.inner.off.open();
    }

    pub(super) fn is_off(&self) -> bool {
        self.inner.off.is_open()
    }

    /// How many calls hang now.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.inner.off.waiting()
    }

    /// How many calls, queries and connections were interfered with so far. A test in which this stays
    /// 0 has tested nothing.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.inner.injected.load(Ordering::Relaxed)
    }

    /// Waits until the faults are switched off.
    pub(super) async fn off(&self) {
        self.inner.off.wait().await;
    }

    /// Counts one fault.
    pub(super) fn note(&self) {
        self.inner.injected.fetch_add(1, Ordering::Relaxed);
    }
}
