//! Requests to children that misbehave: each ends in time, with an error that says why.

use std::time::Duration;

use pool_core::{CloseReason, Connector};
use pool_stdio::codec::{DecodeError, LineCodec};
use pool_stdio::{KillScope, StdioConnection, StdioConnector, StdioError};
use pool_testkit::fixture::{Behaviour, Step, Stream};
use pool_tests::children::{Pulse, adversaries};
use tokio::time::Instant;

use crate::bed::{Bed, PROMISED, assert_line, context, on_both_runtimes, timed, within};

const LIMIT: Duration = Duration::from_millis(100);

/// A caller hears soon of a child that runs and cannot answer any more: in three runs before ten are late, since on a busy
/// machine an exit can be seen late. `run` says how long its caller waited.
async fn mostly_soon(run: impl AsyncFn() -> Duration) {
    let (mut soon, mut late) = (0, Vec::new());
    while soon < 3 {
        let pulse = Pulse::start();
        let taken = run().await;
        let lateness = pulse.stop();
        if taken <= PROMISED + lateness {
            soon += 1;
        } else {
            late.push((taken, lateness));
        }
        // Its child can be late where this process is not, but not often.
        let unexplained = late.iter().filter(|(_, lateness)| *lateness < PROMISED);
        assert!(unexplained.count() < 5 && late.len() < 10, "{late:?}");
    }
}

/// The outcome of a call, and how long it took.
async fn measured<T>(call: impl IntoFuture<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (call.await, begun.elapsed())
}

/// Every second adversary, from the first or the second on: all of them take longer on a busy machine than one
/// test may.
#[derive(Clone, Copy)]
enum Half {
    Odd,
    Even,
}

/// This request to these adversaries ends in time, and so does the close of each child.
async fn ends_in_time(bed: &Bed, request: &str, half: Half) {
    let first = match half {
        Half::Odd => 0,
        Half::Even => 1,
    };
    let mut late = Vec::new();
    let all = adversaries(bed.scene.beacon.path());
    for adversary in all.into_iter().skip(first).step_by(2) {
        let spec = bed.scene.spec(&adversary.behaviour);
        let connector = StdioConnector::new(spec.kill_scope(KillScope::Tree)).unwrap();
        let connector = bed.watch(connector);
        let mut child = connector.connect(&context()).await.unwrap();
        drop(bed.scene.beacon.expect(adversary.announced));
        let asked = child.request(request).within(LIMIT);
        let (outcome, lateness) = timed(LIMIT, asked).await;
        late.push(lateness);
        if let Ok(line) = &outcome
            && line.bytes == request
        {
            assert!(!child.is_dirty(), "{}", adversary.what);
        }
        if outcome.is_err() {
            let is_clean = connector.is_alive(&child) && connector.is_clean(&child);
            let is_untouched = outcome.is_err_and(|error| error.is_retry_safe());
            assert!(!is_clean || is_untouched, "{}", adversary.what);
        }
        connector.close(child, CloseReason::Dirty).await;
        connector.children().emptied().await;
    }
    late.sort_unstable();
    assert!(late[late.len() / 2] <= PROMISED, "{late:?}");
}

#[test]
fn a_short_request_to_every_odd_adversary_ends_in_time() {
    on_both_runtimes(async |bed| ends_in_time(bed, "short", Half::Odd).await);
}

#[test]
fn a_short_request_to_every_even_adversary_ends_in_time() {
    on_both_runtimes(async |bed| ends_in_time(bed, "short", Half::Even).await);
}

#[test]
fn a_long_request_to_every_odd_adversary_ends_in_time() {
    on_both_runtimes(async |bed| ends_in_time(bed, &"x".repeat(1 << 20), Half::Odd).await);
}

#[test]
fn a_long_request_to_every_even_adversary_ends_in_time() {
    on_both_runtimes(async |bed| ends_in_time(bed, &"x".repeat(1 << 20), Half::Even).await);
}

#[test]
fn a_child_that_never_answers_times_out() {
    on_both_runtimes(async |bed| {
        let limit = Duration::from_millis(50);
        let mut child = bed.child(&Behaviour::new().read_to_end()).await;
        let error = within(limit, child.request("hello?").within(limit)).await;
        assert!(matches!(error, Err(StdioError::TimedOut { .. })));
    });
}

#[test]
fn a_flood_without_a_line_ends_at_the_limit_of_the_codec() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new()
            .read_lines(1)
            .then(Step::FloodWithoutNewline(Stream::Stdout));
        let spec = bed.scene.spec(&behaviour);
        let codec = || LineCodec::new().frame_bytes_max(100_000);
        let connector = bed.watch(StdioConnector::with_codec(spec, codec).unwrap());
        let mut child = connector.connect(&context()).await.unwrap();
        let error = child.request("go").await.unwrap_err();
        let StdioError::Decode { source, .. } = &error else {
            panic!("{error}");
        };
        let source = source.downcast_ref::<DecodeError>().unwrap();
        assert!(matches!(
            source,
            DecodeError::LineTooLong {
                limit_bytes: 100_000,
                ..
            }
        ));
        assert!(child.is_dirty());
    });
}

#[test]
fn a_reply_of_lines_without_end_ends_at_its_limit() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().read_lines(1).then(Step::Flood {
            stream: Stream::Stdout,
            bytes: 1 << 30,
        });
        let connector = bed.connector(&behaviour).reply_bytes_max(100_000);
        let mut child = connector.connect(&context()).await.unwrap();
        let error = child.request("go").until(|_| false).await.unwrap_err();
        assert!(matches!(
            error,
            StdioError::ReplyTooLong {
                limit_bytes: 100_000,
                ..
            }
        ));
        assert!(child.is_dirty());
    });
}

#[test]
fn a_flood_of_stderr_does_not_delay_a_reply() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new()
            .then(Step::Flood {
                stream: Stream::Stderr,
                bytes: 10_000_000,
            })
            .then_echo();
        let mut child = bed.child(&behaviour).await;
        assert_line(child.request("hello").await, "hello");
    });
}

#[test]
fn a_closed_stdout_fails_the_request_at_once_though_the_child_lives() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().print("up\n").read_lines(1);
        let behaviour = behaviour.then(Step::Close(Stream::Stdout)).hang();
        mostly_soon(async || {
            let mut child = bed.child(&behaviour).await;
            assert_line(child.recv().await, "up");
            let (outcome, taken) = measured(child.request("hello?")).await;
            let error = outcome.unwrap_err();
            let StdioError::OutputClosed { report } = &error else {
                panic!("{error}");
            };
            assert_eq!(report.exit, None);
            assert!(!error.is_retry_safe());
            assert!(!child.is_alive());
            taken
        })
        .await;
    });
}

#[test]
fn a_child_whose_stdin_is_closed_fails_its_next_request_before_a_byte_of_it_is_written() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new()
            .then(Step::Close(Stream::Stdin))
            .print("closed\n")
            .hang();
        mostly_soon(async || {
            let mut child = bed.child(&behaviour).await;
            assert_line(child.recv().await, "closed");
            let (outcome, taken) = measured(child.request("hello?")).await;
            let error = outcome.unwrap_err();
            assert!(matches!(error, StdioError::InputClosed { .. }), "{error}");
            assert!(error.is_retry_safe());
            assert!(child.is_dirty());
            taken
        })
        .await;
    });
}

#[test]
fn an_answer_given_before_stdin_was_closed_is_delivered() {
    on_both_runtimes(async |bed| {
        // It answers the first line of what is a longer request, and reads no more.
        let behaviour = Behaviour::new().read_lines(1).print("enough\n");
        let behaviour = behaviour.then(Step::Close(Stream::Stdin)).hang();
        let mut child = bed.child(&behaviour).await;
        child.send("one").await.unwrap();
        assert_line(child.recv().await, "enough");
        // The same while the request is being written. Its child has a part of it, so what it says then is
        // not said unasked.
        let behaviour = Behaviour::new().read_lines(1).print("enough\n");
        let behaviour = behaviour.then(Step::Close(Stream::Stdin)).hang();
        let mut child = bed.child(&behaviour).await;
        let request = "x".repeat(1 << 20);
        assert_line(child.request("one").and(&request).await, "enough");
        assert!(child.is_dirty(), "it cannot be asked again");
        let error = child.request("more").await.unwrap_err();
        // Depending on whether the answer or the broken pipe was seen first.
        let is_refused = matches!(
            error,
            StdioError::Broken { .. } | StdioError::Unanswered { .. }
        );
        assert!(is_refused && error.is_retry_safe(), "{error}");
    });
}

#[test]
fn an_exit_in_the_middle_of_a_reply_is_told_with_what_there_was_of_it() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().print("up\n").read_lines(1);
        let behaviour = behaviour.print_error("out of paper\n").print("{\"half");
        let behaviour = behaviour.exit(3);
        mostly_soon(async || {
            let mut child = bed.child(&behaviour).await;
            assert_line(child.recv().await, "up");
            let (outcome, taken) = measured(child.request("hello?")).await;
            let error = outcome.unwrap_err();
            let StdioError::Decode { source, report } = &error else {
                panic!("{error}");
            };
            let source = source.downcast_ref::<DecodeError>().unwrap();
            let DecodeError::TruncatedFrame { partial, .. } = source else {
                panic!("{source}");
            };
            assert_eq!(partial.as_ref(), b"{\"half");
            assert_eq!(report.exit.unwrap().status().unwrap().code(), Some(3));
            assert_eq!(report.stderr.text, "out of paper\n");
            let text = error.to_string();
            assert!(
                text.contains("exit status: 3") && text.contains("out of paper"),
                "{text}"
            );
            taken
        })
        .await;
    });
}

#[test]
fn a_reply_and_an_exit_at_once_are_a_reply() {
    on_both_runtimes(async |bed| {
        let mut child = bed
            .child(&Behaviour::new().read_lines(1).print("bye\n").exit(0))
            .await;
        assert_line(child.request("hello").await, "bye");
        let error = child.request("more").await.unwrap_err();
        assert!(matches!(error, StdioError::Exited { .. }), "{error}");
        let written = error.report().unwrap().request_bytes_written;
        assert_eq!(error.is_retry_safe(), written == 0);
    });
}

#[test]
fn an_exit_is_seen_though_somebody_else_holds_the_pipes() {
    on_both_runtimes(async |bed| {
        let leaf = bed.scene.actor("leaf").hang();
        let behaviour = Behaviour::new().start(leaf).print("up\n");
        let behaviour = behaviour.read_lines(1).exit(4);
        mostly_soon(async || {
            let mut child = bed.child(&behaviour).await;
            assert_line(child.recv().await, "up");
            let leaf = bed.scene.beacon.expect(1);
            let (outcome, taken) = measured(child.request("hello?")).await;
            let error = outcome.unwrap_err();
            let StdioError::Exited { report } = &error else {
                panic!("{error}");
            };
            assert_eq!(report.exit.unwrap().status().unwrap().code(), Some(4));
            drop((child, leaf));
            taken
        })
        .await;
    });
}

#[test]
fn lines_with_a_mark_carriage_returns_and_one_byte_per_write_are_read_whole() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().read_lines(1);
        let behaviour = behaviour
            .then(Step::PrintBytewise(b"\xef\xbb\xbfone \xff\r\n".to_vec()))
            .then_echo();
        let mut child = bed.child(&behaviour).await;
        assert_line(child.request("hello").await, b"one \xff");
        assert_line(child.request("two").await, "two");
    });
}

#[test]
fn ten_megabytes_before_an_exit_are_all_delivered() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().read_lines(1).then(Step::Flood {
            stream: Stream::Stdout,
            bytes: 10_000_000,
        });
        let mut child = bed.child(&behaviour.exit(3)).await;
        child.send("go").await.unwrap();
        // Each line is six bytes, and the last one is cut off.
        for _ in 0..10_000_000 / 6 {
            assert_line(child.recv().await, "flood");
        }
        child.process().exited().await;
        let error = child.recv().await.unwrap_err();
        let exit = error.report().unwrap().exit.unwrap();
        assert_eq!(exit.status().unwrap().code(), Some(3));
    });
}

#[test]
fn a_huge_frame_passes_in_both_directions_if_the_limit_allows_it() {
    on_both_runtimes(async |bed| {
        let mut child = bed.child(&Behaviour::echo()).await;
        let huge = "x".repeat(3 << 20);
        assert_line(child.request(&huge).await, huge);
        assert_line(child.request("small").await, "small");
    });
}

#[test]
fn a_stopped_child_times_out_and_is_closed_all_the_same() {
    on_both_runtimes(async |bed| {
        let limit = Duration::from_millis(50);
        let connector = bed.connector(&Behaviour::new().then(Step::Raise(19)).then_echo());
        let mut child: StdioConnection = connector.connect(&context()).await.unwrap();
        let error = within(limit, child.request("hello?").within(limit)).await;
        assert!(matches!(error, Err(StdioError::TimedOut { .. })));
        connector.close(child, CloseReason::Dirty).await;
        assert!(connector.children().pids().is_empty());
    });
}
