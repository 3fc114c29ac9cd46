//! Exclusive pools by key.

use std::fmt;
use std::hash::Hash;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::acquire::Acquire;
use crate::config::Builder;
use crate::error::{BuildError, TryAcquireError};
use crate::keyed::keyed::{Entry, Keyed};
use crate::keyed::keyed_builder::KeyedBuilder;
use crate::keyed::keyed_error::KeyedAcquireError;
use crate::keyed::keyed_status::KeyedStatus;
use crate::lease::PooledConnection;
use crate::status::{CloseReport, PoolStatus};
use crate::store::Exclusive;
use crate::wait::{Patience, draw};
#[cfg(not(loom))]
use crate::weak::WeakPool;

/// A [`ConnectionPool`](crate::ConnectionPool) for each key, made by a function of the key when it is
/// first used.
///
/// A key is dropped when it had no lease and no waiter for `key_idle_timeout`, or when the place is needed
/// for another key. A caller never notices: it keeps its key in place until it has its lease. Failed
/// connects are remembered, so a key whose peer is down goes on waiting where it was.
///
/// Give it a [`Budget`](crate::Budget): otherwise there can be `max_keys` times `max_size` connections.
///
/// Clones are handles of the same pools.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// use pool_core::{Budget, KeyedPool};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let budget = Budget::builder("children").max_connections(64).build()?;
/// let pools = KeyedPool::builder(|server: &String| {
///     let greeting = format!("hello from {server}");
///     let connector = connector_fn(move |_cx| {
///         let greeting = greeting.clone();
///         async { Ok(greeting) }
///     });
///     ConnectionPool::builder(connector).max_size(4)
/// })
/// .budget(&budget)
/// .build()?;
///
/// let lease = pools.acquire(&"a".to_owned()).await?;
/// assert_eq!(*lease, "hello from a");
/// assert_eq!((pools.status().keys, pools.status().total.leased), (1, 1));
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
pub struct KeyedPool<K, T: Send + 'static> {
    keyed: Keyed<K, T, Exclusive>,
}

impl<K: fmt::Debug, T: Send + 'static> KeyedPool<K, T> {
    /// A builder of a keyed pool. `settings` says of each key how its pool is made; the name, the runtime
    /// and the metrics of that pool are set by the keyed pool, and its budget if it has one.
    ///
    /// `settings` is called on the first acquire of a key, without a lock. If two callers come at the same
    /// time, it can be called twice. A panic of it reaches the caller.
    pub fn builder(
        settings: impl Fn(&K) -> Builder<T> + Send + Sync + 'static,
    ) -> KeyedBuilder<K, T> {
        KeyedBuilder::new(Arc::new(settings))
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, T: Send + 'static> KeyedBuilder<K, T> {
    /// Checks the settings and makes the keyed pool. It opens nothing.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoRuntime`] outside a Tokio runtime if none was given,
    /// [`BuildError::OutOfRange`] for settings that cannot work.
    pub fn build(self) -> Result<KeyedPool<K, T>, BuildError> {
        let keyed = Keyed::start(self)?;
        Ok(KeyedPool { keyed })
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, T: Send + 'static> KeyedPool<K, T> {
    /// Lends a connection of this key, as [`ConnectionPool::acquire`](crate::ConnectionPool::acquire) does.
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
    ) -> impl Future<Output = Result<PooledConnection<T>, KeyedAcquireError>> + Send + use<K, T>
    {
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
    ) -> impl Future<Output = Result<PooledConnection<T>, KeyedAcquireError>> + Send + use<K, T>
    {
        self.acquire_in(key, Some(timeout))
    }

    #[track_caller]
    fn acquire_in(
        &self,
        key: &K,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<PooledConnection<T>, KeyedAcquireError>> + Send + use<K, T>
    {
        let (entry, site) = (self.keyed.enter(key), Location::caller());
        async move {
            let entry = entry?;
            let engine = &entry.handle.engine;
            let timeout = timeout.unwrap_or(engine.timeouts.acquire);
            Ok(Acquire::new(engine, site, timeout).await?)
        }
    }

    /// A handle of one key, for callers that use it often: it looks nothing up. The key is in use as long as
    /// the handle exists.
    ///
    /// # Errors
    ///
    /// As those of [`acquire`](Self::acquire) for a new key.
    pub fn handle(&self, key: &K) -> Result<KeyHandle<T>, KeyedAcquireError> {
        let entry = self.keyed.enter(key)?;
        Ok(KeyHandle { entry })
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

    /// Evicts all connections of a key, as [`evict_all`](crate::ConnectionPool::evict_all) does, and drops the
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

impl<K, T: Send + 'static> Clone for KeyedPool<K, T> {
    fn clone(&self) -> Self {
        Self {
            keyed: self.keyed.clone(),
        }
    }
}

impl<K, T: Send + 'static> fmt::Debug for KeyedPool<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPool").finish_non_exhaustive()
    }
}

/// One key of a [`KeyedPool`].
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, KeyedPool, connector_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pools = KeyedPool::builder(|_key: &u32| ConnectionPool::builder(connector_fn(async |_| Ok(5)))).build()?;
/// let handle = pools.handle(&7)?;
/// assert_eq!(*handle.acquire().await?, 5);
/// assert_eq!(handle.status().idle, 1);
/// # Ok(())
/// # }
/// ```
pub struct KeyHandle<T: Send + 'static> {
    entry: Arc<Entry<T, Exclusive>>,
}

impl<T: Send + 'static> KeyHandle<T> {
    /// As [`ConnectionPool::acquire`](crate::ConnectionPool::acquire).
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// # Cancel safety
    ///
    /// The same.
    #[track_caller]
    pub fn acquire(&self) -> Acquire<'_, T> {
        self.acquire_within(self.entry.handle.engine.timeouts.acquire)
    }

    /// As [`ConnectionPool::acquire_within`](crate::ConnectionPool::acquire_within).
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// # Cancel safety
    ///
    /// The same.
    #[track_caller]
    pub fn acquire_within(&self, timeout: Duration) -> Acquire<'_, T> {
        Acquire::new(&self.entry.handle.engine, Location::caller(), timeout)
    }

    /// As [`ConnectionPool::try_acquire`](crate::ConnectionPool::try_acquire).
    ///
    /// # Errors
    ///
    /// The same.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<PooledConnection<T>, TryAcquireError> {
        let engine = &self.entry.handle.engine;
        match draw(engine, Location::caller(), Patience::None).lent {
            Some(open) => Ok(PooledConnection::new(open)),
            None => Err(engine.nothing_to_lend()),
        }
    }

    /// The pool of this key.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.entry.handle.status()
    }
}

impl<T: Send + 'static> Clone for KeyHandle<T> {
    fn clone(&self) -> Self {
        Self {
            entry: Arc::clone(&self.entry),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for KeyHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.handle.describe(f, "KeyHandle")
    }
}
