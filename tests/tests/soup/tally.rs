//! What happened in many runs together. Runs in which nothing happens test nothing.

use std::collections::BTreeMap;

use pool_core::EventKind;

use crate::kind::{SoupLedger, SoupPool};
use crate::scenario::{Ending, RuntimeKind};
use crate::world::World;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    leases: u64,
    faults: u64,
    /// Connections that `retain` was told to close.
    unwanted: u64,
    /// How often each kind of event happened, and in how many runs each feat of the pool.
    events: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn of<P: SoupPool>(world: &World<P>) -> Self {
        let mut events = BTreeMap::new();
        for event in world.ledger.events() {
            *events.entry(name_of(&event.kind)).or_default() += 1;
        }
        for feat in world.ledger.feats() {
            events.insert(feat.to_owned(), 1);
        }
        Self {
            leases: world.served(),
            faults: world.switch.injected(),
            unwanted: world.unwanted(),
            events,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.leases += other.leases;
        self.faults += other.faults;
        self.unwanted += other.unwanted;
        for (name, count) in other.events {
            *self.events.entry(name).or_default() += count;
        }
    }

    pub(crate) fn assert_enough<P: SoupPool>(
        &self,
        runtime_kind: RuntimeKind,
        ending: Ending,
        runs: u64,
    ) {
        assert!(self.leases > 10 * runs, "hardly any leases: {self:?}");
        assert!(self.faults > runs, "hardly any faults: {self:?}");
        assert!(
            ending != Ending::Close || self.unwanted > runs,
            "`retain` was hardly told to close anything: {self:?}"
        );
        if (runtime_kind, ending) == (RuntimeKind::Paused, Ending::Close) && runs >= 100 {
            for name in P::EXPECTED {
                assert!(self.events.contains_key(*name), "no {name}: {self:?}");
            }
        }
    }
}

/// The name of the variant; for a close, with the reason.
fn name_of(kind: &EventKind) -> String {
    if let EventKind::Closing { reason, .. } = kind {
        return format!("Closing {reason}");
    }
    let text = format!("{kind:?}");
    text.split(' ').next().unwrap_or_default().to_owned()
}
