//! Which keys have a pool, and which of them gives up its place to a new one.
//!
//! # Algorithm
//!
//! Keys stand in a ring. When the table is full, the ring turns until it finds a key that has no lease,
//! no waiter, no handle, and was not used since the last turn. So a flood of new keys replaces keys
//! that are not used, each at the cost of a few looks, and never one at work.
//!
//! A key that is dropped while its connects fail leaves a record of its failures. A pool that is made
//! for it later waits out the same delay.
//!
//! # Why nobody sees a pool end
//!
//! A caller holds the entry of its key until it has its lease. It gets the entry under the table's
//! lock, and a key is dropped only under that lock, in exclusive mode, while the table has the only
//! reference. Then nobody else has one, and nobody can get one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::FailureRecord;

/// The pool of a key, as the table sees it.
pub(super) trait Resident {
    /// It has a lease or a waiter.
    fn is_at_work(&self) -> bool;
    /// How many leases it has had.
    fn leases(&self) -> u64;
    /// What is to be remembered of its failures.
    fn failures(&self) -> Option<FailureRecord>;
}

#[derive(Debug)]
pub(super) struct KeyTable<K, E> {
    keys: HashMap<K, KeyRecord<E>>,
    /// Every key once; a number that is not that of its record is left over from an earlier one.
    ring: VecDeque<(K, u64)>,
    failures: HashMap<K, FailureRecord>,
    max_keys: usize,
    next_number: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct KeyRecord<E> {
    entry: Arc<E>,
    number: u64,
    leases_seen: u64,
    /// When it was last seen in use.
    used_at: Instant,
}

/// Why a key has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// As many keys as there may be are in use.
    Full,
    Closed,
}

/// What became of a new entry.
#[derive(Debug)]
pub(super) struct Insertion<E> {
    /// The entry of the key: the new one, or one that another caller put there first.
    pub(super) entry: Arc<E>,
    /// What is not in the table any more, to be dropped outside of the lock.
    pub(super) dropped: Vec<Arc<E>>,
}

impl<E: Resident> KeyRecord<E> {
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.entry) > 1 || self.entry.is_at_work()
    }

    /// Whether it had a lease since this was last asked.
    fn take_used(&mut self) -> bool {
        let leases = self.entry.leases();
        std::mem::replace(&mut self.leases_seen, leases) != leases
    }
}

impl<K: Hash + Eq + Clone, E: Resident> KeyTable<K, E> {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            keys: HashMap::new(),
            ring: VecDeque::new(),
            failures: HashMap::new(),
            max_keys,
            next_number: 0,
            is_closed: false,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<E>> {
        self.keys.get(key).map(|record| Arc::clone(&record.entry))
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The failures of an earlier pool of this key.
    pub(super) fn failures_of(&self, key: &K) -> Option<FailureRecord> {
        self.failures.get(key).cloned()
    }

    /// Gives a key its entry, unless it has one.
    pub(super) fn insert(
        &mut self,
        key: &K,
        entry: Arc<E>,
        now: Instant,
    ) -> Result<Insertion<E>, (NoPlace, Arc<E>)> {
        if self.is_closed {
            return Err((NoPlace::Closed, entry));
        }
        if let Some(present) = self.get(key) {
            return Ok(Insertion {
                entry: present,
                dropped: vec![entry],
            });
        }
        let mut dropped = Vec::new();
        if self.keys.len() >= self.max_keys {
            match self.make_room() {
                Some(old) => dropped.push(old),
                None => return Err((NoPlace::Full, entry)),
            }
        }
        self.failures.remove(key);
        let number = self.next_number;
        self.next_number += 1;
        self.ring.push_back((key.clone(), number));
        self.drop_leftovers();
        let record = KeyRecord {
            entry: Arc::clone(&entry),
            number,
            leases_seen: 0,
            used_at: now,
        };
        self.keys.insert(key.clone(), record);
        Ok(Insertion { entry, dropped })
    }

    /// Drops a key that is not in use: the first that was not used since the last turn.
    fn make_room(&mut self) -> Option<Arc<E>> {
        // In the second turn nothing counts as used unless it was used meanwhile.
        for _ in 0..2 * self.ring.len() {
            let (key, number) = self.ring.pop_front()?;
            let Some(record) = self.keys.get_mut(&key) else {
                continue;
            };
            if record.number != number {
                continue;
            }
            if !record.is_in_use() && !record.take_used() {
                return self.remove(&key);
            }
            self.ring.push_back((key, number));
        }
        None
    }

    /// Drops a key if it is not in use.
    pub(super) fn evict(&mut self, key: &K) -> Option<Arc<E>> {
        let is_in_use = self.keys.get(key)?.is_in_use();
        (!is_in_use).then(|| self.remove(key)).flatten()
    }

    /// Drops the keys that were not in use for this time.
    pub(super) fn sweep(&mut self, now: Instant, timeout: Duration) -> Vec<Arc<E>> {
        let mut unused = Vec::new();
        for (key, record) in &mut self.keys {
            // Both are asked: the second says whether it was used in between.
            let is_in_use = record.is_in_use();
            if record.take_used() || is_in_use {
                record.used_at = now;
            } else if record.used_at + timeout <= now {
                unused.push(key.clone());
            }
        }
        self.failures.retain(|_, record| !record.is_past(now));
        let dropped = unused.iter().filter_map(|key| self.remove(key)).collect();
        self.drop_leftovers();
        dropped
    }

    fn remove(&mut self, key: &K) -> Option<Arc<E>> {
        let record = self.keys.remove(key)?;
        if let Some(failures) = record.entry.failures() {
            self.remember(key, failures);
        }
        Some(record.entry)
    }

    /// There are at most as many records as there may be keys; the oldest makes room.
    fn remember(&mut self, key: &K, failures: FailureRecord) {
        if self.failures.len() >= self.max_keys {
            let oldest = self.failures.iter().min_by_key(|(_, record)| record.at());
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.failures.remove(&oldest);
            }
        }
        self.failures.insert(key.clone(), failures);
    }

    /// Keeps the ring at most twice as long as there are keys.
    fn drop_leftovers(&mut self) {
        if self.ring.len() > 2 * self.max_keys.max(1) {
            let keys = &self.keys;
            let is_current = |(key, number): &(K, u64)| {
                keys.get(key).is_some_and(|record| record.number == *number)
            };
            self.ring.retain(is_current);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Arc<E>)> {
        self.keys.iter().map(|(key, record)| (key, &record.entry))
    }

    /// No key gets a place from now on. Returns all entries.
    pub(super) fn close(&mut self) -> Vec<Arc<E>> {
        self.is_closed = true;
        self.ring.clear();
        self.failures.clear();
        let records = std::mem::take(&mut self.keys);
        records.into_values().map(|record| record.entry).collect()
    }
}
