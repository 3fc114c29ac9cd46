//! A pool of `deadpool-redis`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deadpool::managed::{self, Metrics, Pool, RecycleResult};
use deadpool_redis::redis::{self, RedisError, aio::MultiplexedConnection};
use pool_core::BoxError;

use super::{CallError, KEY, RedisPool};

/// `deadpool-redis`.
#[derive(Debug, Clone)]
pub struct Deadpool {
    pool: Pool<Counting>,
    connects: Arc<AtomicU64>,
}

/// The manager of `deadpool-redis`, with a count of connects.
#[derive(Debug)]
struct Counting {
    inner: deadpool_redis::Manager,
    connects: Arc<AtomicU64>,
}

impl managed::Manager for Counting {
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> Result<MultiplexedConnection, RedisError> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.inner.create().await
    }

    async fn recycle(
        &self,
        connection: &mut MultiplexedConnection,
        metrics: &Metrics,
    ) -> RecycleResult<RedisError> {
        self.inner.recycle(connection, metrics).await
    }
}

impl RedisPool for Deadpool {
    const NAME: &'static str = "deadpool-redis";

    async fn build(address: SocketAddr, max_size: u32) -> Result<Self, BoxError> {
        let connects = Arc::default();
        let manager = Counting {
            inner: deadpool_redis::Manager::new(format!("redis://{address}"))?,
            connects: Arc::clone(&connects),
        };
        let pool = Pool::builder(manager).max_size(max_size.try_into()?);
        let pool = pool.build()?;
        Ok(Self { pool, connects })
    }

    async fn increment(&self) -> Result<i64, CallError> {
        let mut connection = self.pool.get().await.map_err(CallError::acquire)?;
        let mut command = redis::cmd("INCR");
        command.arg(KEY);
        let reply = command.query_async(&mut *connection).await;
        reply.map_err(CallError::command)
    }

    fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }
}
