//! Shared pools that learn how many leases a connection should carry, beside simulated peers.
//!
//! Each run is drawn into `target/tmp/adaptive`. Figures are counted after 3 s.

mod learning;
mod returning;
mod simulator;

use simulator::{Scenario, Trace, draw};

/// From then on figures are counted.
const LEARNED: f64 = 3.0;

/// Runs a scenario and draws it.
fn run(scenario: &Scenario) -> Trace {
    let trace = scenario.run();
    let title = format!(
        "{}: {:.0}/s, {:.1} connections on average, at most {}, {} at the end",
        scenario.name,
        trace.rate_after(LEARNED),
        trace.mean_leased_after(LEARNED),
        trace.widest_after(0.0),
        trace.open_at_end(),
    );
    draw(scenario.name, &title, &trace).expect("the folder can be written");
    trace
}
