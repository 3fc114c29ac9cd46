//! The process that ends the children of a host that has gone.

#![cfg(all(target_os = "linux", not(pool_stdio_portable)))]

mod common;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{Facts, HOST, can_make_namespaces, has_program};
use nix::sys::signal::{Signal, kill};
use pool_tests::children::OUTER_DEADLINE;
use pool_tests::ended_host::{
    DEAF, ENDINGS, GRACE, HANG, Host, MARGIN, assert_gone, now, pid, wait_for,
};

#[test]
fn children_that_ignore_all_are_gone_a_second_after_their_host() {
    for variables in BOTH {
        for ending in ENDINGS {
            let ended_after = || {
                let words = ["end-of-the-host", ending, "tree", DEAF];
                let host = Host::start(HOST, &words, variables);
                thread::scope(|scope| {
                    let lateness = scope.spawn(lateness);
                    let end = host.end(ending.starts_with("kill"), OUTER_DEADLINE);
                    let took = end.unwrap_or_else(|left| panic!("{ending} left {left:?}"));
                    (took, lateness.join().unwrap())
                })
            };
            // One in time is enough: others keep the machine busy.
            let mut tries = (0..20).map(|_| ended_after());
            let in_time = tries.find(|(took, late)| *took < GRACE + MARGIN + 2 * *late);
            let in_time =
                in_time.unwrap_or_else(|| panic!("{ending} {variables:?}: always too late"));
            let (took, _) = in_time;
            let has_grace = took >= GRACE / 2 || ending != "kill";
            assert!(has_grace, "{ending}: {took:?}");
        }
    }
}

/// By how much a shell is late on this machine now, that does what a guardian does in its grace.
fn lateness() -> Duration {
    let begun = now();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 0.02; (:); sleep 0.03; done";
    let done = Command::new("sh").args(["-c", script]).status();
    assert!(done.expect("every Unix has a shell").success());
    begun.elapsed().saturating_sub(GRACE)
}

#[test]
fn a_child_that_acts_on_the_end_of_its_input_has_its_grace() {
    let file = std::env::temp_dir().join(format!("pool-flushed-{}", std::process::id()));
    let script = format!("echo up >&2; cat; sleep 0.3; echo done >{}", file.display());
    let is_done = || {
        let host = Host::start(HOST, &["end-of-the-host", "kill", "group", &script], &[]);
        host.assert_end();
        fs::read_to_string(&file).is_ok_and(|text| text == "done\n")
    };
    // Once is enough: on a busy machine the child can be too slow for its grace.
    assert!((0..5).any(|_| is_done()));
    fs::remove_file(file).unwrap();
}

/// A host whose child ignores the end of its input.
fn host_of_a_deaf_child(variables: &[(&str, &str)]) -> Host {
    Host::start(HOST, &["end-of-the-host", "kill", "tree", DEAF], variables)
}

const BOTH: [&[(&str, &str)]; 2] = [&[], &[("POOL_TESTS_GUARD_MAIN", "1")]];

#[test]
fn a_guardian_that_was_killed_is_replaced_and_nothing_is_lost() {
    for variables in BOTH {
        let mut host = host_of_a_deaf_child(variables);
        let second = host.replace_guardian();
        host.assert_end();
        assert_gone(second);
    }
}

/// The root was reaped, and nobody is left in its group.
#[test]
fn a_guardian_that_is_replaced_during_a_termination_is_told_of_what_left_the_group() {
    let script = "(setsid sh -c 'echo up >&2; exec sleep 300' </dev/null >/dev/null &); exec cat";
    let words = ["end-of-the-host", "kill-in-termination", "tree", script];
    for variables in BOTH {
        let mut host = Host::start(HOST, &words, variables);
        let second = host.replace_guardian();
        host.assert_end();
        assert_gone(second);
    }
}

#[test]
fn a_guardian_that_was_stopped_goes_on_when_the_host_has_gone() {
    for variables in BOTH {
        let host = host_of_a_deaf_child(variables);
        let guardian = wait_for(OUTER_DEADLINE, || host.guardian()).unwrap();
        kill(pid(guardian), Signal::SIGSTOP).unwrap();
        let is_stopped = || {
            let status = fs::read_to_string(format!("/proc/{guardian}/stat")).unwrap();
            status.contains(") T ").then_some(())
        };
        wait_for(OUTER_DEADLINE, is_stopped).unwrap();
        host.assert_end();
        assert_gone(guardian);
    }
}

#[test]
fn a_guardian_does_not_hear_what_would_end_it() {
    for variables in BOTH {
        let host = host_of_a_deaf_child(variables);
        let guardian = wait_for(OUTER_DEADLINE, || host.guardian()).unwrap();
        for signal in [
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTSTP,
        ] {
            kill(pid(guardian), signal).unwrap();
        }
        // What is sent to the host's group does not reach it.
        host.assert_end();
        assert_gone(guardian);
    }
}

#[test]
fn a_guardian_has_nothing_of_its_host_but_the_pipe() {
    for variables in BOTH {
        let host = host_of_a_deaf_child(variables);
        let guardian = wait_for(OUTER_DEADLINE, || host.guardian()).unwrap();
        // It has a descriptor of the host itself, if it is no script.
        let is_expected = |fd: &(i32, String)| {
            fd.0 <= 2 && (fd.1.starts_with("pipe:") || fd.1 == "/dev/null")
                || fd.1.contains("pidfd")
                || fd.1.starts_with("pipe:")
        };
        let look = || {
            let open = fs::read_dir(format!("/proc/{guardian}/fd")).unwrap();
            let open = open.flatten().filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?.display().to_string();
                Some((entry.file_name().to_str()?.parse().ok()?, target))
            });
            let place = fs::read_link(format!("/proc/{guardian}/cwd")).unwrap();
            (open.collect::<Vec<(i32, String)>>(), place)
        };
        // It can be seen before it has begun with its work.
        let is_ready = || {
            let (open, place) = look();
            let has_left = variables.len() == 1 || place == std::path::Path::new("/");
            (open.iter().all(is_expected) && open.len() <= 5 && has_left).then_some(())
        };
        wait_for(OUTER_DEADLINE, is_ready).unwrap_or_else(|| panic!("{:?}", look()));
        host.assert_end();
    }
}

#[test]
fn an_unguarded_child_outlives_its_host() {
    let host = Host::start(HOST, &["end-of-the-host", "kill", "unguarded", IDLE], &[]);
    let end = host.end(true, GRACE + MARGIN);
    let left = end.expect_err("it is left alive");
    assert_eq!(left.len(), 1);
}

#[test]
fn an_unguarded_tree_outlives_its_host_though_another_tree_is_guarded() {
    for variables in BOTH {
        let words = ["end-of-the-host", "kill", "unguarded-tree", IDLE];
        let mut host = Host::start(HOST, &words, variables);
        let guardian = wait_for(OUTER_DEADLINE, || host.guardian()).unwrap();
        host.kill();
        let has_gone =
            || (!std::path::Path::new(&format!("/proc/{guardian}/exe")).exists()).then_some(());
        wait_for(HANG, has_gone).expect("it has nothing left to do");
        let left = host.watch_the_rest(Duration::ZERO);
        assert_eq!(left.map_err(|left| left.len()), Err(1), "{variables:?}");
    }
}

#[test]
fn the_documented_command_lists_what_is_left_where_the_guardian_was_killed_too() {
    let guide = include_str!("../../docs/termination.md");
    let (_, from) = guide.split_once("```sh\n").unwrap();
    let (command, _) = from.split_once("```").unwrap();
    let listed = || {
        let shell = Command::new("sh").args(["-c", command]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&shell.stderr), "");
        String::from_utf8(shell.stdout).unwrap()
    };
    let mut host = Host::start(HOST, &["end-of-the-host", "kill", "group", IDLE], &[]);
    let guardian = wait_for(OUTER_DEADLINE, || host.guardian()).unwrap();
    let processes = host.processes();
    let child = processes
        .iter()
        .find(|process| process.contains("sleep 300"));
    let (child, _) = child.and_then(|child| child.split_once(' ')).unwrap();
    assert!(!listed().lines().any(|pid| pid == child), "its host lives");
    // Stopped, so that it starts no other guardian.
    kill(pid(host.pid()), Signal::SIGSTOP).unwrap();
    kill(pid(guardian), Signal::SIGKILL).unwrap();
    host.kill();
    assert!(listed().lines().any(|pid| pid == child), "{}", listed());
    assert_eq!(host.watch_the_rest(GRACE).unwrap_err().len(), 1);
}

/// It ignores the end of its input.
const IDLE: &str = "echo up >&2; exec sleep 300";

#[test]
fn a_guardian_that_was_stopped_is_replaced_when_it_is_to_be_told_something() {
    let facts = Facts::of(HOST, &["stopped-guardian"]);
    assert_eq!(facts.one("starts"), "2");
}

#[test]
fn a_guardian_with_more_rights_than_the_host_is_replaced_when_it_is_to_be_told_something() {
    if can_make_namespaces() {
        let facts = Facts::of(HOST, &["idle-other-user"]);
        assert_eq!(facts.one("users"), "[65534]");
    }
}

/// The number of a child that other code of the host has reaped is free.
#[test]
fn the_number_of_a_lost_child_is_not_ended_when_another_has_it() {
    if !can_make_namespaces() {
        return;
    }
    // The host is not the first process, whose end would end all.
    let scene = format!(
        "eval \"$({HOST} reused-number)\"; while kill -0 $guardian; do sleep 0.05; done 2>&-
         echo exit=$exit; kill -9 $stranger && echo stranger=alive"
    );
    let facts = Facts::of("unshare", &["-mpf", "--mount-proc", "sh", "-c", &scene]);
    assert_eq!(
        (facts.one("exit"), facts.one("stranger")),
        ("Lost", "alive")
    );
}

/// Its guardian's pipe has room for half of them.
#[test]
fn a_guardian_with_a_small_pipe_is_told_of_all_children() {
    let mut command = vec![
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        HOST,
    ];
    if !nix::unistd::geteuid().is_root() {
        command.drain(..4);
    } else if !has_program("setpriv") {
        return;
    }
    command.push("many-children");
    let host = Host::start(command[0], &command[1..], &[]);
    assert!(host.processes().len() > 800);
    host.assert_end();
}
