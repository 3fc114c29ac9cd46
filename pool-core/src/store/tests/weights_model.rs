//! Weights and kills against a naive model: random operations, compared after every step.
//!
//! The model keeps a list of connections, and computes everything anew from it.

use std::cmp::Reverse;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::event::EventKind;
use crate::id::{CloseReason, ConnectionId};
use crate::naive_models::assert_agree;
use crate::status::LastWeighing;
use crate::store::tests::cases::limits;
use crate::store::{
    Condition, Effects, Errand, Exclusive, Limits, SlotKey, Store, VitalsHandle, Weight,
    WeightReading,
};
use crate::time::Time;
use crate::vitals::{Overweight, Vitals};

const MAX_WEIGHT: u64 = 10;
const KILL_WEIGHT: u64 = 20;
const MAX_SIZE: usize = 5;
const WEIGH_MILLIS: u64 = 2;

#[derive(Debug, Clone)]
enum Op {
    Open,
    Take,
    Return(usize),
    Detach(usize),
    /// A close has ended.
    End(usize),
    /// All connections are weighed; the weights are used in turn.
    Weigh(Vec<Weight>),
    /// Idle ones are closed for the budget, until so much is.
    ShedIdle(u64),
    ShedLeased,
    Close,
}

fn weight() -> impl Strategy<Value = Weight> {
    prop_oneof![
        1 => Just(Weight::Unknown),
        1 => Just(Weight::Late),
        1 => Just(Weight::Measured(u64::MAX)),
        6 => (0..KILL_WEIGHT + 5).prop_map(Weight::Measured),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let which = 0..MAX_SIZE;
    prop_oneof![
        8 => Just(Op::Open),
        6 => Just(Op::Take),
        5 => which.clone().prop_map(Op::Return),
        1 => which.clone().prop_map(Op::Detach),
        5 => which.prop_map(Op::End),
        6 => prop::collection::vec(weight(), 1..MAX_SIZE).prop_map(Op::Weigh),
        1 => (0..2 * KILL_WEIGHT).prop_map(Op::ShedIdle),
        1 => Just(Op::ShedLeased),
        1 => Just(Op::Close),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Idle,
    Leased,
    Closing,
}

#[derive(Debug, Clone)]
struct One {
    key: SlotKey,
    id: ConnectionId,
    place: Place,
    weight: u64,
    last: LastWeighing,
    born: Time,
    is_new: bool,
    was_heavy_when_new: bool,
    is_killed: bool,
    /// It is not to be lent again.
    is_heavy: bool,
}

impl One {
    /// It is open and will stay.
    fn stays(&self) -> bool {
        self.place != Place::Closing && !self.is_heavy && !self.is_killed
    }
}

struct Mute;

impl Vitals for Mute {
    fn weight(&self) -> Option<u64> {
        None
    }

    fn kill(&self, _: &Overweight) {}
}

/// The store and the model side by side. A connection is known to the store by its id.
struct Rig {
    store: Store<ConnectionId, Exclusive>,
    all: Vec<One>,
    is_closed: bool,
    now: Time,
    /// How long connections that were heavy when they were new are kept, in milliseconds; and until when.
    kept: u64,
    kept_until: Time,
    /// What the store must close next, in any order.
    closes: Vec<(ConnectionId, CloseReason)>,
    /// What it must tell next.
    told: Vec<(ConnectionId, LastWeighing)>,
}

impl Rig {
    fn new() -> Self {
        Self {
            store: Store::new(Limits {
                max_size: MAX_SIZE,
                min_idle: MAX_SIZE,
                max_connecting: MAX_SIZE,
                // What is killed young does not slow down connects.
                min_uptime: Duration::ZERO,
                max_weight: Some(MAX_WEIGHT),
                kill_weight: Some(KILL_WEIGHT),
                weigh_interval: Duration::from_millis(WEIGH_MILLIS),
                ..limits()
            }),
            all: Vec::new(),
            is_closed: false,
            now: Time::default(),
            kept: 0,
            kept_until: Time::default(),
            closes: Vec::new(),
            told: Vec::new(),
        }
    }

    fn apply(&mut self, op: &Op) {
        self.now = self.now.after(Duration::from_millis(1));
        match op {
            Op::Open => self.open(),
            Op::Take => self.take(),
            Op::Return(which) => self.give_back(*which),
            Op::Detach(which) => self.detach(*which),
            Op::End(which) => self.end(*which),
            Op::Weigh(weights) => self.weigh(weights),
            Op::ShedIdle(excess) => self.shed_idle(*excess),
            Op::ShedLeased => self.shed_leased(),
            Op::Close => self.close(),
        }
    }

    fn open(&mut self) {
        let Some(opening) = self.store.open(self.now) else {
            assert!(self.is_closed || self.all.len() == MAX_SIZE);
            return;
        };
        let vitals = VitalsHandle::new(Arc::new(Mute));
        self.store.note_vitals(opening.key, vitals, self.now);
        self.store.opened(opening.key, opening.id, self.now);
        self.all.push(One {
            key: opening.key,
            id: opening.id,
            place: Place::Idle,
            weight: 0,
            last: LastWeighing::NotYet,
            born: self.now,
            is_new: true,
            was_heavy_when_new: false,
            is_killed: false,
            is_heavy: false,
        });
    }

    fn take(&mut self) {
        let taken = self.store.take_idle(Location::caller());
        let mut idle = self.all.iter_mut().filter(|one| one.place == Place::Idle);
        let Some(id) = taken else {
            assert!(idle.next().is_none(), "an idle one is lent");
            return;
        };
        let one = idle.find(|one| one.id == id).expect("it was idle");
        assert!(one.stays(), "invariants W1 and W2");
        one.place = Place::Leased;
    }

    fn at(&mut self, place: Place, which: usize) -> Option<&mut One> {
        self.all
            .iter_mut()
            .filter(|one| one.place == place)
            .nth(which)
    }

    fn give_back(&mut self, which: usize) {
        let is_closed = self.is_closed;
        let Some(one) = self.at(Place::Leased, which) else {
            return;
        };
        let (key, id) = (one.key, one.id);
        let reason = match (one.is_killed, is_closed, one.is_heavy) {
            (true, _, _) => Some(CloseReason::Killed),
            (_, true, _) => Some(CloseReason::PoolClosed),
            (_, _, true) => Some(CloseReason::Overweight),
            (false, false, false) => None,
        };
        one.place = match reason {
            Some(_) => Place::Closing,
            None => Place::Idle,
        };
        self.closes.extend(reason.map(|reason| (id, reason)));
        self.store.give_back(key, id, Condition::Clean);
    }

    fn detach(&mut self, which: usize) {
        if let Some(one) = self.at(Place::Leased, which) {
            let key = one.key;
            self.all.retain(|one| one.key != key);
            self.store.detach(key);
            self.store.release(key);
        }
    }

    fn end(&mut self, which: usize) {
        if let Some(one) = self.at(Place::Closing, which) {
            let key = one.key;
            self.all.retain(|one| one.key != key);
            self.store.release(key);
        }
    }

    fn weigh(&mut self, weights: &[Weight]) {
        let readings: Vec<_> = self
            .all
            .iter()
            .zip(weights.iter().cycle())
            .map(|(one, weight)| WeightReading {
                key: one.key,
                id: one.id,
                weight: *weight,
            })
            .collect();
        let before = self.weight();
        self.note_weights(&readings);
        let kills = self.judge_weights(&readings);
        let weighing = self.store.weighed(&readings, self.now);
        assert_eq!(weighing.kills.len(), kills, "invariant W2: killed once");
        assert_eq!(weighing.change, self.weight() - before, "invariant W3");
    }

    fn note_weights(&mut self, readings: &[WeightReading]) {
        for (one, reading) in self.all.iter_mut().zip(readings) {
            if one.place == Place::Closing {
                continue;
            }
            let last = std::mem::replace(&mut one.last, reading.weight.told());
            let Weight::Measured(weight) = reading.weight else {
                let is_news = last != one.last;
                self.told.extend(is_news.then_some((one.id, one.last)));
                continue;
            };
            one.weight = weight;
            if one.is_new {
                one.was_heavy_when_new = weight > MAX_WEIGHT;
                one.is_new = self.now.since(one.born) < Duration::from_millis(2 * WEIGH_MILLIS);
                if !one.is_new && !one.was_heavy_when_new {
                    (self.kept, self.kept_until) = (0, Time::default());
                }
            }
        }
    }

    /// Those that weigh most come first. Returns how many are killed.
    fn judge_weights(&mut self, readings: &[WeightReading]) -> usize {
        let mut kills = 0;
        let pairs = self.all.iter_mut().zip(readings);
        let mut measured: Vec<_> = pairs
            .filter(|(one, reading)| {
                let is_measured = matches!(reading.weight, Weight::Measured(_));
                one.place != Place::Closing && is_measured
            })
            .map(|(one, _)| one)
            .collect();
        measured.sort_by_key(|one| (Reverse(one.weight), one.id));
        for one in measured {
            let is_heavy = one.weight > MAX_WEIGHT;
            let was_heavy = one.was_heavy_when_new;
            let is_kept = was_heavy && self.now < self.kept_until;
            let reason = if one.weight > KILL_WEIGHT && !one.is_killed {
                kills += 1;
                one.is_killed = true;
                CloseReason::Killed
            } else if is_heavy && one.stays() && !is_kept {
                if was_heavy {
                    self.kept = (2 * self.kept).max(WEIGH_MILLIS);
                    self.kept_until = self.now.after(Duration::from_millis(self.kept));
                }
                one.is_heavy = true;
                CloseReason::Overweight
            } else {
                continue;
            };
            if one.place == Place::Idle {
                one.place = Place::Closing;
                self.closes.push((one.id, reason));
            }
        }
        kills
    }

    fn shed_idle(&mut self, excess: u64) {
        let is_idle = |one: &&mut One| one.place == Place::Idle && one.weight > 0;
        let mut idle: Vec<_> = self.all.iter_mut().filter(is_idle).collect();
        idle.sort_by_key(|one| one.weight);
        let mut shed = 0;
        while let Some(one) = idle.pop_if(|_| shed < excess) {
            shed = shed.saturating_add(one.weight);
        }
        assert_eq!(self.store.shed_idle(excess), shed);
        // Of two that weigh the same, either may be closed.
        for (id, reason) in self.take_closes() {
            assert_eq!(reason, CloseReason::Overweight);
            let one = self.all.iter_mut().find(|one| one.id == id);
            let one = one.expect("it is there");
            assert_eq!(one.place, Place::Idle, "no lease is cut short");
            one.place = Place::Closing;
            shed = shed.saturating_sub(one.weight);
        }
        assert_eq!(shed, 0, "so much was closed");
    }

    fn shed_leased(&mut self) {
        let stays = self.all.iter().filter(|one| one.stays());
        let heaviest = stays.map(|one| one.weight).max().unwrap_or(0);
        assert_eq!(self.store.shed_leased(), heaviest > 0);
        if heaviest == 0 {
            return;
        }
        // Of two that weigh the same, either may be meant.
        let is_marked = |one: &&mut One| {
            let record = self.store.slots.get(one.key);
            one.stays() && one.weight == heaviest && record.is_outgoing()
        };
        let mut marked = self.all.iter_mut().filter(is_marked);
        let one = marked.next().expect("the heaviest is meant");
        one.is_heavy = true;
        if one.place == Place::Idle {
            one.place = Place::Closing;
            self.closes.push((one.id, CloseReason::Overweight));
        }
        assert!(marked.next().is_none(), "and no other");
    }

    fn close(&mut self) {
        if !self.is_closed {
            self.is_closed = true;
            for one in &mut self.all {
                if one.place == Place::Idle {
                    one.place = Place::Closing;
                    self.closes.push((one.id, CloseReason::PoolClosed));
                }
            }
        }
        self.store.close();
    }

    fn weight(&self) -> i128 {
        self.all.iter().map(|one| i128::from(one.weight)).sum()
    }

    fn effects(&mut self) -> Effects<ConnectionId, Exclusive> {
        self.store.take_effects().unwrap_or_else(Effects::none)
    }

    fn take_closes(&mut self) -> Vec<(ConnectionId, CloseReason)> {
        let errands = self.effects().errands.into_iter();
        closes_of(errands)
    }

    fn compare(&mut self) {
        let effects = self.effects();
        let mut told = Vec::new();
        for (_, kind) in effects.events {
            if let EventKind::Unweighed { id, why } = kind {
                told.push((id, why));
            }
        }
        assert_eq!(told, std::mem::take(&mut self.told), "invariant W6");
        let mut closes = closes_of(effects.errands.into_iter());
        let mut expected = std::mem::take(&mut self.closes);
        closes.sort_by_key(|(id, _)| *id);
        expected.sort_by_key(|(id, _)| *id);
        assert_eq!(closes, expected, "invariants W1 and W2");
        let status = self.store.status();
        let weight = self.weight().min(i128::from(u64::MAX));
        assert_eq!(i128::from(status.weight), weight, "invariant W3");
        let open = self.all.iter().filter(|one| one.place != Place::Closing);
        let unweighed = open.filter(|one| one.last.has_failed()).count();
        assert_eq!(status.unweighed as usize, unweighed);
        let leaving = self.all.iter().filter(|one| !one.stays());
        let outgoing = leaving.map(|one| one.weight).fold(0, u64::saturating_add);
        assert_eq!(self.store.outgoing_weight(), outgoing);
        for one in &self.all {
            let cause = self.store.kill_cause(one.key);
            assert_eq!(cause.is_some(), one.is_killed, "callers learn why");
        }
    }
}

fn closes_of(
    errands: impl Iterator<Item = Errand<ConnectionId, Exclusive>>,
) -> Vec<(ConnectionId, CloseReason)> {
    errands
        .filter_map(|errand| match errand {
            Errand::Close(id, reason) => Some((id, reason)),
            Errand::Upkeep(_) | Errand::Weigh(_) => None,
        })
        .collect()
}

#[test]
fn weights_agree_with_the_naive_model_on_every_operation() {
    let histories = prop::collection::vec(op(), 0..150);
    assert_agree(500, histories, 20_000, Rig::new, |rig, op| {
        rig.apply(op);
        rig.compare();
    });
}
