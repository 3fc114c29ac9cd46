//! A pool of `bb8-redis`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bb8_redis::RedisConnectionManager;
use bb8_redis::redis::{self, RedisError, aio::MultiplexedConnection};
use pool_core::BoxError;

use super::{CallError, KEY, RedisPool};

/// `bb8-redis`.
#[derive(Debug, Clone)]
pub struct Bb8 {
    pool: bb8::Pool<Counting>,
    connects: Arc<AtomicU64>,
}

/// The manager of `bb8-redis`, with a count of connects.
#[derive(Debug)]
struct Counting {
    inner: RedisConnectionManager,
    connects: Arc<AtomicU64>,
}

impl bb8::ManageConnection for Counting {
    type Connection = MultiplexedConnection;
    type Error = RedisError;

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.inner.connect().await
    }

    async fn is_valid(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        self.inner.is_valid(connection).await
    }

    fn has_broken(&self, connection: &mut MultiplexedConnection) -> bool {
        self.inner.has_broken(connection)
    }
}

impl RedisPool for Bb8 {
    const NAME: &'static str = "bb8-redis";

    async fn build(address: SocketAddr, max_size: u32) -> Result<Self, BoxError> {
        let connects = Arc::default();
        let manager = Counting {
            inner: RedisConnectionManager::new(format!("redis://{address}"))?,
            connects: Arc::clone(&connects),
        };
        let pool = bb8::Pool::builder().max_size(max_size);
        let pool = pool.build(manager).await?;
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
