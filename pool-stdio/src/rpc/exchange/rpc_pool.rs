//! The pools that exchanges can be made over.

use std::fmt;

use pool_core::{AcquireError, BoxFuture, ConnectionPool, SharedPool};

use super::held::Held;
use crate::rpc::connection::JsonRpcConnection;

/// A pool of JSON-RPC children, of either kind. Made from a [`SharedPool`] or a [`ConnectionPool`]; cloned
/// as cheaply.
#[derive(Clone)]
pub struct RpcPool(PoolKind);

#[derive(Clone)]
enum PoolKind {
    Shared(SharedPool<JsonRpcConnection>),
    Exclusive(ConnectionPool<JsonRpcConnection>),
}

impl RpcPool {
    pub(super) fn try_acquire(&self) -> Option<Held> {
        match &self.0 {
            PoolKind::Shared(pool) => pool.try_acquire().ok().map(Held::Shared),
            PoolKind::Exclusive(pool) => {
                let lease = pool.try_acquire().ok()?;
                Some(Held::Exclusive(Box::new(lease)))
            }
        }
    }

    pub(super) fn acquire(&self) -> BoxFuture<'static, Result<Held, AcquireError>> {
        match self.0.clone() {
            PoolKind::Shared(pool) => {
                Box::pin(async move { pool.acquire().await.map(Held::Shared) })
            }
            PoolKind::Exclusive(pool) => Box::pin(async move {
                let lease = pool.acquire().await?;
                Ok(Held::Exclusive(Box::new(lease)))
            }),
        }
    }
}

impl From<SharedPool<JsonRpcConnection>> for RpcPool {
    fn from(pool: SharedPool<JsonRpcConnection>) -> Self {
        Self(PoolKind::Shared(pool))
    }
}

impl From<ConnectionPool<JsonRpcConnection>> for RpcPool {
    fn from(pool: ConnectionPool<JsonRpcConnection>) -> Self {
        Self(PoolKind::Exclusive(pool))
    }
}

impl fmt::Debug for RpcPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcPool").finish_non_exhaustive()
    }
}
