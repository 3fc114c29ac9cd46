//! mobc 0.9, with defaults: a timeout of 30 s, a health check on each check-out (which is ready at
//! once here), a cleaner every second, its gauges without a recorder.
//!
//! `max_idle` is 2 by default and counts as a size: it is set to the size of the pool, or mobc
//! would close and open connections all the time. It returns connections in a task of their own.

use std::convert::Infallible;
use std::fmt;

use super::{AsyncSubject, ComparedAs, Connection, Factory, Refused, ServingOrder};

/// A mobc pool.
#[derive(Clone)]
pub(in crate::pools) struct Mobc(mobc::Pool<Manager>);

impl fmt::Debug for Mobc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mobc").finish_non_exhaustive()
    }
}

impl AsyncSubject for Mobc {
    const NAME: &'static str = "mobc";
    const COMPARED_AS: ComparedAs = ComparedAs::Peer(ServingOrder::Fifo);

    type Lease<'a> = mobc::Connection<Manager>;

    async fn build(size: usize, factory: Factory) -> Self {
        let size = u64::try_from(size).expect("pool sizes are small");
        Self(
            mobc::Pool::builder()
                .max_open(size)
                .max_idle(size)
                .build(Manager(factory)),
        )
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.get().await.map_err(Refused::new)
    }
}

/// Opens connections for mobc.
#[derive(Debug)]
pub(in crate::pools) struct Manager(Factory);

#[mobc::async_trait]
impl mobc::Manager for Manager {
    type Connection = Connection;
    type Error = Infallible;

    async fn connect(&self) -> Result<Connection, Infallible> {
        Ok(self.0.connect().await)
    }

    async fn check(&self, connection: Connection) -> Result<Connection, Infallible> {
        Ok(connection)
    }
}
