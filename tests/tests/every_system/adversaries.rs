//! Children that misbehave, each ended in both ways.

use std::path::Path;

use pool_stdio::{KillScope, Stop, Survivors};
use pool_tests::children::adversaries;

use crate::beacons::{Beacons, wait_for_deaths};
use crate::rig::{brief, run, spec};

#[test]
fn nothing_is_left_of_a_child_that_misbehaves_however_it_is_ended() {
    let beacons = Beacons::new();
    let address = beacons.address();
    let all = adversaries(Path::new(&address));
    assert!(all.len() > NO_COUNTERPART.len());
    for stop in [Stop::Force, Stop::Orderly] {
        for adversary in &all {
            if NO_COUNTERPART.contains(&adversary.what) {
                continue;
            }
            let what = format!("{} {stop:?}", adversary.what);
            run(async {
                let scope = match adversary.leaves_group {
                    true => KillScope::Tree,
                    false => KillScope::Group,
                };
                let spec = spec(&adversary.behaviour).ladder_times(brief());
                let command = spec.kill_scope(scope).build().unwrap();
                let child = command.spawn().await.unwrap();
                let lit = beacons.lit(adversary.announced);
                let end = child.terminate(stop).await;
                assert_eq!(end.survivors, Survivors::Known(0), "{what}");
                wait_for_deaths(lit, &what).await;
            });
        }
    }
}

/// What they do, this system does not have: signals, sessions, and programs that close what they were started with.
#[cfg(windows)]
const NO_COUNTERPART: [&str; 8] = [
    "closes stdout, lives",
    "closes stdin, lives",
    "kills itself",
    "stops itself",
    "forks at SIGTERM",
    "leaf without descriptors",
    "leaf leaves by setsid",
    "leaf leaves by setsid and a double fork",
];
#[cfg(not(windows))]
const NO_COUNTERPART: [&str; 0] = [];
