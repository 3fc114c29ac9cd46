//! deadpool 0.13 (`managed`), with defaults and the runtime `Tokio1`: no timeouts, `Fifo` order of
//! idle objects, no hooks; it reads the clock once on each hand-out for its metrics.

use std::convert::Infallible;

use deadpool::managed;

use super::{AsyncSubject, ComparedAs, Connection, Factory, Refused, ServingOrder};

/// A deadpool pool.
#[derive(Debug, Clone)]
pub(in crate::pools) struct Deadpool(managed::Pool<Manager>);

impl AsyncSubject for Deadpool {
    const NAME: &'static str = "deadpool";
    const COMPARED_AS: ComparedAs = ComparedAs::Peer(ServingOrder::Fifo);

    type Lease<'a> = managed::Object<Manager>;

    async fn build(size: usize, factory: Factory) -> Self {
        let builder = managed::Pool::builder(Manager(factory))
            .max_size(size)
            .runtime(deadpool::Runtime::Tokio1);
        Self(builder.build().expect("a pool with a runtime is valid"))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.get().await.map_err(Refused::new)
    }
}

/// Opens connections for deadpool.
#[derive(Debug)]
pub(in crate::pools) struct Manager(Factory);

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = Infallible;

    async fn create(&self) -> Result<Connection, Infallible> {
        Ok(self.0.connect().await)
    }

    async fn recycle(
        &self,
        _connection: &mut Connection,
        _metrics: &managed::Metrics,
    ) -> managed::RecycleResult<Infallible> {
        Ok(())
    }
}
