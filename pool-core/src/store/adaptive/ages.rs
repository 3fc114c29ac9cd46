//! Which leases are held for long, without a clock for each.
//!
//! Time is cut into *generations*. A lease is stamped with the generation it began in. It is held from
//! the second change of generations on, which is between one and two generations after it began. When
//! it ends earlier, it was an ordinary one.
//!
//! A generation is several times as long as most leases: it becomes shorter if nearly all leases end in
//! the generation they began in, and longer if less than half do.

use std::time::Duration;

use crate::time::Time;

/// The generation a lease began in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LeaseStamp(u32);

/// How long a lease was out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseAge {
    /// It began in this generation.
    Present,
    /// It began in the one before.
    Previous,
    Held,
}

/// The present generation.
#[derive(Debug)]
pub(crate) struct LeaseAges {
    generation: u32,
    began: Time,
    length: Duration,
    /// How many leases of each age ended in it.
    ended: [u64; 3],
}

impl LeaseAges {
    pub(crate) const fn new() -> Self {
        Self {
            generation: 0,
            began: Time::from_nanos(0),
            length: LENGTH_FIRST,
            ended: [0; 3],
        }
    }

    pub(crate) const fn stamp(&self) -> LeaseStamp {
        LeaseStamp(self.generation)
    }

    /// A lease with this stamp ends.
    pub(crate) const fn end_lease(&mut self, stamp: LeaseStamp) -> LeaseAge {
        let age = match self.generation.wrapping_sub(stamp.0) {
            0 => LeaseAge::Present,
            1 => LeaseAge::Previous,
            _ => LeaseAge::Held,
        };
        self.ended[age as usize] += 1;
        age
    }

    /// Begins the next generation if it is time, and says so: the leases of the one before are held
    /// from now on.
    pub(crate) fn tick(&mut self, now: Time) -> bool {
        if now.since(self.began) < self.length {
            return false;
        }
        let [present, previous, held] = std::mem::take(&mut self.ended);
        if previous + held > present {
            self.length = (self.length * 2).min(LENGTH_MAX);
        } else if NEARLY_ALL * (previous + held) < present {
            self.length = (self.length / 2).max(LENGTH_MIN);
        }
        self.generation = self.generation.wrapping_add(1);
        self.began = now;
        true
    }
}

const LENGTH_FIRST: Duration = Duration::from_secs(5);
const LENGTH_MIN: Duration = Duration::from_secs(2);
const LENGTH_MAX: Duration = Duration::from_secs(3600);
/// Against so many that ended in their generation, one that did not.
const NEARLY_ALL: u64 = 8;
