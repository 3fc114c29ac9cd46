//! When a child counts as dead or hung.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{Connector, SharedConnector, SharedPool};
use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, RpcError, Signal};
use pool_testkit::fixture::Behaviour;
use pool_tests::children::poll_times;
use serde_json::Value;

use crate::bed::{context, on_both_runtimes};
use crate::{connector, held, megabyte, server};

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
            let ask = || child.call::<Value>("work", &()).within(limit);
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
            let ask = || child.call::<Value>("work", &()).within(limit);
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
