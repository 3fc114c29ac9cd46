//! What both kinds of keyed pool have in common.
//!
//! # Locking
//!
//! The lock of the key table is taken shared to find a key, and exclusively to add or drop one. While it
//! is held, the store of a key can be locked to see whether the key is in use, never the other way
//! round (`key_models`). `Hash`, `Eq` and `Clone` of keys run under it; they must not use the pool. Pools are made outside
//! of it. Pools, keys and errors are dropped outside of it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc as StdArc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::KeyTerms;
use crate::engine::{Engine, Lends};
use crate::error::BuildError;
use crate::foreign::drop_quietly;
use crate::handle::Handle;
use crate::keyed::key_meters::KeyMeters;
use crate::keyed::key_table::{Begun, KeyTable, NoPlace, Resident, Rest};
use crate::keyed::keyed_builder::KeyedBuilder;
use crate::keyed::keyed_error::KeyedAcquireError;
use crate::keyed::keyed_status::KeyedStatus;
use crate::shutdown::{self, Alarm};
use crate::status::{CloseReport, PoolStatus};
use crate::store::FailureRecord;
use crate::sync::{Arc, Mutex, RwLock};
use crate::telemetry::Meters;

/// The pool of a key.
pub(super) struct Entry<T: Send + 'static, L: Lends<T>> {
    pub(super) handle: Handle<T, L>,
}

impl<T: Send + 'static, L: Lends<T>> Resident for Entry<T, L> {
    type Rest = Arc<Engine<T, L>>;

    fn is_at_work(&self) -> bool {
        let status = self.handle.status();
        is_at_work(&status)
    }

    fn leases(&self) -> u64 {
        self.handle.engine.lock().totals.leases
    }

    fn failures(&self) -> Option<FailureRecord> {
        let engine = &self.handle.engine;
        engine.lock().failure_record(&engine.clock)
    }

    fn rest(&self) -> Arc<Engine<T, L>> {
        Arc::clone(&self.handle.engine)
    }
}

impl<T: Send + 'static, L: Lends<T>> Rest for Arc<Engine<T, L>> {
    fn has_ended(&self) -> bool {
        // Order: a delivery begins before the store is unlocked that logged its events.
        let is_finished = self.lock().is_finished();
        is_finished && self.deliveries.running() == 0
    }

    fn closed(&self) -> usize {
        self.lock().closed_since()
    }
}

const fn is_at_work(status: &PoolStatus) -> bool {
    status.leases > 0 || status.waiting > 0
}

/// The pools of all keys. Its clones share them.
pub(super) struct Keyed<K, T: Send + 'static, L: Lends<T>> {
    shared: StdArc<SharedKeys<K, T, L>>,
}

struct SharedKeys<K, T: Send + 'static, L: Lends<T>> {
    settings: KeyedBuilder<K, T, L>,
    runtime: Runtime,
    table: RwLock<KeyTable<K, Entry<T, L>>>,
    /// No pool is being made any more, and the table is closed.
    all_made: Notify,
    /// The metrics of the keyed pool itself.
    own_meters: KeyMeters,
    /// The metrics of each label.
    meters: Mutex<HashMap<StdArc<str>, StdArc<Meters>>>,
}

impl<K, T: Send + 'static, L: Lends<T>> Clone for Keyed<K, T, L> {
    fn clone(&self) -> Self {
        Self {
            shared: StdArc::clone(&self.shared),
        }
    }
}

/// A reference that keeps no pool open.
pub(super) struct WeakKeyed<K, T: Send + 'static, L: Lends<T>>(Weak<SharedKeys<K, T, L>>);

impl<K, T: Send + 'static, L: Lends<T>> WeakKeyed<K, T, L> {
    pub(super) fn upgrade(&self) -> Option<Keyed<K, T, L>> {
        let shared = self.0.upgrade()?;
        Some(Keyed { shared })
    }
}

impl<K, T: Send + 'static, L: Lends<T>> Keyed<K, T, L> {
    pub(super) fn downgrade(&self) -> WeakKeyed<K, T, L> {
        WeakKeyed(StdArc::downgrade(&self.shared))
    }
}

impl<K, T, L> Keyed<K, T, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    T: Send + 'static,
    L: Lends<T>,
{
    pub(super) fn start(settings: KeyedBuilder<K, T, L>) -> Result<Self, BuildError> {
        let zeros = [
            ("max_keys", settings.max_keys == 0),
            (
                "key_idle_timeout",
                settings.key_idle_timeout == Some(Duration::ZERO),
            ),
        ];
        if let Some((setting, _)) = zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(BuildError::OutOfRange {
                setting,
                value: "0".to_owned(),
                must: "more than nothing",
            });
        }
        let runtime = match &settings.runtime {
            Some(runtime) => runtime.clone(),
            None => Runtime::try_current().map_err(|_| BuildError::NoRuntime)?,
        };
        let shared = StdArc::new(SharedKeys {
            table: RwLock::new(KeyTable::new(settings.max_keys)),
            all_made: Notify::new(),
            own_meters: KeyMeters::new(StdArc::clone(&settings.name), settings.max_keys),
            meters: Mutex::new(HashMap::new()),
            runtime,
            settings,
        });
        if let Some(timeout) = shared.settings.key_idle_timeout {
            let keys = StdArc::downgrade(&shared);
            drop(shared.runtime.spawn(drop_unused(keys, timeout)));
        }
        Ok(Self { shared })
    }

    /// The pool of a key; it is made if there is none. The key is in use as long as the entry is held.
    pub(super) fn enter(&self, key: &K) -> Result<StdArc<Entry<T, L>>, KeyedAcquireError> {
        let present = self.shared.table.read().ask(key);
        match present {
            Some(entry) => Ok(entry),
            None => self.make(key).inspect_err(|error| {
                self.shared.own_meters.refused(error);
            }),
        }
    }

    #[cold]
    fn make(&self, key: &K) -> Result<StdArc<Entry<T, L>>, KeyedAcquireError> {
        let shared = &*self.shared;
        let mut looked = 0;
        let failures = loop {
            let begun = shared.change(|table| table.begin(key, looked));
            match begun.map_err(|no_place| self.refusal(no_place))? {
                Begun::Present(entry) => return Ok(entry),
                Begun::Looking(so_far) => looked = so_far,
                Begun::Build(failures) => break failures,
            }
        };
        // Outside of the lock, so two callers can make a pool of the same key. One of them is dropped, and
        // has opened nothing, or closes it.
        let mut place = Place {
            shared,
            key: Some(key),
        };
        let known = failures.as_ref().map(FailureRecord::at);
        let entry = match self.build(key, failures) {
            Ok(entry) => entry,
            Err(error) => {
                drop(place);
                // Another caller may have made it meanwhile, with what this one could not reserve.
                return shared.table.read().ask(key).ok_or(error);
            }
        };
        place.key = None;
        let now = Instant::now();
        let inserted = shared.change(|table| table.insert(key, entry, known, now));
        let insertion = inserted.map_err(|no_place| self.refusal(no_place))?;
        if let Some(failures) = insertion.failures {
            let engine = &insertion.entry.handle.engine;
            let mut store = engine.lock();
            store.restore_failures(failures, &engine.clock);
            engine.finish(store);
        }
        Ok(insertion.entry)
    }

    fn build(
        &self,
        key: &K,
        failures: Option<FailureRecord>,
    ) -> Result<StdArc<Entry<T, L>>, KeyedAcquireError> {
        let settings = &self.shared.settings;
        let name = (settings.key_name)(key);
        let terms = KeyTerms {
            name: StdArc::clone(&name),
            meters: self.meters(key),
            runtime: self.shared.runtime.clone(),
            budget: settings.budget.clone(),
            failures,
        };
        let started = (settings.settings)(key).start_key(terms);
        let handle = started.map_err(|error| KeyedAcquireError::NotBuilt { key: name, error })?;
        Ok(StdArc::new(Entry { handle }))
    }

    fn refusal(&self, no_place: NoPlace) -> KeyedAcquireError {
        let settings = &self.shared.settings;
        let pool = StdArc::clone(&settings.name);
        match no_place {
            NoPlace::Full { keys, left } => KeyedAcquireError::TooManyKeys {
                pool,
                keys,
                limit: settings.max_keys,
                closing: left,
            },
            NoPlace::Closed => KeyedAcquireError::Closed { pool },
        }
    }

    /// The metrics that the pool of a key shares with others.
    fn meters(&self, key: &K) -> StdArc<Meters> {
        let settings = &self.shared.settings;
        let label = match &settings.label {
            Some(label) => label(key),
            None => StdArc::clone(&settings.name),
        };
        if let Some(meters) = self.shared.meters.lock().get(&label) {
            return StdArc::clone(meters);
        }
        let meters = StdArc::new(Meters::new(&label));
        let mut all = self.shared.meters.lock();
        StdArc::clone(all.entry(label).or_insert(meters))
    }

    /// The status of a key that has a pool.
    pub(super) fn status_of(&self, key: &K) -> Option<PoolStatus> {
        let entry = self.shared.table.read().get(key)?;
        Some(entry.handle.status())
    }

    /// Every key that has a pool, and the status of that.
    pub(super) fn keys(&self) -> Vec<(K, PoolStatus)> {
        let table = self.shared.table.read();
        let statuses = table.iter();
        statuses
            .map(|(key, entry)| (key.clone(), entry.handle.status()))
            .collect()
    }

    pub(super) fn status(&self) -> KeyedStatus {
        let table = self.shared.table.read();
        let mut status = KeyedStatus {
            keys: table.len(),
            max_keys: self.shared.settings.max_keys,
            keys_at_work: 0,
            keys_closing: 0,
            total: PoolStatus::default(),
        };
        for (_, entry) in table.iter() {
            let of_key = entry.handle.status();
            status.keys_at_work += usize::from(is_at_work(&of_key));
            status.total.add(&of_key);
        }
        for left in table.left() {
            let of_key = left.lock().status();
            status.keys_closing += 1;
            status.total.add(&PoolStatus {
                max_size: 0,
                ..of_key
            });
        }
        status.total.is_closed = table.is_closed();
        status
    }

    /// Evicts all connections of a key, and drops the key if it is not in use.
    pub(super) fn evict(&self, key: &K) -> usize {
        let Some(entry) = self.shared.table.read().get(key) else {
            return 0;
        };
        let count = entry.handle.evict_all();
        drop(entry);
        self.shared.change(|table| table.evict(key));
        count
    }

    /// Closes the pools of all keys at once, those that callers hold included. Then waits until nothing is
    /// left of them and of those that were dropped before, at most for `deadline`. A pool that another
    /// thread is making is closed when it is made.
    pub(super) async fn close(&self, deadline: Duration) -> CloseReport {
        let begin = Instant::now();
        self.shared.change(KeyTable::close);
        // Order: before anything is awaited. A close that is cancelled has stopped all pools.
        for engine in self.rests() {
            engine.close();
            drop_quietly(engine);
        }
        self.until_all_made(begin.checked_add(deadline), deadline)
            .await;
        let mut total = CloseReport::NOTHING;
        let rests: Vec<_> = {
            let table = self.shared.table.read();
            total.building = table.building();
            total.closed = table.closed();
            table.rests().map(Arc::clone).collect()
        };
        // Each has been closed before, so all come to their end while one is waited for.
        for engine in rests {
            let time_left = deadline.saturating_sub(begin.elapsed());
            let runtime = Some(&self.shared.runtime);
            total.add(&shutdown::close(&engine, runtime, time_left).await);
            // It may be the last reference to the connector.
            drop_quietly(engine);
        }
        total
    }

    /// The pools of all keys, whether they have ended or not. The table is closed.
    fn rests(&self) -> Vec<Arc<Engine<T, L>>> {
        let table = self.shared.table.read();
        table.rests().map(Arc::clone).collect()
    }

    /// Waits until no pool is being made any more, at most until `deadline`, which is `limit` from now on.
    /// The table is closed, so no further one is begun.
    async fn until_all_made(&self, deadline: Option<Instant>, limit: Duration) {
        let shared = &*self.shared;
        let mut all_made = pin!(shared.all_made.notified());
        // Enabled before the look at the table, so that a pool that is made after that look is told.
        all_made.as_mut().enable();
        if shared.table.read().building() == 0 {
            return;
        }
        let mut alarm = deadline.map(|deadline| Alarm::at(&shared.runtime, deadline, limit));
        poll_fn(|cx| match (all_made.as_mut().poll(cx), &mut alarm) {
            (Poll::Pending, Some(alarm)) => alarm.poll(cx),
            (poll, _) => poll,
        })
        .await;
    }
}

impl<K: Hash + Eq + Clone, T: Send + 'static, L: Lends<T>> SharedKeys<K, T, L> {
    /// Changes the table, and drops what was removed from it after unlocking.
    fn change<R>(&self, change: impl FnOnce(&mut KeyTable<K, Entry<T, L>>) -> R) -> R {
        let mut table = self.table.write();
        let result = change(&mut table);
        let change_of_keys = self.own_meters.count(table.len());
        let removed = table.take_removed();
        let is_all_made = table.is_closed() && table.building() == 0;
        drop(table);
        self.own_meters.tell(change_of_keys);
        removed.drop_all();
        if is_all_made {
            self.all_made.notify_waiters();
        }
        result
    }
}

/// The place of a key whose pool is being made. It is given up when this is dropped.
struct Place<'a, K: Hash + Eq + Clone, T: Send + 'static, L: Lends<T>> {
    shared: &'a SharedKeys<K, T, L>,
    /// `None` after its pool was made.
    key: Option<&'a K>,
}

impl<K: Hash + Eq + Clone, T: Send + 'static, L: Lends<T>> Drop for Place<'_, K, T, L> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.change(|table| table.give_up(key));
        }
    }
}

/// How often keys are looked at within their idle timeout.
const LOOKS: u32 = 4;

/// Drops keys that were not used for `timeout`, until the keyed pool is gone.
async fn drop_unused<K, T, L>(keys: Weak<SharedKeys<K, T, L>>, timeout: Duration)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    T: Send + 'static,
    L: Lends<T>,
{
    let pause = timeout / LOOKS;
    loop {
        tokio::time::sleep(pause).await;
        let Some(keys) = keys.upgrade() else {
            return;
        };
        keys.change(|table| table.sweep(Instant::now(), timeout));
        drop_quietly(keys);
    }
}
