//! How a child ends: after its handle, future or runtime has gone, what is read, what is reported.

#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{AMPLE, BRIEF, NO_SURVIVORS, Scene, graces, read_lines, read_lines_from, write_to};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use pool_stdio::{CommandSpec, Drain, Exit, LadderTimes, Rung, StderrLine, StderrPolicy, Stop};
use pool_testkit::fixture::{Behaviour, Step, Stream};
use pool_tests::children::{Sighting, block_on};

fn tag<'a>(seen: &'a [Sighting], tag: &str) -> &'a Sighting {
    seen.iter()
        .find(|one| one.tag == tag)
        .expect("it announced itself")
}

fn code(exit: Exit) -> Option<i32> {
    exit.status().and_then(|status| status.code())
}

// Dropping.

#[test]
fn a_child_dropped_on_a_plain_thread_is_killed_with_its_group_and_reaped() {
    let scene = Scene::new();
    let leaf = scene.deaf("leaf").hang();
    let child = scene.spawn(&scene.actor("root").start(leaf).hang());
    let seen = scene.beacon.expect(2);
    thread::spawn(move || drop(child)).join().unwrap();
    block_on(scene.children.emptied());
    let limit = if cfg!(pool_stdio_portable) {
        AMPLE
    } else {
        Duration::ZERO
    };
    assert!(seen.iter().all(|one| one.dies_within(limit)));
    assert!(tag(&seen, "root").is_reaped());
    scene.end(seen);
}

#[test]
fn a_child_dropped_by_a_panic_is_killed_and_reaped() {
    let scene = Scene::new();
    let child = scene.spawn(&scene.actor("root").hang());
    let seen = scene.beacon.expect(1);
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _child = child;
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    scene.end(seen);
}

#[test]
fn a_child_whose_pipes_were_taken_dies_with_its_handle() {
    let scene = Scene::new();
    let mut child = scene.spawn(&scene.actor("root").hang());
    let seen = scene.beacon.expect(1);
    let pipes = (child.take_stdin(), child.take_stdout());
    drop(child);
    assert!(seen[0].dies_within(AMPLE));
    drop(pipes);
    scene.end(seen);
}

#[test]
fn a_spawn_whose_future_is_dropped_leaves_nothing() {
    let scene = Scene::new();
    let command = scene.spec(&scene.actor("root").hang()).build().unwrap();
    for _ in 0..20 {
        drop(scene.children.spawn(&command));
    }
    scene.end(Vec::new());
}

// Cancelling.

#[test]
fn a_termination_whose_future_is_dropped_runs_to_its_end() {
    let scene = Scene::new();
    let leaf = scene.deaf("leaf").hang();
    let tree = scene.deaf("root").start(leaf).hang();
    let child = scene.spawn_spec(scene.spec(&tree).ladder_times(graces(BRIEF, BRIEF)));
    let seen = scene.beacon.expect(2);
    drop(child.terminate(Stop::Orderly));
    assert!(seen.iter().all(|one| one.dies_within(AMPLE)));
    scene.end(seen);
}

#[test]
fn a_termination_that_was_begun_is_hastened_by_another() {
    let scene = Scene::new();
    let tree = scene.deaf("root").hang();
    let mut child = scene.spawn_spec(scene.spec(&tree).ladder_times(graces(AMPLE, AMPLE)));
    let seen = scene.beacon.expect(1);
    child.begin_stop(Stop::Orderly);
    assert_eq!(block_on(child.terminate(Stop::Force)).rung, Rung::Kill);
    scene.end(seen);
}

#[test]
fn what_a_child_says_on_an_untaken_stderr_at_its_end_is_read() {
    let scene = Scene::new();
    // More than the pipe holds, and each line is lost if nobody reads: then `sh` dies of it.
    let script = "read -r line; n=0; while [ $n -lt 5000 ]; do echo a word of thanks at last >&2 || exit 3; \
                  n=$((n + 1)); done; exit 7";
    let spec = CommandSpec::new("sh").args(["-c", script]);
    let spec = spec
        .stderr(StderrPolicy::Pipe)
        .ladder_times(graces(AMPLE, AMPLE));
    let end = block_on(scene.spawn_spec(spec).terminate(Stop::Orderly));
    assert_eq!((end.rung, code(end.exit)), (Rung::Eof, Some(7)));
    assert_eq!((end.drain, end.pipe_held), (Drain::Complete, false));
    scene.end(Vec::new());
}

#[test]
fn a_second_watcher_sees_the_same_end() {
    let scene = Scene::new();
    let child = scene.spawn(&scene.actor("root").hang());
    let seen = scene.beacon.expect(1);
    let (exited, watcher) = (child.exited(), child.terminating());
    let end = block_on(child.terminate(Stop::Force));
    assert_eq!(block_on(watcher), end);
    assert_eq!(block_on(exited), end.exit);
    scene.end(seen);
}

// The order of the rungs.

#[test]
fn a_child_sees_end_of_input_then_sigterm_then_nothing_more() {
    let scene = Scene::new();
    let term = scene.actor("term");
    let root = scene.handler("root", term).read_to_end();
    let root = root.announce(scene.beacon.path(), "eof").hang();
    // Long enough for a child on a busy machine to act on each of them.
    let times = graces(50 * BRIEF, 50 * BRIEF);
    let child = scene.spawn_spec(scene.spec(&root).ladder_times(times));
    let mut seen = scene.beacon.expect(1);
    let end = block_on(child.terminate(Stop::Orderly));
    seen.extend(scene.beacon.expect(2));
    let tags: Vec<&str> = seen.iter().map(|one| one.tag.as_str()).collect();
    assert_eq!(tags, ["root", "eof", "term"]);
    assert_eq!(
        (end.rung, end.exit.status().unwrap().signal()),
        (Rung::Kill, Some(9))
    );
    assert!(end.elapsed >= 100 * BRIEF);
    scene.end(seen);
}

#[test]
fn a_child_that_leaves_in_its_grace_keeps_its_exit_code() {
    let scene = Scene::new();
    let child = scene.spawn(&scene.actor("root").read_to_end().exit(7));
    let seen = scene.beacon.expect(1);
    let end = block_on(child.terminate(Stop::Orderly));
    assert_eq!((end.rung, code(end.exit)), (Rung::Eof, Some(7)));
    scene.end(seen);
}

#[test]
fn what_was_queued_before_the_end_is_flushed() {
    let scene = Scene::new();
    let mut times = LadderTimes::default();
    times.flush = AMPLE;
    let mut child = scene.spawn_spec(scene.spec(&Behaviour::echo()).ladder_times(times));
    let queued = "x".repeat(99) + "\n";
    let stdin = child.take_stdin().unwrap();
    child.return_stdin(stdin, queued.repeat(2000).into());
    let end = block_on(child.terminate(Stop::Orderly));
    // It is echoed, read, and thrown away.
    assert_eq!((end.rung, end.unwritten_bytes), (Rung::Eof, 0));
    assert_eq!(end.discarded_bytes, 200_000);
    scene.end(Vec::new());
}

#[test]
fn a_megabyte_that_is_never_read_does_not_delay_the_end() {
    let scene = Scene::new();
    let mut times = graces(BRIEF, AMPLE);
    times.flush = BRIEF;
    let spec = scene.spec(&scene.actor("root").hang()).ladder_times(times);
    let mut child = scene.spawn_spec(spec);
    let seen = scene.beacon.expect(1);
    let stdin = child.take_stdin().unwrap();
    child.return_stdin(stdin, vec![b'x'; 1_000_000]);
    let end = block_on(child.terminate(Stop::Orderly));
    assert_eq!(end.rung, Rung::Term);
    assert!(
        end.unwritten_bytes > 500_000 && end.unwritten_bytes < 1_000_000,
        "{end:?}"
    );
    scene.end(seen);
}

#[test]
fn both_pipes_full_do_not_stop_a_child_from_leaving() {
    let scene = Scene::new();
    // It reads nothing before it has written everything.
    let root = scene
        .actor("root")
        .then(Step::Flood {
            stream: Stream::Stdout,
            bytes: 1_000_000,
        })
        .read_to_end()
        .exit(4);
    let mut times = graces(AMPLE, AMPLE);
    times.flush = AMPLE;
    let mut child = scene.spawn_spec(scene.spec(&root).ladder_times(times));
    let seen = scene.beacon.expect(1);
    let stdin = child.take_stdin().unwrap();
    child.return_stdin(stdin, vec![b'x'; 1_000_000]);
    let end = block_on(child.terminate(Stop::Orderly));
    assert_eq!(
        (end.rung, code(end.exit), end.unwritten_bytes),
        (Rung::Eof, Some(4), 0)
    );
    assert_eq!(
        (end.discarded_bytes, end.drain),
        (1_000_000, Drain::Complete)
    );
    scene.end(seen);
}

// Draining.

#[test]
fn a_silent_holder_of_the_pipe_outside_the_group_ends_the_drain_by_idleness() {
    let scene = Scene::new();
    let holder = scene.away("holder").hang();
    let child = scene.spawn(&scene.actor("root").start(holder).read_to_end().exit(3));
    let seen = scene.beacon.expect(2);
    let end = block_on(child.terminate(Stop::Orderly));
    assert_eq!((end.rung, code(end.exit)), (Rung::Eof, Some(3)));
    assert_eq!((end.drain, end.pipe_held), (Drain::Idle, true));
    assert!(!tag(&seen, "holder").is_dead());
    kill_all(&scene, &seen);
    scene.end(seen);
}

#[test]
fn a_chatty_holder_of_the_pipe_cannot_extend_the_drain_and_gets_epipe() {
    let scene = Scene::new();
    let gap = Duration::from_millis(50);
    let holder = scene.away("holder").then(Step::PrintEvery {
        gap,
        text: "still here\n".into(),
    });
    let holder = holder.announce(scene.beacon.path(), "broken pipe").hang();
    let mut times = LadderTimes::default();
    times.drain_timeout = Duration::from_millis(700);
    let tree = scene.actor("root").start(holder).read_to_end();
    let child = scene.spawn_spec(scene.spec(&tree).ladder_times(times));
    let mut seen = scene.beacon.expect(2);
    let end = block_on(child.terminate(Stop::Orderly));
    assert_eq!(
        (end.rung, end.drain, end.pipe_held),
        (Rung::Eof, Drain::TimedOut, true)
    );
    seen.extend(scene.beacon.expect(1));
    kill_all(&scene, &seen);
    scene.end(seen);
}

#[test]
fn a_daemon_that_holds_the_pipe_does_not_hold_an_aborted_write() {
    let scene = Scene::new();
    let daemon = scene.actor("daemon").hang();
    let launcher = Behaviour::new()
        .then(Step::LeaveSession)
        .start(daemon)
        .exit(0);
    let mut child = scene.spawn(&scene.actor("root").start(launcher).hang());
    let seen = scene.beacon.expect(2);
    let stdin = child.take_stdin().unwrap();
    child.return_stdin(stdin, vec![b'x'; 1_000_000]);
    let end = block_on(child.terminate(Stop::Force));
    assert_eq!(
        (end.rung, end.drain, end.pipe_held),
        (Rung::Kill, Drain::Idle, true)
    );
    kill_all(&scene, &seen);
    scene.end(seen);
}

/// Ends, by number, processes that are known to live and to be ours.
fn kill_all(scene: &Scene, seen: &[Sighting]) {
    for process in scene.census.processes() {
        let pid = Pid::from_raw(process.pid.cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it lives");
    }
    assert!(seen.iter().all(|one| one.dies_within(AMPLE)));
}

// Exit and end of file, apart.

#[test]
fn an_exit_is_seen_at_once_though_a_grandchild_holds_the_pipe() {
    let scene = Scene::new();
    let child = scene.spawn(
        &scene
            .actor("root")
            .start(scene.actor("leaf").hang())
            .exit(5),
    );
    let seen = scene.beacon.expect(2);
    assert_eq!(code(block_on(child.exited())), Some(5));
    assert_eq!(code(child.try_wait().unwrap()), Some(5));
    assert!(!child.is_alive());
    assert!(!tag(&seen, "leaf").is_dead());
    drop(child);
    scene.end(seen);
}

#[test]
fn end_of_file_is_seen_at_once_though_the_child_lives() {
    let scene = Scene::new();
    let root = scene
        .actor("root")
        .then(Step::Close(Stream::Stdout))
        .announce(scene.beacon.path(), "closed")
        .hang();
    let mut child = scene.spawn(&root);
    let seen = scene.beacon.expect(2);
    assert!(!child.is_alive());
    drop(child.take_stdout());
    assert!(child.is_alive(), "only its exit can be seen now");
    assert_eq!(child.try_wait(), None);
    drop(child);
    scene.end(seen);
}

#[test]
fn stray_output_is_no_death() {
    let scene = Scene::new();
    let root = scene.actor("root").read_lines(1).print("stray\n");
    let mut child = scene.spawn(&root.announce(scene.beacon.path(), "printed").read_to_end());
    let mut seen = scene.beacon.expect(1);
    assert!(child.is_alive());
    write_to(&mut child, "go\n");
    seen.extend(scene.beacon.expect(1));
    assert!(child.is_alive());
    assert_eq!(read_lines(&mut child, 1), "stray\n");
    assert!(child.is_alive());
    drop(child);
    scene.end(seen);
}

#[test]
fn output_written_before_an_exit_can_still_be_read() {
    let scene = Scene::new();
    let mut child = scene.spawn(&Behaviour::new().print("last words\n").exit(0));
    block_on(child.exited());
    let mut stdout = File::from(child.take_stdout().unwrap());
    assert_eq!(read_lines_from(&mut stdout, 2), "last words\n");
    drop((child, stdout));
    scene.end(Vec::new());
}

#[test]
fn a_real_time_signal_is_a_status_like_any_other() {
    let scene = Scene::new();
    let child = scene.spawn(&scene.actor("root").hang());
    let seen = scene.beacon.expect(1);
    let killed = std::process::Command::new("/bin/kill")
        .args(["-34", &child.pid().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(
        block_on(child.exited()).status().unwrap().signal(),
        Some(34)
    );
    drop(child);
    scene.end(seen);
}

#[test]
fn a_status_thief_costs_the_status_at_most() {
    for _ in 0..20 {
        let scene = Scene::new();
        let leaf = scene.deaf("leaf").hang();
        let child = scene.spawn(&scene.actor("root").start(leaf).read_to_end());
        let seen = scene.beacon.expect(2);
        let pid = Pid::from_raw(child.pid().cast_signed());
        let thief = thread::spawn(move || waitpid(pid, None).is_ok());
        let exited = child.exited();
        let mut child = child;
        drop(child.take_stdin());
        let exit = block_on(exited);
        assert!(exit == Exit::Lost || code(exit) == Some(0), "{exit:?}");
        let end = block_on(child.terminate(Stop::Force));
        assert_eq!((end.exit, end.survivors), (exit, NO_SURVIVORS));
        if exit == Exit::Lost && cfg!(any(pool_stdio_portable, pool_stdio_old_kernel)) {
            // Its number is free, so that nothing may be sent to it: the price of the theft.
            kill_all(&scene, &seen);
        }
        let limit = if cfg!(pool_stdio_portable) {
            AMPLE
        } else {
            Duration::ZERO
        };
        assert!(tag(&seen, "leaf").dies_within(limit));
        assert!(thief.join().unwrap() || exit != Exit::Lost);
        scene.end(seen);
    }
}

// Stderr.

#[test]
fn the_tail_of_stderr_is_complete_when_the_exit_is_told() {
    let scene = Scene::new();
    let noisy = Behaviour::new()
        .then(Step::Flood {
            stream: Stream::Stderr,
            bytes: 60_000,
        })
        .print_error("no config\n")
        .exit(7);
    for _ in 0..20 {
        let child = scene.spawn(&noisy);
        assert_eq!(code(block_on(child.exited())), Some(7));
        assert!(child.stderr_tail().text.ends_with("flood\nno config\n"));
    }
    scene.end(Vec::new());
}

#[test]
fn ten_megabytes_of_stderr_block_nobody_and_the_tail_is_exact() {
    let scene = Scene::new();
    let noisy = Behaviour::new()
        .then(Step::Flood {
            stream: Stream::Stderr,
            bytes: 10_000_002,
        })
        .print_error("the end\n")
        .print("done\n");
    let ring = StderrPolicy::Ring {
        bytes_max: 14,
        lines_max: 100,
    };
    let spec = scene.spec(&noisy.read_to_end()).stderr(ring);
    let mut child = scene.spawn_spec(spec);
    assert_eq!(read_lines(&mut child, 1), "done\n");
    let end = block_on(child.terminate(Stop::Orderly));
    assert_eq!(end.stderr.text, "flood\nthe end\n");
    assert_eq!(
        (end.stderr.bytes_total, end.stderr.is_cut),
        (10_000_010, true)
    );
    scene.end(Vec::new());
}

#[test]
fn lines_of_stderr_reach_their_sink_and_a_panic_there_harms_nobody() {
    let scene = Scene::new();
    let (told, lines) = mpsc::channel();
    let sink = move |line: &StderrLine<'_>| {
        told.send((line.pid, line.text.to_owned())).unwrap();
        assert_ne!(line.text, "two", "on purpose");
    };
    let noisy = Behaviour::new()
        .print_error("one\ntwo\r\nthr")
        .print_error("ee\nfour");
    let child = scene.spawn_spec(scene.spec(&noisy).stderr_lines(sink));
    let pid = child.pid();
    let told: Vec<_> = (0..4).map(|_| lines.recv_timeout(AMPLE).unwrap()).collect();
    assert_eq!(
        told,
        ["one", "two", "three", "four"].map(|line| (pid, line.to_owned()))
    );
    drop(child);
    scene.end(Vec::new());
}

#[test]
fn without_a_ring_stderr_costs_no_descriptor_and_no_drain() {
    let scene = Scene::new();
    let child = scene.spawn_spec(
        scene
            .spec(&scene.actor("root").print_error("gone\n").hang())
            .stderr(StderrPolicy::Null),
    );
    let seen = scene.beacon.expect(1);
    let end = block_on(child.terminate(Stop::Force));
    assert_eq!((end.stderr.bytes_total, end.drain), (0, Drain::Complete));
    scene.end(seen);
}
