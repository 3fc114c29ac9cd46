//! pool-core in a budget, with defaults otherwise.

use std::fmt;

use pool_core::{Budget, ConnectionPool, PooledConnection};

use super::ours::Opener;
use super::{AsyncSubject, ComparedAs, Connection, Factory, Refused};

/// A pool of this workspace in a budget that has room for all its connections.
#[derive(Clone)]
pub(in crate::pools) struct BudgetedPool(ConnectionPool<Connection>);

impl fmt::Debug for BudgetedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0.status();
        f.debug_tuple("BudgetedPool").field(&status).finish()
    }
}

impl AsyncSubject for BudgetedPool {
    const NAME: &'static str = "pool in a budget";
    const COMPARED_AS: ComparedAs = ComparedAs::Ours;

    type Lease<'a> = PooledConnection<Connection>;

    async fn build(size: usize, factory: Factory) -> Self {
        let budget = Budget::builder("bench").max_connections(size).build();
        let budget = budget.expect("a limit above zero");
        let built = ConnectionPool::builder(Opener(factory))
            .name("bench")
            .max_size(size)
            .budget(&budget)
            .build();
        Self(built.expect("a size within the limits, on a runtime with a timer"))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.acquire().await.map_err(Refused::new)
    }
}
