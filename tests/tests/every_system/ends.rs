//! How a child ends, and what is seen of it.

use std::time::Duration;

use pool_stdio::{Children, Drain, Exit, Rung, Signal, SpawnError, Stop, Survivors};
use pool_testkit::fixture::{Behaviour, Step, Stream};

use crate::rig::{brief, patient, run, spec, start};

#[test]
fn a_child_that_reads_ends_with_its_input_and_what_it_wrote_is_drained() {
    run(async {
        let echo = spec(&Behaviour::echo()).ladder_times(patient());
        let mut child = echo.build().unwrap().spawn().await.unwrap();
        assert!(child.is_alive());
        let stdin = child.take_stdin().unwrap();
        child.return_stdin(stdin, b"last words\n".to_vec());
        let end = child.terminate(Stop::Orderly).await;
        assert_eq!((end.rung, end.unwritten_bytes), (Rung::Eof, 0));
        assert_eq!((end.drain, end.discarded_bytes), (Drain::Complete, 11));
        assert!(end.exit.status().unwrap().success());
        assert_eq!(
            (end.survivors_found, end.survivors),
            (0, Survivors::Known(0))
        );
        assert!(!end.pipe_held);
    });
}

#[test]
fn more_unwritten_input_than_a_pipe_holds_is_flushed_before_the_end_of_input() {
    run(async {
        let echo = spec(&Behaviour::echo()).ladder_times(patient());
        let mut child = echo.build().unwrap().spawn().await.unwrap();
        let stdin = child.take_stdin().unwrap();
        let line = [vec![b'x'; 999], vec![b'\n']].concat();
        child.return_stdin(stdin, line.repeat(1000));
        let end = child.terminate(Stop::Orderly).await;
        assert_eq!((end.rung, end.unwritten_bytes), (Rung::Eof, 0));
        assert_eq!(end.discarded_bytes, 1_000_000);
    });
}

#[test]
fn input_that_nobody_reads_is_reported_as_unwritten() {
    run(async {
        let hung = spec(&Behaviour::new().hang()).ladder_times(brief());
        let mut child = hung.build().unwrap().spawn().await.unwrap();
        let stdin = child.take_stdin().unwrap();
        child.return_stdin(stdin, vec![b'x'; 1_000_000]);
        let end = child.terminate(Stop::Orderly).await;
        assert!(
            matches!(end.rung, Rung::Term | Rung::Kill),
            "{:?}",
            end.rung
        );
        assert!(end.unwritten_bytes > 500_000, "{}", end.unwritten_bytes);
    });
}

#[test]
fn an_exit_is_seen_with_its_exact_code_and_all_of_stderr() {
    run(async {
        // 259 is what Windows says of a process that still runs.
        for code in [0_i32, 1, 7, 255, 259, 0x8000, i32::MAX, i32::MIN, -1] {
            let server = spec(&Behaviour::new().then(Step::ServeRpc)).ladder_times(patient());
            let mut child = server.build().unwrap().spawn().await.unwrap();
            let stdin = child.take_stdin().unwrap();
            let request = format!("{{\"id\":1,\"method\":\"exit\",\"params\":[{code}]}}\n");
            child.return_stdin(stdin, request.into_bytes());
            let end = child.terminate(Stop::Orderly).await;
            let seen = end.exit.status().unwrap().code();
            let expected = if cfg!(windows) { code } else { code & 0xff };
            assert_eq!(seen, Some(expected));
            assert_eq!(end.stderr.text, "told to exit\n");
        }
    });
}

#[test]
fn an_exit_is_an_event_and_stderr_is_complete_by_then() {
    run(async {
        let noisy = Step::Flood {
            stream: Stream::Stderr,
            bytes: 60_000,
        };
        let child = start(&Behaviour::new().then(noisy).exit(3)).await;
        let Exit::Status(status) = child.exited().await else {
            panic!("nothing else waits for it");
        };
        assert_eq!(status.code(), Some(3));
        assert_eq!(child.stderr_tail().bytes_total, 60_000);
        assert!(!child.is_alive());
        assert_eq!(child.terminate(Stop::Orderly).await.rung, Rung::AlreadyGone);
    });
}

#[test]
fn all_of_a_set_are_terminated_and_no_more_are_started() {
    run(async {
        let set = Children::new();
        let command = spec(&Behaviour::new().hang()).build().unwrap();
        let first = set.spawn(&command).await.unwrap();
        let second = set.spawn(&command).await.unwrap();
        let report = set.terminate_all(Duration::ZERO).await;
        assert_eq!((report.ended, report.left.len()), (2, 0));
        assert!(matches!(set.spawn(&command).await, Err(SpawnError::Closed)));
        drop((first, second));
    });
}

#[test]
fn a_signal_that_the_system_does_not_have_is_a_typed_error() {
    run(async {
        let child = start(&Behaviour::new().hang()).await;
        let sent = child.signal(Signal::User1);
        if cfg!(windows) {
            let error = sent.unwrap_err();
            assert!(
                matches!(error, pool_stdio::SignalError::Unsupported),
                "{error}"
            );
            child.signal(Signal::Kill).unwrap();
            assert_eq!(child.exited().await.status().unwrap().code(), Some(1));
        } else {
            sent.unwrap();
            assert_eq!(child.exited().await.status().unwrap().code(), None);
        }
    });
}

/// Without a console nobody can be asked to leave: the rung is skipped, and its grace too.
#[cfg(windows)]
#[test]
fn a_rung_that_this_system_cannot_take_is_skipped_and_said() {
    run(async {
        let mut times = patient();
        times.eof_grace = Duration::from_millis(20);
        times.term_grace = crate::rig::LIMIT * 2;
        let command = spec(&Behaviour::new().hang()).ladder_times(times);
        let child = command.build().unwrap().spawn().await.unwrap();
        let end = child.terminate(Stop::Orderly).await;
        assert_eq!((end.rung, end.is_term_skipped), (Rung::Kill, true));
        assert_eq!(end.exit.status().unwrap().code(), Some(1));
    });
}
