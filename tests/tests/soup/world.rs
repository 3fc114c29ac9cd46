//! What the actors of a run share: the fake behind the pool, the ledger, and the facts that they check.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use pool_core::{AcquireError, ConnectionId};
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_testkit::fault::{FaultSwitch, FaultyConnector};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::kind::{SoupLedger, SoupPool};
use crate::scenario::{RuntimeKind, Scenario};
use crate::traced::TracedConnector;

pub(crate) struct World<P: SoupPool> {
    pub(crate) scenario: Scenario,
    pub(crate) fake: FakeHandle,
    pub(crate) switch: FaultSwitch,
    pub(crate) ledger: P::Ledger,
    /// Gone once the pool's connector is dropped.
    connector: Weak<()>,
    /// Connections that must never be lent again.
    spoiled: Mutex<BTreeSet<ConnectionId>>,
    detached: Mutex<BTreeSet<ConnectionId>>,
    /// Leases that actors left for others to drop.
    stash: Mutex<Vec<P::Lease>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// How many steps were done.
    steps: watch::Sender<usize>,
    /// From here on actors may find the pool closed.
    ending: AtomicBool,
    served: AtomicU64,
    unwanted: AtomicU64,
}

impl<P: SoupPool> World<P> {
    /// A world and its pool; to be called inside the runtime.
    pub(crate) fn new(scenario: &Scenario) -> (Self, P) {
        let (connector, fake) = pair();
        let faulty = FaultyConnector::new(connector, scenario.plan.clone());
        let switch = faulty.switch();
        let (witness, connector) = TracedConnector::new(faulty);
        let (pool, ledger) = P::build(scenario, witness);
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
        (world, pool)
    }

    /// Counts a lease, and checks that it was right to lend its connection.
    pub(crate) fn receive(&self, lease: &P::Lease) {
        self.served.fetch_add(1, Ordering::Relaxed);
        let id = P::id(lease);
        assert_eq!(id, lease.deref().id(), "the pool and the connection agree");
        P::assert_lease(&self.scenario, lease);
        // On threads, another holder of a shared connection may spoil it, and an actor may kill it, between
        // the pool's decision and this one.
        let is_exact = self.scenario.runtime_kind == RuntimeKind::Paused;
        assert!(
            P::IS_SHARED && !is_exact || !lock(&self.spoiled).contains(&id),
            "invariant 2 or 5 broken: {id} was lent again"
        );
        assert!(
            !is_exact || lease.is_alive(),
            "invariant 2 broken: {id} was lent dead"
        );
    }

    /// The connection of this lease must never be lent again.
    pub(crate) fn spoil(&self, lease: &P::Lease) {
        lock(&self.spoiled).insert(P::id(lease));
    }

    /// Drops a connection that was detached from the pool.
    pub(crate) fn drop_detached(&self, connection: FakeConnection) {
        lock(&self.detached).insert(connection.id());
        // An actor may have told it to panic on drop, and it is not the pool's any more.
        drop(catch_unwind(AssertUnwindSafe(|| drop(connection))));
    }

    /// Acquires `count` leases and holds them all at the same time.
    pub(crate) async fn acquire_all(&self, pool: &P, count: usize) -> Vec<P::Lease> {
        let mut leases = Vec::new();
        while leases.len() < count {
            leases.push(self.acquire_at_last(pool).await);
        }
        leases
    }

    /// Acquires, and tries again as long as the pool answers that connects have failed too often.
    async fn acquire_at_last(&self, pool: &P) -> P::Lease {
        loop {
            match pool.acquire_within(self.scenario.units(2000)).await {
                Ok(lease) => {
                    self.receive(&lease);
                    return lease;
                }
                Err(AcquireError::Unavailable { retry_after, .. }) => sleep(retry_after).await,
                Err(error) => panic!("invariant 7 broken: {error}{}", self.latest()),
            }
        }
    }

    pub(crate) fn stash(&self, lease: P::Lease) {
        lock(&self.stash).push(lease);
    }

    pub(crate) fn unstash(&self) -> Option<P::Lease> {
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

    /// The latest events, as lines.
    pub(crate) fn latest(&self) -> String {
        let events = self.ledger.events();
        let latest = &events[events.len().saturating_sub(EVENTS_SHOWN)..];
        let lines = latest
            .iter()
            .map(|event| format!("\n  {:>6} {:?}", event.seq, event.kind));
        lines.collect()
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

/// The connections of these leases.
pub(crate) fn ids<P: SoupPool>(leases: &[P::Lease]) -> BTreeSet<ConnectionId> {
    leases.iter().map(P::id).collect()
}

fn join(thread: JoinHandle<()>) {
    assert!(thread.join().is_ok(), "a drop on a plain thread panicked");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const EVENTS_SHOWN: usize = 32;
