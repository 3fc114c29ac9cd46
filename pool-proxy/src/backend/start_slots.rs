//! How many children of sessions start at a time.
//!
//! The pool of such a child knows when it was spawned. It has started when it has answered its client's
//! `initialize`, and until then it takes a core. A start that takes long counts no longer, as a connect that is overdue
//! in a pool: it downloads, or hangs, and would hold up all others. Neither does one that waits until there is room for
//! its child: who gets that is up to the pools.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The right to start children, of all servers together.
#[derive(Debug, Clone)]
pub(crate) struct StartSlots(Arc<Semaphore>);

impl StartSlots {
    pub(crate) fn new(starts_max: usize) -> Self {
        let starts_max = starts_max.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(starts_max)))
    }

    /// Starts a child when fewer than may be are being started, or if there is no room for it yet.
    ///
    /// # Cancel safety
    ///
    /// That of the start; the place in the queue is lost.
    pub(crate) async fn run<T>(
        &self,
        has_room: impl FnOnce() -> bool,
        start: impl Future<Output = T>,
    ) -> T {
        // Never closed.
        let slot = self.0.acquire().await;
        if !has_room() {
            drop(slot);
            return start.await;
        }
        let mut start = pin!(start);
        match timeout(OVERDUE, start.as_mut()).await {
            Ok(started) => started,
            Err(_) => {
                drop(slot);
                start.await
            }
        }
    }
}

/// More than the start of most servers takes.
const OVERDUE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_for_one_before_it_until_that_is_over_or_overdue() {
        let slots = StartSlots::new(1);
        let (over, begun) = (Arc::new(Semaphore::new(0)), Instant::now());
        let mut first = Box::pin(slots.run(|| true, async { drop(over.acquire().await) }));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(slots.run(|| true, async { Instant::now() - begun }));
        assert!(second.as_mut().now_or_never().is_none());
        over.add_permits(1);
        first.await;
        assert_eq!(second.await, Duration::ZERO);

        let mut without_room = Box::pin(slots.run(|| false, pending::<()>()));
        assert!(without_room.as_mut().now_or_never().is_none());
        let hung = slots.run(|| true, pending::<()>());
        let next = slots.run(|| true, async { Instant::now() - begun });
        let next = async {
            tokio::task::yield_now().await;
            next.await
        };
        tokio::select! {
            () = hung => unreachable!("it hangs"),
            waited = next => assert_eq!(waited, OVERDUE),
        }
    }
}
