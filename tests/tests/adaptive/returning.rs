//! What is not needed any more goes.

use std::time::Duration;

use crate::simulator::{Callers, Peer, Scenario, Service};
use crate::{LEARNED, run};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn bursts_find_what_was_learned_and_leave_little_behind() {
    let peer = Peer::serial(Service::Constant(10 * MS));
    let callers = Callers::Bursts {
        count: 16,
        ask: 3 * SECOND,
        period: 20 * SECOND,
    };
    let trace = run(&Scenario::new("serial, bursts", peer, callers));
    for burst in [20.0, 40.0] {
        let soon = trace.after(burst + 0.5).take(20);
        let completed: usize = soon.map(|sample| sample.completed).sum();
        assert!(completed >= 2 * 1_400, "{completed} after {burst} s");
        let after = trace.after(burst + 3.0 + 10.5).next().expect("some");
        assert!(after.open <= 1, "{} are left", after.open);
    }
}

#[test]
fn bursts_of_a_multiplexing_peer_need_no_more() {
    let peer = Peer::multiplexing(Service::Random(10 * MS));
    let callers = Callers::Bursts {
        count: 64,
        ask: 2 * SECOND,
        period: 8 * SECOND,
    };
    let trace = run(&Scenario::new("multiplexing, bursts", peer, callers));
    assert!(trace.widest_after(0.0) <= 2);
    assert!(trace.mean_leased_after(LEARNED) < 0.4);
}

#[test]
fn waves_are_followed() {
    let peer = Peer::serial(Service::Random(10 * MS));
    let callers = Callers::Waves {
        most: 32,
        period: 10 * SECOND,
    };
    let scenario = Scenario::new("serial, waves", peer, callers);
    let best = scenario.target(1).run().rate_after(10.0);
    let rate = run(&scenario).rate_after(10.0);
    assert!(rate >= 0.9 * best, "{rate:.0}/s beside {best:.0}/s");
}
