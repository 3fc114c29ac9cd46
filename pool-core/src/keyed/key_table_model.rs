//! The key table against a naive model: random operations, compared after every step.
//!
//! The model is a list of keys. It does not say which unused key gives up its place, only that it is an
//! unused one, and that a new key is refused if and only if there is none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use crate::keyed::key_table::{Begun, KeyTable, NoPlace, PROBES_MAX, Resident, Rest};
use crate::naive_models::assert_agree;
use crate::store::FailureRecord;

const MAX_KEYS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
enum Op {
    /// Begins to use a key, and makes its pool if it has none.
    Enter(u8),
    /// A second caller makes a pool of the same key at the same time.
    EnterTwice(u8),
    /// The pool of a new key cannot be made.
    Fail(u8),
    /// A caller that has entered leaves.
    Leave(usize),
    /// The pool of a key has a lease from now on, or none.
    Work(u8, bool),
    Evict(u8),
    Sweep(u64),
    /// The last connection of a dropped key is closed.
    End(usize),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..7_u8;
    prop_oneof![
        10 => key.clone().prop_map(Op::Enter),
        2 => key.clone().prop_map(Op::EnterTwice),
        2 => key.clone().prop_map(Op::Fail),
        9 => (0..8_usize).prop_map(Op::Leave),
        4 => (key.clone(), any::<bool>()).prop_map(|(key, works)| Op::Work(key, works)),
        2 => key.prop_map(Op::Evict),
        2 => (0..15_u64).prop_map(Op::Sweep),
        6 => (0..8_usize).prop_map(Op::End),
        1 => Just(Op::Close),
    ]
}

/// What a pool and what is left of it have in common.
#[derive(Debug, Default)]
struct Facts {
    works: AtomicBool,
    /// How often it was asked for that.
    looks: AtomicU64,
    leases: AtomicU64,
    has_ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Pool(Arc<Facts>);

#[derive(Debug)]
struct LeftOver(Arc<Facts>);

impl Resident for Pool {
    type Rest = LeftOver;

    fn is_at_work(&self) -> bool {
        self.0.looks.fetch_add(1, Relaxed);
        self.0.works.load(Relaxed)
    }

    fn leases(&self) -> u64 {
        self.0.leases.load(Relaxed)
    }

    fn failures(&self) -> Option<FailureRecord> {
        None
    }

    fn rest(&self) -> LeftOver {
        LeftOver(Arc::clone(&self.0))
    }
}

impl Rest for LeftOver {
    fn has_ended(&self) -> bool {
        self.0.has_ended.load(Relaxed)
    }

    fn closed(&self) -> usize {
        0
    }
}

struct Rig {
    table: KeyTable<u8, Pool>,
    /// What the model knows: the keys that have a pool,
    keys: BTreeMap<u8, Arc<Facts>>,
    /// the callers that have entered,
    entered: Vec<(u8, Arc<Pool>)>,
    /// and what is left of dropped keys.
    left: Vec<Arc<Facts>>,
    is_closed: bool,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        Self {
            table: KeyTable::new(MAX_KEYS),
            keys: BTreeMap::new(),
            entered: Vec::new(),
            left: Vec::new(),
            is_closed: false,
            now: Instant::now(),
        }
    }

    fn is_in_use(&self, key: u8) -> bool {
        let works = self
            .keys
            .get(&key)
            .is_some_and(|facts| facts.works.load(Relaxed));
        works || self.entered.iter().any(|(entered, _)| *entered == key)
    }

    fn is_full(&self) -> bool {
        let alive = self
            .left
            .iter()
            .filter(|facts| !facts.has_ended.load(Relaxed));
        let has_unused = self.keys.keys().any(|key| !self.is_in_use(*key));
        alive.count() >= MAX_KEYS || self.keys.len() >= MAX_KEYS && !has_unused
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Enter(key) => self.enter(key, 1),
            Op::EnterTwice(key) => self.enter(key, 2),
            Op::Fail(key) => {
                if self.begin(key).is_some() {
                    self.table.give_up(&key);
                }
            }
            Op::Leave(which) => {
                if which < self.entered.len() {
                    drop(self.entered.swap_remove(which));
                }
            }
            Op::Work(key, works) => {
                if let Some(facts) = self.keys.get(&key) {
                    facts.works.store(works, Relaxed);
                    facts.leases.fetch_add(1, Relaxed);
                }
            }
            Op::Evict(key) => {
                let stays = !self.keys.contains_key(&key) || self.is_in_use(key);
                let before = self.table.len();
                self.table.evict(&key);
                assert_eq!(self.table.len(), before - usize::from(!stays));
            }
            Op::Sweep(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.table.sweep(self.now, TIMEOUT);
            }
            Op::End(which) => {
                if let Some(facts) = self.left.get(which) {
                    facts.has_ended.store(true, Relaxed);
                }
            }
            Op::Close => {
                self.table.close();
                self.is_closed = true;
            }
        }
        self.take_removed();
    }

    /// Begins to make a pool. `None` if the key has one, or got no place.
    fn begin(&mut self, key: u8) -> Option<()> {
        let (is_present, is_full) = (self.keys.contains_key(&key), self.is_full());
        match self.table.begin(&key, 0) {
            Ok(Begun::Looking(looked)) => panic!("all keys were looked at, not {looked}"),
            Ok(Begun::Present(pool)) => {
                assert!(is_present && !self.is_closed);
                self.entered.push((key, pool));
                None
            }
            Ok(Begun::Build(_)) => {
                assert!(
                    !is_present && !is_full && !self.is_closed,
                    "no room for {key}"
                );
                Some(())
            }
            Err(NoPlace::Closed) => {
                assert!(self.is_closed);
                None
            }
            Err(NoPlace::Full { .. }) => {
                assert!(!is_present && is_full && !self.is_closed, "room for {key}");
                None
            }
        }
    }

    fn enter(&mut self, key: u8, callers: usize) {
        if self.begin(key).is_none() {
            return;
        }
        for _ in 1..callers {
            let begun = self.table.begin(&key, 0).expect("it has a place");
            assert!(matches!(begun, Begun::Build(_)), "nobody has made it yet");
        }
        // Order: what gave up its place is gone before.
        self.take_removed();
        let mut made = Vec::new();
        for _ in 0..callers {
            let pool = Arc::<Pool>::default();
            let facts = Arc::clone(&pool.0);
            let inserted = self.table.insert(&key, pool, None, self.now);
            let entry = inserted.expect("it has a place").entry;
            // One that was made in vain has opened nothing.
            facts
                .has_ended
                .store(!Arc::ptr_eq(&entry.0, &facts), Relaxed);
            made.push(entry);
        }
        assert!(
            made.iter().all(|pool| Arc::ptr_eq(pool, &made[0])),
            "one pool for all"
        );
        self.keys.insert(key, Arc::clone(&made[0].0));
        self.entered
            .extend(made.into_iter().map(|pool| (key, pool)));
    }

    /// What was removed: only keys that are not in use.
    fn take_removed(&mut self) {
        self.table.take_removed().drop_all();
        let gone: Vec<_> = self
            .keys
            .keys()
            .copied()
            .filter(|key| self.table.get(key).is_none())
            .collect();
        for key in gone {
            assert!(self.is_closed || !self.is_in_use(key), "{key} was in use");
            self.left.extend(self.keys.remove(&key));
        }
    }

    fn compare(&mut self) {
        assert_eq!(self.table.len(), self.keys.len());
        assert!(self.table.len() <= MAX_KEYS);
        for (key, facts) in &self.keys {
            let pool = self.table.get(key).expect("it has a pool");
            assert!(Arc::ptr_eq(&pool.0, facts), "{key} has another pool");
        }
        let alive = self
            .left
            .iter()
            .filter(|facts| !facts.has_ended.load(Relaxed));
        assert_eq!(
            self.table.left().count(),
            alive.count(),
            "what is left is known"
        );
        if self.is_closed {
            assert_eq!(self.table.len(), 0);
        }
    }
}

#[test]
fn key_table_agrees_with_the_naive_model_on_every_operation() {
    let histories = prop::collection::vec(op(), 0..120);
    assert_agree(500, histories, 20_000, Rig::new, |rig, op| {
        rig.apply(op);
        rig.compare();
    });
}

/// Two callers make the pool of a key at once, and the key is dropped before the slower one is ready.
#[test]
fn a_key_that_is_made_twice_has_one_place() {
    let mut rig = Rig::new();
    rig.apply(&Op::Enter(1));
    rig.apply(&Op::Enter(3));
    for _ in 0..2 {
        assert!(matches!(rig.table.begin(&2, 0), Ok(Begun::Build(None))));
    }
    let insert = |rig: &mut Rig| {
        let inserted = rig.table.insert(&2, Arc::default(), None, rig.now);
        drop(inserted.expect("it has a place"));
    };
    insert(&mut rig);
    // The others are in use, and this one is still being made.
    assert!(matches!(
        rig.table.begin(&4, 0),
        Err(NoPlace::Full { keys: MAX_KEYS, .. })
    ));
    rig.table.evict(&2);
    assert!(matches!(
        rig.table.begin(&4, 0),
        Err(NoPlace::Full { keys: MAX_KEYS, .. })
    ));
    insert(&mut rig);
    assert_eq!(rig.table.len(), MAX_KEYS);
    // Now it is not in use.
    rig.apply(&Op::Enter(4));
    assert!(rig.table.get(&2).is_none());
}

#[test]
fn new_key_looks_at_a_bounded_number_of_keys_in_use() {
    const KEYS: usize = 1_000;
    let mut table = KeyTable::<usize, Pool>::new(KEYS);
    let mut all = Vec::new();
    for key in 0..KEYS {
        assert!(matches!(table.begin(&key, 0), Ok(Begun::Build(None))));
        let pool = Arc::<Pool>::default();
        pool.0.works.store(true, Relaxed);
        all.push(Arc::clone(&pool.0));
        let inserted = table.insert(&key, pool, None, Instant::now());
        drop(inserted.expect("it has a place"));
    }
    let looks = || all.iter().map(|one| one.looks.load(Relaxed)).sum::<u64>();
    let mut looked = 0;
    let look = |table: &mut KeyTable<usize, Pool>, looked| {
        let before = looks();
        let begun = table.begin(&KEYS, looked);
        assert!(
            looks() - before <= PROBES_MAX as u64,
            "in one critical section"
        );
        begun
    };
    let full = loop {
        match look(&mut table, looked) {
            Ok(Begun::Looking(so_far)) => looked = so_far,
            begun => break begun,
        }
    };
    assert!(matches!(full, Err(NoPlace::Full { .. })));
    assert_eq!(looks(), KEYS as u64, "once each");
    // The last that it looks at, wherever it begins.
    all[KEYS - 1].works.store(false, Relaxed);
    looked = 0;
    while let Ok(Begun::Looking(so_far)) = look(&mut table, looked) {
        looked = so_far;
    }
    assert!(table.get(&(KEYS - 1)).is_none());
    table.take_removed().drop_all();
}
