//! Signals to children, and the end of many of them.

#![cfg(target_os = "linux")]

mod common;

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;

use common::{AMPLE, BRIEF, Scene, graces, read_lines, write_to};
use pool_stdio::{Child, Exit, KillScope, Rung, Signal, SignalError, SpawnError, Stop};
use pool_testkit::fixture::Behaviour;
use pool_tests::children::{Sighting, block_on};

fn tag<'a>(seen: &'a [Sighting], tag: &str) -> &'a Sighting {
    seen.iter()
        .find(|one| one.tag == tag)
        .expect("it announced itself")
}

fn code(exit: Exit) -> Option<i32> {
    exit.status().and_then(|status| status.code())
}

#[test]
fn a_signal_reaches_the_whole_group() {
    let scene = Scene::new();
    let child = scene.spawn(&scene.actor("root").start(scene.actor("leaf").hang()).hang());
    let seen = scene.beacon.expect(2);
    // One that whoever runs the tests in the background does not have ignored.
    child.signal(Signal::User1).unwrap();
    assert!(seen.iter().all(|one| one.dies_within(AMPLE)));
    assert_eq!(
        block_on(child.exited()).status().unwrap().signal(),
        Some(libc::SIGUSR1)
    );
    drop(child);
    scene.end(seen);
}

#[test]
fn a_signal_to_a_child_that_has_exited_alone_has_no_receiver() {
    if cfg!(pool_stdio_portable) {
        return;
    }
    let scene = Scene::new();
    let alone = scene.spawn(&Behaviour::new());
    block_on(alone.exited());
    assert!(matches!(
        alone.signal(Signal::User1),
        Err(SignalError::Gone)
    ));
    let with_leaf = scene.spawn(&scene.actor("root").start(scene.actor("leaf").hang()));
    let seen = scene.beacon.expect(2);
    block_on(with_leaf.exited());
    with_leaf.signal(Signal::User1).unwrap();
    assert!(tag(&seen, "leaf").dies_within(AMPLE));
    drop((alone, with_leaf));
    scene.end(seen);
}

#[test]
fn an_exit_of_its_own_is_told_apart_from_an_end_by_us() {
    let scene = Scene::new();
    let leaf = scene.deaf("leaf").hang();
    let crashed = scene.spawn(&scene.actor("root").start(leaf).exit(7));
    let ended = scene.spawn(&scene.actor("root").hang());
    let seen = scene.beacon.expect(3);
    block_on(crashed.exited());
    let end = block_on(crashed.terminate(Stop::Force));
    assert_eq!((end.exited_by_itself, code(end.exit)), (true, Some(7)));
    if !cfg!(pool_stdio_portable) {
        assert_eq!(end.rung, Rung::Kill, "the leaf was killed");
    }
    assert!(!block_on(ended.terminate(Stop::Force)).exited_by_itself);
    let dropped = scene.spawn(&Behaviour::echo());
    let watcher = dropped.terminating();
    drop(dropped);
    assert!(!block_on(watcher).exited_by_itself);
    scene.end(seen);
}

#[test]
fn terminate_all_ends_every_child_and_admits_no_more() {
    let scene = Scene::new();
    let polite = scene.actor("polite").hang();
    let deaf = scene.deaf("deaf").hang();
    let kept: Vec<Child> = [&polite, &polite, &deaf].map(|one| scene.spawn(one)).into();
    let seen = scene.beacon.expect(3);
    assert_eq!(scene.children.pids().len(), 3);
    let report = block_on(scene.children.terminate_all(BRIEF));
    assert_eq!((report.ended, report.left.len()), (3, 0));
    assert!(seen.iter().all(Sighting::is_reaped));
    assert!(kept.iter().all(|child| !child.is_alive()));
    let refused = block_on(scene.children.spawn(&scene.spec(&polite).build().unwrap()));
    assert!(matches!(refused, Err(SpawnError::Closed)));
    drop(kept);
    scene.end(seen);
}

#[test]
fn terminate_all_hastens_a_termination_that_is_under_way() {
    let scene = Scene::new();
    let deaf = scene.deaf("deaf").hang();
    let child = scene.spawn_spec(scene.spec(&deaf).ladder_times(graces(AMPLE, AMPLE)));
    let seen = scene.beacon.expect(1);
    let ending = child.terminate(Stop::Orderly);
    let report = block_on(scene.children.terminate_all(BRIEF));
    assert_eq!(report.ended, 1);
    assert_eq!(block_on(ending).rung, Rung::Kill);
    scene.end(seen);
}

#[test]
fn signal_all_reaches_every_child() {
    let scene = Scene::new();
    let children = [0; 3].map(|_| scene.spawn(&scene.actor("root").hang()));
    let seen = scene.beacon.expect(3);
    assert!(scene.children.signal_all(Signal::User2).is_empty());
    for child in &children {
        assert_eq!(
            block_on(child.exited()).status().unwrap().signal(),
            Some(libc::SIGUSR2)
        );
    }
    drop(children);
    scene.end(seen);
}

#[test]
fn a_thousand_children_leave_nothing_behind() {
    let scene = Scene::new();
    let command = scene.spec(&Behaviour::echo()).build().unwrap();
    let tree = scene
        .spec(&Behaviour::echo())
        .kill_scope(KillScope::Tree)
        .build()
        .unwrap();
    for round in 0..250 {
        let spawn = |command| block_on(scene.children.spawn(command)).unwrap();
        let mut orderly = spawn(&command);
        write_to(&mut orderly, "ping\n");
        assert_eq!(read_lines(&mut orderly, 1), "ping\n");
        let ending = orderly.terminate(Stop::Orderly);
        let forced = spawn(&command).terminate(Stop::Force);
        drop(spawn(&command));
        drop(spawn(if round % 10 == 0 { &tree } else { &command }).terminate(Stop::Orderly));
        assert_eq!(block_on(ending).rung, Rung::Eof);
        assert_eq!(block_on(forced).rung, Rung::Kill);
    }
    scene.end(Vec::new());
}

#[test]
fn a_pipe_that_is_handed_back_is_closed_though_the_child_has_ended_before() {
    let scene = Scene::new();
    let mut child = scene.spawn(&Behaviour::new());
    let (stdin, stdout): (OwnedFd, OwnedFd) =
        (child.take_stdin().unwrap(), child.take_stdout().unwrap());
    let report = block_on(scene.children.terminate_all(BRIEF));
    assert!(report.left.is_empty());
    let pid = child.pid();
    child.return_stdin(stdin, b"late".to_vec());
    child.return_stdout(stdout);
    assert_eq!(block_on(child.terminate(Stop::Orderly)).pid, pid);
    scene.end(Vec::new());
}
