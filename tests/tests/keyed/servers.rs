//! A keyed pool of fakes, one fake for each key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::{
    Budget, ConnectionPool, KeyedAcquireError, KeyedBuilder, KeyedPool, PooledConnection,
};
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_tests::bed::{MINUTE, Watchdog};

pub(crate) type Lease = PooledConnection<FakeConnection>;

/// The keyed pool, and every fake that was made for a key, the latest last.
pub(crate) struct Servers {
    pub(crate) pools: KeyedPool<&'static str, FakeConnection>,
    fakes: Fakes,
    _watchdog: Watchdog,
}

type Fakes = Arc<Mutex<HashMap<&'static str, Vec<FakeHandle>>>>;

fn lock(fakes: &Fakes) -> MutexGuard<'_, HashMap<&'static str, Vec<FakeHandle>>> {
    fakes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Servers {
    pub(crate) fn new(max_keys: usize) -> Self {
        Self::with(|builder| builder.max_keys(max_keys))
    }

    pub(crate) fn with(
        tune: impl FnOnce(
            KeyedBuilder<&'static str, FakeConnection>,
        ) -> KeyedBuilder<&'static str, FakeConnection>,
    ) -> Self {
        let fakes = Fakes::default();
        let made = Arc::clone(&fakes);
        let builder = KeyedPool::builder(move |key: &&'static str| {
            let (connector, fake) = pair();
            lock(&made).entry(*key).or_default().push(fake);
            ConnectionPool::builder(connector).max_size(2)
        });
        Self {
            pools: tune(builder.name("servers"))
                .build()
                .expect("the settings are valid"),
            fakes,
            _watchdog: Watchdog::start(),
        }
    }

    pub(crate) async fn lease(&self, key: &'static str) -> Lease {
        let acquired: Result<_, KeyedAcquireError> = self.pools.acquire(&key).await;
        acquired.expect("the key has a connection")
    }

    /// How often a pool was made for a key.
    pub(crate) fn made(&self, key: &'static str) -> usize {
        lock(&self.fakes).get(key).map_or(0, Vec::len)
    }

    /// The fake of the latest pool of a key.
    pub(crate) fn fake(&self, key: &'static str) -> FakeHandle {
        let fakes = lock(&self.fakes);
        let made = fakes.get(key).and_then(|fakes| fakes.last());
        made.expect("the key was used").clone()
    }

    /// Closes it, and checks that nothing is left.
    pub(crate) async fn finish(self) {
        assert!(self.pools.close(MINUTE).await.is_complete());
        let fakes: Vec<_> = lock(&self.fakes).values().flatten().cloned().collect();
        for fake in fakes {
            let counts = fake.until(|counts| counts.alive == 0).await;
            assert_eq!(counts.dropped_unclosed, 0);
        }
    }
}

pub(crate) fn budget(max_connections: usize) -> Budget {
    let budget = Budget::builder("children")
        .max_connections(max_connections)
        .build();
    budget.expect("the settings are valid")
}
