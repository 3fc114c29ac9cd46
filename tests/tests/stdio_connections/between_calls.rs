//! What can go wrong between two calls, or at the edge of a limit.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use pool_core::Connector;
use pool_stdio::codec::{DecodeError, Line, LineCodec};
use pool_stdio::{
    CommandSpec, LadderTimes, OneShotConnector, Signal, StdioConnection, StdioConnector,
    StdioError, Stop,
};
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::{OUTER_DEADLINE, poll_times};
use tokio::runtime;
use tokio::time::{Instant, timeout};
use tokio_util::codec::{Decoder, Encoder};

use crate::bed::{Bed, assert_line, context, on_both_runtimes, within};

/// A shell that does this on SIGUSR1 and that on SIGUSR2, and reads nothing unless it is told to.
async fn deaf_shell(bed: &Bed, before: &str, user1: &str, user2: &str) -> StdioConnection {
    let script = format!(
        "trap '{user1}' USR1; trap '{user2}' USR2; {before}; echo ready >&2; \
         while :; do sleep 0.01 </dev/null >/dev/null 2>&1; done"
    );
    let spec = CommandSpec::new("sh").args(["-c", &script]);
    let connector = bed.watch(StdioConnector::new(bed.scene.census.mark(spec)).unwrap());
    connector.connect(&context()).await.unwrap()
}

async fn ready(child: &StdioConnection) {
    while !child.process().stderr_tail().text.ends_with("ready\n") {
        tokio::task::yield_now().await;
    }
}

/// A line that is written as a whole or not at all.
const ATOMIC: &str = match str::from_utf8(&[b'x'; 4095]) {
    Ok(line) => line,
    Err(_) => panic!("it is ASCII"),
};

/// Fills the pipe to the child to the brim, with nothing left over.
async fn fill_up(child: &mut StdioConnection) {
    const PIPE_BYTES: usize = 64 * 1024;
    for _ in 0..PIPE_BYTES / (ATOMIC.len() + 1) {
        child.notify(ATOMIC).await.unwrap();
    }
}

#[test]
fn a_request_said_to_be_unwritten_is_not_written_later() {
    on_both_runtimes(async |bed| {
        let place = bed.scene.beacon.path().with_extension("read");
        let then_read = format!("exec tee {}", place.display());
        let mut child = deaf_shell(bed, ":", "echo stray", &then_read).await;
        ready(&child).await;
        fill_up(&mut child).await;
        let error = {
            let mut request = pin!(child.request("secret").into_future());
            let first = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await;
            assert!(first.is_pending());
            bed.signal_all(Signal::User1);
            request.await.unwrap_err()
        };
        assert!(matches!(error, StdioError::StrayOutput { .. }), "{error}");
        assert!(error.is_retry_safe());
        // A caller that goes on with the connection, which is unusable, does not write it either.
        child.process().signal(Signal::User2).unwrap();
        child.send("more").await.unwrap_err();
        child.terminate(Stop::Orderly).await;
        let read = fs::read_to_string(&place).unwrap();
        fs::remove_file(&place).unwrap();
        assert!(!read.contains("secret"));
    });
}

#[test]
fn an_answer_is_received_though_a_later_notice_is_not_yet_written() {
    on_both_runtimes(async |bed| {
        let mut child = deaf_shell(bed, "read line; echo answer", ":", ":").await;
        child.send("question").await.unwrap();
        ready(&child).await;
        fill_up(&mut child).await;
        assert!(poll_times(child.notify(ATOMIC), 1).await.is_none());
        assert_line(child.recv().await, "answer");
    });
}

#[test]
fn what_a_child_says_by_itself_is_received_though_a_notice_is_not_yet_written() {
    on_both_runtimes(async |bed| {
        let mut child = deaf_shell(bed, ":", "echo event", ":").await;
        ready(&child).await;
        fill_up(&mut child).await;
        assert!(poll_times(child.notify(ATOMIC), 1).await.is_none());
        child.process().signal(Signal::User1).unwrap();
        assert_line(child.recv().await, "event");
    });
}

#[test]
fn the_time_of_a_request_does_not_begin_before_it() {
    on_both_runtimes(async |bed| {
        let limit = Duration::from_millis(50);
        let mut child = bed.child(&Behaviour::new().hang()).await;
        // Nobody speaks, and nothing is owed.
        timeout(8 * limit, child.recv()).await.unwrap_err();
        assert!(!child.is_dirty());
        let begun = Instant::now();
        let error = within(limit, child.request("x").within(limit)).await;
        let error = error.unwrap_err();
        let (elapsed, since) = (error.report().unwrap().elapsed, begun.elapsed());
        assert!(elapsed <= since, "{elapsed:?} of {since:?}");
    });
}

#[test]
fn a_reply_of_many_lines_is_read_though_the_request_was_not() {
    on_both_runtimes(async |bed| {
        let script = "head -c 10 >/dev/null; exec 0<&-; echo status; echo ok; \
                      exec sleep 60 </dev/null >&2";
        for script in [script.to_owned(), script.replace("sleep 60", "true")] {
            let spec = CommandSpec::new("sh").args(["-c", &script]);
            let spec = bed.scene.census.mark(spec);
            let connector = bed.watch(StdioConnector::new(spec).unwrap());
            let mut child = connector.connect(&context()).await.unwrap();
            let request = "x".repeat(1 << 20);
            let reply = child.request(request).until(|line| line.bytes == "ok");
            let reply = reply.await.unwrap();
            assert_eq!((&reply[0].bytes[..], reply.len()), (&b"status"[..], 2));
            assert!(child.is_dirty(), "the rest of the request was not written");
        }
    });
}

#[test]
fn a_message_to_a_child_that_closes_its_stdout_and_does_not_read_fails() {
    on_both_runtimes(async |bed| {
        let mut child = deaf_shell(bed, ":", "exec 1>&-", ":").await;
        ready(&child).await;
        let error = {
            let mut send = pin!(child.send("x".repeat(1 << 20)));
            let first = poll_fn(|cx| Poll::Ready(send.as_mut().poll(cx))).await;
            assert!(first.is_pending());
            bed.signal_all(Signal::User1);
            let sent = within(Duration::ZERO, timeout(OUTER_DEADLINE / 4, send)).await;
            sent.expect("in time").unwrap_err()
        };
        assert!(matches!(error, StdioError::OutputClosed { .. }), "{error}");
        assert!(!error.is_retry_safe());
        assert!(child.is_dirty());
    });
}

#[test]
fn graces_without_end_end_no_more_than_they_say() {
    on_both_runtimes(async |bed| {
        let mut times = LadderTimes::default();
        times.flush = Duration::MAX;
        times.eof_grace = Duration::MAX;
        times.term_grace = Duration::MAX;
        times.force_grace = Duration::MAX;
        times.kill_wait = Duration::MAX;
        times.drain_timeout = Duration::MAX;
        times.drain_idle = Duration::MAX;
        let spec = || bed.scene.spec(&Behaviour::echo()).ladder_times(times);
        for stop in [Stop::Orderly, Stop::Force] {
            let connector = bed.watch(StdioConnector::new(spec()).unwrap());
            let mut child = connector.connect(&context()).await.unwrap();
            assert_line(child.request("one").await, "one");
            child.terminate(stop).await;
        }
        let connector = OneShotConnector::new(spec()).unwrap();
        bed.note(connector.children());
        let mut child = connector.connect(&context()).await.unwrap();
        assert_eq!(child.run("one\n").await.unwrap().stdout, "one\n");
        drop(child);
        let connector = bed.watch(StdioConnector::new(spec()).unwrap());
        let children = connector.children();
        let child = connector.connect(&context()).await.unwrap();
        assert!(children.terminate_all(Duration::MAX).await.left.is_empty());
        drop(child);
    });
}

/// Panics in the middle of a message.
struct Faulty {
    lines: LineCodec,
}

impl Encoder<&str> for Faulty {
    type Error = io::Error;

    fn encode(&mut self, text: &str, wire: &mut BytesMut) -> io::Result<()> {
        wire.extend_from_slice(text.as_bytes());
        assert!(text != "bad", "on purpose");
        wire.extend_from_slice(b"\n");
        Ok(())
    }
}

impl Decoder for Faulty {
    type Item = Line;
    type Error = DecodeError;

    fn decode(&mut self, wire: &mut BytesMut) -> Result<Option<Line>, DecodeError> {
        self.lines.decode(wire)
    }
}

#[test]
fn half_a_message_of_a_codec_that_panicked_is_not_written() {
    on_both_runtimes(async |bed| {
        let codec = || Faulty {
            lines: LineCodec::new(),
        };
        let spec = bed.scene.spec(&Behaviour::echo());
        let connector = bed.watch(StdioConnector::with_codec(spec, codec).unwrap());
        let mut child = connector.connect(&context()).await.unwrap();
        catch_unwind(AssertUnwindSafe(|| {
            let mut cx = Context::from_waker(Waker::noop());
            drop(pin!(child.request("bad").into_future()).poll(&mut cx));
        }))
        .unwrap_err();
        child.send("good").await.unwrap();
        assert_line(child.recv().await, "good");
    });
}

#[test]
fn replies_of_many_frames_and_strays_are_counted_once() {
    let recorder = DebuggingRecorder::new();
    let bed = Bed::new();
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let behaviour = Behaviour::new().read_lines(1).print("a\nok\n");
    let behaviour = behaviour.read_lines(1).print("stray\n").hang();
    let connector = metrics::with_local_recorder(&recorder, || bed.connector(&behaviour));
    runtime.unwrap().block_on(async {
        let mut child = connector.connect(&context()).await.unwrap();
        let reply = child.request("go").until(|line| line.bytes == "ok").await;
        assert_eq!(reply.unwrap().len(), 2);
        child.notify("now").await.unwrap();
        while child.is_alive() {
            tokio::task::yield_now().await;
        }
        assert!(!child.is_alive() && !child.is_alive());
        child.request("two").await.unwrap_err();
    });
    let snapshot = recorder.snapshotter().snapshot().into_vec();
    let count = |name: &str| {
        let found = snapshot.iter().find(|(key, ..)| key.key().name() == name);
        match &found.unwrap().3 {
            DebugValue::Counter(count) => *count,
            DebugValue::Histogram(samples) => samples.len() as u64,
            DebugValue::Gauge(_) => unreachable!("not asked for"),
        }
    };
    let seen = ["stdio_request_seconds", "stdio_stray_frames_total"].map(count);
    assert_eq!(seen, [1, 1]);
    bed.end();
}

#[test]
fn a_request_without_its_runtime_does_not_say_that_the_child_failed() {
    let bed = Bed::new();
    let mut runtimes = [(); 2].map(|()| {
        let mut builder = runtime::Builder::new_current_thread();
        Some(builder.enable_all().build().unwrap())
    });
    let [first, second] = &mut runtimes;
    let mut child = first
        .as_ref()
        .unwrap()
        .block_on(bed.child(&Behaviour::echo()));
    drop(first.take());
    second.take().unwrap().block_on(async {
        let asked = within(Duration::ZERO, child.request("hi")).await;
        let error = asked.unwrap_err();
        assert!(matches!(error, StdioError::Write { .. }), "{error}");
        assert!(error.is_retry_safe());
        assert!(child.process().try_wait().is_none() && child.is_dirty());
        let termination = child.terminate(Stop::Orderly).await;
        assert!(termination.exit.status().unwrap().success());
    });
    bed.end();
}

#[test]
fn what_is_left_of_a_greeting_fails_the_connect_not_the_first_request() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().print("ready\nextra\n").then_echo();
        let greeted = |connector: StdioConnector| {
            connector.handshake(|child| {
                Box::pin(async {
                    child.recv().until(|line| line.bytes == "ready").await?;
                    Ok(())
                })
            })
        };
        let strict = greeted(bed.connector(&behaviour));
        let error = strict.connect(&context()).await.unwrap_err();
        assert!(!error.is_permanent());
        assert!(format!("{error:?}").contains("StrayOutput"), "{error:?}");
        let lenient = greeted(bed.connector(&behaviour).discard_stray_output());
        let mut child = lenient.connect(&context()).await.unwrap();
        assert_line(child.request("one").await, "one");
    });
}

#[test]
fn a_child_that_is_given_up_does_not_take_half_a_request_for_the_whole() {
    on_both_runtimes(async |bed| {
        let place = bed.scene.beacon.path().with_extension("acted");
        let acts = Behaviour::new()
            .read_to_end()
            .then(Step::DieTheFirstTime(place.clone()));
        // More than a runtime lets a task write in two polls, however fast the child reads.
        let input = "x".repeat(1 << 25);
        for number in 0..30 {
            let connector = OneShotConnector::new(bed.scene.spec(&acts)).unwrap();
            let children = connector.children();
            bed.note(children.clone());
            // It is given up while it reads, by a pool, or by who drops it.
            if number % 2 == 0 {
                let pool = connector.pool().build().unwrap();
                let mut child = pool.acquire().await.unwrap();
                assert!(poll_times(child.run(&input), 2).await.is_none());
            } else {
                let mut child = connector.connect(&context()).await.unwrap();
                assert!(poll_times(child.run(&input), 2).await.is_none());
            }
            children.emptied().await;
            assert!(!place.exists());
        }
    });
}

#[test]
fn a_child_that_was_never_asked_is_not_given_an_empty_request_at_its_end() {
    on_both_runtimes(async |bed| {
        let place = bed.scene.beacon.path().with_extension("acted");
        let acts = Behaviour::new()
            .read_to_end()
            .then(Step::DieTheFirstTime(place.clone()));
        let connector = OneShotConnector::new(bed.scene.spec(&acts)).unwrap();
        bed.note(connector.children());
        let pool = connector.pool().min_idle(1).build().unwrap();
        while pool.status().idle == 0 {
            tokio::task::yield_now().await;
        }
        pool.close(OUTER_DEADLINE / 2).await;
        assert!(!place.exists());
    });
}
