//! How a child's end reaches its calls, and only those.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pool_core::{
    AcquireError, ConnectContext, ConnectionId, ConnectionPool, Connector, EventKind, SharedLease,
    SharedPool,
};
use pool_stdio::{Protocol, RpcError, StdioError};
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::OUTER_DEADLINE;
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::bed::{Bed, Events, context, eager, kill, on_both_runtimes, within};
use crate::{child, connector, held, ping_within, server};

#[test]
fn an_exit_ends_all_calls_with_its_status_and_the_end_of_stderr() {
    on_both_runtimes(async |bed| {
        // The exit is waited for, but not for long: a machine may be too busy to tell in time.
        let (child, errors) = loop {
            let child = Arc::new(child(bed, &server()).await);
            let mut calls = held(&child, 3).await;
            let mut errors = vec![child.call::<Value>("exit", &[7]).await.unwrap_err()];
            while let Some(call) = calls.join_next().await {
                errors.push(call.unwrap().unwrap_err());
            }
            if !matches!(errors[0], RpcError::OutputClosed { .. }) {
                break (child, errors);
            }
        };
        for error in errors {
            let RpcError::ProcessExited { report, .. } = &error else {
                panic!("{error}");
            };
            let status = report.exit.unwrap().status().unwrap();
            assert_eq!(status.code(), Some(7));
            assert_eq!(report.stderr.text, "told to exit\n");
            assert!(!error.is_retry_safe());
        }
        let error = child.call::<Value>("echo", &()).await.unwrap_err();
        assert!(error.is_retry_safe(), "it was gone before: {error}");
    });
}

#[test]
fn an_exit_is_enough_when_somebody_else_holds_the_pipe() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new()
            .start(Behaviour::new().hang())
            .then(Step::ServeRpc);
        let child = child(bed, &behaviour).await;
        let call = child.call::<Value>("exit", &[7]);
        let error = within(Duration::ZERO, call).await.unwrap_err();
        assert!(matches!(error, RpcError::ProcessExited { .. }), "{error}");
    });
}

#[test]
fn an_end_is_seen_though_the_task_of_the_connection_does_not_run() {
    for is_exit in [true, false] {
        let bed = Bed::new();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        // It has answered a moment ago, and counts as alive for as long.
        let child = runtime.block_on(child(&bed, &server()));
        assert!(child.is_alive());
        // Who is alone writes by itself.
        let mut call = Box::pin(child.call::<Value>("close_stdout", &()));
        let once = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending()));
        assert!(runtime.block_on(once));
        let deadline = Instant::now() + OUTER_DEADLINE;
        let until = |is_so: &dyn Fn() -> bool| {
            while !is_so() {
                assert!(Instant::now() < deadline, "exit: {is_exit}");
                std::thread::yield_now();
            }
        };
        if is_exit {
            kill(child.process().pid());
            until(&|| child.process().try_wait().is_some());
            assert!(!child.is_alive(), "it has exited");
        }
        until(&|| !child.is_alive());
        // The task reads the end. That is nothing that was said.
        for _ in 0..64 {
            runtime.block_on(tokio::task::yield_now());
            assert!(!child.is_alive(), "it was dead before");
        }
        drop(call);
        drop(child);
        drop(runtime);
        bed.end();
    }
}

#[test]
fn who_leaves_right_after_an_answer_is_not_lent_again() {
    on_both_runtimes(async |bed| {
        let answer = "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":true}\n";
        let behaviour = Behaviour::new().read_lines(1).print(answer).exit(0);
        for _ in 0..20 {
            let connector = connector(bed, &behaviour, Protocol::Plain);
            let pool = ConnectionPool::builder(connector).max_size(1);
            let pool = pool.build().unwrap();
            let lease = pool.acquire().await.unwrap();
            let pid = lease.process().pid();
            assert!(lease.call::<bool>("m", &()).await.unwrap());
            let deadline = Instant::now() + OUTER_DEADLINE;
            while is_running(pid) {
                assert!(Instant::now() < deadline, "it does not leave");
            }
            drop(lease);
            let next = pool.try_acquire().map(|next| next.process().pid());
            assert_ne!(next.ok(), Some(pid));
        }
    });
}

/// As the system sees it, and at once.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let state = stat.ok().and_then(|stat| {
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.chars().next()
    });
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[test]
fn a_closed_stdin_refuses_new_calls_only() {
    on_both_runtimes(async |bed| {
        let child = child(bed, &server()).await;
        child.call::<()>("close_stdin", &()).await.unwrap();
        let call = child.call::<Value>("echo", &());
        let error = within(Duration::ZERO, call).await.unwrap_err();
        assert!(matches!(error, RpcError::StdinClosed { .. }), "{error}");
        assert!(error.is_retry_safe());
        assert!(!child.is_alive());
    });
}

#[test]
fn a_child_that_dies_in_its_greeting_fails_the_connect_at_once() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new()
            .read_lines(1)
            .print_error("no config\n")
            .exit(7);
        let connector = connector(bed, &behaviour, Protocol::Lsp);
        let connector = connector.initialize(&json!({})).unwrap();
        let error = connector.connect(&context()).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        let Some(RpcError::ProcessExited { report, .. }) = source.downcast_ref() else {
            panic!("{source}");
        };
        assert_eq!(report.stderr.text, "no config\n");
    });
}

#[test]
fn a_greeting_that_is_not_answered_tells_of_its_child() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().print_error("loading\n").read_to_end();
        let connector = connector(bed, &behaviour, Protocol::Mcp);
        let connector = connector.initialize(&json!({})).unwrap();
        let mut limit = Duration::from_millis(300);
        // The limit counts from before the spawn: on a busy machine the child can have said nothing by then.
        loop {
            let context = ConnectContext::new(ConnectionId::from_u64(0), 1, Instant::now() + limit);
            let error = connector.connect(&context).await.unwrap_err();
            let source = std::error::Error::source(&error).unwrap();
            if let Some(StdioError::Handshake { source, report }) = source.downcast_ref()
                && report.stderr.text == "loading\n"
            {
                assert!(matches!(
                    source.downcast_ref(),
                    Some(RpcError::Timeout { .. })
                ));
                assert!(report.to_string().contains("in its handshake, after"));
                assert!(!report.to_string().contains("request bytes"), "{report}");
                break;
            }
            assert!(limit < Duration::from_secs(3), "{source}");
            limit *= 2;
        }
    });
}

#[test]
fn a_crash_fails_only_the_calls_of_that_child() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let mut children = Vec::new();
        for _ in 0..4 {
            children.push(Arc::new(connector.connect(&context()).await.unwrap()));
        }
        let mut calls = Vec::new();
        for child in &children {
            calls.push(held(child, 64).await);
        }
        kill(children[1].process().pid());
        let mut crashed = calls.remove(1);
        while let Some(call) = crashed.join_next().await {
            let error = call.unwrap().unwrap_err();
            assert!(matches!(error, RpcError::ProcessExited { .. }), "{error}");
        }
        children.remove(1);
        for (child, mut calls) in children.iter().zip(calls) {
            assert_eq!(child.call::<u32>("release", &()).await.unwrap(), 64);
            while let Some(call) = calls.join_next().await {
                call.unwrap().unwrap();
            }
        }
    });
}

#[test]
fn a_silent_child_is_not_dead_while_it_has_work() {
    on_both_runtimes(async |bed| {
        // It answers nothing, but its pipes are open.
        let silent = Behaviour::new().read_to_end();
        let connector =
            connector(bed, &silent, Protocol::Mcp).limits(ping_within(Duration::from_millis(200)));
        let mut child = connector.connect(&context()).await.unwrap();
        let limit = Duration::from_millis(1);
        let ask = || child.call::<Value>("work", &()).within(limit);
        // On a busy machine it may take more than one to get through to the child.
        while ask().await.unwrap_err().is_retry_safe() {}
        connector.check(&mut child).await.unwrap();

        let mut idle = connector.connect(&context()).await.unwrap();
        connector.check(&mut idle).await.unwrap_err();
    });
}

#[test]
fn a_shared_pool_whose_children_crash_says_how_the_last_one_ended() {
    const HOUR: Duration = Duration::from_secs(3600);
    on_both_runtimes(async |bed| {
        // It starts well and dies before it was ever asked.
        let behaviour = Behaviour::new().print_error("no config\n").exit(7);
        let (mut events, observer) = Events::new();
        let pool = SharedPool::builder(connector(bed, &behaviour, Protocol::Plain))
            .min_idle(1)
            .fail_fast_after(1)
            // No other child is started in the meantime.
            .retry_delay(HOUR, HOUR)
            .observer(observer)
            .build()
            .unwrap();
        events
            .next(|event| matches!(event, EventKind::Died { .. }))
            .await;
        let error = pool.acquire().await.unwrap_err();
        assert!(
            matches!(&error, AcquireError::Unavailable { .. }),
            "{error}"
        );
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        let causes = causes.join(": ");
        for part in ["exit status: 7", "no config"] {
            assert!(causes.contains(part), "{causes}");
        }
    });
}

#[test]
fn callers_of_a_child_that_was_killed_for_its_weight_learn_why() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let pool = eager(SharedPool::builder(connector))
            .kill_weight(1)
            .weigh_interval(Duration::from_millis(10))
            .build()
            .unwrap();
        let child = pool.acquire().await.unwrap();
        let error = child.call::<Value>("hold", &()).await.unwrap_err();
        let cause = SharedLease::kill_cause(&child).expect("it was killed");
        let report = error.report().expect("there was a child");
        assert_eq!(report.kill_cause, Some(cause.to_string()));
        let expected = format!(
            "killed by its pool: weight {} exceeds kill_weight",
            cause.weight
        );
        assert!(error.to_string().contains(&expected), "{error}");
    });
}
