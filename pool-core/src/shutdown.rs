//! The two things that are waited for without a connection: a warm-up, and the end of the pool.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::engine::{Engine, Lends};
use crate::error::WarmUpError;
use crate::status::CloseReport;
use crate::store::{Goal, GoalEnd, GoalKey, WarmUpTerms};

/// A wait for a [`Goal`].
struct GoalWait<'a, T: Send + 'static, L: Lends<T>> {
    engine: &'a Engine<T, L>,
    key: GoalKey,
}

impl<'a, T: Send + 'static, L: Lends<T>> GoalWait<'a, T, L> {
    fn new(engine: &'a Engine<T, L>, goal: Goal, limit: Duration) -> Self {
        let deadline = engine.clock.now().after(limit);
        let mut store = engine.enter();
        let key = store.add_goal(goal, deadline);
        engine.finish(store);
        Self { engine, key }
    }
}

impl<T: Send + 'static, L: Lends<T>> Future for GoalWait<'_, T, L> {
    type Output = GoalEnd;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<GoalEnd> {
        let waker = cx.waker().clone();
        let mut store = self.engine.enter();
        let end = store.poll_goal(self.key, waker);
        self.engine.finish(store);
        end.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T: Send + 'static, L: Lends<T>> Drop for GoalWait<'_, T, L> {
    fn drop(&mut self) {
        let mut store = self.engine.enter();
        store.remove_goal(self.key);
        self.engine.finish(store);
    }
}

const WARM_UP_MARGIN: Duration = Duration::from_secs(1);

/// Waits until `wanted` connections are open.
pub(crate) async fn warm_up<T: Send + 'static, L: Lends<T>>(
    engine: &Engine<T, L>,
    wanted: usize,
) -> Result<(), WarmUpError> {
    let WarmUpTerms { max_size, batches } = engine.lock().warm_up_terms(wanted);
    if wanted > max_size {
        return Err(WarmUpError::TooMany { wanted, max_size });
    }
    // The margin lets a connect that hangs be the one that ends it, with its cause.
    let limit = engine
        .timeouts
        .connect
        .saturating_mul(batches)
        .saturating_add(WARM_UP_MARGIN);
    match GoalWait::new(engine, Goal::Open(wanted), limit).await {
        GoalEnd::Reached => Ok(()),
        GoalEnd::ConnectFailed { failure, open } => Err(WarmUpError::Connect {
            wanted,
            open,
            failure,
        }),
        GoalEnd::TimedOut => {
            let context = {
                let store = engine.lock();
                store.context(engine.clock.now())
            };
            let (status, last_failure) = (context.status, context.last_failure.clone());
            Err(WarmUpError::Timeout {
                limit,
                status,
                last_failure,
            })
        }
        GoalEnd::TooMany { max_size } => Err(WarmUpError::TooMany { wanted, max_size }),
        GoalEnd::Closed => Err(WarmUpError::Closed),
    }
}

/// Stops intake, then waits until every connection is gone, at most for `limit`. If they are, also waits
/// until the last events are delivered, and no others follow.
pub(crate) async fn close<T: Send + 'static, L: Lends<T>>(
    engine: &Engine<T, L>,
    limit: Duration,
) -> CloseReport {
    engine.close();
    drop(GoalWait::new(engine, Goal::Drained, limit).await);
    let (status, closed) = {
        let store = engine.lock();
        (store.status(), store.closed_since())
    };
    let report = CloseReport {
        closed,
        still_leased: status.leased,
        closing: status.opening + status.checking + status.returning + status.closing,
        stuck: status.stuck,
    };
    if report.is_complete() {
        engine.deliveries.ended().await;
    }
    report
}
