//! The learner of the target beside peers whose rate is a formula.

use std::time::Duration;

use crate::store::adaptive::{LeaseAge, PoolView, TargetLearner};
use crate::time::Time;

const TICK: Duration = Duration::from_millis(100);
const SECOND: usize = 10;
const MINUTE: usize = 60 * SECOND;
const SIZE_MAX: usize = 16;
const ANY: (u32, u32) = (1, 1024);

/// A learner whose pool does at once what it asks for, and callers that take a new lease whenever
/// one ends.
struct LearnerBed {
    learner: TargetLearner,
    now: Time,
    load: u32,
    spread: usize,
    /// A part of a lease that has ended.
    rest: f64,
    /// The spread in each tick.
    history: Vec<usize>,
}

impl LearnerBed {
    fn new((min, max): (u32, u32), load: u32) -> Self {
        Self {
            learner: TargetLearner::new(min, max),
            now: Time::default(),
            load,
            spread: 1,
            rest: 0.0,
            history: Vec::new(),
        }
    }

    /// So many ticks beside a peer with this rate for a load and a spread.
    fn run(&mut self, ticks: usize, rate: impl Fn(f64, f64) -> f64) {
        for _ in 0..ticks {
            let spread = f64::from(u32::try_from(self.spread).expect("it is small"));
            self.rest += rate(f64::from(self.load), spread) * TICK.as_secs_f64();
            while self.rest >= 1.0 {
                self.rest -= 1.0;
                self.learner.end_lease(self.learner.stamp());
                self.learner.begin_lease(self.load);
            }
            self.now = self.now.after(TICK);
            self.look(false);
        }
    }

    fn look(&mut self, is_changing: bool) {
        self.learner.tick(&PoolView {
            now: self.now,
            spread: self.spread,
            spread_max: SIZE_MAX,
            load: self.load,
            is_changing,
        });
        let wanted = self.learner.spread_for(self.load).clamp(1, SIZE_MAX);
        let most = self.learner.spread_max_for(self.load).max(1);
        self.spread = self.spread.max(wanted).min(most);
        self.history.push(self.spread);
    }

    /// How often the spread changed.
    fn changes(&self) -> usize {
        let pairs = self.history.windows(2);
        pairs.filter(|pair| pair[0] != pair[1]).count()
    }

    fn mean(&self) -> f64 {
        let sum: usize = self.history.iter().sum();
        f64::from(u32::try_from(sum).expect("it is small"))
            / f64::from(u32::try_from(self.history.len()).expect("it is small"))
    }
}

/// One request after the other on each connection, 10 ms each.
fn serial(load: f64, spread: f64) -> f64 {
    100.0 * load.min(spread)
}

/// Any number of requests at a time, 10 ms each.
fn multiplexing(load: f64, _: f64) -> f64 {
    100.0 * load
}

/// One request after the other, whatever the connection.
fn backend(_: f64, _: f64) -> f64 {
    100.0
}

#[test]
fn serial_peers_get_a_connection_for_each_lease_within_three_seconds() {
    for load in 2..=40 {
        let mut bed = LearnerBed::new(ANY, load);
        bed.run(3 * SECOND, serial);
        let useful = (load as usize).min(SIZE_MAX);
        assert!(10 * bed.spread >= 9 * useful, "{} for {load}", bed.spread);
        assert!(bed.spread <= useful, "{} for {load}", bed.spread);
        assert!(bed.learner.target() <= load.div_ceil(u32::try_from(bed.spread).unwrap()));
    }
}

#[test]
fn what_was_learned_is_used_at_once_and_not_beyond_what_was_proven() {
    let mut bed = LearnerBed::new(ANY, 8);
    bed.run(5 * SECOND, serial);
    assert_eq!(bed.learner.spread_for(3), 3);
    assert_eq!(bed.learner.spread_for(8), 8);
    assert_eq!(bed.learner.spread_for(100), 8, "more were not tried");
    assert_eq!(bed.learner.spread_for(0), 0);
}

#[test]
fn peers_that_gain_nothing_have_a_second_connection_ever_more_rarely() {
    for (name, rate) in [
        ("multiplexing", multiplexing as fn(f64, f64) -> f64),
        ("backend", backend),
        ("worse", |load, spread| 100.0 * load / spread.sqrt()),
    ] {
        for load in [2, 3, 16, 64] {
            let mut bed = LearnerBed::new(ANY, load);
            bed.run(10 * MINUTE, rate);
            assert!(bed.history.iter().all(|spread| *spread <= 2), "{name}");
            // At 0, 8, 16, … s: seven attempts in ten minutes, and two changes each; nine if there is doubt.
            let changes = bed.changes();
            assert!((4..=20).contains(&changes), "{name}, {load}: {changes}");
            assert!(bed.mean() < 1.05, "{name}, {load}: {}", bed.mean());
            assert_eq!(bed.learner.target(), 1024);
        }
    }
}

#[test]
fn peers_with_lanes_get_as_many_connections_as_have_all_lanes_in_use() {
    for lanes in [2, 3, 4, 8] {
        let rate = |load: f64, spread: f64| 100.0 * load.min(spread * f64::from(lanes));
        let mut bed = LearnerBed::new(ANY, 24);
        bed.run(MINUTE, rate);
        let enough = 24_u32.div_ceil(lanes);
        let found = u32::try_from(bed.spread).unwrap();
        let reached = rate(24.0, f64::from(found)) / 2_400.0;
        assert!(reached >= 0.9, "{lanes} lanes: {found} of {enough}");
        assert!(found <= 2 * enough, "{lanes} lanes: {found} of {enough}");
    }
}

#[test]
fn gain_that_is_neither_enough_nor_nothing_changes_nothing() {
    // Each doubling brings a quarter: too little to grow, too much to shrink.
    let rate = |_: f64, spread: f64| 100.0 * 1.25_f64.powf(spread.log2());
    let mut bed = LearnerBed::new(ANY, 16);
    bed.run(5 * MINUTE, rate);
    assert!(bed.history.iter().all(|spread| *spread <= 2));
    assert!(bed.mean() < 1.1);
}

/// A child that has one of two cores; a second one gets what is left of the other.
#[test]
fn second_child_that_brings_a_quarter_more_is_tried_ever_more_rarely() {
    for (low, high) in [(3_400.0, 5_100.0), (4_000.0, 6_000.0)] {
        for seed in 1..=8_u32 {
            let mut state = seed;
            // From 0 to 1, and looks random.
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f64::from(state >> 8) / f64::from(1_u32 << 24)
            };
            let mut bed = LearnerBed::new(ANY, 16);
            for _ in 0..10 * MINUTE {
                let chance = next();
                bed.run(1, |_, spread| {
                    if spread < 2.0 {
                        3_800.0 + 400.0 * chance
                    } else {
                        low + (high - low) * chance
                    }
                });
            }
            let pairs = bed.history.windows(2);
            let attempts = pairs.filter(|pair| pair[1] > pair[0]).count();
            assert!(attempts <= 8, "up to {high}, seed {seed}: {attempts}");
            assert!(bed.history.iter().all(|spread| *spread <= 2));
            assert!(bed.mean() < 1.02, "up to {high}, seed {seed}");
        }
    }
}

#[test]
fn growth_that_does_not_pay_any_more_is_taken_back() {
    let mut bed = LearnerBed::new(ANY, 16);
    bed.run(5 * SECOND, serial);
    assert_eq!(bed.spread, 16);
    bed.history.clear();
    // Leases take twice as long as before, and no longer with fewer connections.
    bed.run(30 * SECOND, |_, _| 800.0);
    assert!(bed.spread <= 2, "{}", bed.spread);
    bed.history.clear();
    bed.run(5 * MINUTE, |_, _| 800.0);
    assert!(bed.mean() < 1.3, "{}", bed.mean());
}

#[test]
fn peer_that_becomes_slow_is_tried_again_at_once() {
    let mut bed = LearnerBed::new(ANY, 16);
    bed.run(5 * MINUTE, multiplexing);
    assert_eq!(bed.spread, 1);
    bed.run(5 * SECOND, serial);
    assert_eq!(bed.spread, 16);
}

#[test]
fn load_that_has_doubled_is_tried_at_once() {
    let rate = |load: f64, spread: f64| 100.0 * load.min(16.0 * spread);
    let mut bed = LearnerBed::new(ANY, 16);
    bed.run(5 * MINUTE, rate);
    assert_eq!(bed.spread, 1);
    bed.load = 64;
    bed.history.clear();
    bed.run(MINUTE, rate);
    assert!(bed.history[..5 * SECOND].contains(&4));
    assert_eq!(bed.learner.spread_for(64), 4);
}

#[test]
fn rate_that_rises_with_the_load_alone_is_no_gain() {
    let mut bed = LearnerBed::new(ANY, 4);
    for _ in 0..30 {
        bed.run(2, multiplexing);
        bed.load += 2;
    }
    assert_eq!(bed.spread, 1);
    assert!(bed.history.iter().all(|spread| *spread <= 2));
}

#[test]
fn experiment_ends_when_a_connect_fails_or_connections_come_and_go() {
    let mut bed = LearnerBed::new(ANY, 16);
    while bed.spread == 1 {
        bed.run(1, serial);
    }
    bed.learner.connect_failed(bed.now);
    bed.look(false);
    assert_eq!(bed.spread, 1, "given up");
    bed.run(SECOND, serial);
    assert_eq!(bed.spread, 1, "for now");
    while bed.spread == 1 {
        bed.run(1, serial);
    }
    bed.run(1, serial);
    bed.now = bed.now.after(TICK);
    bed.load += 1;
    bed.learner.begin_lease(bed.load);
    bed.look(true);
    assert_eq!(bed.spread, 1, "given up");
    bed.run(10 * SECOND, serial);
    assert_eq!(bed.spread, 16, "and begun again");
}

#[test]
fn experiment_survives_a_short_pause_and_no_long_one() {
    for (pause, is_over) in [(5, false), (20, true)] {
        let mut bed = LearnerBed::new(ANY, 16);
        while bed.spread == 1 {
            bed.run(1, serial);
        }
        bed.load = 0;
        bed.run(1, serial);
        bed.now = bed.now.after(Duration::from_secs(pause));
        bed.learner.start_ticks(bed.now);
        bed.run(1, |_, _| 0.0);
        assert_eq!(bed.learner.spread_for(16) == 1, is_over, "{pause} s");
    }
}

#[test]
fn target_stays_in_its_range() {
    let range = (4, 8);
    let mut bed = LearnerBed::new(range, 32);
    bed.run(MINUTE, serial);
    assert_eq!((bed.spread, bed.learner.target()), (8, 4));

    let mut bed = LearnerBed::new(range, 32);
    bed.run(10 * MINUTE, multiplexing);
    // Eight leases at most on each, whether that helps or not.
    assert_eq!(bed.spread, 4);
    assert_eq!(bed.learner.target(), 8);
}

#[test]
fn lease_is_held_after_two_generations() {
    let mut learner = TargetLearner::new(1, 1024);
    let mut now = Time::default();
    let mut pass = |learner: &mut TargetLearner, seconds| {
        now = now.after(Duration::from_secs(seconds));
        learner.age_leases(now)
    };
    let first = learner.stamp();
    assert!(!pass(&mut learner, 4));
    assert_eq!(learner.end_lease(first), LeaseAge::Present);
    assert!(pass(&mut learner, 1));
    assert_eq!(learner.end_lease(first), LeaseAge::Previous);
    assert_eq!(learner.end_lease(learner.stamp()), LeaseAge::Present);
    assert!(pass(&mut learner, 5));
    assert_eq!(learner.end_lease(first), LeaseAge::Held);
}

#[test]
fn generations_follow_the_time_of_leases() {
    let mut learner = TargetLearner::new(1, 1024);
    let mut now = Time::default();
    let mut seconds = 0;
    let mut next = |learner: &mut TargetLearner| {
        loop {
            now = now.after(Duration::from_secs(1));
            seconds += 1;
            if learner.age_leases(now) {
                return std::mem::take(&mut seconds);
            }
        }
    };
    // All end at once.
    let mut lengths = Vec::new();
    for _ in 0..4 {
        for _ in 0..100 {
            learner.end_lease(learner.stamp());
        }
        lengths.push(next(&mut learner));
    }
    assert_eq!(lengths, [5, 3, 2, 2]);
    let last = learner.stamp();
    assert_eq!(next(&mut learner), 2);
    // All are of the generation before: this one goes on, until as many of its own have ended.
    for _ in 0..100 {
        learner.end_lease(last);
    }
    let present = learner.stamp();
    let mut pass = |learner: &mut TargetLearner, seconds| {
        now = now.after(Duration::from_secs(seconds));
        learner.age_leases(now)
    };
    assert!(!pass(&mut learner, 2));
    assert!(!pass(&mut learner, 2));
    for _ in 0..100 {
        learner.end_lease(present);
    }
    assert!(!pass(&mut learner, 3));
    assert!(pass(&mut learner, 1));
}
