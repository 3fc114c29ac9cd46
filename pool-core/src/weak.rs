//! A reference to a pool that does not keep it open.

use std::fmt;
use std::sync::Arc;

/// A reference to a pool that does not keep it open, for what lives as long as the pool itself: an
/// observer, a connection, a task that watches the pool.
///
/// `P` is the pool: a [`ConnectionPool`](crate::ConnectionPool), a [`SharedPool`](crate::SharedPool), a
/// [`KeyedPool`](crate::KeyedPool) or a [`KeyedSharedPool`](crate::KeyedSharedPool). Its `downgrade` makes one.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::WeakPool;
///
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(3).build()?;
/// let weak: WeakPool<ConnectionPool<()>> = pool.downgrade();
/// let same = weak.upgrade().expect("the pool has a handle");
/// assert_eq!(same.status().max_size, 3);
///
/// drop((pool, same)); // the last handles: the pool closes
/// assert!(weak.upgrade().is_none());
/// # Ok(())
/// # }
/// ```
#[must_use = "it keeps nothing open"]
pub struct WeakPool<P> {
    upgrade: Arc<dyn Fn() -> Option<P> + Send + Sync>,
}

impl<P> WeakPool<P> {
    pub(crate) fn new(upgrade: impl Fn() -> Option<P> + Send + Sync + 'static) -> Self {
        Self {
            upgrade: Arc::new(upgrade),
        }
    }

    /// A handle of the pool, or `None` if its last handle was dropped.
    ///
    /// A pool that was closed by its `close` can still be upgraded while it has handles.
    #[must_use]
    pub fn upgrade(&self) -> Option<P> {
        (self.upgrade)()
    }
}

impl<P> Clone for WeakPool<P> {
    fn clone(&self) -> Self {
        Self {
            upgrade: Arc::clone(&self.upgrade),
        }
    }
}

impl<P> fmt::Debug for WeakPool<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakPool").finish_non_exhaustive()
    }
}
