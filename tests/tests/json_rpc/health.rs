//! When a child counts as dead or hung.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{Connector, SharedConnector};
use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, RpcError, RpcLimits, Signal};
use pool_testkit::fixture::Behaviour;
use pool_tests::children::poll_times;
use serde_json::Value;

use crate::bed::{context, on_both_runtimes};
use crate::{connector, held, megabyte, ping_within, server};

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
        // Long enough for a child on a busy machine to answer.
        let connector =
            connector(bed, &server(), Protocol::Mcp).limits(ping_within(Duration::from_secs(1)));
        let child = Arc::new(connector.connect(&context()).await.unwrap());
        // As the protocol has it, what was cancelled is never answered.
        drop(held(&child, 2).await);
        while child.status().pending > 0 {
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
            .limits(ping_within(Duration::from_millis(200)));
        bed.note(connector.children());
        let child = connector.connect(&context()).await.unwrap();
        let mut notifications = child.notifications();
        // On a busy machine it may speak too late for this one.
        drop(connector.check_shared(&child).await);
        notifications.recv().await.expect("it speaks once");
        for _ in 0..2 {
            let silence = connector.check_shared(&child).await;
            silence.expect_err("nothing is being worked on");
        }
    });
}

#[test]
fn a_child_that_has_no_room_for_a_ping_is_not_dead() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &Behaviour::new().hang(), Protocol::Mcp).limits(RpcLimits {
            queue_max: 1,
            enqueue_timeout: Duration::ZERO,
            ..RpcLimits::default()
        });
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
fn an_unanswered_check_fails_unless_the_child_may_be_working() {
    on_both_runtimes(async |bed| {
        // Whether a caller gives up, whether another waits, and whether the check succeeds.
        for (protocol, gives_up, waits, succeeds) in [
            (Protocol::Mcp, false, false, false),
            (Protocol::Mcp, true, false, true),
            (Protocol::Mcp, false, true, true),
            // There is no ping.
            (Protocol::Plain, false, false, true),
        ] {
            let silent = Behaviour::new().read_to_end();
            let connector =
                connector(bed, &silent, protocol).limits(ping_within(Duration::from_millis(5)));
            let child = connector.connect(&context()).await.unwrap();
            let limit = Duration::from_millis(1);
            let ask = || child.call::<Value>("work", &()).within(limit);
            while gives_up && ask().await.unwrap_err().is_retry_safe() {}
            let mut waiting = Box::pin(child.call::<Value>("work", &()));
            if waits {
                poll_times(&mut waiting, 1).await;
            }
            let outcome = connector.check_shared(&child).await;
            assert_eq!(
                outcome.is_ok(),
                succeeds,
                "{protocol:?}, gives up: {gives_up}, waits: {waits}"
            );
        }
    });
}
