//! Trees of processes, and how all of them end: the tree-kill matrix, and the adversaries.

#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use common::{AMPLE, BRIEF, NO_SURVIVORS, Scene, graces};
use pool_stdio::{Drain, Exit, KillScope, LadderTimes, Rung, Stop, Termination};
use pool_testkit::fixture::{Behaviour, ChildStdio, Step};
use pool_tests::children::{Ends, RootEnds, Sighting, adversaries, block_on, trees};

/// Builds each tree of the matrix, ends it, and checks that nothing of it lives at that very moment.
fn play(stop: Stop, scope: KillScope, times: LadderTimes) {
    // Who leaves the group is found by a cookie, which only one scope gives, where there is `/proc`.
    let finds_all = scope == KillScope::Tree && !cfg!(pool_stdio_portable);
    let count = trees(Scene::new().beacon.path()).len();
    for number in 0..count {
        let scene = Scene::new();
        let row = trees(scene.beacon.path()).swap_remove(number);
        if row.leaves_group && !finds_all {
            continue;
        }
        let spec = scene.spec(&row.behaviour);
        let spec = spec.kill_scope(scope).ladder_times(times);
        let child = scene.spawn_spec(spec);
        let seen = scene.beacon.expect(row.announced);
        if row.root == RootEnds::Before {
            block_on(child.exited());
        }
        let end = block_on(child.terminate(stop));
        let case = format!(
            "{} ({}) by {stop:?} in {scope:?}: {end:?}",
            row.id, row.what
        );
        assert_all_dead(&seen, &case);
        assert!(
            cfg!(pool_stdio_portable) || scene.census.processes().is_empty(),
            "{case}"
        );
        assert_ne!(end.exit, Exit::Lost, "{case}");
        assert_eq!(
            (end.survivors, end.drain),
            (NO_SURVIVORS, Drain::Complete),
            "{case}"
        );
        scene.end(seen);
    }
}

#[track_caller]
fn assert_all_dead(seen: &[Sighting], case: &str) {
    // Where survivors cannot be counted they cannot be waited for either, only killed.
    let limit = if cfg!(pool_stdio_portable) {
        AMPLE
    } else {
        Duration::ZERO
    };
    let alive: Vec<_> = seen.iter().filter(|one| !one.dies_within(limit)).collect();
    assert!(alive.is_empty(), "{case}: alive: {alive:?}");
    for root in seen.iter().filter(|one| one.tag == "root") {
        assert!(root.is_reaped(), "{case}: root not reaped");
    }
}

#[test]
fn no_process_of_the_matrix_outlives_force() {
    play(Stop::Force, KillScope::Tree, LadderTimes::default());
}

#[test]
fn no_process_of_the_matrix_outlives_an_orderly_end() {
    play(Stop::Orderly, KillScope::Tree, graces(BRIEF, 2 * BRIEF));
}

#[test]
fn no_process_that_stays_in_the_group_outlives_the_group() {
    play(Stop::Force, KillScope::Group, LadderTimes::default());
    play(Stop::Orderly, KillScope::Group, graces(BRIEF, 2 * BRIEF));
}

#[test]
fn a_child_forked_by_the_handler_of_sigterm_is_found_and_killed() {
    for scope in [KillScope::Group, KillScope::Tree] {
        let scene = Scene::new();
        let late = scene.deaf("late").hang();
        let handler = Behaviour::new().start(late);
        // Where it cannot be counted, nothing lives on after the root, so it may not even get to
        // announce itself unless the root stays.
        let handler = if cfg!(pool_stdio_portable) {
            handler
        } else {
            handler.exit(0)
        };
        let root = scene.handler("root", handler).hang();
        let spec = scene
            .spec(&root)
            .kill_scope(scope)
            .ladder_times(graces(BRIEF, 100 * BRIEF));
        let child = scene.spawn_spec(spec);
        let mut seen = scene.beacon.expect(1);
        let ending = child.terminate(Stop::Orderly);
        seen.extend(scene.beacon.expect(1));
        let end = block_on(ending);
        if !cfg!(pool_stdio_portable) {
            assert_eq!((end.rung, end.survivors_found), (Rung::Kill, 1), "{end:?}");
        }
        assert_all_dead(&seen, "late fork");
        scene.end(seen);
    }
}

#[test]
fn scope_root_leaves_the_rest_running() {
    let scene = Scene::new();
    let tree = scene
        .actor("root")
        .then(Step::Start {
            child: scene.actor("leaf").hang(),
            count: 1,
            stdio: ChildStdio::Null,
        })
        .hang();
    let child = scene.spawn_spec(scene.spec(&tree).kill_scope(KillScope::Root));
    let seen = scene.beacon.expect(2);
    let end = block_on(child.terminate(Stop::Force));
    assert_eq!((end.rung, end.drain), (Rung::Kill, Drain::Complete));
    let leaf = seen.iter().find(|one| one.tag == "leaf").unwrap();
    assert!(!leaf.is_dead());
    end_leaves(&scene, &seen);
    scene.end(seen);
}

/// Ends, by number, processes that are known to live and to be ours.
fn end_leaves(scene: &Scene, seen: &[Sighting]) {
    for process in scene.census.processes() {
        let pid = nix::unistd::Pid::from_raw(process.pid.cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it lives");
    }
    assert!(seen.iter().all(|one| one.dies_within(AMPLE)));
}

#[cfg(not(pool_stdio_portable))]
#[test]
fn tree_scope_never_touches_a_process_of_another_child() {
    let scene = Scene::new();
    let away = || scene.away("leaf").hang();
    let tree = scene.actor("root").start(away()).hang();
    let spec = || scene.spec(&tree).kill_scope(KillScope::Tree);
    let (one, other) = (scene.spawn_spec(spec()), scene.spawn_spec(spec()));
    let seen = scene.beacon.expect(4);
    block_on(one.terminate(Stop::Force));
    assert_eq!(seen.iter().filter(|one| one.is_dead()).count(), 2);
    assert!(other.is_alive());
    block_on(other.terminate(Stop::Force));
    assert_all_dead(&seen, "both");
    scene.end(seen);
}

#[test]
fn every_adversary_is_ended_by_the_first_rung_that_can() {
    for_each_adversary(Stop::Orderly, |ends, end| {
        let expected = match ends {
            Ends::ByItself => Rung::AlreadyGone,
            Ends::AtEof => Rung::Eof,
            Ends::AtTerm => Rung::Term,
            Ends::AtKill => Rung::Kill,
        };
        assert_eq!(end.rung, expected, "{end:?}");
    });
}

#[test]
fn every_adversary_is_ended_by_force() {
    for_each_adversary(Stop::Force, |ends, end| {
        let expected = if ends == Ends::ByItself {
            Rung::AlreadyGone
        } else {
            Rung::Kill
        };
        assert_eq!(end.rung, expected, "{end:?}");
    });
}

fn for_each_adversary(stop: Stop, check: impl Fn(Ends, &Termination)) {
    let count = adversaries(Scene::new().beacon.path()).len();
    for number in 0..count {
        let scene = Scene::new();
        let adversary = adversaries(scene.beacon.path()).swap_remove(number);
        // Nothing on such a system finds a process that left the group.
        if cfg!(pool_stdio_portable) && adversary.leaves_group {
            continue;
        }
        let times = match adversary.ends {
            Ends::ByItself | Ends::AtEof => graces(AMPLE, AMPLE),
            Ends::AtTerm => graces(BRIEF, AMPLE),
            Ends::AtKill => graces(BRIEF, BRIEF),
        };
        let spec = scene.spec(&adversary.behaviour);
        let child = scene.spawn_spec(spec.kill_scope(KillScope::Tree).ladder_times(times));
        let seen = scene.beacon.expect(adversary.announced);
        if adversary.ends == Ends::ByItself {
            block_on(child.exited());
        }
        let end = block_on(child.terminate(stop));
        let case = format!("{}: {end:?}", adversary.what);
        assert_all_dead(&seen, &case);
        assert!(
            cfg!(pool_stdio_portable) || scene.census.processes().is_empty(),
            "{case}"
        );
        assert_eq!(
            (end.survivors, end.drain),
            (NO_SURVIVORS, Drain::Complete),
            "{case}"
        );
        assert_ne!(end.exit, Exit::Lost, "{case}");
        // Where survivors cannot be counted, the rung tells what ended the root.
        if !cfg!(pool_stdio_portable) || adversary.announced == 1 {
            check(adversary.ends, &end);
        }
        scene.end(seen);
    }
}
