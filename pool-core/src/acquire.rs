//! The future of an acquire from an exclusive pool.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::engine::Engine;
use crate::error::AcquireError;
use crate::lease::PooledConnection;
use crate::store::Exclusive;
#[cfg(all(test, loom))]
use crate::store::WaiterKey;
use crate::wait::Wait;

/// The future that [`ConnectionPool::acquire`](crate::ConnectionPool::acquire) returns.
///
/// The acquire timeout and the place in the queue begin with the first poll.
///
/// # Cancel safety
///
/// Dropping it gives up the place in the queue and nothing else. A connect that was started for it
/// goes on, and serves the next caller.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(1).build()?;
/// let held = pool.acquire().await?;
/// let mut waiting = pin!(pool.acquire());
/// assert_eq!(pool.status().waiting, 0, "it does nothing before it is polled");
///
/// let mut cx = Context::from_waker(Waker::noop());
/// assert!(waiting.as_mut().poll(&mut cx).is_pending());
/// assert_eq!(pool.status().waiting, 1);
/// drop(held);
/// assert!(matches!(waiting.poll(&mut cx), Poll::Ready(Ok(_))));
/// # Ok(())
/// # }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a, T: Send + 'static> {
    wait: Wait<'a, T, Exclusive>,
}

impl<'a, T: Send + 'static> Acquire<'a, T> {
    pub(crate) const fn new(
        engine: &'a Engine<T, Exclusive>,
        site: &'static Location<'static>,
        timeout: Duration,
    ) -> Self {
        Self {
            wait: Wait::new(engine, site, timeout),
        }
    }

    /// For a model that leaves the queue in its own way.
    #[cfg(all(test, loom))]
    pub(crate) fn forget_place(self) -> Option<WaiterKey> {
        self.wait.forget_place()
    }
}

impl<T: Send + 'static> Future for Acquire<'_, T> {
    type Output = Result<PooledConnection<T>, AcquireError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let held = ready!(Pin::new(&mut self.wait).poll(cx))?;
        Poll::Ready(Ok(PooledConnection::new(held)))
    }
}

impl<T: Send + 'static> fmt::Debug for Acquire<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wait.describe(&mut f.debug_struct("Acquire"))
    }
}
