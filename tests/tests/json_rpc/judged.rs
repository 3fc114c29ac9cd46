//! Children that obey the rules and are hard to judge, and numbers that must be right.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pool_core::{CloseReason, ConnectionPool, Connector, SharedConnector, SharedLease, SharedPool};
use pool_stdio::{
    CommandSpec, Framing, JsonRpcConnection, JsonRpcConnector, LadderTimes, LineSink, Notice,
    Protocol, RpcError, Signal, StderrLine,
};
use pool_testkit::fixture::Behaviour;
use pool_tests::children::poll_times;
use serde_json::{Value, json};
use tokio::runtime;

use crate::bed::{Bed, context, on_both_runtimes, within};
use crate::{AMPLE, connector, held, megabyte, server};

/// What was counted under this name.
fn counted(snapshotter: &Snapshotter, name: &str) -> u64 {
    let all = snapshotter.snapshot().into_vec();
    all.into_iter()
        .filter(|(key, ..)| key.key().name() == name)
        .map(|(_, _, _, value)| match value {
            DebugValue::Counter(count) => count,
            DebugValue::Gauge(_) | DebugValue::Histogram(_) => 0,
        })
        .sum()
}

/// With a child whose connector counts.
fn counting(test: impl AsyncFn(&JsonRpcConnection)) -> Snapshotter {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let bed = Bed::new();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let spec = bed.scene.spec(&server());
    let connector = metrics::with_local_recorder(&recorder, || {
        JsonRpcConnector::new(spec, Protocol::Mcp).unwrap()
    });
    bed.note(connector.children());
    runtime.block_on(async {
        let child = connector.connect(&context()).await.unwrap();
        test(&child).await;
    });
    drop((connector, runtime));
    bed.end();
    snapshotter
}

#[test]
fn requests_of_a_batch_are_counted() {
    let snapshotter = counting(async |child| {
        let one = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let replies = child.forward(format!("[{one},{one}]")).await.unwrap();
        let replies: Value = serde_json::from_slice(&replies.unwrap()).unwrap();
        assert_eq!(replies[1]["result"], json!({}));
    });
    assert_eq!(counted(&snapshotter, "stdio_requests_total"), 2);
}

#[test]
fn replies_that_meet_nobody_are_counted() {
    let snapshotter = counting(async |child| {
        // Who is alone writes by itself, once the connection is under way.
        child.call::<Value>("ping", &()).await.unwrap();
        poll_times(child.call::<Value>("hold", &()), 1).await;
        // It answers what it has held.
        child.call::<Value>("release", &()).await.unwrap();
        assert_eq!(child.counts().late, 1);
    });
    assert_eq!(counted(&snapshotter, "stdio_unclaimed_replies_total"), 1);
}

#[test]
fn what_was_written_last_is_counted() {
    let snapshotter = counting(async |child| {
        assert_eq!(child.call::<Value>("ping", &()).await.unwrap(), json!({}));
        child.notify("last", &()).await.unwrap();
    });
    let request = r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#;
    let notification = r#"{"jsonrpc":"2.0","method":"last"}"#;
    let all = request.len() + 1 + notification.len() + 1;
    assert_eq!(
        counted(&snapshotter, "stdio_written_bytes_total"),
        all as u64
    );
}

#[test]
fn a_check_tells_which_pipe_was_closed() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let child = connector.connect(&context()).await.unwrap();
        child.call::<Value>("close_stdin", &()).await.unwrap();
        let error = child.call::<Value>("echo", &[1]).await.unwrap_err();
        assert!(matches!(error, RpcError::StdinClosed { .. }), "{error}");
        let error = connector.check_shared(&child).await.unwrap_err();
        assert!(format!("{error:?}").contains("StdinClosed"), "{error:?}");
    });
}

#[test]
fn a_child_that_hangs_is_found_even_if_a_call_was_cancelled_before() {
    on_both_runtimes(async |bed| {
        let connector =
            connector(bed, &server(), Protocol::Mcp).ping_timeout(Duration::from_millis(200));
        let child = Arc::new(connector.connect(&context()).await.unwrap());
        // As the protocol has it, what was cancelled is never answered.
        drop(held(&child, 2).await);
        while child.pending() > 0 {
            tokio::task::yield_now().await;
        }
        connector.check_shared(&child).await.unwrap();
        bed.signal_all(Signal::Stop);
        let outcome = connector.check_shared(&child).await;
        bed.signal_all(Signal::Continue);
        outcome.expect_err("nobody waits for an answer, and there is no sign of life");
    });
}

#[test]
fn a_notification_that_fails_is_counted() {
    let snapshotter = counting(async |child| {
        child
            .call::<Value>("close_stdout", &())
            .await
            .expect_err("no reply can come");
        child.notify("n", &()).await.expect_err("it is over");
    });
    assert_eq!(counted(&snapshotter, "stdio_request_failures_total"), 2);
}

/// Says something before each reply that does not say what it is about.
const CHATTY: &str = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","method":"about \1"}\n{"jsonrpc":"2.0","id":\1,"result":1}/"#;

#[test]
fn what_a_cancelled_call_left_behind_does_not_reach_the_next_holder() {
    on_both_runtimes(async |bed| {
        let spec = bed
            .scene
            .census
            .mark(CommandSpec::new("sed").args(["-u", CHATTY]));
        let connector = JsonRpcConnector::new(spec, Protocol::Plain).unwrap();
        bed.note(connector.children());
        let pool = ConnectionPool::builder(connector)
            .max_size(1)
            .build()
            .unwrap();
        let first = pool.acquire().await.unwrap();
        let pid = first.pid();
        bed.signal_all(Signal::Stop);
        poll_times(first.call::<Value>("mine", &()), 1).await;
        drop(first);
        let second = pool.acquire().await.unwrap();
        let mut notices = second.notices();
        if second.pid() == pid {
            bed.signal_all(Signal::Continue);
        }
        second.call::<Value>("mine", &()).await.unwrap();
        let Some(Notice::Notification(notice)) = notices.recv().await else {
            panic!("it was said before the reply")
        };
        let expected = if second.pid() == pid {
            "about 1"
        } else {
            "about 0"
        };
        assert_eq!(notice.method(), expected);
    });
}

#[test]
fn one_of_many_callers_spoils_nothing_by_giving_up() {
    on_both_runtimes(async |bed| {
        let pool = SharedPool::builder(connector(bed, &server(), Protocol::Mcp))
            .max_size(1)
            .build()
            .unwrap();
        let lease = pool.acquire().await.unwrap();
        let (id, pid) = (SharedLease::id(&lease), lease.pid());
        // It is sent, and never answered: the child is not running.
        bed.signal_all(Signal::Stop);
        poll_times(lease.call::<Value>("echo", &()), 1).await;
        drop(lease);
        bed.signal_all(Signal::Continue);
        let next = pool.acquire().await.unwrap();
        assert_eq!((SharedLease::id(&next), next.pid()), (id, pid));
    });
}

#[test]
fn a_language_server_may_put_its_things_in_order_before_its_end() {
    on_both_runtimes(async |bed| {
        for (reason, is_asked) in [(CloseReason::Idle, true), (CloseReason::Discarded, false)] {
            let (said, heard) = mpsc::channel();
            let sink = LineSink::Callback(Arc::new(move |line: &StderrLine<'_>| {
                said.send(line.text.to_string()).unwrap_or_default();
            }));
            let spec = bed.scene.spec(&server()).stderr_lines(sink);
            let connector = JsonRpcConnector::new(spec, Protocol::Lsp)
                .unwrap()
                .framing(Framing::Lines)
                .initialize(&json!({}))
                .unwrap();
            bed.note(connector.children());
            let child = connector.connect(&context()).await.unwrap();
            within(AMPLE, connector.close(child, reason)).await;
            if is_asked {
                let lines = [(); 2].map(|()| heard.recv_timeout(AMPLE).unwrap());
                assert_eq!(lines, ["told to shut down", "told to exit"]);
            }
            assert!(heard.try_recv().is_err());
        }
    });
}

#[test]
fn a_ping_that_was_not_answered_is_no_work() {
    on_both_runtimes(async |bed| {
        // It says something about the first ping, and then nothing more.
        let script = r#"read -r line; echo '{"jsonrpc":"2.0","method":"n"}'; while read -r line; do :; done"#;
        let spec = bed
            .scene
            .census
            .mark(CommandSpec::new("sh").args(["-c", script]));
        let connector = JsonRpcConnector::new(spec, Protocol::Mcp)
            .unwrap()
            .ping_timeout(Duration::from_millis(200));
        bed.note(connector.children());
        let child = connector.connect(&context()).await.unwrap();
        let mut notices = child.notices();
        // On a busy machine it may speak too late for this one.
        drop(connector.check_shared(&child).await);
        notices.recv().await.expect("it speaks once");
        for _ in 0..2 {
            let silence = connector.check_shared(&child).await;
            silence.expect_err("nothing is being worked on");
        }
    });
}

/// A language server that was greeted, and what it says on stderr.
fn language_server(
    bed: &Bed,
    script: &str,
    times: LadderTimes,
) -> (JsonRpcConnector, mpsc::Receiver<String>) {
    let (said, heard) = mpsc::channel();
    let sink = LineSink::Callback(Arc::new(move |line: &StderrLine<'_>| {
        said.send(line.text.to_string()).unwrap_or_default();
    }));
    let spec = CommandSpec::new("sh").args(["-c", script]);
    let spec = bed.scene.census.mark(spec).stderr_lines(sink);
    let spec = spec.ladder_times(times);
    let connector = JsonRpcConnector::new(spec, Protocol::Lsp)
        .unwrap()
        .framing(Framing::Lines)
        .initialize(&json!({}))
        .unwrap();
    bed.note(connector.children());
    (connector, heard)
}

#[test]
fn a_language_server_is_told_to_exit_whatever_it_answers() {
    on_both_runtimes(async |bed| {
        for answer in [r#""error":{"code":-32600,"message":"again"}"#, r#""x":0"#] {
            let script = format!(
                r#"read -r line; echo '{{"jsonrpc":"2.0","id":0,"result":{{}}}}'
                read -r line; read -r line; echo '{{"jsonrpc":"2.0","id":1,{answer}}}'
                read -r line; echo "$line" >&2"#
            );
            let (connector, heard) = language_server(bed, &script, LadderTimes::default());
            let child = connector.connect(&context()).await.unwrap();
            within(AMPLE, connector.close(child, CloseReason::Idle)).await;
            let line = heard.recv_timeout(AMPLE).unwrap();
            assert_eq!(line, r#"{"jsonrpc":"2.0","method":"exit"}"#);
        }
    });
}

#[test]
fn a_language_server_that_answers_without_reading_is_ended_all_the_same() {
    on_both_runtimes(async |bed| {
        let script = r#"read -r line; echo '{"jsonrpc":"2.0","id":0,"result":{}}'
            read -r line; exec yes '{"jsonrpc":"2.0","id":1,"result":null}'"#;
        let mut times = LadderTimes::default();
        times.eof_grace = Duration::ZERO;
        let (connector, _heard) = language_server(bed, script, times);
        let connector = connector
            .queue_max(2)
            .enqueue_timeout(Duration::MAX)
            .write_timeout(Duration::MAX);
        let child = connector.connect(&context()).await.unwrap();
        child.notify("large", &megabyte()).await.unwrap();
        within(AMPLE, connector.close(child, CloseReason::Idle)).await;
    });
}

#[test]
fn a_child_that_has_no_room_for_a_ping_is_not_dead() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &Behaviour::new().hang(), Protocol::Mcp)
            .queue_max(1)
            .enqueue_timeout(Duration::ZERO);
        let child = connector.connect(&context()).await.unwrap();
        let work = megabyte();
        tokio::select! {
            biased;
            outcome = child.call::<Value>("work", &work) => panic!("{outcome:?}"),
            outcome = connector.check_shared(&child) => outcome.expect("it has work to read"),
        }
    });
}

#[test]
fn a_child_that_hangs_is_replaced_though_its_leases_come_home() {
    on_both_runtimes(async |bed| {
        let default = connector(bed, &Behaviour::new().read_to_end(), Protocol::Plain);
        let strict = connector(bed, &Behaviour::new().read_to_end(), Protocol::Plain);
        let strict = strict.silence_max(Duration::ZERO);
        for (connector, is_replaced) in [(default, false), (strict, true)] {
            let pool = SharedPool::builder(connector).max_size(1).build().unwrap();
            let child = pool.acquire().await.unwrap();
            let pid = child.pid();
            let limit = Duration::from_millis(1);
            let ask = || child.call_within::<Value>("work", &(), limit);
            while ask().await.unwrap_err().is_retry_safe() {}
            drop(child);
            let next = pool.acquire().await.unwrap().pid();
            assert_eq!(next != pid, is_replaced);
        }
    });
}

#[test]
fn work_excuses_silence_for_a_while_and_longer_if_it_is_waited_for() {
    on_both_runtimes(async |bed| {
        // Whether a caller gives up, whether another waits, and how many checks that is good for.
        for (protocol, gives_up, waits, excused) in [
            (Protocol::Mcp, false, false, 0),
            (Protocol::Mcp, true, false, 2),
            (Protocol::Mcp, true, true, 9),
            (Protocol::Mcp, false, true, 20),
            // Who cannot be pinged hangs only if somebody found so.
            (Protocol::Plain, false, false, 20),
            (Protocol::Plain, true, false, 2),
            (Protocol::Plain, true, true, 9),
            (Protocol::Plain, false, true, 20),
        ] {
            let silent = Behaviour::new().read_to_end();
            let connector =
                connector(bed, &silent, protocol).ping_timeout(Duration::from_millis(5));
            let child = connector.connect(&context()).await.unwrap();
            let limit = Duration::from_millis(1);
            let ask = || child.call_within::<Value>("work", &(), limit);
            while gives_up && ask().await.unwrap_err().is_retry_safe() {}
            let mut waiting = Box::pin(child.call::<Value>("work", &()));
            if waits {
                poll_times(&mut waiting, 1).await;
            }
            let mut checks = 0;
            while checks < 20 && connector.check_shared(&child).await.is_ok() {
                checks += 1;
            }
            assert_eq!(
                checks, excused,
                "{protocol:?}, gives up: {gives_up}, waits: {waits}"
            );
        }
    });
}
