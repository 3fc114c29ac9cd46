//! One request per child: everything it has to say, and how it exited, as data.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pool_core::Connector;
use pool_stdio::{Drain, LadderTimes, OneShot, OneShotConnector, Output, StdioError};
use pool_testkit::fixture::{Behaviour, Step, Stream};
use pool_tests::children::{OUTER_DEADLINE, poll_times};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::bed::{Bed, context, on_both_runtimes, within};

fn connector(bed: &Bed, behaviour: &Behaviour) -> OneShotConnector {
    let connector = OneShotConnector::new(bed.scene.spec(behaviour)).unwrap();
    bed.note(connector.children());
    connector
}

async fn child_of(bed: &Bed, behaviour: &Behaviour) -> OneShot {
    connector(bed, behaviour).connect(&context()).await.unwrap()
}

async fn run(bed: &Bed, behaviour: &Behaviour, input: &[u8]) -> Output {
    child_of(bed, behaviour).await.run(input).await.unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.exit.status().unwrap().code()
}

#[test]
fn output_errors_and_exit_are_collected_as_data() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().then_echo().print_error("hm\n").exit(3);
        let output = run(bed, &behaviour, b"one\ntwo\n").await;
        assert_eq!(output.stdout, "one\ntwo\n");
        assert_eq!(output.stderr.text, "hm\n");
        assert_eq!(code(&output), Some(3));
        assert_eq!(output.drain, Drain::Complete);
        assert_eq!(output.unwritten_bytes, 0);
        assert_eq!(output.stdout_bytes_total, 8);
        let output = run(
            bed,
            &Behaviour::new().read_to_end().then(Step::Raise(9)),
            b"x",
        )
        .await;
        assert_eq!(output.exit.status().unwrap().signal(), Some(9));
    });
}

#[test]
fn five_megabytes_go_through_a_tool_that_writes_while_it_reads() {
    on_both_runtimes(async |bed| {
        let input = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
        let input = input.repeat(5 << 14);
        let output = run(bed, &Behaviour::echo(), input.as_bytes()).await;
        assert_eq!(output.stdout, input);
    });
}

#[test]
fn output_beyond_the_limit_is_counted_and_does_not_block_the_child() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().then(Step::Flood {
            stream: Stream::Stderr,
            bytes: 2_000_000,
        });
        let behaviour = behaviour
            .then(Step::Flood {
                stream: Stream::Stdout,
                bytes: 6_000_000,
            })
            .exit(5);
        let spec = bed.scene.spec(&behaviour);
        let connector = OneShotConnector::with_output_bytes_max(spec, 1000).unwrap();
        bed.note(connector.children());
        let mut child = connector.connect(&context()).await.unwrap();
        let output = child.run("").await.unwrap();
        assert_eq!(output.stdout.len(), 1000);
        assert_eq!(output.stdout_bytes_total, 6_000_000);
        assert!(output.stderr.is_cut && output.stderr.text.len() <= 1000);
        assert_eq!(output.stderr.bytes_total, 2_000_000);
        assert_eq!(code(&output), Some(5));
    });
}

#[test]
fn a_tool_that_stops_reading_is_no_error() {
    on_both_runtimes(async |bed| {
        let input = "line\n".repeat(1 << 18);
        let behaviour = Behaviour::new().read_lines(1).print("enough\n");
        let output = run(bed, &behaviour.exit(0), input.as_bytes()).await;
        assert_eq!(output.stdout, "enough\n");
        assert!(output.unwritten_bytes > 0);
        // One that had exited before it was asked.
        let mut child = child_of(bed, &Behaviour::new().print("early\n").exit(2)).await;
        while child.process().try_wait().is_none() {
            tokio::task::yield_now().await;
        }
        let output = child.run(&input).await.unwrap();
        assert_eq!(output.stdout, "early\n");
        assert_eq!(
            (output.unwritten_bytes, code(&output)),
            (input.len(), Some(2))
        );
    });
}

#[test]
fn each_request_has_a_child_that_was_there_before_it() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &Behaviour::echo());
        let children = connector.children();
        let pool = connector.pool().max_size(4).min_idle(2).build().unwrap();
        let mut seen = Vec::new();
        let begun = Instant::now();
        for number in 0..20 {
            while pool.status().idle < 2 {
                tokio::task::yield_now().await;
            }
            let ready = children.pids();
            let mut child = pool.acquire().await.unwrap();
            assert!(ready.contains(&child.process().pid()));
            seen.push(child.process().pid());
            let line = format!("n {number}\n");
            assert_eq!(child.run(&line).await.unwrap().stdout, line);
        }
        // A child that has done its only duty is no failure. After twenty failures the pool would have waited for minutes.
        assert!(begun.elapsed() < OUTER_DEADLINE);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 20);
    });
}

#[test]
fn a_child_is_asked_once() {
    on_both_runtimes(async |bed| {
        let mut child = child_of(bed, &Behaviour::echo()).await;
        child.run("one\n").await.unwrap();
        let error = child.run("two\n").await.unwrap_err();
        assert!(matches!(error, StdioError::Broken { .. }), "{error}");
        assert!(error.is_retry_safe());
    });
}

#[test]
fn a_request_cancelled_at_any_poll_takes_its_child_with_it() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &Behaviour::echo());
        let children = connector.children();
        let pool = connector.pool().max_size(1).build().unwrap();
        for polls in 0.. {
            let mut child = pool.acquire().await.unwrap();
            let pid = child.process().pid();
            let outcome = poll_times(child.run("line\n"), polls).await;
            drop(child);
            while children.pids().contains(&pid) {
                tokio::task::yield_now().await;
            }
            if outcome.is_some() {
                break;
            }
        }
    });
}

#[test]
fn a_tool_that_never_ends_times_out_with_what_it_had_said() {
    on_both_runtimes(async |bed| {
        let limit = Duration::from_millis(100);
        let behaviour = Behaviour::new().print("thinking\n");
        let behaviour = behaviour.announce(bed.scene.beacon.path(), "said").hang();
        let mut child = child_of(bed, &behaviour).await;
        drop(bed.scene.beacon.expect(1));
        let asked = child.run("x".repeat(1 << 20)).within(limit);
        let error = within(limit, asked).await.unwrap_err();
        let StdioError::TimedOut { report, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(report.partial.as_ref(), b"thinking\n");
        assert!(!error.is_retry_safe());
        // The end of its input is a request too.
        let mut child = child_of(bed, &Behaviour::new().hang()).await;
        let error = child.run("").within(limit).await.unwrap_err();
        assert_eq!(error.report().unwrap().request_bytes_written, 0);
        assert!(!error.is_retry_safe());
    });
}

#[test]
fn what_a_tool_leaves_behind_does_not_keep_its_caller() {
    on_both_runtimes(async |bed| {
        let silent = bed.scene.actor("silent").hang();
        let chatty = bed.scene.actor("chatty");
        let chatty = chatty.then(Step::PrintEvery {
            gap: Duration::from_millis(5),
            text: "still here\n".into(),
        });
        let short = Duration::from_millis(100);
        // The other limit is out of reach, however late the machine is.
        for (leaf, drain, idle, limit) in [
            (silent, Drain::Idle, short, OUTER_DEADLINE),
            (chatty, Drain::TimedOut, OUTER_DEADLINE, 2 * short),
        ] {
            let behaviour = Behaviour::new().start(leaf).print("done\n").exit(0);
            let mut times = LadderTimes::default();
            times.drain_timeout = limit;
            times.drain_idle = idle;
            let spec = bed.scene.spec(&behaviour).ladder_times(times);
            let connector = OneShotConnector::new(spec).unwrap();
            bed.note(connector.children());
            let mut child = connector.connect(&context()).await.unwrap();
            let leaf = bed.scene.beacon.expect(1);
            let output = within(2 * short, child.run("")).await.unwrap();
            assert_eq!(output.drain, drain);
            assert!(output.stdout.starts_with(b"done\n") || drain == Drain::TimedOut);
            drop((child, leaf));
        }
    });
}

/// Keeps the stdout of the child it is started by open.
fn left_behind(bed: &Bed) -> Behaviour {
    bed.scene.actor("leaf").hang()
}

fn without_patience(bed: &Bed, behaviour: &Behaviour) -> OneShotConnector {
    let mut times = LadderTimes::default();
    times.drain_timeout = Duration::ZERO;
    times.drain_idle = Duration::ZERO;
    let spec = bed.scene.spec(behaviour).ladder_times(times);
    let connector = OneShotConnector::new(spec).unwrap();
    bed.note(connector.children());
    connector
}

#[test]
fn a_stream_passes_more_than_any_limit_and_ends_with_the_same_report() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().then_echo().print_error("hm\n").exit(3);
        let spec = bed.scene.spec(&behaviour);
        let connector = OneShotConnector::with_output_bytes_max(spec, 1000).unwrap();
        bed.note(connector.children());
        let mut child = connector.connect(&context()).await.unwrap();
        let input = "0123456789abcdef\n".repeat(1 << 16);
        let (mut reader, mut writer) = tokio::io::split(child.stream().unwrap());
        let mut read = Vec::new();
        let write = async {
            writer.write_all(input.as_bytes()).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (count, ()) = tokio::join!(reader.read_to_end(&mut read), write);
        assert_eq!(count.unwrap(), input.len());
        assert!(read == input.as_bytes());
        let output = reader.unsplit(writer).finish().await.unwrap();
        assert_eq!((output.stdout.len(), code(&output)), (0, Some(3)));
        assert_eq!(output.stdout_bytes_total, input.len() as u64);
        assert_eq!(
            (output.stderr.text, output.drain),
            ("hm\n".into(), Drain::Complete)
        );
        assert_eq!(output.unwritten_bytes, 0);
    });
}

#[test]
fn a_stream_answers_before_its_input_is_complete() {
    on_both_runtimes(async |bed| {
        let mut child = child_of(bed, &Behaviour::echo()).await;
        let mut stream = child.stream().unwrap();
        let mut line = [0; 4];
        for sent in [b"one\n", b"two\n"] {
            stream.write_all(sent).await.unwrap();
            stream.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, sent);
        }
        stream.write_all(b"not read").await.unwrap();
        // What is not read is collected.
        let output = stream.finish().within(OUTER_DEADLINE).await.unwrap();
        assert_eq!(
            (&output.stdout[..], output.stdout_bytes_total),
            (&b"not read"[..], 16)
        );
        let error = child.stream().unwrap_err();
        assert!(matches!(error, StdioError::Broken { .. }), "{error}");
    });
}

#[test]
fn a_stream_ends_though_something_that_was_left_behind_holds_it_open() {
    on_both_runtimes(async |bed| {
        // Nearly all that a pipe holds, and read after every patience was over.
        let text = "x".repeat(60_000);
        let behaviour = Behaviour::new()
            .start(left_behind(bed))
            .print(&text)
            .exit(0);
        let connector = without_patience(bed, &behaviour);
        let mut child = connector.connect(&context()).await.unwrap();
        let leaf = bed.scene.beacon.expect(1);
        while child.process().try_wait().is_none() {
            tokio::task::yield_now().await;
        }
        let mut stream = child.stream().unwrap();
        let mut read = String::new();
        stream.read_to_string(&mut read).await.unwrap();
        assert!(read == text);
        let output = stream.finish().await.unwrap();
        assert_ne!(output.drain, Drain::Complete);
        drop((child, leaf));
    });
}

#[test]
fn writing_to_a_stream_fails_when_the_child_has_closed_its_stdin() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new()
            .then(Step::Close(Stream::Stdin))
            .print("enough\n")
            .exit(0);
        let mut child = child_of(bed, &behaviour).await;
        let mut stream = child.stream().unwrap();
        let mut read = String::new();
        stream.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "enough\n");
        let error = stream.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(code(&stream.finish().await.unwrap()), Some(0));
    });
}

#[test]
fn a_stream_that_is_dropped_takes_its_child_with_it() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &Behaviour::echo());
        let children = connector.children();
        let pool = connector.pool().max_size(1).build().unwrap();
        let mut child = pool.acquire().await.unwrap();
        let pid = child.process().pid();
        let mut stream = child.stream().unwrap();
        stream.write_all(b"half a request").await.unwrap();
        drop(child);
        while children.pids().contains(&pid) {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn finishing_a_stream_has_a_time_limit() {
    on_both_runtimes(async |bed| {
        let limit = Duration::from_millis(50);
        let behaviour = Behaviour::new().print("thinking\n");
        let behaviour = behaviour.announce(bed.scene.beacon.path(), "said").hang();
        let mut child = child_of(bed, &behaviour).await;
        drop(bed.scene.beacon.expect(1));
        let stream = child.stream().unwrap();
        let error = within(limit, stream.finish().within(limit))
            .await
            .unwrap_err();
        let StdioError::TimedOut { report, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(report.partial.as_ref(), b"thinking\n");
        assert!(!error.is_retry_safe());
    });
}
