//! As many connections as help, and no more.

use std::time::Duration;

use pool_core::TargetLeases;

use crate::simulator::{Callers, Peer, Scenario, Service};
use crate::{LEARNED, run};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const STEADY: Service = Service::Constant(Duration::from_millis(10));
const RANDOM: Service = Service::Random(Duration::from_millis(10));
const QUICK: Service = Service::Constant(MS);

/// The rate with the best fixed target.
fn best_fixed(scenario: &Scenario) -> f64 {
    let targets = [1, 2, 4, 8, 16, 1024];
    let rates = targets.map(|target| scenario.target(target).run().rate_after(LEARNED));
    rates.into_iter().fold(0.0, f64::max)
}

#[test]
fn serial_peer_is_served_as_by_the_best_fixed_target() {
    for (name, service) in [
        ("serial", STEADY),
        ("serial, random", RANDOM),
        ("mixed", Service::Mixed(2 * MS)),
    ] {
        let scenario = Scenario::new(name, Peer::serial(service), Callers::Closed(16)).seconds(20);
        let best = best_fixed(&scenario);
        let rate = run(&scenario).rate_after(LEARNED);
        assert!(rate >= 0.9 * best, "{name}: {rate:.0}/s beside {best:.0}/s");
    }
}

#[test]
fn serial_peer_is_served_by_enough_connections_whatever_the_number_of_callers() {
    for callers in [2, 3, 5, 9, 13, 40] {
        let name = "serial, some";
        let scenario =
            Scenario::new(name, Peer::serial(STEADY), Callers::Closed(callers)).seconds(10);
        let best = scenario.target(1).run().rate_after(LEARNED);
        let rate = run(&scenario).rate_after(LEARNED);
        assert!(
            rate >= 0.9 * best,
            "{callers} callers: {rate:.0}/s beside {best:.0}/s"
        );
    }
}

#[test]
fn multiplexing_peer_is_served_as_by_one_connection() {
    for (name, peer) in [
        ("multiplexing", Peer::multiplexing(RANDOM)),
        ("multiplexing, steady", Peer::multiplexing(STEADY)),
        // Two cores that all its processes share.
        ("multiplexing, two cores", Peer::backed(QUICK, 2, QUICK)),
    ] {
        let scenario = Scenario::new(name, peer, Callers::Closed(64)).seconds(20);
        let mut one = scenario.target(1024);
        one.max_size = 1;
        let best = one.run().rate_after(LEARNED);
        let trace = run(&scenario);
        let rate = trace.rate_after(LEARNED);
        assert!(
            rate >= 0.95 * best,
            "{name}: {rate:.0}/s beside {best:.0}/s"
        );
        assert!(trace.widest_after(0.0) <= 2, "{name}");
        assert!(trace.mean_leased_after(LEARNED) < 1.25, "{name}");
    }
}

#[test]
fn peer_with_some_lanes_gets_as_many_connections_as_its_lanes_are_used() {
    for seed in 1..=4 {
        let peer = Peer::with_lanes(4, RANDOM);
        let scenario = Scenario::new("four lanes", peer, Callers::Closed(16));
        let trace = run(&scenario.seconds(30).seed(seed));
        let rate = trace.rate_after(LEARNED);
        assert!(rate >= 0.95 * 1_520.0, "{rate:.0}/s");
        assert!(trace.mean_leased_after(LEARNED) < 5.0);
    }
}

#[test]
fn connections_that_slow_down_together_are_not_multiplied() {
    for seed in 1..=4 {
        for (name, peer, callers) in [
            (
                "backend",
                Peer::backed(QUICK, 1, QUICK),
                Callers::Closed(16),
            ),
            (
                "backend, random",
                Peer::backed(QUICK, 4, Service::Random(20 * MS)),
                Callers::Closed(16),
            ),
            (
                "backend, open",
                Peer::backed(QUICK, 1, Service::Random(5 * MS)),
                Callers::Open(150.0),
            ),
            (
                "backend, waves",
                Peer::backed(QUICK, 1, Service::Random(5 * MS)),
                Callers::Waves {
                    most: 32,
                    period: 5 * SECOND,
                },
            ),
        ] {
            let trace = run(&Scenario::new(name, peer, callers).seed(seed));
            let mean = trace.mean_leased_after(LEARNED);
            assert!(mean < 1.5, "{name}, seed {seed}: {mean:.1} on average");
            let widest = trace.widest_after(30.0);
            assert!(
                widest <= 2,
                "{name}, seed {seed}: {widest} after half a minute"
            );
        }
    }
}

#[test]
fn load_that_comes_and_goes_is_no_reason_for_more_connections() {
    for seed in 1..=4 {
        let callers = Callers::Waves {
            most: 32,
            period: 2 * SECOND,
        };
        let scenario = Scenario::new("multiplexing, waves", Peer::multiplexing(RANDOM), callers);
        let mean = run(&scenario.seed(seed)).mean_leased_after(LEARNED);
        assert!(mean < 1.5, "seed {seed}: {mean:.1} on average");
    }
}

#[test]
fn callers_that_come_by_chance_are_relieved() {
    let callers = Callers::Open(150.0);
    let scenario = Scenario::new("serial, open", Peer::serial(RANDOM), callers).seconds(30);
    let trace = run(&scenario);
    let leases: usize = trace.after(LEARNED).map(|sample| sample.leases).sum();
    let mean = leases / trace.after(LEARNED).count();
    // One connection would be overloaded by half.
    assert!(mean <= 4, "{mean} leases on average");
    assert!(trace.widest_after(0.0) <= 8);
}

/// Seven times as many requests come as one connection can serve.
#[test]
fn overload_is_noticed_though_the_load_grows_meanwhile() {
    // With 200 ms a first experiment that goes wrong by chance costs half a minute.
    for (millis, limit, seeds_within) in
        [(10, 12.0, 4), (50, 70.0, 4), (100, 60.0, 4), (200, 60.0, 2)]
    {
        let service = millis * MS;
        let peer = Peer::serial(Service::Random(service));
        let callers = Callers::Open(7.0 / service.as_secs_f64());
        let scenario = Scenario::new("serial, overload", peer, callers).seconds(80);
        let until = [1, 2, 3, 4].map(|seed| run(&scenario.seed(seed)).crowded_until(100));
        let within = until.iter().filter(|until| **until < limit).count();
        assert!(within >= seeds_within, "{millis} ms: {until:?}");
    }
}

#[test]
fn load_that_rises_is_no_reason_for_more_connections() {
    for (millis, seconds) in [(50, 60), (200, 60), (1_000, 240)] {
        let service = millis * MS;
        let callers = Callers::Rising {
            per_second: 64.0 / service.as_secs_f64(),
            rise: 30 * SECOND,
        };
        let peer = Peer::multiplexing(Service::Random(service));
        let scenario = Scenario::new("multiplexing, rising", peer, callers).seconds(seconds);
        for seed in 1..=4 {
            let trace = run(&scenario.seed(seed));
            let mean = trace.mean_leased_after(f64::from(seconds) / 4.0);
            assert!(mean < 1.3, "{millis} ms, seed {seed}: {mean:.1} on average");
            let widest = trace.widest_after(0.0);
            assert!(widest <= 2, "{millis} ms, seed {seed}: {widest}");
        }
    }
}

#[test]
fn connections_that_come_and_go_are_multiplied_all_the_same() {
    let service = 100 * MS;
    let serial = Peer::serial(Service::Random(service));
    let mut dying = serial;
    dying.life = Some(20 * SECOND);
    for (name, peer, max_uses) in [
        ("serial, few uses", serial, Some(100)),
        ("serial, dying", dying, None),
    ] {
        for seed in 1..=4 {
            let mut scenario = Scenario::new(name, peer, Callers::Closed(16)).seed(seed);
            scenario.max_uses = max_uses;
            let rate = run(&scenario).rate_after(20.0);
            assert!(rate >= 0.9 * 160.0, "{name}, seed {seed}: {rate:.0}/s");
        }
    }
}

#[test]
fn peer_that_does_worse_under_load_is_spread() {
    let mut peer = Peer::multiplexing(STEADY);
    peer.slower_by_load = 0.5;
    let scenario = Scenario::new("degrading with load", peer, Callers::Closed(16)).seconds(20);
    let best = best_fixed(&scenario);
    let rate = run(&scenario).rate_after(LEARNED);
    assert!(rate >= 0.9 * best, "{rate:.0}/s beside {best:.0}/s");
}

#[test]
fn peer_that_becomes_slower_keeps_what_helps() {
    let mut peer = Peer::serial(STEADY);
    peer.ages_in = Some(20 * SECOND);
    let scenario = Scenario::new("degrading with age", peer, Callers::Closed(16));
    let best = scenario.target(1).run().rate_after(LEARNED);
    let rate = run(&scenario).rate_after(LEARNED);
    assert!(rate >= 0.9 * best, "{rate:.0}/s beside {best:.0}/s");
}

#[test]
fn peer_that_takes_a_second_is_learned_in_the_time_of_its_requests() {
    let slow = Service::Random(SECOND);
    let scenario = Scenario::new("serial, slow", Peer::serial(slow), Callers::Closed(16));
    let trace = run(&scenario.seconds(120));
    assert!(trace.rate_after(60.0) >= 0.9 * 15.2);
    let scenario = Scenario::new(
        "multiplexing, slow",
        Peer::multiplexing(slow),
        Callers::Closed(64),
    );
    let trace = run(&scenario.seconds(120));
    assert!(trace.widest_after(0.0) <= 4);
    assert!(trace.mean_leased_after(20.0) < 1.25);
}

/// So few answers come that no tick alone says how long one takes.
#[test]
fn peer_that_takes_two_seconds_is_learned_in_the_time_of_its_requests() {
    for slow in [Service::Constant(2 * SECOND), Service::Random(2 * SECOND)] {
        let scenario = Scenario::new("serial, slower", Peer::serial(slow), Callers::Closed(16));
        let rate = run(&scenario.seconds(400)).rate_after(200.0);
        assert!(rate >= 0.9 * 8.0, "{rate:.1}/s");
    }
    let slow = Service::Random(2 * SECOND);
    let peer = Peer::multiplexing(slow);
    for callers in [Callers::Closed(64), Callers::Open(3.0)] {
        let scenario = Scenario::new("multiplexing, slower", peer, callers).seconds(400);
        let trace = run(&scenario);
        assert!(trace.widest_after(0.0) <= 4);
        assert!(trace.mean_leased_after(40.0) < 1.3);
    }
}

#[test]
fn leases_that_are_held_are_neither_load_nor_slow() {
    let sessions = Callers::BesideSessions {
        count: 0,
        sessions: 100,
    };
    let scenario = Scenario::new("sessions alone", Peer::serial(STEADY), sessions);
    assert_eq!(run(&scenario.seconds(30)).widest_after(0.0), 1);

    let both = Callers::BesideSessions {
        count: 8,
        sessions: 100,
    };
    let scenario = Scenario::new("serial beside sessions", Peer::serial(STEADY), both);
    let rate = run(&scenario.seconds(40)).rate_after(15.0);
    assert!(rate >= 0.9 * 800.0, "{rate:.0}/s");

    let scenario = Scenario::new(
        "multiplexing beside sessions",
        Peer::multiplexing(STEADY),
        both,
    );
    let trace = run(&scenario.seconds(40));
    assert!(trace.widest_after(0.0) <= 2);
}

#[test]
fn experiments_become_rare() {
    let peer = Peer::multiplexing(RANDOM);
    let scenario = Scenario::new("multiplexing, long", peer, Callers::Closed(16)).seconds(600);
    let trace = run(&scenario);
    let leased: Vec<_> = trace.samples.iter().map(|sample| sample.leased).collect();
    let changes = leased.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // Each experiment is two changes; at 2, 4, 8, … s there are nine of them in ten minutes.
    assert!(changes <= 24, "{changes} changes");
    assert!(trace.mean_leased_after(LEARNED) < 1.05);
}

#[test]
fn target_stays_within_its_range() {
    let target = TargetLeases::Adaptive { min: 4, max: 8 };
    let scenario = Scenario::new("serial, range", Peer::serial(STEADY), Callers::Closed(16));
    let trace = run(&scenario.target(target).seconds(20));
    assert!(
        trace
            .samples
            .iter()
            .all(|sample| (4..=8).contains(&sample.target))
    );
    // Four leases for each are never relieved.
    assert_eq!(trace.widest_after(LEARNED), 4);

    let peer = Peer::multiplexing(STEADY);
    let scenario = Scenario::new("multiplexing, range", peer, Callers::Closed(16));
    let trace = run(&scenario.target(target).seconds(20));
    assert_eq!(
        trace.samples.last().expect("some").leased,
        2,
        "eight at most for each"
    );
}
