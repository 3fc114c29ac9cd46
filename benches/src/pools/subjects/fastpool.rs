//! fastpool 1.1 (`bounded`), with defaults: `Fifo` order of idle objects; it has no timeouts.
//!
//! It is deprecated in favour of `asyncband::pool`, whose semaphore it is built on.

#![expect(
    deprecated,
    reason = "its users still have it, and it is the fastest peer"
)]

use std::convert::Infallible;
use std::sync::Arc;

use fastpool::bounded;

use super::{AsyncSubject, ComparedAs, Connection, Factory, Refused, ServingOrder};

/// A fastpool pool.
#[derive(Debug, Clone)]
pub(in crate::pools) struct Fastpool(Arc<bounded::Pool<Manager>>);

impl AsyncSubject for Fastpool {
    const NAME: &'static str = "fastpool";
    const COMPARED_AS: ComparedAs = ComparedAs::Peer(ServingOrder::Fifo);

    type Lease<'a> = bounded::Object<Manager>;

    async fn build(size: usize, factory: Factory) -> Self {
        Self(bounded::Pool::new(
            bounded::PoolConfig::new(size),
            Manager(factory),
        ))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.get().await.map_err(Refused::new)
    }
}

/// Opens connections for fastpool.
#[derive(Debug)]
pub(in crate::pools) struct Manager(Factory);

impl fastpool::ManageObject for Manager {
    type Object = Connection;
    type Error = Infallible;

    async fn create(&self) -> Result<Connection, Infallible> {
        Ok(self.0.connect().await)
    }

    async fn is_recyclable(
        &self,
        _connection: &mut Connection,
        _status: &fastpool::ObjectStatus,
    ) -> Result<(), Infallible> {
        Ok(())
    }
}
