//! How children are started, and what they have from the start.

use std::sync::Arc;
use std::sync::mpsc;

use pool_stdio::{Children, CommandSpec, LineSink, SpawnError, StderrPolicy};
use pool_testkit::fixture::Behaviour;

use crate::rig::{LIMIT, run, spec, tempdir};

#[test]
fn more_children_than_a_thread_can_wait_for_at_once_are_all_seen_to_exit() {
    run(async {
        let set = Children::new();
        let command = spec(&Behaviour::echo()).build().unwrap();
        let mut children = Vec::new();
        for _ in 0..80 {
            children.push(set.spawn(&command).await.unwrap());
        }
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
        let sink = LineSink::Callback(Arc::new(move |line| {
            drop(sender.send((line.pid, line.text.to_owned())));
        }));
        let child = spec(&Behaviour::new().print_error("low on memory\r\nbye"))
            .stderr_lines(sink)
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
