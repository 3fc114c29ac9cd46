//! The picture in `docs`: eight runs without anything random, side by side.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::simulator::{Callers, Peer, Scenario, Service, picture};
use crate::titled;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const STEADY: Service = Service::Constant(Duration::from_millis(10));

fn scenarios() -> [Scenario; 8] {
    let sixteen = Callers::Closed(16);
    let mut slower = Peer::multiplexing(STEADY);
    slower.slower_by_load = 0.5;
    let bursts = Callers::Bursts {
        count: 16,
        ask: 3 * SECOND,
        period: 15 * SECOND,
    };
    let both = Callers::BesideSessions {
        count: 8,
        sessions: 100,
    };
    let backend = Peer::backed(Service::Constant(MS), 1, Service::Constant(5 * MS));
    let mixed = Peer::serial(Service::Mixed(2 * MS));
    [
        Scenario::new("one request at a time", Peer::serial(STEADY), sixteen),
        Scenario::new("any number at a time", Peer::multiplexing(STEADY), sixteen),
        Scenario::new("four at a time", Peer::with_lanes(4, STEADY), sixteen),
        Scenario::new("one backend behind all", backend, sixteen),
        Scenario::new("one at a time, a tenth of them long", mixed, sixteen),
        Scenario::new("slower with each further one", slower, sixteen),
        Scenario::new("one at a time, in bursts", Peer::serial(STEADY), bursts),
        Scenario::new(
            "one at a time, beside 100 sessions",
            Peer::serial(STEADY),
            both,
        ),
    ]
}

#[test]
fn picture_in_the_docs_is_what_the_simulation_draws() {
    let runs: Vec<_> = scenarios()
        .map(|scenario| scenario.seconds(30))
        .map(|scenario| titled(&scenario, scenario.run()))
        .into();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let drawn = picture(&runs);
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("adaptive.svg");
    fs::write(&fresh, &drawn).expect("the folder can be written");
    let known = fs::read_to_string(folder.join("../docs/adaptive.svg")).unwrap_or_default();
    assert!(
        known == drawn,
        "docs/adaptive.svg is not what is drawn now: if the change is meant, copy {}",
        fresh.display()
    );
}
