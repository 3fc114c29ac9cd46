//! Loom models of a key that is dropped while a caller finds it: where the lock of a store is taken under
//! the lock of the key table. A store is as much of one as the table asks of it.

use std::sync::Arc as StdArc;
use std::time::Duration;

use loom::thread;
use tokio::time::Instant;

use crate::keyed::key_table::{KeyTable, Resident, Rest};
use crate::store::FailureRecord;
use crate::sync::{Arc, Mutex, RwLock};

#[derive(Debug, Default)]
struct ModelStore {
    leases: u64,
    had: u64,
    is_closed: bool,
}

/// The pool of the key. Its drop closes it, as that of the last handle does.
#[derive(Debug)]
struct ModelPool(Arc<Mutex<ModelStore>>);

struct ModelRest;

type Table = RwLock<KeyTable<u8, ModelPool>>;

impl ModelPool {
    /// A lease: what is held of it does not keep the pool open.
    fn lease(&self) -> Arc<Mutex<ModelStore>> {
        let mut store = self.0.lock();
        assert!(!store.is_closed, "no caller meets the end of its key");
        store.leases += 1;
        store.had += 1;
        drop(store);
        Arc::clone(&self.0)
    }
}

impl Drop for ModelPool {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
    }
}

impl Resident for ModelPool {
    type Rest = ModelRest;

    fn is_at_work(&self) -> bool {
        self.0.lock().leases > 0
    }

    fn leases(&self) -> u64 {
        self.0.lock().had
    }

    fn failures(&self) -> Option<FailureRecord> {
        None
    }

    fn rest(&self) -> ModelRest {
        ModelRest
    }
}

impl Rest for ModelRest {
    fn has_ended(&self) -> bool {
        true
    }

    fn closed(&self) -> usize {
        0
    }
}

/// A table with one key that is not in use.
fn one_key() -> Table {
    let mut table = KeyTable::new(1);
    let now = Instant::now();
    table.begin(&0, 0).expect("it is empty");
    let pool = ModelPool(Arc::new(Mutex::new(ModelStore::default())));
    let inserted = table.insert(&0, StdArc::new(pool), None, now);
    drop(inserted.expect("it has its place"));
    RwLock::new(table)
}

/// As `SharedKeys::change` does it.
fn change(table: &Table, change: impl FnOnce(&mut KeyTable<u8, ModelPool>)) {
    let mut table = table.write();
    change(&mut table);
    let removed = table.take_removed();
    drop(table);
    removed.drop_all();
}

fn drop_against_lease(drop_key: fn(&Table)) {
    loom::model(move || {
        let table = Arc::new(one_key());
        let callers = Arc::clone(&table);
        let caller = thread::spawn(move || {
            // As `Keyed::enter` and an acquire do it.
            let found = callers.read().ask(&0);
            let Some(entry) = found else {
                return;
            };
            let lease = entry.lease();
            drop(entry);
            let mut store = lease.lock();
            assert!(!store.is_closed, "a key with a lease stays");
            store.leases -= 1;
        });
        drop_key(&table);
        caller.join().expect("no panic");
    });
}

#[test]
fn key_that_a_caller_finds_or_leases_is_not_evicted() {
    drop_against_lease(|table| change(table, |table| table.evict(&0)));
}

#[test]
fn key_that_a_caller_finds_or_leases_is_not_swept() {
    drop_against_lease(|table| {
        change(table, |table| table.sweep(Instant::now(), Duration::ZERO));
    });
}

#[test]
#[should_panic(expected = "a key with a lease stays")]
fn dropping_a_key_after_looking_at_it_is_found() {
    // Planted: a caller can lease it between the look and the drop.
    drop_against_lease(|table| {
        let is_in_use = table.read().is_in_use(&0);
        change(table, |table| {
            if !is_in_use {
                table.drop_unasked(&0);
            }
        });
    });
}
