//! Shared pools that learn how many leases a connection should carry, beside simulated peers.
//!
//! Each run is drawn into the folder `adaptive` among cargo's temporary files of tests. Figures are
//! counted after 3 s.

mod learning;
mod overview;
mod returning;
mod simulator;

use std::fs;
use std::path::Path;

use simulator::{Scenario, Trace, picture};

/// From then on figures are counted.
const LEARNED: f64 = 3.0;

/// Runs a scenario and draws it.
fn run(scenario: &Scenario) -> Trace {
    let titled = titled(scenario, scenario.run());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("adaptive");
    fs::create_dir_all(&folder).expect("the folder can be written");
    let file = scenario.name.replace(", ", "-").replace(' ', "-") + ".svg";
    let drawn = picture(std::slice::from_ref(&titled));
    fs::write(folder.join(file), drawn).expect("the folder can be written");
    titled.1
}

/// A run, and what a picture of it says at the top.
fn titled(scenario: &Scenario, trace: Trace) -> (String, Trace) {
    let title = format!(
        "{}: {:.0}/s, {:.1} connections",
        scenario.name,
        trace.rate_after(LEARNED),
        trace.mean_leased_after(LEARNED),
    );
    (title, trace)
}
