//! A test on a runtime of its own, of each flavour, with everything counted at its end.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_core::{
    ConnectContext, ConnectionId, ConnectionPool, Connector, Event, EventKind, Observer,
};
use pool_stdio::{Children, Codec, Signal, StdioConnection, StdioConnector, StdioError};
#[cfg(not(windows))]
use pool_testkit::census::Leftover;
use pool_testkit::fixture::Behaviour;
use pool_tests::children::{OUTER_DEADLINE, Pulse, block_on};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

#[cfg(windows)]
use crate::common::Leftover;
use crate::common::Scene;

pub(crate) use pool_tests::children::{eager, kill};

pub(crate) type Pool = ConnectionPool<StdioConnection>;

/// How much later than its deadline a call may return, on a machine that has time.
pub(crate) const PROMISED: Duration = Duration::from_millis(100);
/// The same, whatever else the machine does: what is looked for are calls that do not end.
pub(crate) const SLACK: Duration = Duration::from_millis(400);

/// How long a test may take in all, on the slowest machine: some of them have much to do.
const TEST_TIME: Duration = OUTER_DEADLINE.saturating_mul(4);

/// What a test needs.
pub(crate) struct Bed {
    pub(crate) scene: Scene,
    /// What is there though no test has begun: the beacon.
    own: Vec<Leftover>,
    started: Mutex<Vec<Children>>,
}

/// Makes a request while its child is stopped: a child that runs could reply in time, if this thread had to wait
/// between its write and its read.
#[cfg(not(windows))]
pub(crate) async fn while_stopped<T>(pid: u32, request: impl IntoFuture<Output = T>) -> T {
    use nix::sys::signal::Signal;

    let signal = |signal| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).unwrap();
    };
    signal(Signal::SIGSTOP);
    let outcome = request.await;
    signal(Signal::SIGCONT);
    outcome
}

/// Polls a request once and gives it up, while its child is stopped.
#[cfg(not(windows))]
pub(crate) async fn give_up<F: IntoFuture>(pid: u32, request: F)
where
    F::Output: Debug,
{
    let outcome = while_stopped(pid, pool_tests::children::poll_times(request, 1)).await;
    assert!(outcome.is_none(), "{outcome:?}");
}

/// Runs a test on both flavours of runtime, one after the other.
#[track_caller]
pub(crate) fn on_both_runtimes(test: impl AsyncFn(&Bed)) {
    on(&mut runtime::Builder::new_current_thread(), &test);
    on(
        runtime::Builder::new_multi_thread().worker_threads(2),
        &test,
    );
}

#[track_caller]
fn on(runtime: &mut runtime::Builder, test: &impl AsyncFn(&Bed)) {
    // Order: a census comes first, so that nobody else's runtime is counted with ours.
    let bed = Bed::new();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        timeout(TEST_TIME, test(&bed))
            .await
            .expect("a test ends in time");
    });
    drop(runtime);
    bed.end();
}

impl Bed {
    pub(crate) fn new() -> Self {
        let scene = Scene::new();
        Self {
            own: scene.census.leftovers(),
            scene,
            started: Mutex::new(Vec::new()),
        }
    }

    /// Nothing is left.
    #[track_caller]
    pub(crate) fn end(self) {
        for children in self.started.into_inner().unwrap() {
            block_on(children.emptied());
        }
        // A thread that has just woken a task of the runtime holds it for a moment longer.
        let begun = Instant::now();
        while self.scene.census.leftovers() != self.own && begun.elapsed() < OUTER_DEADLINE {
            std::thread::yield_now();
        }
        self.scene.end(Vec::new());
    }

    /// A connector whose children are counted.
    pub(crate) fn connector(&self, behaviour: &Behaviour) -> StdioConnector {
        let spec = self.scene.spec(behaviour);
        self.watch(StdioConnector::new(spec).unwrap())
    }

    pub(crate) fn watch<C: Codec>(&self, connector: StdioConnector<C>) -> StdioConnector<C> {
        self.note(connector.children());
        connector
    }

    pub(crate) fn note(&self, children: Children) {
        self.started.lock().unwrap().push(children);
    }

    /// Sends a signal to every child that was started.
    pub(crate) fn signal_all(&self, signal: Signal) {
        for children in &*self.started.lock().unwrap() {
            drop(children.signal_all(signal));
        }
    }

    /// A pool of at most `max_size` such children.
    pub(crate) fn pool(&self, behaviour: &Behaviour, max_size: usize) -> Pool {
        let connector = self.connector(behaviour);
        eager(ConnectionPool::builder(connector))
            .max_size(max_size)
            .build()
            .unwrap()
    }

    /// A child that belongs to no pool.
    pub(crate) async fn child(&self, behaviour: &Behaviour) -> StdioConnection {
        self.connector(behaviour).connect(&context()).await.unwrap()
    }
}

pub(crate) fn context() -> ConnectContext {
    let deadline = Instant::now() + OUTER_DEADLINE;
    ConnectContext::new(ConnectionId::from_u64(0), 1, deadline)
}

/// The events of a pool, to wait for.
pub(crate) struct Events {
    receiver: mpsc::UnboundedReceiver<EventKind>,
}

struct Forward {
    sender: mpsc::UnboundedSender<EventKind>,
}

impl Observer for Forward {
    fn on_event(&self, event: &Event) {
        drop(self.sender.send(event.kind.clone()));
    }
}

impl Events {
    pub(crate) fn new() -> (Self, Arc<dyn Observer>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { receiver }, Arc::new(Forward { sender }))
    }

    /// Waits for the next event of this kind.
    pub(crate) async fn next(&mut self, is_it: impl Fn(&EventKind) -> bool) -> EventKind {
        loop {
            let event = self.receiver.recv().await.expect("the pool lives");
            if is_it(&event) {
                return event;
            }
        }
    }
}

/// Waits until the pool has nothing in motion, and this many connections.
pub(crate) async fn settled(pool: &Pool, idle: usize) {
    loop {
        let status = pool.status();
        if status.idle == idle && status.size() == idle {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The reply is this line.
#[track_caller]
pub(crate) fn assert_line(
    outcome: Result<pool_stdio::codec::Line, StdioError>,
    expected: impl AsRef<[u8]> + Debug,
) {
    let line = outcome.unwrap();
    assert_eq!(&line.bytes[..], expected.as_ref());
}

/// The call took at most this long, and a little: [`SLACK`], and as long as the machine kept
/// everybody waiting meanwhile.
pub(crate) async fn within<T>(limit: Duration, call: impl IntoFuture<Output = T>) -> T {
    timed(limit, call).await.0
}

/// As [`within`]. Also returns how much longer than the limit it took, less what the machine was late.
pub(crate) async fn timed<T>(limit: Duration, call: impl IntoFuture<Output = T>) -> (T, Duration) {
    let pulse = Pulse::start();
    let begun = Instant::now();
    let output = call.await;
    let taken = begun.elapsed();
    let lateness = pulse.stop();
    // Its child can be late before it and after it.
    let allowed = limit + SLACK + 3 * lateness;
    assert!(
        taken <= allowed,
        "{taken:?} instead of {limit:?}; the machine was {lateness:?} late"
    );
    (output, taken.saturating_sub(limit + lateness))
}

/// A future on the heap, as a handshake is.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
