//! The lease of a shared pool: many callers have the connection at once.

use std::fmt;
use std::ops::Deref;

use crate::engine::Engine;
use crate::id::{CloseReason, ConnectionId};
use crate::shared_pool::share::Share;
use crate::status::ConnectionStats;
use crate::store::Condition;
use crate::time::Time;
use crate::vitals::Overweight;

/// A lease of a shared pool: `&T`, as long as this is held.
///
/// Dropping it is synchronous, never blocks, needs no runtime, and may happen on any thread and
/// during a panic.
///
/// # Examples
///
/// ```
/// # use pool_core::connector_fn;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::{SharedLease, SharedPool};
///
/// let pool = SharedPool::builder(connector_fn(async |_| Ok(()))).build()?;
/// let (one, two) = (pool.acquire().await?, pool.acquire().await?);
/// assert_eq!(SharedLease::id(&one), SharedLease::id(&two));
/// assert_eq!(SharedLease::stats(&one).leases, 2);
///
/// SharedLease::discard(one); // broken: it takes no new leases, and is closed after its last
/// let three = pool.acquire().await?;
/// assert_ne!(SharedLease::id(&three), SharedLease::id(&two));
/// # Ok(())
/// # }
/// ```
#[must_use = "a lease that is not held is over at once"]
pub struct SharedLease<T: Send + Sync + 'static> {
    /// Present until it is dropped or discarded.
    share: Option<Share<T>>,
    /// If leases are timed.
    began: Time,
}

const HELD: &str = "a lease holds its share until it ends";

impl<T: Send + Sync + 'static> SharedLease<T> {
    pub(crate) fn new(share: Share<T>) -> Self {
        Self {
            began: share.engine.lease_begins(),
            share: Some(share),
        }
    }

    fn share(lease: &Self) -> &Share<T> {
        lease.share.as_ref().expect(HELD)
    }

    /// The number of the connection, as events and logs name it.
    #[must_use]
    pub fn id(lease: &Self) -> ConnectionId {
        Self::share(lease).id
    }

    /// Facts about the connection.
    #[must_use]
    pub fn stats(lease: &Self) -> ConnectionStats {
        let share = Self::share(lease);
        let now = share.engine.clock.now();
        share.engine.lock().stats(share.key.slot, now)
    }

    /// Why the connection was killed, if it was: it weighed more than
    /// [`kill_weight`](crate::Builder::kill_weight).
    #[must_use]
    pub fn kill_cause(lease: &Self) -> Option<Overweight> {
        let share = Self::share(lease);
        share.engine.lock().kill_cause(share.key.slot)
    }

    /// Ends the lease and gives the connection up, for a holder that knows it to be unusable: it takes
    /// no new leases, and is closed with [`CloseReason::Discarded`] after its last one.
    pub fn discard(mut lease: Self) {
        if let Some(share) = lease.share.take() {
            share.engine.lease_ends(lease.began);
            share.end(|_, _| Condition::Unfit(CloseReason::Discarded));
        }
    }
}

impl<T: Send + Sync + 'static> Drop for SharedLease<T> {
    fn drop(&mut self) {
        if let Some(share) = self.share.take() {
            share.engine.lease_ends(self.began);
            share.end(Engine::condition);
        }
    }
}

impl<T: Send + Sync + 'static> Deref for SharedLease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &Self::share(self).connection
    }
}

// Without the connection, so that `unwrap_err` of an acquire compiles whatever `T` is.
impl<T: Send + Sync + 'static> fmt::Debug for SharedLease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLease")
            .field("id", &Self::id(self))
            .finish_non_exhaustive()
    }
}
