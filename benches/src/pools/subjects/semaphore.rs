//! A bare `tokio::sync::Semaphore` without any connection: the least that a fair, bounded pool on
//! Tokio does, and the baseline of growth.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{AsyncSubject, ComparedAs, Factory, Refused};

/// A semaphore that lends permits.
#[derive(Debug, Clone)]
pub(in crate::pools) struct BareSemaphore(Arc<Semaphore>);

impl AsyncSubject for BareSemaphore {
    const NAME: &'static str = "semaphore";
    const COMPARED_AS: ComparedAs = ComparedAs::Baseline;

    type Lease<'a> = SemaphorePermit<'a>;

    async fn build(size: usize, _factory: Factory) -> Self {
        Self(Arc::new(Semaphore::new(size)))
    }

    async fn acquire(&self) -> Result<Self::Lease<'_>, Refused> {
        self.0.acquire().await.map_err(Refused::new)
    }
}
