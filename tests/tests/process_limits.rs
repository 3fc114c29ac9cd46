//! What happens at the limit on descriptors, which belongs to the whole process: one test alone.

#![cfg(target_os = "linux")]

mod common;

use common::Scene;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pool_stdio::{Rung, SpawnError, Stop};
use pool_tests::children::block_on;

/// The limit below which this many numbers are free.
fn limit_with(free: usize) -> u64 {
    let open = std::fs::read_dir("/proc/self/fd")
        .expect("Linux has it")
        .flatten();
    let open: Vec<_> = open
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let is_open = |number: &u64| {
        let number = number.to_string();
        // The directory itself was open while it was read.
        open.contains(&number) && std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok()
    };
    (0..)
        .filter(|number| !is_open(number))
        .nth(free)
        .expect("numbers do not end")
}

#[test]
fn a_spawn_without_descriptors_fails_with_the_numbers_and_leaves_nothing() {
    let scene = Scene::new();
    let command = scene.spec(&scene.actor("root").hang()).build().unwrap();
    let first = block_on(scene.children.spawn(&command)).unwrap();
    let seen = scene.beacon.expect(1);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // From none free to one short of enough: each fails at another step.
    for free in 0..=5 {
        let lowered = limit_with(free);
        setrlimit(Resource::RLIMIT_NOFILE, lowered, hard).unwrap();
        let failed = block_on(scene.children.spawn(&command));
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let error = failed.expect_err("there is no room");
        assert!(error.is_transient());
        let text = error.to_string();
        assert!(
            text.ends_with("raise it with `ulimit -n`, or lower the pool's max_size"),
            "{text}"
        );
        let SpawnError::Descriptors {
            needed,
            open: told,
            limit,
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((needed, limit), (4, Some(lowered)));
        assert!(told.is_some(), "Linux tells how many are open");
    }
    assert_eq!(scene.census.processes().len(), 1);
    // A termination needs no descriptor.
    setrlimit(Resource::RLIMIT_NOFILE, limit_with(0), hard).unwrap();
    let end = block_on(first.terminate(Stop::Force));
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(end.rung, Rung::Kill);
    scene.end(seen);
}
