//! The future of an acquire from a shared pool.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::engine::Engine;
use crate::error::AcquireError;
use crate::shared_pool::lease::SharedLease;
use crate::store::Multiplexed;
use crate::wait::Wait;

/// The wait for a shared lease.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct AcquireShared<'a, T: Send + Sync + 'static> {
    wait: Wait<'a, Arc<T>, Multiplexed>,
}

impl<'a, T: Send + Sync + 'static> AcquireShared<'a, T> {
    pub(crate) const fn new(
        engine: &'a Engine<Arc<T>, Multiplexed>,
        site: &'static Location<'static>,
        timeout: Duration,
    ) -> Self {
        Self {
            wait: Wait::new(engine, site, timeout),
        }
    }
}

impl<T: Send + Sync + 'static> Future for AcquireShared<'_, T> {
    type Output = Result<SharedLease<T>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let share = ready!(Pin::new(&mut self.wait).poll(cx))?;
        Poll::Ready(Ok(SharedLease::new(share)))
    }
}
