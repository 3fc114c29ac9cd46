//! The pools themselves: how a history reaches them, and how it learns what happens there.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::{
    Budget, CloseReport, ConnectionId, ConnectionPool, Event, EventKind, KeyHandle,
    KeyedAcquireError, KeyedPool, KeyedSharedPool, KeyedStatus, Observer, Overweight, PoolStatus,
    PooledConnection, SharedKeyHandle, SharedLease, SharedPool,
};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, FakeConnection, FakeConnector, FakeHandle, pair};
use pool_testkit::ledger::{BudgetLedger, Ledger};
use pool_tests::bed::MINUTE;
use tokio::time::Instant;

use crate::op::Connects;
use crate::terms::{self, ALONE, ALONE_SHARED, Door, MAX_CONNECTIONS, MAX_KEYS, PLACES, SLOW};

pub(crate) enum Lease {
    Own(PooledConnection<FakeConnection>),
    Share(SharedLease<FakeConnection>),
}

impl Lease {
    pub(crate) fn id(&self) -> ConnectionId {
        match self {
            Self::Own(lease) => PooledConnection::id(lease),
            Self::Share(lease) => SharedLease::id(lease),
        }
    }

    pub(crate) fn kill_cause(&self) -> Option<Overweight> {
        match self {
            Self::Own(lease) => PooledConnection::kill_cause(lease),
            Self::Share(lease) => SharedLease::kill_cause(lease),
        }
    }

    /// Takes it out of its pool, and drops it. A share of a connection stays.
    pub(crate) fn detach(self) {
        if let Self::Own(lease) = self {
            drop(PooledConnection::detach(lease));
        }
    }

    pub(crate) fn discard(self) {
        match self {
            Self::Own(lease) => PooledConnection::discard(lease),
            Self::Share(lease) => SharedLease::discard(lease),
        }
    }
}

pub(crate) type Acquired = Result<Lease, KeyedAcquireError>;
pub(crate) type Acquiring = Pin<Box<dyn Future<Output = Acquired> + Send>>;

/// A handle of a key. It is only held.
#[expect(dead_code, reason = "it keeps its key in use until it is dropped")]
pub(crate) enum Hold {
    Own(KeyHandle<FakeConnection>),
    Shared(SharedKeyHandle<FakeConnection>),
}

/// An event, and when it came. Everything runs on one thread, so facts of all pools are in order.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) at: Instant,
    pub(crate) pool: usize,
    pub(crate) kind: EventKind,
}

/// A pool that was made for a place: a key can get several, one after the other. Its name is its number.
#[derive(Clone)]
pub(crate) struct MadePool {
    pub(crate) place: usize,
    pub(crate) fake: FakeHandle,
    /// `None` if it is shared.
    pub(crate) ledger: Option<Ledger>,
}

/// What pools and history share.
#[derive(Clone)]
pub(crate) struct Stage {
    made: Arc<Mutex<Vec<MadePool>>>,
    log: Arc<Mutex<Vec<Fact>>>,
    controls: Arc<[Controls; PLACES.len()]>,
    pub(crate) together: BudgetLedger,
}

/// How the fakes of a place answer.
#[derive(Debug, Default)]
struct Controls {
    connects: AtomicU8,
    holds_closes: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    fn new() -> Self {
        Self {
            made: Arc::default(),
            log: Arc::default(),
            controls: Arc::default(),
            together: BudgetLedger::new(MAX_CONNECTIONS),
        }
    }

    fn next_name(&self) -> String {
        lock(&self.made).len().to_string()
    }

    fn make(&self, place: usize) -> (FakeConnector, Arc<dyn Observer>) {
        let (connector, fake) = pair();
        let controls = Arc::clone(&self.controls);
        fake.set_with(Call::Connect, move |_| {
            match controls[place].connects.load(Ordering::Relaxed) {
                0 => Answer::Ok,
                1 => Answer::After(SLOW),
                _ => Answer::Transient,
            }
        });
        let controls = Arc::clone(&self.controls);
        fake.set_with(Call::Close, move |_| {
            match controls[place].holds_closes.load(Ordering::Relaxed) {
                true => Answer::Manual,
                false => Answer::Ok,
            }
        });
        let terms = &PLACES[place];
        let ledger = (!terms.door.is_shared()).then(|| Ledger::new(terms.max_size));
        let mut made = lock(&self.made);
        let watch = Watch {
            pool: made.len(),
            log: Arc::clone(&self.log),
            ledger: ledger.clone(),
            together: self.together.clone(),
        };
        made.push(MadePool {
            place,
            fake,
            ledger,
        });
        (connector, Arc::new(watch))
    }

    pub(crate) fn made(&self) -> Vec<MadePool> {
        lock(&self.made).clone()
    }

    /// What happened since this was last asked.
    pub(crate) fn take_facts(&self) -> Vec<Fact> {
        std::mem::take(&mut *lock(&self.log))
    }

    pub(crate) fn set_connects(&self, place: usize, connects: Connects) {
        let connects = match connects {
            Connects::Quick => 0,
            Connects::Slow => 1,
            Connects::Fail => 2,
        };
        let control = &self.controls[place].connects;
        control.store(connects, Ordering::Relaxed);
    }

    pub(crate) fn hold_closes(&self, place: usize, holds: bool) {
        let control = &self.controls[place].holds_closes;
        control.store(holds, Ordering::Relaxed);
        if holds {
            return;
        }
        for made in self.made().iter().filter(|made| made.place == place) {
            while let Some(close) = made.fake.try_next(Call::Close) {
                close.succeed();
            }
        }
    }
}

/// Writes the events of a pool down.
struct Watch {
    pool: usize,
    log: Arc<Mutex<Vec<Fact>>>,
    ledger: Option<Ledger>,
    together: BudgetLedger,
}

impl Observer for Watch {
    fn on_event(&self, event: &Event) {
        self.together.on_event(event);
        if let Some(ledger) = &self.ledger {
            ledger.on_event(event);
        }
        lock(&self.log).push(Fact {
            at: Instant::now(),
            pool: self.pool,
            kind: event.kind.clone(),
        });
    }
}

pub(crate) struct Doors {
    pub(crate) budget: Budget,
    keyed: KeyedPool<usize, FakeConnection>,
    keyed_shared: KeyedSharedPool<usize, FakeConnection>,
    alone: ConnectionPool<FakeConnection>,
    alone_shared: SharedPool<FakeConnection>,
    pub(crate) stage: Stage,
}

impl Doors {
    pub(crate) fn new() -> Self {
        let (stage, budget) = (Stage::new(), terms::budget());
        let (name, (connector, observer)) = (stage.next_name(), stage.make(ALONE));
        let alone = terms::exclusive(connector, &PLACES[ALONE]).name(name);
        let alone = alone.observer(observer).budget(&budget).build();
        let (name, (connector, observer)) = (stage.next_name(), stage.make(ALONE_SHARED));
        let alone_shared = terms::shared(connector, &PLACES[ALONE_SHARED]).name(name);
        let alone_shared = alone_shared.observer(observer).budget(&budget).build();

        let (maker, namer) = (stage.clone(), stage.clone());
        let keyed = KeyedPool::builder(move |place: &usize| {
            let (connector, observer) = maker.make(*place);
            terms::exclusive(connector, &PLACES[*place]).observer(observer)
        });
        let keyed = keyed.key_name(move |_| namer.next_name());
        let keyed = keyed.key_idle_timeout(terms::KEY_IDLE_TIMEOUT);
        let (maker, namer) = (stage.clone(), stage.clone());
        let keyed_shared = KeyedSharedPool::builder(move |place: &usize| {
            let (connector, observer) = maker.make(*place);
            terms::shared(connector, &PLACES[*place]).observer(observer)
        });
        let keyed_shared = keyed_shared.key_name(move |_| namer.next_name());
        let keyed_shared = keyed_shared.key_idle_timeout(terms::KEY_IDLE_TIMEOUT);
        Self {
            keyed: keyed
                .budget(&budget)
                .max_keys(MAX_KEYS)
                .build()
                .expect(VALID),
            keyed_shared: keyed_shared.budget(&budget).build().expect(VALID),
            alone: alone.expect(VALID),
            alone_shared: alone_shared.expect(VALID),
            budget,
            stage,
        }
    }

    pub(crate) fn acquire(&self, place: usize) -> Acquiring {
        match PLACES[place].door {
            Door::Keyed => {
                let acquire = self.keyed.acquire(&place);
                Box::pin(async move { acquire.await.map(Lease::Own) })
            }
            Door::KeyedShared => {
                let acquire = self.keyed_shared.acquire(&place);
                Box::pin(async move { acquire.await.map(Lease::Share) })
            }
            Door::Alone => {
                let acquire = self.alone.acquire_owned();
                Box::pin(async move { Ok(Lease::Own(acquire.await?)) })
            }
            Door::AloneShared => {
                let acquire = self.alone_shared.acquire_owned();
                Box::pin(async move { Ok(Lease::Share(acquire.await?)) })
            }
        }
    }

    /// `None` without keys, or if it is refused.
    pub(crate) fn hold(&self, place: usize) -> Option<Hold> {
        match PLACES[place].door {
            Door::Keyed => self.keyed.handle(&place).map(Hold::Own).ok(),
            Door::KeyedShared => self.keyed_shared.handle(&place).map(Hold::Shared).ok(),
            Door::Alone | Door::AloneShared => None,
        }
    }

    pub(crate) fn evict(&self, place: usize) -> usize {
        match PLACES[place].door {
            Door::Keyed => self.keyed.evict(&place),
            Door::KeyedShared => self.keyed_shared.evict(&place),
            Door::Alone => self.alone.evict_all(),
            Door::AloneShared => self.alone_shared.evict_all(),
        }
    }

    /// Of a pool without keys.
    pub(crate) fn resize(&self, door: Door, max_size: usize) {
        let resized = match door {
            Door::Alone => self.alone.resize(max_size),
            Door::Keyed | Door::KeyedShared | Door::AloneShared => {
                self.alone_shared.resize(max_size)
            }
        };
        drop(resized);
    }

    pub(crate) fn status(&self, place: usize) -> Option<PoolStatus> {
        match PLACES[place].door {
            Door::Keyed => self.keyed.status_of(&place),
            Door::KeyedShared => self.keyed_shared.status_of(&place),
            Door::Alone => Some(self.alone.status()),
            Door::AloneShared => Some(self.alone_shared.status()),
        }
    }

    pub(crate) fn keyed_status(&self, door: Door) -> Option<KeyedStatus> {
        match door {
            Door::Keyed => Some(self.keyed.status()),
            Door::KeyedShared => Some(self.keyed_shared.status()),
            Door::Alone | Door::AloneShared => None,
        }
    }

    /// Begins to close with the first poll.
    pub(crate) fn close(&self, door: Door) -> impl Future<Output = CloseReport> + use<> {
        let (keyed, keyed_shared) = (self.keyed.clone(), self.keyed_shared.clone());
        let (alone, alone_shared) = (self.alone.clone(), self.alone_shared.clone());
        async move {
            match door {
                Door::Keyed => keyed.close(MINUTE).await,
                Door::KeyedShared => keyed_shared.close(MINUTE).await,
                Door::Alone => alone.close(MINUTE).await,
                Door::AloneShared => alone_shared.close(MINUTE).await,
            }
        }
    }
}

const VALID: &str = "the settings are valid";
