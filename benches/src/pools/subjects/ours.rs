//! pool-core, with defaults.

use std::fmt;
use std::time::Duration;

use pool_core::{ConnectContext, ConnectError, ConnectionPool, Connector, PooledConnection};

use super::{AsyncSubject, ComparedAs, Connection, Factory, Refused};

/// A pool of this workspace.
#[derive(Clone)]
pub(in crate::pools) struct PoolCore(ConnectionPool<Connection>);

impl fmt::Debug for PoolCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PoolCore").field(&self.0.status()).finish()
    }
}

impl AsyncSubject for PoolCore {
    const NAME: &'static str = "pool-core";
    const COMPARED_AS: ComparedAs = ComparedAs::Ours;

    type Lease<'a> = PooledConnection<Connection>;

    async fn build(size: usize, factory: Factory) -> Self {
        let built = ConnectionPool::builder(Opener(factory))
            .name("bench")
            .max_size(size)
            .build();
        Self(built.expect("a size within the limits, on a runtime with a timer"))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.acquire().await.map_err(Refused::new)
    }

    async fn acquire_within(&self, time: Duration) -> Result<Self::Lease<'_>, Refused> {
        self.0.acquire_within(time).await.map_err(Refused::new)
    }
}

/// Opens connections for pool-core.
#[derive(Debug)]
pub(in crate::pools) struct Opener(pub(super) Factory);

#[pool_core::async_trait]
impl Connector for Opener {
    type Connection = Connection;

    async fn connect(&self, _cx: &ConnectContext) -> Result<Connection, ConnectError> {
        Ok(self.0.connect().await)
    }
}
