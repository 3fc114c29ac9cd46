//! What is waited for without a connection: a warm-up, the replacement of all connections, and the end
//! of the pool.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::engine::{Engine, Lends, Timeouts};
use crate::error::WarmUpError;
use crate::status::{CloseReport, EvictionReport};
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
            let (context, budget) = {
                let store = engine.lock();
                (
                    store.context(engine.clock.now()),
                    store.full_budget().map(Box::new),
                )
            };
            let (status, last_failure) = (context.status, context.last_failure.clone());
            Err(WarmUpError::Timeout {
                limit,
                status,
                budget,
                last_failure,
            })
        }
        GoalEnd::TooMany { max_size } => Err(WarmUpError::TooMany { wanted, max_size }),
        GoalEnd::Closed | GoalEnd::Renewed(_) => Err(WarmUpError::Closed),
    }
}

/// Replaces all connections, spread over `time`.
pub(crate) async fn evict_within<T: Send + 'static, L: Lends<T>>(
    engine: &Engine<T, L>,
    time: Duration,
) -> EvictionReport {
    let Timeouts { connect, check, .. } = engine.timeouts;
    let key = {
        let now = engine.clock.now();
        let mut store = engine.enter();
        let key = store.start_renewal(time, connect.saturating_add(check), now);
        engine.finish(store);
        key
    };
    match (GoalWait { engine, key }).await {
        GoalEnd::Renewed(report) => report,
        // The runtime has shut down, and nothing is left.
        GoalEnd::Reached
        | GoalEnd::ConnectFailed { .. }
        | GoalEnd::TimedOut
        | GoalEnd::TooMany { .. }
        | GoalEnd::Closed => EvictionReport {
            replaced: 0,
            left: 0,
            failure: None,
            is_closed: true,
        },
    }
}

/// Stops intake, then waits until every connection is gone and the last event is delivered, at most for
/// `limit`.
pub(crate) async fn close<T: Send + 'static, L: Lends<T>>(
    engine: &Engine<T, L>,
    runtime: Option<&Runtime>,
    limit: Duration,
) -> CloseReport {
    // Order: the time begins before the events of the close are delivered, in this thread.
    let deadline = engine.clock.instant(engine.clock.now().after(limit));
    engine.close();
    let drained = GoalWait::new(engine, Goal::Drained, limit);
    let mut ended = pin!(ended(engine, drained));
    let mut alarm = None;
    // Order: the deadline is looked at last, so what has ended in time is reported as ended.
    let is_delivered = poll_fn(|cx| match ended.as_mut().poll(cx) {
        Poll::Ready(is_delivered) => Poll::Ready(is_delivered),
        Poll::Pending => match runtime {
            Some(runtime) => {
                let alarm = alarm.get_or_insert_with(|| Alarm::at(runtime, deadline, limit));
                alarm.poll(cx).map(|()| false)
            }
            None => Poll::Pending,
        },
    });
    let is_delivered = is_delivered.await;
    let store = engine.lock();
    let (status, closed) = (store.status(), store.closed_since());
    drop(store);
    CloseReport {
        building: 0,
        closed,
        still_leased: status.leased,
        closing: status.opening + status.checking + status.returning + status.closing,
        stuck: status.stuck,
        // Refused callers cause events for ever, but none about a connection.
        delivering: if is_delivered {
            0
        } else {
            engine.deliveries.running()
        },
    }
}

/// Waits until every connection is gone; then until the last event about one is delivered, and says so.
async fn ended<T: Send + 'static, L: Lends<T>>(
    engine: &Engine<T, L>,
    drained: GoalWait<'_, T, L>,
) -> bool {
    drop(drained.await);
    let is_finished = engine.lock().is_finished();
    if is_finished {
        engine.deliveries.ended().await;
    }
    is_finished
}

/// A deadline that holds although the maintenance task may be held up by an observer. It also ends when
/// the runtime does. A task, since the caller may be on another runtime, or on none.
///
/// All workers of a runtime may be held up, and then no task runs. So there is a thread, too, that wakes the
/// caller. It only does that: whether the deadline has come is asked of the clock, which tests can pause.
pub(crate) struct Alarm {
    deadline: Instant,
    task: JoinHandle<()>,
    thread: Option<AlarmThread>,
}

impl Alarm {
    pub(crate) fn at(runtime: &Runtime, deadline: Instant, limit: Duration) -> Self {
        Self {
            deadline,
            task: runtime.spawn(async move { sleep_until(deadline).await }),
            thread: AlarmThread::start(limit),
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(thread) = &mut self.thread
            && Pin::new(&mut thread.rings).poll(cx).is_ready()
        {
            self.thread = None;
            if Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
        }
        Pin::new(&mut self.task).poll(cx).map(drop)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A thread that rings once. It ends when this is dropped.
struct AlarmThread {
    rings: oneshot::Receiver<()>,
    _end: mpsc::Sender<()>,
}

impl AlarmThread {
    /// `None` if the system has no more threads.
    fn start(limit: Duration) -> Option<Self> {
        let (ring, rings) = oneshot::channel();
        let (end, ended) = mpsc::channel();
        let wait = move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // The caller may have left at this moment.
                ring.send(()).ok();
            }
        };
        let thread = thread::Builder::new().name("pool-close".to_owned());
        drop(thread.spawn(wait).ok()?);
        Some(Self { rings, _end: end })
    }
}
