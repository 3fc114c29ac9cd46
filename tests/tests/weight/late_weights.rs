//! Weights that do not come in time, weights that are not known, and kills that hang.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use pool_core::{
    Builder, ConnectContext, ConnectError, ConnectionId, ConnectionPool, Connector, Event,
    EventKind, LastWeighing, Observer, Overweight, PooledConnection, Vitals, async_trait,
};
use pool_tests::bed::{MINUTE, SECOND, TICK, Watchdog, pass, quiesce};

/// What connections weigh, and which calls hang.
#[derive(Default)]
struct Scales {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Their weight does not come until they are removed.
    hanging: HashSet<ConnectionId>,
    /// These have no weight.
    unknown: HashSet<ConnectionId>,
    /// How often each was asked for its weight.
    asked: HashMap<ConnectionId, usize>,
    killed: Vec<ConnectionId>,
    kills_hang: bool,
    /// Calls that hang, at present.
    held: usize,
    told: Vec<(ConnectionId, LastWeighing)>,
}

impl Scales {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as this holds.
    fn hold(&self, mut state: MutexGuard<'_, State>, hangs: impl Fn(&State) -> bool) {
        state.held += 1;
        let hangs = |state: &mut State| hangs(state);
        let waited = self.changed.wait_while(state, hangs);
        waited.unwrap_or_else(PoisonError::into_inner).held -= 1;
    }

    fn hang(&self, ids: &[ConnectionId]) {
        self.lock().hanging.extend(ids);
    }

    /// Lets all calls end, and waits until their threads have.
    async fn release(&self) {
        self.lock().hanging.clear();
        self.lock().kills_hang = false;
        self.changed.notify_all();
        // The paused clock stands still while a thread for blocking work is busy.
        quiesce().await;
    }

    fn asked(&self, id: ConnectionId) -> usize {
        self.lock().asked.get(&id).copied().unwrap_or(0)
    }
}

struct Opener(Arc<Scales>);

struct Weighed {
    scales: Arc<Scales>,
    id: ConnectionId,
}

impl Vitals for Weighed {
    fn weight(&self) -> Option<u64> {
        let mut state = self.scales.lock();
        *state.asked.entry(self.id).or_default() += 1;
        let is_known = !state.unknown.contains(&self.id);
        self.scales
            .hold(state, |state| state.hanging.contains(&self.id));
        is_known.then_some(WEIGHT)
    }

    fn kill(&self, _: &Overweight) {
        let mut state = self.scales.lock();
        state.killed.push(self.id);
        self.scales.hold(state, |state| state.kills_hang);
    }
}

const WEIGHT: u64 = 10;

#[async_trait]
impl Connector for Opener {
    type Connection = ConnectionId;

    async fn connect(&self, cx: &ConnectContext) -> Result<ConnectionId, ConnectError> {
        Ok(cx.id)
    }

    fn vitals(&self, id: &ConnectionId) -> Option<Arc<dyn Vitals>> {
        let scales = Arc::clone(&self.0);
        Some(Arc::new(Weighed { scales, id: *id }))
    }
}

struct Reporter(Arc<Scales>);

impl Observer for Reporter {
    fn on_event(&self, event: &Event) {
        if let EventKind::Unweighed { id, why } = event.kind {
            self.0.lock().told.push((id, why));
        }
    }
}

/// A pool with all its connections leased, and what they weigh.
struct WeighedPool {
    scales: Arc<Scales>,
    pool: ConnectionPool<ConnectionId>,
    leases: Vec<PooledConnection<ConnectionId>>,
    ids: Vec<ConnectionId>,
    recorder: DebuggingRecorder,
    _watchdog: Watchdog,
}

impl WeighedPool {
    async fn of(
        size: usize,
        tune: impl FnOnce(Builder<ConnectionId>) -> Builder<ConnectionId>,
    ) -> Self {
        let watchdog = Watchdog::start();
        let scales = Arc::new(Scales::default());
        let recorder = DebuggingRecorder::new();
        let builder = ConnectionPool::builder(Opener(Arc::clone(&scales)))
            .name("scales")
            .max_size(size)
            .observer(Arc::new(Reporter(Arc::clone(&scales))));
        let pool = metrics::with_local_recorder(&recorder, || tune(builder).build());
        let pool = pool.expect("the settings are valid");
        let mut leases = Vec::new();
        for _ in 0..size {
            leases.push(pool.acquire().await.expect("it opens"));
        }
        let ids = leases.iter().map(PooledConnection::id).collect();
        Self {
            scales,
            pool,
            leases,
            ids,
            recorder,
            _watchdog: watchdog,
        }
    }

    fn last(&self, place: usize) -> LastWeighing {
        PooledConnection::stats(&self.leases[place]).last_weighing
    }

    fn told(&self) -> Vec<(ConnectionId, LastWeighing)> {
        self.scales.lock().told.clone()
    }

    /// What the gauge says.
    fn gauge(&self) -> Option<f64> {
        let metrics = self.recorder.snapshotter().snapshot().into_vec();
        metrics
            .into_iter()
            .find_map(|(key, _, _, value)| match value {
                DebugValue::Gauge(value) if key.key().name() == "pool_unweighed" => {
                    Some(value.into_inner())
                }
                DebugValue::Gauge(_) | DebugValue::Counter(_) | DebugValue::Histogram(_) => None,
            })
    }

    async fn finish(self) {
        self.scales.release().await;
        drop(self.leases);
        assert!(self.pool.close(MINUTE).await.is_complete());
    }
}

/// Waits in real time for what other threads do. The paused clock does not move meanwhile.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

/// Moves the clock, also while a thread is busy.
async fn advance(time: Duration) {
    tokio::time::advance(time + TICK).await;
}

/// For how long a reader may get no further.
const PATIENCE: Duration = Duration::from_secs(2);

/// Invariant W6.
#[tokio::test(start_paused = true)]
async fn weight_that_hangs_is_late_and_the_others_are_weighed() {
    let it = WeighedPool::of(3, |builder| builder.max_weight(1_000)).await;
    let (scales, ids) = (&it.scales, &it.ids);
    pass(SECOND + TICK).await;
    assert_eq!(
        (it.pool.status().weight, it.last(0)),
        (30, LastWeighing::Measured)
    );
    scales.hang(&ids[..1]);
    advance(SECOND).await;
    until(|| scales.asked(ids[0]) == 2).await;
    assert_eq!(it.pool.status().unweighed, 0, "it is not late yet");
    advance(PATIENCE).await;
    until(|| it.pool.status().unweighed == 1).await;
    let asked = [0, 1, 2].map(|place: usize| scales.asked(ids[place]));
    assert_eq!(asked, [2, 2, 2], "the others were weighed");
    assert_eq!(
        (it.last(0), it.last(1)),
        (LastWeighing::Late, LastWeighing::Measured)
    );
    assert_eq!(it.pool.status().weight, 30, "what it weighed before counts");
    assert_eq!(it.told(), [(ids[0], LastWeighing::Late)]);
    // It is left out as long as its call hangs.
    advance(SECOND).await;
    until(|| scales.asked(ids[1]) == 3 && scales.asked(ids[2]) == 3).await;
    assert_eq!((scales.asked(ids[0]), it.pool.status().unweighed), (2, 1));
    until(|| it.gauge() == Some(1.0)).await;
    scales.release().await;
    pass(SECOND + TICK).await;
    assert_eq!(
        (it.last(0), it.pool.status().unweighed),
        (LastWeighing::Measured, 0)
    );
    assert_eq!(it.told().len(), 1, "it is told once");
    it.finish().await;
}

/// Invariant W6.
#[tokio::test(start_paused = true)]
async fn weights_that_hang_hold_up_no_more_than_four_threads() {
    const READERS: usize = 4;
    let it = WeighedPool::of(6, |builder| builder.max_weight(1_000)).await;
    let (scales, ids) = (&it.scales, &it.ids);
    scales.hang(ids);
    advance(SECOND).await;
    for readers in 1..=READERS {
        until(|| scales.lock().held == readers).await;
        advance(PATIENCE).await;
    }
    until(|| it.pool.status().unweighed == 6).await;
    // The two that nobody could be asked about are tried again, in vain.
    for _ in 0..3 {
        advance(SECOND).await;
        quiesce_beside_threads().await;
    }
    let held = scales.lock().held;
    assert_eq!((held, scales.lock().asked.len()), (READERS, READERS));
    assert_eq!(it.told().len(), 6, "each is told once");
    scales.release().await;
    pass(2 * SECOND).await;
    assert_eq!(
        (it.pool.status().unweighed, it.pool.status().weight),
        (0, 60)
    );
    it.finish().await;
}

/// Lets the tasks of the runtime do what they can without time.
async fn quiesce_beside_threads() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Invariant W6.
#[tokio::test(start_paused = true)]
async fn weight_that_is_unknown_is_told_and_the_one_before_counts() {
    let it = WeighedPool::of(2, |builder| builder.max_weight(1_000)).await;
    let (scales, ids) = (&it.scales, &it.ids);
    pass(SECOND + TICK).await;
    scales.lock().unknown.insert(ids[0]);
    pass(3 * SECOND).await;
    let status = it.pool.status();
    assert_eq!((status.weight, status.unweighed), (20, 1));
    assert_eq!(
        (it.last(0), it.last(1)),
        (LastWeighing::Unknown, LastWeighing::Measured)
    );
    assert_eq!(it.told(), [(ids[0], LastWeighing::Unknown)]);
    scales.lock().unknown.clear();
    pass(SECOND + TICK).await;
    assert_eq!(it.pool.status().unweighed, 0);
    scales.lock().unknown.insert(ids[0]);
    pass(SECOND + TICK).await;
    assert_eq!(it.told().len(), 2, "it is told again after a weight");
    it.finish().await;
}

/// Invariant W5.
#[tokio::test(start_paused = true)]
async fn kill_that_hangs_keeps_no_other_from_its_end() {
    let it = WeighedPool::of(2, |builder| {
        builder.kill_weight(WEIGHT - 1).min_uptime(Duration::ZERO)
    })
    .await;
    let scales = &it.scales;
    scales.lock().kills_hang = true;
    advance(SECOND).await;
    until(|| scales.lock().killed.len() == 2).await;
    it.finish().await;
}
