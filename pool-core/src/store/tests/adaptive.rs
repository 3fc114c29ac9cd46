//! The estimator of the target beside peers whose rate is a formula.

use std::time::Duration;

use crate::store::adaptive::{Adaptive, LeaseAge, LeaseAges, PoolView, TargetRange};
use crate::time::Time;

const TICK: Duration = Duration::from_millis(100);
const SECOND: usize = 10;
const MINUTE: usize = 60 * SECOND;
const SIZE_MAX: usize = 16;
const ANY: TargetRange = TargetRange { min: 1, max: 1024 };

/// An estimator whose pool does at once what it asks for, and callers that take a new lease whenever
/// one ends.
struct Bench {
    adaptive: Adaptive,
    now: Time,
    load: u32,
    spread: usize,
    /// A part of a lease that has ended.
    rest: f64,
    /// The spread in each tick.
    history: Vec<usize>,
}

impl Bench {
    fn new(range: TargetRange, load: u32) -> Self {
        Self {
            adaptive: Adaptive::new(range),
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
            let spread = f64::from(u32::try_from(self.spread).unwrap());
            self.rest += rate(f64::from(self.load), spread) * TICK.as_secs_f64();
            while self.rest >= 1.0 {
                self.rest -= 1.0;
                self.adaptive.end_lease(self.adaptive.stamp());
                self.adaptive.begin_lease(self.load);
            }
            self.now = self.now.after(TICK);
            self.look(false);
        }
    }

    fn look(&mut self, is_changing: bool) {
        self.adaptive.tick(&PoolView {
            now: self.now,
            spread: self.spread,
            spread_max: SIZE_MAX,
            load: self.load,
            is_changing,
        });
        let wanted = self.adaptive.spread_for(self.load).clamp(1, SIZE_MAX);
        let most = self.adaptive.spread_max_for(self.load).max(1);
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
        f64::from(u32::try_from(sum).unwrap())
            / f64::from(u32::try_from(self.history.len()).unwrap())
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
        let mut bench = Bench::new(ANY, load);
        bench.run(3 * SECOND, serial);
        let useful = (load as usize).min(SIZE_MAX);
        assert!(
            10 * bench.spread >= 9 * useful,
            "{} for {load}",
            bench.spread
        );
        assert!(bench.spread <= useful, "{} for {load}", bench.spread);
        assert!(bench.adaptive.target() <= load.div_ceil(u32::try_from(bench.spread).unwrap()));
    }
}

#[test]
fn what_was_learned_is_used_at_once_and_not_beyond_what_was_proven() {
    let mut bench = Bench::new(ANY, 8);
    bench.run(5 * SECOND, serial);
    assert_eq!(bench.adaptive.spread_for(3), 3);
    assert_eq!(bench.adaptive.spread_for(8), 8);
    assert_eq!(bench.adaptive.spread_for(100), 8, "more were not tried");
    assert_eq!(bench.adaptive.spread_for(0), 0);
}

#[test]
fn peers_that_gain_nothing_have_a_second_connection_ever_more_rarely() {
    for (name, rate) in [
        ("multiplexing", multiplexing as fn(f64, f64) -> f64),
        ("backend", backend),
        ("worse", |load, spread| 100.0 * load / spread.sqrt()),
    ] {
        for load in [2, 3, 16, 64] {
            let mut bench = Bench::new(ANY, load);
            bench.run(10 * MINUTE, rate);
            assert!(bench.history.iter().all(|spread| *spread <= 2), "{name}");
            // At 0, 2, 4, … s: nine attempts in ten minutes, and two changes each.
            let changes = bench.changes();
            assert!((4..=20).contains(&changes), "{name}, {load}: {changes}");
            assert!(bench.mean() < 1.05, "{name}, {load}: {}", bench.mean());
            assert_eq!(bench.adaptive.target(), 1024);
        }
    }
}

#[test]
fn peers_with_lanes_get_as_many_connections_as_have_all_lanes_in_use() {
    for lanes in [2, 3, 4, 8] {
        let rate = |load: f64, spread: f64| 100.0 * load.min(spread * f64::from(lanes));
        let mut bench = Bench::new(ANY, 24);
        bench.run(MINUTE, rate);
        let enough = 24_u32.div_ceil(lanes);
        let found = u32::try_from(bench.spread).unwrap();
        let reached = rate(24.0, f64::from(found)) / 2_400.0;
        assert!(reached >= 0.9, "{lanes} lanes: {found} of {enough}");
        assert!(found <= 2 * enough, "{lanes} lanes: {found} of {enough}");
    }
}

#[test]
fn gain_that_is_neither_enough_nor_nothing_changes_nothing() {
    // Each doubling brings a quarter: too little to grow, too much to shrink.
    let rate = |_: f64, spread: f64| 100.0 * 1.25_f64.powf(spread.log2());
    let mut bench = Bench::new(ANY, 16);
    bench.run(5 * MINUTE, rate);
    assert!(bench.history.iter().all(|spread| *spread <= 2));
    assert!(bench.mean() < 1.1);
}

#[test]
fn growth_that_does_not_pay_any_more_is_taken_back() {
    let mut bench = Bench::new(ANY, 16);
    bench.run(5 * SECOND, serial);
    assert_eq!(bench.spread, 16);
    bench.history.clear();
    // Leases take twice as long as before, and no longer with fewer connections.
    bench.run(30 * SECOND, |_, _| 800.0);
    assert!(bench.spread <= 2, "{}", bench.spread);
    bench.history.clear();
    bench.run(5 * MINUTE, |_, _| 800.0);
    assert!(bench.mean() < 1.3, "{}", bench.mean());
}

#[test]
fn peer_that_becomes_slow_is_tried_again_at_once() {
    let mut bench = Bench::new(ANY, 16);
    bench.run(5 * MINUTE, multiplexing);
    assert_eq!(bench.spread, 1);
    bench.run(5 * SECOND, serial);
    assert_eq!(bench.spread, 16);
}

#[test]
fn load_that_has_doubled_is_tried_at_once() {
    let rate = |load: f64, spread: f64| 100.0 * load.min(16.0 * spread);
    let mut bench = Bench::new(ANY, 16);
    bench.run(5 * MINUTE, rate);
    assert_eq!(bench.spread, 1);
    bench.load = 64;
    bench.history.clear();
    bench.run(MINUTE, rate);
    assert!(bench.history[..5 * SECOND].contains(&4));
    assert_eq!(bench.adaptive.spread_for(64), 4);
}

#[test]
fn rate_that_rises_with_the_load_alone_is_no_gain() {
    let mut bench = Bench::new(ANY, 4);
    for _ in 0..30 {
        bench.run(2, multiplexing);
        bench.load += 2;
    }
    assert_eq!(bench.spread, 1);
    assert!(bench.history.iter().all(|spread| *spread <= 2));
}

#[test]
fn experiment_ends_when_a_connect_fails_or_connections_come_and_go() {
    let mut bench = Bench::new(ANY, 16);
    while bench.spread == 1 {
        bench.run(1, serial);
    }
    bench.adaptive.connect_failed(bench.now);
    bench.look(false);
    assert_eq!(bench.spread, 1, "given up");
    bench.run(SECOND, serial);
    assert_eq!(bench.spread, 1, "for now");
    while bench.spread == 1 {
        bench.run(1, serial);
    }
    bench.run(1, serial);
    bench.now = bench.now.after(TICK);
    bench.load += 1;
    bench.adaptive.begin_lease(bench.load);
    bench.look(true);
    assert_eq!(bench.spread, 1, "given up");
    bench.run(10 * SECOND, serial);
    assert_eq!(bench.spread, 16, "and begun again");
}

#[test]
fn experiment_survives_a_short_pause_and_no_long_one() {
    for (pause, is_over) in [(5, false), (20, true)] {
        let mut bench = Bench::new(ANY, 16);
        while bench.spread == 1 {
            bench.run(1, serial);
        }
        bench.load = 0;
        bench.run(1, serial);
        bench.now = bench.now.after(Duration::from_secs(pause));
        bench.adaptive.start_ticks(bench.now);
        bench.run(1, |_, _| 0.0);
        assert_eq!(bench.adaptive.spread_for(16) == 1, is_over, "{pause} s");
    }
}

#[test]
fn target_stays_in_its_range() {
    let range = TargetRange { min: 4, max: 8 };
    let mut bench = Bench::new(range, 32);
    bench.run(MINUTE, serial);
    assert_eq!((bench.spread, bench.adaptive.target()), (8, 4));

    let mut bench = Bench::new(range, 32);
    bench.run(10 * MINUTE, multiplexing);
    // Eight leases at most on each, whether that helps or not.
    assert_eq!(bench.spread, 4);
    assert_eq!(bench.adaptive.target(), 8);
}

#[test]
fn lease_is_held_after_two_generations() {
    let mut ages = LeaseAges::new();
    let mut now = Time::default();
    let mut pass = |ages: &mut LeaseAges, seconds| {
        now = now.after(Duration::from_secs(seconds));
        ages.tick(now)
    };
    let first = ages.stamp();
    assert!(!pass(&mut ages, 4));
    assert_eq!(ages.end_lease(first), LeaseAge::Present);
    assert!(pass(&mut ages, 1));
    assert_eq!(ages.end_lease(first), LeaseAge::Previous);
    assert_eq!(ages.end_lease(ages.stamp()), LeaseAge::Present);
    assert!(pass(&mut ages, 5));
    assert_eq!(ages.end_lease(first), LeaseAge::Held);
}

#[test]
fn generations_follow_the_time_of_leases() {
    let mut ages = LeaseAges::new();
    let mut now = Time::default();
    let mut last = ages.stamp();
    let mut seconds = 0;
    let mut next = |ages: &mut LeaseAges| {
        loop {
            now = now.after(Duration::from_secs(1));
            seconds += 1;
            if ages.tick(now) {
                return std::mem::take(&mut seconds);
            }
        }
    };
    // All end at once.
    let mut lengths = Vec::new();
    for _ in 0..4 {
        for _ in 0..100 {
            ages.end_lease(ages.stamp());
        }
        lengths.push(next(&mut ages));
    }
    assert_eq!(lengths, [5, 3, 2, 2]);
    // All end in the generation after, or later.
    lengths.clear();
    for _ in 0..4 {
        for _ in 0..100 {
            ages.end_lease(last);
        }
        last = ages.stamp();
        lengths.push(next(&mut ages));
    }
    assert_eq!(lengths, [2, 4, 8, 16]);
}
