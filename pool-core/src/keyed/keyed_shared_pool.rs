//! Shared pools by key.

use std::fmt;
use std::hash::Hash;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::config::SharedBuilder;
use crate::error::{AcquireError, BuildError, TryAcquireError};
use crate::keyed::keyed::{Entry, Keyed};
use crate::keyed::keyed_builder::KeyedBuilder;
use crate::keyed::keyed_error::KeyedAcquireError;
use crate::keyed::keyed_status::KeyedStatus;
use crate::shared_pool::{AcquireShared, SharedLease};
use crate::status::{CloseReport, PoolStatus};
use crate::store::Multiplexed;
use crate::wait::{Patience, draw};
#[cfg(not(loom))]
use crate::weak::WeakPool;

/// A [`SharedPool`](crate::SharedPool) for each key: as a [`KeyedPool`](crate::KeyedPool), with connections
/// that serve many callers at once.
///
/// # Examples
///
/// ```
/// # use pool_core::{SharedPool, connector_fn};
/// use pool_core::KeyedSharedPool;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pools = KeyedSharedPool::builder(|_key: &u32| {
///     SharedPool::builder(connector_fn(async |_| Ok(5))).target_leases(16)
/// })
/// .build()?;
/// let (one, two) = (pools.acquire(&7).await?, pools.acquire(&7).await?);
/// assert_eq!((*one, *two), (5, 5));
/// assert_eq!(pools.status().total.size(), 1, "they share a connection");
/// # Ok(())
/// # }
/// ```
pub struct KeyedSharedPool<K, T: Send + Sync + 'static> {
    keyed: Keyed<K, Arc<T>, Multiplexed>,
}

impl<K: fmt::Debug, T: Send + Sync + 'static> KeyedSharedPool<K, T> {
    /// A builder of a keyed pool. `settings` says of each key how its pool is made; the name, the runtime
    /// and the metrics of that pool are set by the keyed pool, and its budget if it has one.
    ///
    /// `settings` is called on the first acquire of a key, without a lock. If two callers come at the same
    /// time, it can be called twice. A panic of it reaches the caller.
    pub fn builder(
        settings: impl Fn(&K) -> SharedBuilder<T> + Send + Sync + 'static,
    ) -> KeyedBuilder<K, Arc<T>, Multiplexed> {
        KeyedBuilder::new(Arc::new(settings))
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, T: Send + Sync + 'static>
    KeyedBuilder<K, Arc<T>, Multiplexed>
{
    /// Checks the settings and makes the keyed pool. It opens nothing.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoRuntime`] outside a Tokio runtime if none was given,
    /// [`BuildError::OutOfRange`] for settings that cannot work.
    pub fn build(self) -> Result<KeyedSharedPool<K, T>, BuildError> {
        let keyed = Keyed::start(self)?;
        Ok(KeyedSharedPool { keyed })
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, T: Send + Sync + 'static> KeyedSharedPool<K, T> {
    /// Lends a connection of this key, as [`SharedPool::acquire`](crate::SharedPool::acquire) does.
    /// The call makes the pool if there is none.
    ///
    /// # Errors
    ///
    /// [`KeyedAcquireError::TooManyKeys`] for a new key if all others are in use,
    /// [`KeyedAcquireError::NotBuilt`] if its settings are not valid, [`KeyedAcquireError::Closed`] if the
    /// keyed pool is closed, [`KeyedAcquireError::Acquire`] as those of an acquire.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue and nothing else.
    #[track_caller]
    pub fn acquire(
        &self,
        key: &K,
    ) -> impl Future<Output = Result<SharedLease<T>, KeyedAcquireError>> + Send + use<K, T> {
        self.acquire_in(key, None)
    }

    /// [`acquire`](Self::acquire) with a timeout of its own. A timeout of zero never waits.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_within(
        &self,
        key: &K,
        timeout: Duration,
    ) -> impl Future<Output = Result<SharedLease<T>, KeyedAcquireError>> + Send + use<K, T> {
        self.acquire_in(key, Some(timeout))
    }

    #[track_caller]
    fn acquire_in(
        &self,
        key: &K,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<SharedLease<T>, KeyedAcquireError>> + Send + use<K, T> {
        let (entry, site) = (self.keyed.enter(key), Location::caller());
        async move {
            let entry = entry?;
            let engine = &entry.handle.engine;
            let timeout = timeout.unwrap_or(engine.timeouts.acquire);
            Ok(AcquireShared::new(engine, site, timeout).await?)
        }
    }

    /// A handle of one key, for callers that use it often: it looks nothing up. The key is in use as long as
    /// the handle exists.
    ///
    /// # Errors
    ///
    /// As those of [`acquire`](Self::acquire) for a new key.
    pub fn handle(&self, key: &K) -> Result<SharedKeyHandle<T>, KeyedAcquireError> {
        let entry = self.keyed.enter(key)?;
        Ok(SharedKeyHandle { entry })
    }

    /// A reference that keeps no pool open.
    #[cfg(not(loom))]
    pub fn downgrade(&self) -> WeakPool<Self> {
        let keyed = self.keyed.downgrade();
        WeakPool::new(move || keyed.upgrade().map(|keyed| Self { keyed }))
    }

    /// How many keys there are, and the sum of their pools.
    #[must_use]
    pub fn status(&self) -> KeyedStatus {
        self.keyed.status()
    }

    /// The pool of this key; `None` if it has none at present.
    #[must_use]
    pub fn status_of(&self, key: &K) -> Option<PoolStatus> {
        self.keyed.status_of(key)
    }

    /// Every key that has a pool, in no particular order.
    #[must_use]
    pub fn keys(&self) -> Vec<(K, PoolStatus)> {
        self.keyed.keys()
    }

    /// Evicts all connections of a key, as [`evict_all`](crate::SharedPool::evict_all) does, and drops the
    /// key unless it is in use. Returns how many connections. Callers that wait are served by new ones.
    pub fn evict(&self, key: &K) -> usize {
        self.keyed.evict(key)
    }

    /// Closes the pools of all keys, and waits, at most for `deadline`, until their last connection is gone.
    /// No key gets a pool any more; one that another thread is making is awaited, and closed. The report
    /// is the sum of all.
    ///
    /// # Cancel safety
    ///
    /// The close begins with the first poll and is not undone by dropping the future.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        self.keyed.close(deadline).await
    }
}

impl<K, T: Send + Sync + 'static> Clone for KeyedSharedPool<K, T> {
    fn clone(&self) -> Self {
        Self {
            keyed: self.keyed.clone(),
        }
    }
}

impl<K, T: Send + Sync + 'static> fmt::Debug for KeyedSharedPool<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedSharedPool").finish_non_exhaustive()
    }
}

/// One key of a [`KeyedSharedPool`].
pub struct SharedKeyHandle<T: Send + Sync + 'static> {
    entry: Arc<Entry<Arc<T>, Multiplexed>>,
}

impl<T: Send + Sync + 'static> SharedKeyHandle<T> {
    /// As [`SharedPool::acquire`](crate::SharedPool::acquire).
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// # Cancel safety
    ///
    /// The same.
    #[track_caller]
    pub fn acquire(
        &self,
    ) -> impl Future<Output = Result<SharedLease<T>, AcquireError>> + Send + Unpin {
        self.acquire_within(self.entry.handle.engine.timeouts.acquire)
    }

    /// As [`SharedPool::acquire_within`](crate::SharedPool::acquire_within).
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// # Cancel safety
    ///
    /// The same.
    #[track_caller]
    pub fn acquire_within(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<SharedLease<T>, AcquireError>> + Send + Unpin {
        AcquireShared::new(&self.entry.handle.engine, Location::caller(), timeout)
    }

    /// As [`SharedPool::try_acquire`](crate::SharedPool::try_acquire).
    ///
    /// # Errors
    ///
    /// The same.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<SharedLease<T>, TryAcquireError> {
        let engine = &self.entry.handle.engine;
        match draw(engine, Location::caller(), Patience::None).lent {
            Some(share) => Ok(SharedLease::new(share)),
            None => Err(engine.nothing_to_lend()),
        }
    }

    /// The pool of this key.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.entry.handle.status()
    }
}

impl<T: Send + Sync + 'static> Clone for SharedKeyHandle<T> {
    fn clone(&self) -> Self {
        Self {
            entry: Arc::clone(&self.entry),
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for SharedKeyHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.handle.describe(f, "SharedKeyHandle")
    }
}
