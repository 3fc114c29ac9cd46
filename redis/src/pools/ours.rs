//! A pool of `pool-core`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pool_core::{BoxError, ConnectionPool};

use super::{CallError, KEY, RedisPool};
use crate::{RedisConnection, RedisConnector};

/// `pool-core` with a [`RedisConnector`].
#[derive(Debug, Clone)]
pub struct Ours {
    pool: ConnectionPool<RedisConnection>,
    connects: Arc<AtomicU64>,
}

impl RedisPool for Ours {
    const NAME: &'static str = "pool-core";

    async fn build(address: SocketAddr, max_size: u32) -> Result<Self, BoxError> {
        let connector = RedisConnector::new(address);
        let connects = connector.connects();
        let builder = ConnectionPool::builder(connector).max_size(max_size.try_into()?);
        let pool = builder.build()?;
        Ok(Self { pool, connects })
    }

    async fn increment(&self) -> Result<i64, CallError> {
        let mut lease = self.pool.acquire().await.map_err(CallError::acquire)?;
        lease.increment(KEY).await.map_err(CallError::command)
    }

    fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }
}
