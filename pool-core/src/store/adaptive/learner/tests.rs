//! Single decisions of the learner. What they come to is simulated in `store/tests/learning`.

use super::*;

fn view(spread: usize, spread_max: usize) -> PoolView {
    PoolView {
        now: Time::default(),
        spread,
        spread_max,
        load: 1,
        is_changing: false,
    }
}

#[test]
fn growing_doubles_the_spread_up_to_what_the_load_can_use() {
    for (target_min, load, spread, spread_max, expected) in [
        (1, 0.0, 0, 64, None),
        (1, 1.05, 1, 64, None),
        (1, 1.1, 1, 64, Some(2)),
        (1, 2.0, 1, 64, Some(2)),
        (1, 64.0, 1, 64, Some(2)),
        (1, 4.3, 4, 64, None),
        (1, 5.0, 4, 64, Some(5)),
        // Two more at once, rather than in an experiment of their own.
        (1, 10.0, 4, 64, Some(10)),
        (1, 10.5, 4, 64, Some(8)),
        (1, 12.0, 4, 64, Some(8)),
        (1, 64.0, 4, 6, Some(6)),
        (1, 64.0, 4, 4, None),
        (1, 64.0, 4, 3, None),
        // Each connection can serve four.
        (4, 9.0, 2, 64, Some(3)),
        (4, 8.0, 2, 64, None),
    ] {
        let learner = TargetLearner::new(target_min, 1_024);
        let found = learner.wider(load, &view(spread, spread_max));
        assert_eq!(found, expected, "{load} on {spread}");
    }
}

#[test]
fn shrinking_takes_away_a_quarter_if_that_leaves_more_than_the_target_on_each() {
    for (load, spread, expected) in [
        (100.0, 0, None),
        (100.0, 1, None),
        (5.0, 2, Some(1)),
        (4.0, 2, None),
        (25.0, 8, Some(6)),
        (24.0, 8, None),
        (20.0, 8, None),
        (100.0, 7, Some(6)),
    ] {
        let learner = TargetLearner::new(1, 4);
        let found = learner.narrower(load, &view(spread, 64));
        assert_eq!(found, expected, "{load} on {spread}");
    }
}

#[test]
fn a_measurement_of_sixty_ticks_counts_for_half_from_then_on() {
    let mut learner = TargetLearner::new(1, 1_024);
    let mut narrow = view(1, 64);
    let mut ticks = Vec::new();
    for _ in 0..92 {
        learner.begin_lease(1);
        learner.end_lease(learner.stamp());
        narrow.now = narrow.now.after(Duration::from_millis(100));
        learner.tick(&narrow);
        ticks.push(learner.profile.total.ticks);
    }
    // The first tick finds that there is a connection.
    assert!(ticks[..60].iter().copied().eq(0..60));
    assert!(ticks[60..91].iter().copied().eq((30..60).chain([30])));
}

const TENTH: Duration = Duration::from_millis(100);

/// A tick in which one lease after the other ended, so many of them.
fn tick_of(learner: &mut TargetLearner, view: &PoolView, ended: u64) {
    for _ in 0..ended {
        learner.begin_lease(1);
        learner.end_lease(learner.stamp());
    }
    learner.tick(view);
}

fn assert_near(found: f64, expected: f64) {
    let ratio = found / expected;
    assert!((0.99..1.01).contains(&ratio), "{found}, not {expected}");
}

#[test]
fn what_is_shorter_than_50_ms_is_no_tick() {
    let mut learner = TargetLearner::new(1, 1_024);
    let mut narrow = view(1, 64);
    narrow.now = Time::from_millis(49);
    learner.tick(&narrow);
    assert_eq!(learner.ticked, Time::default());
    narrow.now = Time::from_millis(50);
    learner.tick(&narrow);
    assert_eq!(learner.ticked, narrow.now);
}

#[test]
fn a_time_in_which_nothing_moved_makes_no_tick_longer() {
    let mut learner = TargetLearner::new(1, 1_024);
    let mut narrow = view(1, 64);
    for (millis, load) in [(100, 1), (200, 1), (300, 0)] {
        narrow.now = Time::from_millis(millis);
        narrow.load = load;
        tick_of(&mut learner, &narrow, 10);
    }
    learner.start_ticks(Time::from_millis(900_000));
    narrow.now = Time::from_millis(900_100);
    tick_of(&mut learner, &narrow, 10);
    assert_near(learner.profile.total.rate(), 100.0);
}

#[test]
fn a_tick_in_which_leases_only_go_on_counts_as_well() {
    let mut learner = TargetLearner::new(1, 1_024);
    let mut narrow = view(1, 64);
    for ticks in [0, 0, 1, 2] {
        narrow.now = narrow.now.after(TENTH);
        let ended = u64::from(ticks == 0);
        tick_of(&mut learner, &narrow, ended);
        let found = learner.profile.total.ticks;
        assert!(found == ticks || found == ticks + 1, "{found}");
    }
    assert_eq!(learner.profile.total.ticks, 3);
}

#[test]
fn the_least_time_of_a_lease_doubles_in_five_minutes() {
    let mut learner = TargetLearner::new(1, 1_024);
    let mut narrow = view(1, 64);
    narrow.now = narrow.now.after(TENTH);
    tick_of(&mut learner, &narrow, 100);
    // A hundredth of a tenth of a second, and what chance may have made of it.
    assert_near(learner.least_seconds, 0.001 * 1.2);
    for _ in 0..3_000 {
        narrow.now = narrow.now.after(TENTH);
        tick_of(&mut learner, &narrow, 10);
    }
    assert_near(learner.least_seconds, 0.002 * 1.2);
}

#[test]
fn the_least_time_of_slow_leases_is_known_when_they_have_been_renewed() {
    let mut learner = TargetLearner::new(1, 1_024);
    let mut narrow = view(1, 64);
    for _ in 0..7 {
        narrow.now = narrow.now.after(TENTH);
        tick_of(&mut learner, &narrow, 1);
    }
    assert!(learner.least_seconds.is_infinite());
    narrow.now = narrow.now.after(TENTH);
    tick_of(&mut learner, &narrow, 1);
    assert_near(learner.least_seconds, 0.1 * (1.0 + 2.0 / 8.0_f64.sqrt()));
}

#[test]
fn leases_that_pile_up_say_nothing_of_the_least_time() {
    let mut learner = TargetLearner::new(1, 1_024);
    let mut narrow = view(1, 64);
    // Six begin for each that ends.
    for tick in 0..100 {
        narrow.now = narrow.now.after(TENTH);
        for lease in 1..=60 {
            learner.begin_lease(50 * tick + lease);
        }
        for _ in 0..10 {
            learner.end_lease(learner.stamp());
        }
        narrow.load = 50 * (tick + 1);
        learner.tick(&narrow);
    }
    assert!(learner.least_seconds.is_infinite());
}

/// An experiment that has measured as many leases in each tick.
fn measured(from: usize, to: usize, base: u64, ended: u64) -> Experiment {
    let mut profile = LoadProfile::default();
    let tick = |ended| LoadWindow::of_tick(TENTH, 16.0, ended);
    profile.add(&tick(base));
    let mut experiment = Experiment::new(&view(from, 64), to, profile, 1.0);
    for ended in [1_000, 1_000, ended] {
        experiment.advance(Some(&tick(ended)), &view(to, 64));
    }
    experiment
}

#[test]
fn an_experiment_goes_on_after_a_pause_of_ten_seconds_and_no_longer_one() {
    let mut learner = TargetLearner::new(1, 1_024);
    let mut idle = view(1, 64);
    idle.load = 0;
    learner.experiment = Some(Experiment::new(&idle, 2, LoadProfile::default(), 1.0));
    idle.now = Time::default().after(PAUSE_MAX);
    learner.tick(&idle);
    assert!(learner.experiment.is_some());
    idle.now = idle.now.after(TENTH);
    learner.tick(&idle);
    assert!(learner.experiment.is_none());
}

#[test]
fn leases_that_are_held_from_now_on_end_an_experiment_and_what_was_measured() {
    let now = Time::from_millis(60_000);
    for (to, is_put_off) in [(4, true), (1, false)] {
        let mut learner = TargetLearner::new(1, 1_024);
        learner.experiment = Some(measured(2, to, 10, 10));
        learner.profile.add(&LoadWindow::of_tick(TENTH, 1.0, 10));
        learner.hold_leases(now);
        assert!(learner.experiment.is_none());
        assert_eq!(learner.profile.total.ticks, 0);
        assert_eq!(learner.growth.is_due(now), !is_put_off);
        assert!(learner.growth.is_due(now.after(RETRY_FIRST)));
    }
}

#[test]
fn growth_in_doubt_waits_for_its_review_unless_the_rate_rises() {
    let now = Time::from_millis(60_000);
    for (ended, is_rush) in [(9, false), (10, false), (11, true)] {
        let mut learner = TargetLearner::new(1, 1_024);
        let experiment = measured(1, 2, 10, ended);
        learner.conclude_growth(&experiment, SpreadGain::Unsure, now);
        assert_eq!(learner.growth.is_due(now), is_rush, "{ended}");
        assert!(!learner.growth.is_due(now.after(DOUBT)) || is_rush);
        assert!(learner.growth.is_due(now.after(2 * DOUBT)));
        assert!(!learner.review.is_due(now));
        assert!(learner.review.is_due(now.after(DOUBT)));
    }
}

#[test]
fn growth_that_surely_brought_nothing_is_tried_again_after_eight_seconds_instead_of_two() {
    let now = Time::from_millis(60_000);
    for (gain, waits) in [
        (SpreadGain::Nothing, [2, 4, 8, 16]),
        (SpreadGain::SurelyNothing, [8, 16, 32, 64]),
    ] {
        let mut learner = TargetLearner::new(1, 1_024);
        for wait in waits {
            learner.conclude_growth(&measured(1, 2, 10, 10), gain, now);
            assert!(
                !learner
                    .growth
                    .is_due(now.after(Duration::from_secs(wait - 1)))
            );
            assert!(learner.growth.is_due(now.after(Duration::from_secs(wait))));
        }
    }
}
