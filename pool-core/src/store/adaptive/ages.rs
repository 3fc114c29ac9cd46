//! Which leases are held for long, without a clock for each.
//!
//! Time is cut into *generations*. A lease is stamped with the generation it began in. It is held from
//! the second change of generations on, which is between one and two generations after it began. When
//! it ends earlier, it was an ordinary one.
//!
//! A generation is several times as long as most leases. It becomes shorter if nearly all leases end in
//! the generation they began in. It goes on for twice as long if less than half do: leases that queue at
//! a slow peer all become old, and none of them is held. Each time it goes on, the older ones that have ended
//! count half: many held leases that end together must not make it go on for long.

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
    /// How many leases of each age have ended in it.
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
        let [present, previous, held] = self.ended;
        if previous + held > present && self.length < LENGTH_MAX {
            self.length = (self.length * 2).min(LENGTH_MAX);
            self.ended = [present, (previous + held).div_ceil(2), 0];
            return false;
        }
        self.ended = [0; 3];
        if NEARLY_ALL * (previous + held) < present {
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Whether a generation of 5 s in which so many leases of each age ended is over, and how long it, or
    /// the next one, is to be.
    fn look_after(present: usize, previous: usize, held: usize) -> (bool, u128) {
        let mut ages = LeaseAges::new();
        let mut now = Time::default();
        let oldest = ages.stamp();
        now = now.after(LENGTH_FIRST);
        assert!(ages.tick(now));
        let older = ages.stamp();
        now = now.after(LENGTH_FIRST);
        assert!(ages.tick(now), "generations without leases stay as long");
        for (stamp, count, age) in [
            (ages.stamp(), present, LeaseAge::Present),
            (older, previous, LeaseAge::Previous),
            (oldest, held, LeaseAge::Held),
        ] {
            for _ in 0..count {
                assert_eq!(ages.end_lease(stamp), age);
            }
        }
        now = now.after(LENGTH_FIRST);
        let is_over = ages.tick(now);
        (is_over, ages.length.as_millis())
    }

    #[test]
    fn a_generation_goes_on_when_most_leases_that_ended_are_older() {
        assert_eq!(look_after(7, 4, 4), (false, 10_000));
        assert_eq!(look_after(8, 4, 4), (true, 5_000));
    }

    #[test]
    fn a_generation_that_goes_on_ends_when_most_leases_that_ended_are_of_it() {
        let mut ages = LeaseAges::new();
        let older = ages.stamp();
        let began = Time::default().after(LENGTH_FIRST);
        assert!(ages.tick(began));
        let mut now = began;
        for (ended, seconds, is_over) in [(older, 5, false), (ages.stamp(), 9, false)] {
            ages.end_lease(ended);
            now = began.after(Duration::from_secs(seconds));
            assert_eq!(ages.tick(now), is_over, "{seconds} s");
        }
        assert!(ages.tick(now.after(Duration::from_secs(1))));
    }

    #[test]
    fn many_held_leases_that_end_together_stop_the_generations_for_minutes_only() {
        let mut ages = LeaseAges::new();
        let held = ages.stamp();
        let mut now = Time::default();
        for _ in 0..2 {
            now = now.after(LENGTH_FIRST);
            assert!(ages.tick(now));
        }
        for _ in 0..1_000 {
            assert_eq!(ages.end_lease(held), LeaseAge::Held);
        }
        // Beside them there is one short lease in each second.
        let mut ends = Vec::new();
        for second in 1..=240 {
            now = now.after(Duration::from_secs(1));
            ages.end_lease(ages.stamp());
            if ages.tick(now) {
                ends.push(second);
            }
        }
        assert_eq!(ends[..5], [80, 160, 200, 220, 230]);
        assert!(ages.length < LENGTH_FIRST, "{:?}", ages.length);
    }

    #[test]
    fn no_generation_is_longer_than_an_hour() {
        let mut ages = LeaseAges::new();
        let older = ages.stamp();
        let began = Time::default().after(LENGTH_FIRST);
        assert!(ages.tick(began));
        ages.end_lease(older);
        ages.length = LENGTH_MAX;
        assert!(ages.tick(began.after(LENGTH_MAX)));
        assert_eq!(ages.length, LENGTH_MAX);
    }

    #[test]
    fn generations_shrink_when_nearly_all_leases_end_in_them() {
        assert_eq!(look_after(81, 5, 5), (true, 2_500));
        assert_eq!(look_after(80, 5, 5), (true, 5_000));
        assert_eq!(look_after(1, 0, 0), (true, 2_500));
    }
}
