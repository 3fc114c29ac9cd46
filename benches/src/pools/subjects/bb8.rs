//! bb8 0.9, with defaults: `parking_lot`, a check on each check-out (which is ready at once here),
//! a connection timeout of 30 s, `Fifo` order of idle connections, a reaper every 30 s.
//!
//! Its waiters are woken in order, but a caller who comes later may take the connection first.

use std::convert::Infallible;

use super::{AsyncSubject, ComparedAs, Connection, Factory, Refused, ServingOrder};

/// A bb8 pool.
#[derive(Debug, Clone)]
pub(in crate::pools) struct Bb8(bb8::Pool<Manager>);

impl AsyncSubject for Bb8 {
    const NAME: &'static str = "bb8";
    const COMPARED_AS: ComparedAs = ComparedAs::Peer(ServingOrder::Barging);

    type Lease<'a> = bb8::PooledConnection<'a, Manager>;

    async fn build(size: usize, factory: Factory) -> Self {
        let size = u32::try_from(size).expect("pool sizes are small");
        let built = bb8::Pool::builder()
            .max_size(size)
            .build(Manager(factory))
            .await;
        Self(built.expect("connecting does not fail"))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.get().await.map_err(Refused::new)
    }
}

/// Opens connections for bb8.
#[derive(Debug)]
pub(in crate::pools) struct Manager(Factory);

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = Infallible;

    async fn connect(&self) -> Result<Connection, Infallible> {
        Ok(self.0.connect().await)
    }

    async fn is_valid(&self, _connection: &mut Connection) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _connection: &mut Connection) -> bool {
        false
    }
}
