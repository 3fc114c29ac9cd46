//! How a connect succeeds, fails and is cancelled.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pool_core::{
    AcquireError, ConnectContext, ConnectError, ConnectionId, ConnectionPool, Connector, EventKind,
};
use pool_stdio::{CommandSpec, SpawnError, StdioConnection, StdioConnector, StdioError};
use pool_testkit::fixture::Behaviour;
use pool_tests::children::poll_times;
use tokio::time::Instant;

use crate::bed::{Bed, Boxed, Events, assert_line, context, on_both_runtimes, within};

const HOUR: Duration = Duration::from_secs(3600);

type Shaken = Result<(), Box<dyn Error + Send + Sync>>;

/// How soon a child that dies while it starts must be known to have died.
const SOON: Duration = Duration::from_millis(100);

/// The time that a child has at last to speak, if it was too slow in less.
const LIMIT_MAX: Duration = Duration::from_secs(3);

fn greeted(child: &mut StdioConnection) -> Boxed<'_, Shaken> {
    Box::pin(async {
        let hello = child.request("hello").await?;
        if hello.bytes == "hello" {
            Ok(())
        } else {
            Err("that is no greeting".into())
        }
    })
}

fn cause(error: &ConnectError) -> &StdioError {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.expect("the cause is one of ours")
}

async fn fails(bed: &Bed, behaviour: &Behaviour) -> ConnectError {
    let connector = bed.connector(behaviour).handshake(greeted);
    within(SOON, connector.connect(&context()))
        .await
        .unwrap_err()
}

#[test]
fn a_handshake_is_done_before_the_child_is_lent() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().print("banner\nready\n").then_echo();
        let connector = bed.connector(&behaviour).handshake(|child| {
            Box::pin(async {
                let seen = child.recv().until(|line| line.bytes == "ready").await?;
                assert_eq!(seen.len(), 2);
                Ok(())
            })
        });
        let pool = ConnectionPool::builder(connector).build().unwrap();
        let mut lease = pool.acquire().await.unwrap();
        assert_line(lease.request("hello").await, "hello");
    });
}

#[test]
fn a_child_that_exits_before_during_or_after_its_handshake_fails_the_connect_at_once() {
    on_both_runtimes(async |bed| {
        let complain = || Behaviour::new().print_error("no config\n");
        let before = complain().exit(7);
        let during = complain().read_lines(1).exit(7);
        let halfway = complain().read_lines(1).print("hel").exit(7);
        for behaviour in [before, during, halfway] {
            let error = fails(bed, &behaviour).await;
            assert!(!error.is_permanent());
            let report = cause(&error).report().unwrap();
            assert!(report.to_string().contains("in its handshake"), "{report}");
            assert_eq!(report.exit.unwrap().status().unwrap().code(), Some(7));
            assert_eq!(report.stderr.text, "no config\n");
        }
        // After a good answer it is either seen at once, or when it is asked again.
        let after = complain().read_lines(1).print("hello\n").exit(7);
        let connector = bed.connector(&after).handshake(greeted);
        if let Ok(mut child) = within(SOON, connector.connect(&context())).await {
            let error = child.request("more").await.unwrap_err();
            let exit = error.report().unwrap().exit.unwrap();
            assert_eq!(exit.status().unwrap().code(), Some(7));
        }
    });
}

#[test]
fn an_exit_ends_a_handshake_that_waits_for_something_else() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::new().exit(7));
        let connector = connector.handshake(|_| Box::pin(std::future::pending()));
        let error = within(SOON, connector.connect(&context()))
            .await
            .unwrap_err();
        assert!(matches!(cause(&error), StdioError::Exited { .. }));
    });
}

#[test]
fn a_handshake_that_takes_too_long_says_what_the_child_had_said() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new()
            .print_error("loading\n")
            .read_lines(1)
            .print("hel")
            .hang();
        let connector = bed.connector(&behaviour).handshake(greeted);
        let mut limit = Duration::from_millis(200);
        // The limit counts from before the spawn: on a busy machine the child can have said less by then.
        loop {
            let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, Instant::now() + limit);
            let error = within(limit, connector.connect(&cx)).await.unwrap_err();
            if let StdioError::TimedOut { report, .. } = cause(&error)
                && report.partial.as_ref() == b"hel"
                && report.stderr.text == "loading\n"
            {
                assert!(report.to_string().contains("in its handshake"), "{report}");
                break;
            }
            assert!(limit < LIMIT_MAX, "{error:?}");
            limit *= 2;
        }
        connector.children().emptied().await;
    });
}

#[test]
fn a_handshake_may_decide_that_its_failure_is_permanent() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo()).handshake(|child| {
            Box::pin(async {
                let version = child.request("version 2").await?;
                Err(ConnectError::permanent(format!("not {:?}", version.bytes)).into())
            })
        });
        let error = connector.connect(&context()).await.unwrap_err();
        assert!(error.is_permanent());
        let own = bed.connector(&Behaviour::echo());
        let own = own.handshake(|_| Box::pin(async { Err("mine".into()) }));
        let error = own.connect(&context()).await.unwrap_err();
        let StdioError::Handshake { source, .. } = cause(&error) else {
            panic!("{error:?}");
        };
        assert_eq!(source.to_string(), "mine");
    });
}

#[test]
fn a_handshake_that_leaves_a_request_unanswered_fails_the_connect() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo()).handshake(|child| {
            Box::pin(async {
                child.send("and the answer?").await?;
                Ok(())
            })
        });
        let error = connector.connect(&context()).await.unwrap_err();
        assert!(matches!(cause(&error), StdioError::Unanswered { .. }));
    });
}

#[test]
fn a_connect_cancelled_at_any_poll_leaves_no_child() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo()).handshake(greeted);
        for polls in 0.. {
            let outcome = poll_times(connector.connect(&context()), polls).await;
            let is_done = outcome.is_some();
            drop(outcome);
            connector.children().emptied().await;
            if is_done {
                break;
            }
        }
    });
}

#[test]
fn a_pool_closed_during_a_handshake_leaves_no_child() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::new().hang()).handshake(greeted);
        let children = connector.children();
        let pool = ConnectionPool::builder(connector).build().unwrap();
        let close = async {
            while children.pids().is_empty() {
                tokio::task::yield_now().await;
            }
            pool.close(Duration::from_secs(10)).await
        };
        let (acquired, report) = tokio::join!(pool.acquire(), close);
        assert!(matches!(acquired, Err(AcquireError::Closed { .. })));
        assert!(report.is_complete());
        children.emptied().await;
    });
}

#[test]
fn a_program_that_has_gone_is_a_permanent_failure_and_answers_callers_at_once() {
    on_both_runtimes(async |bed| {
        let path = std::env::temp_dir().join(format!("pool-conn-{}", std::process::id()));
        fs::write(&path, "#!/bin/sh\nexec cat\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let connector = StdioConnector::new(CommandSpec::new(&path)).unwrap();
        let connector = bed.watch(connector);
        fs::remove_file(&path).unwrap();
        let error = connector.connect(&context()).await.unwrap_err();
        assert!(error.is_permanent());
        assert!(matches!(
            cause(&error),
            StdioError::Spawn {
                source: SpawnError::NotFound { .. }
            }
        ));
        let pool = ConnectionPool::builder(connector).build().unwrap();
        let error = within(SOON, pool.acquire()).await.unwrap_err();
        assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
    });
}

#[test]
fn a_set_that_was_ended_starts_no_more() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo());
        connector.children().terminate_all(SOON).await;
        let error = connector.connect(&context()).await.unwrap_err();
        assert!(error.is_permanent());
        assert!(matches!(
            cause(&error),
            StdioError::Spawn {
                source: SpawnError::Closed
            }
        ));
    });
}

#[test]
fn a_runtime_without_io_fails_the_connect_and_leaves_no_child() {
    let bed = Bed::new();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().unwrap();
    runtime.block_on(async {
        let connector = bed.connector(&Behaviour::echo());
        let children = connector.children();
        let pool = ConnectionPool::builder(connector)
            .fail_fast_after(1)
            .build();
        let error = pool.unwrap().acquire().await.unwrap_err();
        assert!(format!("{error:?}").contains("IO is disabled"), "{error:?}");
        children.emptied().await;
    });
    drop(runtime);
    bed.end();
}

#[test]
fn a_pool_whose_children_crash_says_how_the_last_one_ended() {
    on_both_runtimes(async |bed| {
        // It starts well and dies before it was ever asked.
        let behaviour = Behaviour::new().print_error("no config\n").exit(7);
        let (mut events, observer) = Events::new();
        let pool = ConnectionPool::builder(bed.connector(&behaviour))
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
        let AcquireError::Unavailable { .. } = &error else {
            panic!("{error}");
        };
        let connect = error.source().and_then(|source| source.downcast_ref());
        let cause = cause(connect.unwrap());
        let StdioError::Exited { report } = cause else {
            panic!("{cause}");
        };
        assert!(report.to_string().contains("in its pool"), "{report}");
        assert_eq!(report.exit.unwrap().status().unwrap().code(), Some(7));
        assert_eq!(report.stderr.text, "no config\n");
    });
}
