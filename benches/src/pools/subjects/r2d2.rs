//! r2d2 0.8, with defaults: a check on each check-out, a connection timeout of 30 s, `min_idle`
//! equal to the size, so that it opens all connections at the start. Its callers block a thread.

use std::convert::Infallible;

use super::{BlockingSubject, Connection, Factory, Refused};

/// An r2d2 pool.
#[derive(Debug, Clone)]
pub(in crate::pools) struct R2d2(r2d2::Pool<Manager>);

impl BlockingSubject for R2d2 {
    const NAME: &'static str = "r2d2";

    type Lease = r2d2::PooledConnection<Manager>;

    fn build(size: usize, factory: Factory) -> Self {
        let size = u32::try_from(size).expect("pool sizes are small");
        let built = r2d2::Pool::builder().max_size(size).build(Manager(factory));
        Self(built.expect("connecting does not fail"))
    }

    fn acquire(&self) -> Result<Self::Lease, Refused> {
        self.0.get().map_err(Refused::new)
    }
}

/// Opens connections for r2d2.
#[derive(Debug)]
pub(in crate::pools) struct Manager(Factory);

impl r2d2::ManageConnection for Manager {
    type Connection = Connection;
    type Error = Infallible;

    fn connect(&self) -> Result<Connection, Infallible> {
        Ok(self.0.connect_now())
    }

    fn is_valid(&self, _connection: &mut Connection) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _connection: &mut Connection) -> bool {
        false
    }
}
