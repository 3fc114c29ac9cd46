//! What the actors of a run share: the fake behind the pool, the ledger, and the facts that they check.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use pool_core::{ConnectionId, ConnectionPool, PooledConnection};
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_testkit::fault::{FaultSwitch, FaultyConnector};
use pool_testkit::ledger::Ledger;
use tokio::sync::watch;

use crate::scenario::{RuntimeKind, Scenario};
use crate::traced::TracedConnector;

pub(crate) type Pool = ConnectionPool<FakeConnection>;
pub(crate) type Lease = PooledConnection<FakeConnection>;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) fake: FakeHandle,
    pub(crate) switch: FaultSwitch,
    pub(crate) ledger: Ledger,
    /// Gone once the pool's connector is dropped.
    connector: Weak<()>,
    /// Connections that must never be lent again.
    spoiled: Mutex<BTreeSet<ConnectionId>>,
    detached: Mutex<BTreeSet<ConnectionId>>,
    /// Leases that actors left for others to drop.
    stash: Mutex<Vec<Lease>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// How many steps were done.
    steps: watch::Sender<usize>,
    /// From here on actors may find the pool closed.
    ending: AtomicBool,
    served: AtomicU64,
    unwanted: AtomicU64,
}

impl World {
    /// A world and its pool; to be called inside the runtime.
    pub(crate) fn new(scenario: &Scenario) -> (Self, Pool) {
        let (connector, fake) = pair();
        let faulty = FaultyConnector::new(connector, scenario.plan.clone());
        let switch = faulty.switch();
        let ledger = Ledger::new(scenario.max_size);
        let (witness, connector) = TracedConnector::new(faulty);
        let pool = scenario.builder(witness, &ledger).build();
        let world = Self {
            scenario: scenario.clone(),
            fake,
            switch,
            ledger,
            connector,
            spoiled: Mutex::default(),
            detached: Mutex::default(),
            stash: Mutex::default(),
            threads: Mutex::default(),
            steps: watch::Sender::new(0),
            ending: AtomicBool::new(false),
            served: AtomicU64::new(0),
            unwanted: AtomicU64::new(0),
        };
        (world, pool.expect("the settings are drawn from valid ones"))
    }

    /// Counts a lease, and checks that it was right to lend its connection.
    pub(crate) fn receive(&self, lease: &Lease) {
        self.served.fetch_add(1, Ordering::Relaxed);
        let id = PooledConnection::id(lease);
        assert_eq!(id, lease.id(), "the pool and the connection agree");
        assert!(
            !lock(&self.spoiled).contains(&id),
            "invariant 2 or 5 broken: {id} was lent again"
        );
        // On threads, an actor may kill it between the pool's query and this one.
        assert!(
            self.scenario.runtime_kind == RuntimeKind::Threads || lease.is_alive(),
            "invariant 2 broken: {id} was lent dead"
        );
    }

    /// The connection of this lease must never be lent again.
    pub(crate) fn spoil(&self, lease: &Lease) {
        lock(&self.spoiled).insert(PooledConnection::id(lease));
    }

    pub(crate) fn detach(&self, lease: Lease) {
        let connection = PooledConnection::detach(lease);
        lock(&self.detached).insert(connection.id());
        // An actor may have told it to panic on drop, and it is not the pool's any more.
        drop(catch_unwind(AssertUnwindSafe(|| drop(connection))));
    }

    pub(crate) fn stash(&self, lease: Lease) {
        lock(&self.stash).push(lease);
    }

    pub(crate) fn unstash(&self) -> Option<Lease> {
        lock(&self.stash).pop()
    }

    pub(crate) fn stashed(&self) -> usize {
        lock(&self.stash).len()
    }

    pub(crate) fn drop_stash(&self) {
        while let Some(lease) = self.unstash() {
            drop(lease);
        }
    }

    /// Drops something on a thread without a runtime. On the paused clock this waits for the thread, so
    /// that the seed decides the order.
    pub(crate) fn drop_elsewhere(&self, thing: impl Send + 'static) {
        let thread = thread::spawn(move || drop(thing));
        match self.scenario.runtime_kind {
            RuntimeKind::Paused => join(thread),
            RuntimeKind::Threads => lock(&self.threads).push(thread),
        }
    }

    pub(crate) fn join_threads(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        threads.into_iter().for_each(join);
    }

    pub(crate) fn step(&self) {
        self.steps
            .send_modify(|steps| *steps = steps.saturating_add(1));
    }

    /// An actor panicked, so there will be no more steps to wait for.
    pub(crate) fn fail(&self) {
        self.steps.send_replace(usize::MAX);
    }

    /// Waits until so many steps were done, or an actor failed.
    pub(crate) async fn stepped(&self, count: usize) {
        let mut steps = self.steps.subscribe();
        let reached = steps.wait_for(|steps| *steps >= count).await;
        assert!(reached.is_ok(), "the world outlives the wait for it");
    }

    pub(crate) fn has_failed(&self) -> bool {
        *self.steps.borrow() == usize::MAX
    }

    pub(crate) fn begin_ending(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    pub(crate) fn is_connector_gone(&self) -> bool {
        self.connector.strong_count() == 0
    }

    /// How many leases there were. A run without any has tested little.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Notes how many connections `retain` was told to close.
    pub(crate) fn count_unwanted(&self, count: usize) {
        self.unwanted.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// How many connections `retain` was told to close at the end of the run.
    pub(crate) fn unwanted(&self) -> u64 {
        self.unwanted.load(Ordering::Relaxed)
    }

    pub(crate) fn detached(&self) -> BTreeSet<ConnectionId> {
        lock(&self.detached).clone()
    }
}

fn join(thread: JoinHandle<()>) {
    assert!(thread.join().is_ok(), "a drop on a plain thread panicked");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
