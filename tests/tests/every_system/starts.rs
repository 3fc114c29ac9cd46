//! How children are started, and what they have from the start.

use std::ffi::OsStr;
use std::path::{Component, PathBuf, absolute};
use std::sync::mpsc;

use pool_stdio::{Children, CommandError, CommandSpec, SpawnError, StderrPolicy, health};
use pool_testkit::fixture::Behaviour;

use crate::rig::{FIXTURE, LIMIT, run, spec, tempdir};

#[test]
fn more_children_than_a_thread_can_wait_for_at_once_are_all_seen_to_exit() {
    run(async {
        let set = Children::new();
        let command = spec(&Behaviour::echo()).build().unwrap();
        let mut children = Vec::new();
        for _ in 0..80 {
            children.push(set.spawn(&command).await.unwrap());
        }
        // None for each child, however many there are.
        assert!(health().threads < 10, "{:?}", health());
        for child in &mut children {
            assert_eq!(child.try_wait(), None);
            drop(child.take_stdin());
        }
        for child in &children {
            assert!(child.exited().await.status().unwrap().success());
        }
        drop(children);
        set.emptied().await;
    });
}

#[test]
fn children_that_are_started_at_once_do_not_hold_each_others_pipes() {
    run(async {
        let command = spec(&Behaviour::echo()).build().unwrap();
        let starts: Vec<_> = (0..12).map(|_| command.spawn()).collect();
        let mut children = Vec::new();
        for start in starts {
            children.push(start.await.unwrap());
        }
        // While all others live, each sees the end of its own input.
        while let Some(mut child) = children.pop() {
            drop(child.take_stdin());
            assert!(child.exited().await.status().unwrap().success());
        }
    });
}

#[test]
fn stderr_lines_reach_their_sink() {
    run(async {
        let (sender, lines) = mpsc::channel();
        let child = spec(&Behaviour::new().print_error("low on memory\r\nbye"))
            .stderr_lines(move |line| drop(sender.send((line.pid, line.text.to_owned()))))
            .stderr(StderrPolicy::Ring {
                bytes_max: 1024,
                lines_max: 10,
            });
        let child = child.build().unwrap().spawn().await.unwrap();
        let line = lines.recv_timeout(LIMIT).unwrap();
        assert_eq!(line.0, child.pid());
        assert_eq!(line.1.trim_end(), "low on memory");
        assert_eq!(lines.recv_timeout(LIMIT).unwrap().1, "bye");
    });
}

#[test]
fn a_program_that_is_not_there_and_one_that_is_none_are_told() {
    let error = CommandSpec::new("no-such-program").build().unwrap_err();
    assert!(error.to_string().contains("no-such-program"), "{error}");
    run(async {
        let dir = tempdir("none");
        let file = dir.join("text.exe");
        std::fs::write(&file, "no program").unwrap();
        match CommandSpec::new(&file).build() {
            // Windows cannot tell before it tries.
            Ok(command) => {
                let error = command.spawn().await.unwrap_err();
                assert!(!error.is_transient());
                assert!(
                    matches!(error, SpawnError::NotExecutable { .. }),
                    "{error:?}"
                );
            }
            Err(error) => assert!(error.to_string().contains("cannot be executed"), "{error}"),
        }
    });
}

/// A directory means another one wherever this program is started, and the current one can hold a file of anybody's.
#[test]
fn a_bare_name_is_looked_up_in_absolute_directories_only() {
    let fixture = absolute(FIXTURE).unwrap();
    let absolute = fixture.parent().unwrap();
    // From the current directory up to the root, and down again.
    let here = std::env::current_dir().unwrap();
    let is_name = |part: &Component<'_>| matches!(part, Component::Normal(_));
    let up = here.components().filter(is_name).map(|_| "..");
    let mut relative: PathBuf = up.collect();
    relative.extend(absolute.components().filter(is_name));
    let file = fixture.file_name().unwrap();
    assert!(relative.join(file).exists(), "{}", relative.display());

    let found_in = |path: &OsStr| CommandSpec::new("pool-fixture").env("PATH", path).build();
    for path in [relative.as_os_str(), OsStr::new("."), OsStr::new("")] {
        let error = found_in(path).unwrap_err();
        assert!(matches!(error, CommandError::NotFound { .. }), "{error}");
    }
    found_in(absolute.as_os_str()).unwrap();
}
