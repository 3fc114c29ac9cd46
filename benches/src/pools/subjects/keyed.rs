//! pool-core's pools by key: 1 000 keys, all with a pool.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use pool_core::{Budget, ConnectionPool, KeyHandle, KeyedPool, PooledConnection};

use super::ours::Opener;
use super::{AsyncSubject, ComparedAs, Connection, Factory, Refused, ServingOrder};

/// How many keys there are,
const MAX_KEYS: usize = 1_000;
/// from 0 on.
const KEYS: u64 = MAX_KEYS as u64;

/// The key whose connections are warm, where callers use one key only.
const WARM: u64 = 700;

/// A pool for each key; `max_size` and the budget, if there is one, have this size.
fn pools_of_all_keys(
    size: usize,
    factory: Factory,
    budget: Option<&Budget>,
) -> KeyedPool<u64, Connection> {
    let builder = KeyedPool::builder(move |_key: &u64| {
        ConnectionPool::builder(Opener(factory.clone())).max_size(size)
    });
    let builder = builder.max_keys(MAX_KEYS);
    let builder = match budget {
        Some(budget) => builder.budget(budget),
        None => builder,
    };
    let pools = builder.build();
    let pools = pools.expect("limits above zero, on a runtime with a timer");
    for key in 0..KEYS {
        drop(pools.handle(&key).expect("there is room for all keys"));
    }
    pools
}

/// Far more keys than connections: each lease is of a random key.
#[derive(Clone)]
pub(in crate::pools) struct ManyKeys {
    pools: KeyedPool<u64, Connection>,
    leases: Arc<AtomicU64>,
}

impl fmt::Debug for ManyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.pools.status();
        f.debug_tuple("ManyKeys").field(&status).finish()
    }
}

impl AsyncSubject for ManyKeys {
    const NAME: &'static str = "1 000 keys";
    const COMPARED_AS: ComparedAs = ComparedAs::Ours;

    type Lease<'a> = PooledConnection<Connection>;

    async fn build(size: usize, factory: Factory) -> Self {
        let budget = Budget::builder("bench").max_connections(size).build();
        let budget = budget.expect("a limit above zero");
        Self {
            pools: pools_of_all_keys(size, factory, Some(&budget)),
            leases: Arc::default(),
        }
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        let key = scattered(self.leases.fetch_add(1, Ordering::Relaxed)) % KEYS;
        self.pools.acquire(&key).await.map_err(Refused::new)
    }
}

/// `SplitMix64`: numbers in turn become numbers without an order.
const fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One pool that closes each connection after its first use.
#[derive(Clone)]
pub(in crate::pools) struct OneUseEach(ConnectionPool<Connection>);

impl fmt::Debug for OneUseEach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0.status();
        f.debug_tuple("OneUseEach").field(&status).finish()
    }
}

impl AsyncSubject for OneUseEach {
    const NAME: &'static str = "one pool, one use each";
    const COMPARED_AS: ComparedAs = ComparedAs::Peer(ServingOrder::Fifo);

    type Lease<'a> = PooledConnection<Connection>;

    async fn build(size: usize, factory: Factory) -> Self {
        let built = ConnectionPool::builder(Opener(factory))
            .max_size(size)
            .max_uses(1)
            .build();
        Self(built.expect("a size within the limits, on a runtime with a timer"))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.acquire().await.map_err(Refused::new)
    }
}

/// A lease by key, of a key with warm connections.
#[derive(Clone)]
pub(in crate::pools) struct ByKey(KeyedPool<u64, Connection>);

impl fmt::Debug for ByKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByKey").field(&self.0.status()).finish()
    }
}

impl AsyncSubject for ByKey {
    const NAME: &'static str = "keyed pool, by key";
    const COMPARED_AS: ComparedAs = ComparedAs::Ours;

    type Lease<'a> = PooledConnection<Connection>;

    async fn build(size: usize, factory: Factory) -> Self {
        Self(pools_of_all_keys(size, factory, None))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.acquire(&WARM).await.map_err(Refused::new)
    }
}

/// The same by a handle of that key.
#[derive(Clone)]
pub(in crate::pools) struct ByHandle(KeyHandle<Connection>);

impl fmt::Debug for ByHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByHandle").field(&self.0.status()).finish()
    }
}

impl AsyncSubject for ByHandle {
    const NAME: &'static str = "keyed pool, by handle";
    const COMPARED_AS: ComparedAs = ComparedAs::Ours;

    type Lease<'a> = PooledConnection<Connection>;

    async fn build(size: usize, factory: Factory) -> Self {
        let pools = pools_of_all_keys(size, factory, None);
        let handle = pools.handle(&WARM);
        Self(handle.expect("the key has a pool"))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.acquire().await.map_err(Refused::new)
    }
}

/// The way without a keyed pool: pools in a concurrent map, none of which is ever dropped.
#[derive(Clone)]
pub(in crate::pools) struct DashMapOfPools(Arc<DashMap<u64, ConnectionPool<Connection>>>);

impl fmt::Debug for DashMapOfPools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DashMapOfPools")
            .field(&self.0.len())
            .finish()
    }
}

impl AsyncSubject for DashMapOfPools {
    const NAME: &'static str = "pools in a DashMap";
    const COMPARED_AS: ComparedAs = ComparedAs::Peer(ServingOrder::Fifo);

    type Lease<'a> = PooledConnection<Connection>;

    async fn build(size: usize, factory: Factory) -> Self {
        let map = DashMap::new();
        for key in 0..KEYS {
            let built = ConnectionPool::builder(Opener(factory.clone()))
                .max_size(size)
                .build();
            let pool = built.expect("a size within the limits, on a runtime with a timer");
            map.insert(key, pool);
        }
        Self(Arc::new(map))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        let pool = self.0.get(&WARM).map(|pool| pool.clone());
        let pool = pool.ok_or_else(|| Refused::new("no pool of this key"))?;
        pool.acquire().await.map_err(Refused::new)
    }
}

#[cfg(test)]
mod tests {
    use super::{ManyKeys, OneUseEach};
    use crate::pools::load::Workers;
    use crate::pools::subjects::{AsyncSubject, Factory};

    const LEASES: usize = 1_000;

    /// How many connections were opened, after a lease for each of the pool's connections.
    fn opened<S: AsyncSubject>() -> usize {
        let size = 16;
        Workers::One.runtime().block_on(async {
            let factory = Factory::default();
            let pool = S::build(size, factory.clone()).await;
            for _ in 0..size {
                drop(pool.acquire().await.expect("there is room"));
            }
            let before = factory.opened();
            for _ in 0..LEASES {
                drop(pool.acquire().await.expect("one can be replaced"));
            }
            factory.opened() - before
        })
    }

    #[test]
    fn many_keys_replace_a_connection_for_nearly_every_lease_and_so_does_one_pool() {
        assert_eq!(opened::<OneUseEach>(), LEASES);
        let by_keys = opened::<ManyKeys>();
        assert!((LEASES * 95 / 100..=LEASES).contains(&by_keys), "{by_keys}");
    }
}
