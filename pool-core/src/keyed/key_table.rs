//! Which keys have a pool, and which of them gives up its place to a new one.
//!
//! # Algorithm
//!
//! Keys stand in a ring. When the table is full, the ring turns until it finds a key that has no lease,
//! no waiter, no handle, and was not used since the last turn. If there is none, the first takes its place
//! that is only used no more. So a flood of new keys replaces keys that are not used, each at the cost of a
//! few looks, and never one at work. A new key looks at [`PROBES_MAX`] keys at a time: each look takes the lock of a
//! store, while all callers of other keys wait. If all of them are in use, it goes on in the next critical section, until it
//! has looked at as many keys as there are. New keys that look at the same time turn the same ring, so one of them can miss
//! an unused key that another one has passed by. Then it is refused, though there was one.
//!
//! A key that is dropped while its connects fail leaves a record of its failures. A pool that is made
//! for it later waits out the same delay.
//!
//! A new key gets its place before its pool is made, and another key is dropped for it before. So a pool
//! is made only if it can be kept, and can reserve what the dropped one had reserved.
//!
//! What is *left* of a dropped key is its connections that are not closed yet. They are remembered until
//! they are gone. No new key gets a place while there are as many such keys as there may be keys. A sweep
//! or an eviction can drop as many keys again, so there are at most twice as many.
//!
//! # Why nobody sees a pool end
//!
//! A caller holds the entry of its key until it has its lease. It gets the entry under the table's
//! lock, and a key is dropped only under that lock, in exclusive mode, while the table has the only
//! reference. Then nobody else has one, and nobody can get one.
//!
//! # Foreign code
//!
//! Keys, errors and pools are dropped outside of the lock: whatever leaves the table is collected in
//! [`Removed`].

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::foreign::drop_quietly;
use crate::store::FailureRecord;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The pool of a key, as the table sees it.
pub(super) trait Resident {
    /// What is left of it after its key was dropped.
    type Rest: Rest;

    /// It has a lease or a waiter.
    fn is_at_work(&self) -> bool;
    /// How many leases it has had.
    fn leases(&self) -> u64;
    /// What is to be remembered of its failures.
    fn failures(&self) -> Option<FailureRecord>;
    /// What will be left of it.
    fn rest(&self) -> Self::Rest;
}

/// What is left of a pool whose key was dropped.
pub(super) trait Rest {
    /// Its last connection is gone, and all its events are delivered.
    fn has_ended(&self) -> bool;
    /// How many connections it has closed since.
    fn closed(&self) -> usize;
}

#[derive(Debug)]
pub(super) struct KeyTable<K, E: Resident> {
    keys: HashMap<K, KeyRecord<E>>,
    /// New keys whose pools are being made, each with the number of callers that make one.
    building: HashMap<K, usize>,
    /// Every key once; a number that is not that of its record is left over from an earlier one.
    ring: VecDeque<(K, u64)>,
    failures: HashMap<K, FailureRecord>,
    left: VecDeque<E::Rest>,
    removed: Removed<K, E>,
    max_keys: usize,
    next_number: u64,
    is_closed: bool,
    /// Connections that were closed after the table was, of keys that are forgotten.
    closed: usize,
}

#[derive(Debug)]
struct KeyRecord<E> {
    entry: Arc<E>,
    number: u64,
    leases_seen: u64,
    /// A caller has asked for it. It may have had no lease.
    was_asked_for: AtomicBool,
    /// A new key saw since the last sweep that it was used.
    was_used: bool,
    /// When it was last seen in use.
    used_at: Instant,
}

/// Why a key has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// As many keys as there may be are in use, or not gone yet.
    Full {
        keys: usize,
        left: usize,
    },
    Closed,
}

/// What a caller with a key that it did not find has to do.
#[derive(Debug)]
pub(super) enum Begun<E> {
    /// Nothing: it has a pool by now.
    Present(Arc<E>),
    /// It looked at so many keys in all, which are in use, and goes on when others had the lock.
    Looking(usize),
    /// It has a place. Its pool is to be made with these failures, then
    /// [inserted](KeyTable::insert) or [given up](KeyTable::give_up).
    Build(Option<FailureRecord>),
}

/// Whether there is room for one more key.
enum Room {
    Free,
    /// Not among as many keys.
    Looking(usize),
}

/// What became of a new entry.
#[derive(Debug)]
pub(super) struct Insertion<E> {
    /// The entry of the key: the new one, or one that another caller put there first.
    pub(super) entry: Arc<E>,
    /// Failures that were remembered while the pool was made.
    pub(super) failures: Option<FailureRecord>,
}

/// What is not in the table any more.
#[derive(Debug)]
#[must_use = "it is to be dropped outside of the table's lock"]
pub(super) struct Removed<K, E: Resident> {
    entries: Vec<Arc<E>>,
    keys: Vec<K>,
    failures: Vec<FailureRecord>,
    left: Vec<E::Rest>,
}

impl<K, E: Resident> Removed<K, E> {
    const fn nothing() -> Self {
        Self {
            entries: Vec::new(),
            keys: Vec::new(),
            failures: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Drops each part by itself: each can be foreign code that panics.
    pub(super) fn drop_all(self) {
        self.entries.into_iter().for_each(drop_quietly);
        self.keys.into_iter().for_each(drop_quietly);
        self.failures.into_iter().for_each(drop_quietly);
        self.left.into_iter().for_each(drop_quietly);
    }
}

impl<E: Resident> KeyRecord<E> {
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.entry) > 1 || self.entry.is_at_work()
    }

    /// A caller asks for it. Most find the flag set, and write nothing that other cores read.
    fn ask(&self) {
        if !self.was_asked_for.load(Relaxed) {
            self.was_asked_for.store(true, Relaxed);
        }
    }

    /// Whether it was asked for, or had a lease, since this was last asked. A handle leases without asking.
    fn take_used(&mut self) -> bool {
        let was_asked_for = self.was_asked_for.swap(false, Relaxed);
        let leases = self.entry.leases();
        std::mem::replace(&mut self.leases_seen, leases) != leases || was_asked_for
    }
}

impl<K: Hash + Eq + Clone, E: Resident> KeyTable<K, E> {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            keys: HashMap::new(),
            building: HashMap::new(),
            ring: VecDeque::new(),
            failures: HashMap::new(),
            left: VecDeque::new(),
            removed: Removed::nothing(),
            max_keys,
            next_number: 0,
            is_closed: false,
            closed: 0,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<E>> {
        self.keys.get(key).map(|record| Arc::clone(&record.entry))
    }

    /// The entry of a key that a caller asks for: it is used.
    pub(super) fn ask(&self, key: &K) -> Option<Arc<E>> {
        self.keys.get(key).map(|record| {
            record.ask();
            Arc::clone(&record.entry)
        })
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// How many new keys have their pools made at present.
    pub(super) fn building(&self) -> usize {
        self.building.len()
    }

    /// What has left the table since this was last called.
    pub(super) fn take_removed(&mut self) -> Removed<K, E> {
        std::mem::replace(&mut self.removed, Removed::nothing())
    }

    /// Gives a key a place, unless it has one. It has looked at so many keys before.
    pub(super) fn begin(&mut self, key: &K, looked: usize) -> Result<Begun<E>, NoPlace> {
        if self.is_closed {
            return Err(NoPlace::Closed);
        }
        if let Some(present) = self.ask(key) {
            return Ok(Begun::Present(present));
        }
        if let Some(builders) = self.building.get_mut(key) {
            *builders += 1;
        } else {
            if let Room::Looking(looked) = self.make_room(looked)? {
                return Ok(Begun::Looking(looked));
            }
            self.building.insert(key.clone(), 1);
        }
        Ok(Begun::Build(self.failures.get(key).cloned()))
    }

    /// The pool of this key was not made.
    pub(super) fn give_up(&mut self, key: &K) {
        let Some(builders) = self.building.get_mut(key) else {
            return;
        };
        *builders -= 1;
        if *builders == 0 {
            let removed = self.building.remove_entry(key);
            self.removed.keys.extend(removed.map(|(key, _)| key));
        }
    }

    /// Gives a key its entry, unless it has one by now. `known` says when the latest of the failures was
    /// that the entry was made with.
    pub(super) fn insert(
        &mut self,
        key: &K,
        entry: Arc<E>,
        known: Option<Instant>,
        now: Instant,
    ) -> Result<Insertion<E>, NoPlace> {
        self.give_up(key);
        let present = self.get(key);
        if self.is_closed || present.is_some() {
            self.drop_entry(entry);
            let entry = present.ok_or(NoPlace::Closed)?;
            let failures = None;
            return Ok(Insertion { entry, failures });
        }
        let mut failures = None;
        if let Some((key, record)) = self.failures.remove_entry(key) {
            failures = (Some(record.at()) != known).then(|| record.clone());
            self.removed.keys.push(key);
            self.removed.failures.push(record);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.ring.push_back((key.clone(), number));
        let record = KeyRecord {
            entry: Arc::clone(&entry),
            number,
            leases_seen: 0,
            was_asked_for: AtomicBool::new(false),
            was_used: false,
            used_at: now,
        };
        self.keys.insert(key.clone(), record);
        // Order: with its record. Otherwise the new turn would be stale as well.
        self.drop_stale_turns();
        Ok(Insertion { entry, failures })
    }

    /// Makes room for one more key, if there is none: drops the first that is not in use and was not used
    /// since the last turn, or else the first that is not in use.
    fn make_room(&mut self, mut looked: usize) -> Result<Room, NoPlace> {
        self.forget_ended(LOOKS_PER_KEY);
        if self.left.len() >= self.max_keys {
            self.forget_ended(self.left.len());
        }
        if self.left.len() >= self.max_keys {
            return Err(self.full());
        }
        if self.places() < self.max_keys {
            return Ok(Room::Free);
        }
        let mut unused = None;
        for _ in 0..PROBES_MAX {
            if looked >= self.ring.len() {
                break;
            }
            let Some((key, number)) = self.ring.pop_front() else {
                break;
            };
            let record = self.keys.get_mut(&key);
            let Some(record) = record.filter(|record| record.number == number) else {
                self.removed.keys.push(key);
                continue;
            };
            // One that is being made again keeps its place.
            let is_built = self.building.contains_key(&key);
            let is_free = !is_built && !record.is_in_use();
            if is_free && !record.take_used() {
                self.remove(&key);
                self.removed.keys.push(key);
                // Order: outside of the lock. It is foreign code.
                self.removed.keys.extend(unused);
                return Ok(Room::Free);
            }
            // The next sweep must not miss that use.
            record.was_used |= is_free;
            if is_free && unused.is_none() {
                unused = Some(key.clone());
            }
            self.ring.push_back((key, number));
            looked += 1;
        }
        let Some(unused) = unused else {
            return match looked < self.ring.len() {
                true => Ok(Room::Looking(looked)),
                false => Err(self.full()),
            };
        };
        self.remove(&unused);
        self.removed.keys.push(unused);
        self.drop_stale_turns();
        Ok(Room::Free)
    }

    fn full(&mut self) -> NoPlace {
        self.forget_ended(self.left.len());
        NoPlace::Full {
            keys: self.places(),
            left: self.left.len(),
        }
    }

    /// How many keys have a place. One that has a pool can still be in the making by a slower caller.
    fn places(&self) -> usize {
        let new = self.building.keys();
        self.keys.len() + new.filter(|key| !self.keys.contains_key(*key)).count()
    }

    /// Looks at some of what is left of dropped keys, and forgets what is gone.
    fn forget_ended(&mut self, looks: usize) {
        for _ in 0..looks.min(self.left.len()) {
            let Some(rest) = self.left.pop_front() else {
                return;
            };
            match rest.has_ended() {
                true => {
                    if self.is_closed {
                        self.closed += rest.closed();
                    }
                    self.removed.left.push(rest);
                }
                false => self.left.push_back(rest),
            }
        }
    }

    /// Drops a key if it is not in use.
    pub(super) fn evict(&mut self, key: &K) {
        if self.keys.get(key).is_some_and(|record| !record.is_in_use()) {
            self.remove(key);
        }
    }

    /// For a model that asks in one critical section and drops in another.
    #[cfg(all(test, loom))]
    pub(super) fn is_in_use(&self, key: &K) -> bool {
        self.keys.get(key).is_some_and(KeyRecord::is_in_use)
    }

    /// The other half of that.
    #[cfg(all(test, loom))]
    pub(super) fn drop_unasked(&mut self, key: &K) {
        self.remove(key);
    }

    /// Drops the keys that were not in use for this time.
    pub(super) fn sweep(&mut self, now: Instant, timeout: Duration) {
        let mut unused = Vec::new();
        for (key, record) in &mut self.keys {
            // Both are asked: the second says whether it was used in between.
            let is_in_use = record.is_in_use();
            let was_used = std::mem::take(&mut record.was_used);
            if record.take_used() || was_used || is_in_use {
                record.used_at = now;
            } else if now.saturating_duration_since(record.used_at) >= timeout {
                unused.push(key.clone());
            }
        }
        let past = self.failures.extract_if(|_, record| record.is_past(now));
        for (key, record) in past {
            self.removed.keys.push(key);
            self.removed.failures.push(record);
        }
        unused.iter().for_each(|key| self.remove(key));
        self.removed.keys.append(&mut unused);
        self.drop_stale_turns();
        self.forget_ended(self.left.len());
    }

    fn remove(&mut self, key: &K) {
        if let Some((key, record)) = self.keys.remove_entry(key) {
            if let Some(failures) = record.entry.failures() {
                self.remember(&key, failures);
            }
            self.removed.keys.push(key);
            self.drop_entry(record.entry);
        }
    }

    /// Drops a pool, and remembers what is left of it until it is gone.
    fn drop_entry(&mut self, entry: Arc<E>) {
        self.left.push_back(entry.rest());
        self.removed.entries.push(entry);
    }

    /// There are at most as many records as there may be keys; the oldest makes room.
    fn remember(&mut self, key: &K, failures: FailureRecord) {
        if self.failures.len() >= self.max_keys {
            let oldest = self.failures.iter().min_by_key(|(_, record)| record.at());
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.forget_failures(&oldest);
                self.removed.keys.push(oldest);
            }
        }
        self.forget_failures(key);
        self.failures.insert(key.clone(), failures);
    }

    fn forget_failures(&mut self, key: &K) {
        if let Some((key, record)) = self.failures.remove_entry(key) {
            self.removed.keys.push(key);
            self.removed.failures.push(record);
        }
    }

    /// Keeps the ring at most twice as long as there are keys.
    fn drop_stale_turns(&mut self) {
        if self.ring.len() <= 2 * self.max_keys.max(1) {
            return;
        }
        for (key, number) in std::mem::take(&mut self.ring) {
            let record = self.keys.get(&key);
            match record.is_some_and(|record| record.number == number) {
                true => self.ring.push_back((key, number)),
                false => self.removed.keys.push(key),
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Arc<E>)> {
        self.keys.iter().map(|(key, record)| (key, &record.entry))
    }

    /// What is left of dropped keys.
    pub(super) fn left(&self) -> impl Iterator<Item = &E::Rest> {
        self.rests().filter(|rest| !rest.has_ended())
    }

    /// The pools of dropped keys, and those of them that have ended since they were last looked at.
    pub(super) fn rests(&self) -> impl Iterator<Item = &E::Rest> {
        self.left.iter()
    }

    /// How many connections were closed after the table was, without those of the [rests](Self::rests).
    pub(super) const fn closed(&self) -> usize {
        self.closed
    }

    /// No key gets a place from now on. All are dropped.
    pub(super) fn close(&mut self) {
        if !self.is_closed {
            // A pool that ended before is not part of the close.
            self.forget_ended(self.left.len());
        }
        self.is_closed = true;
        for (key, record) in std::mem::take(&mut self.keys) {
            self.removed.keys.push(key);
            self.drop_entry(record.entry);
        }
        let turns = std::mem::take(&mut self.ring);
        self.removed
            .keys
            .extend(turns.into_iter().map(|(key, _)| key));
        for (key, record) in std::mem::take(&mut self.failures) {
            self.removed.keys.push(key);
            self.removed.failures.push(record);
        }
    }
}

/// How many dropped keys are looked at for each new one: more than one, so that what is gone is forgotten
/// sooner than keys are dropped.
const LOOKS_PER_KEY: usize = 2;

/// How many keys a new key looks at in one critical section for one that is not in use.
pub(super) const PROBES_MAX: usize = 128;
