//! The pools that exchanges can be made over.

use std::fmt;

use pool_core::{
    AcquireError, BoxFuture, ConnectionPool, KeyHandle, SharedKeyHandle, SharedPool,
};

use super::held::Held;
use crate::rpc::connection::JsonRpcConnection;

/// A pool of JSON-RPC children, of either kind. Made from a [`SharedPool`] or a [`ConnectionPool`], or from
/// the handle of one key of a keyed pool; cloned as cheaply.
#[derive(Clone)]
pub struct RpcPool(PoolKind);

#[derive(Clone)]
enum PoolKind {
    Shared(SharedPool<JsonRpcConnection>),
    Exclusive(ConnectionPool<JsonRpcConnection>),
    SharedKey(SharedKeyHandle<JsonRpcConnection>),
    ExclusiveKey(KeyHandle<JsonRpcConnection>),
}

impl RpcPool {
    pub(super) fn try_acquire(&self) -> Option<Held> {
        match &self.0 {
            PoolKind::Shared(pool) => pool.try_acquire().ok().map(Held::Shared),
            PoolKind::Exclusive(pool) => {
                let lease = pool.try_acquire().ok()?;
                Some(Held::Exclusive(Box::new(lease)))
            }
            PoolKind::SharedKey(key) => key.try_acquire().ok().map(Held::Shared),
            PoolKind::ExclusiveKey(key) => {
                let lease = key.try_acquire().ok()?;
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
            PoolKind::SharedKey(key) => {
                Box::pin(async move { key.acquire().await.map(Held::Shared) })
            }
            PoolKind::ExclusiveKey(key) => Box::pin(async move {
                let lease = key.acquire().await?;
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

impl From<SharedKeyHandle<JsonRpcConnection>> for RpcPool {
    fn from(key: SharedKeyHandle<JsonRpcConnection>) -> Self {
        Self(PoolKind::SharedKey(key))
    }
}

impl From<KeyHandle<JsonRpcConnection>> for RpcPool {
    fn from(key: KeyHandle<JsonRpcConnection>) -> Self {
        Self(PoolKind::ExclusiveKey(key))
    }
}

impl fmt::Debug for RpcPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcPool").finish_non_exhaustive()
    }
}
