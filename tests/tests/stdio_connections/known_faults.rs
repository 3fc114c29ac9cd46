//! A fault that is known, while more is awaited: what the caller is told whose time ends then, or who leaves.

use std::time::Duration;

use pool_core::{CloseReason, Connector};
use pool_stdio::StdioError;
use pool_testkit::fixture::{Behaviour, Step, Stream};
use tokio::time::timeout;

use crate::bed::{assert_line, context, on_both_runtimes};

/// Shorter than the wait for an exit, or for a reply after a failed write.
const BRIEF: Duration = Duration::from_millis(20);
/// On a busy machine the fault itself can be seen later than that.
const TRIES: usize = 100;

#[test]
fn a_closed_stdout_is_told_though_the_time_ends_in_the_wait_for_an_exit() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().then(Step::Close(Stream::Stdout)).hang();
        let mut child = bed.child(&behaviour).await;
        let mut told = None;
        for _ in 0..TRIES {
            let error = child.recv().within(BRIEF).await.unwrap_err();
            if !matches!(error, StdioError::TimedOut { .. }) {
                told = Some(error);
                break;
            }
        }
        let error = told.expect("it is told");
        assert!(matches!(error, StdioError::OutputClosed { .. }), "{error}");
    });
}

#[test]
fn a_closed_stdin_is_told_though_the_time_ends_in_the_wait_for_a_reply() {
    on_both_runtimes(async |bed| {
        let rest = "x".repeat(1 << 20);
        for _ in 0..TRIES {
            let behaviour = Behaviour::new().print("up\n").read_lines(1);
            let behaviour = behaviour.then(Step::Close(Stream::Stdin)).hang();
            let mut child = bed.child(&behaviour).await;
            // Its start takes longer than the request may.
            assert_line(child.recv().await, "up");
            let request = child.request("one").and(&rest).within(BRIEF);
            let error = request.await.unwrap_err();
            assert!(child.is_dirty());
            if !matches!(error, StdioError::TimedOut { .. }) {
                assert!(matches!(error, StdioError::InputClosed { .. }), "{error}");
                return;
            }
        }
        panic!("it was never told");
    });
}

#[test]
fn a_caller_that_leaves_in_the_wait_leaves_a_connection_that_nobody_uses() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new()
            .read_lines(1)
            .then(Step::Close(Stream::Stdout))
            .hang();
        let connector = bed.connector(&behaviour);
        let mut child = connector.connect(&context()).await.unwrap();
        child.send("hello?").await.unwrap();
        while child.is_alive() {
            tokio::task::yield_now().await;
        }
        // Some leave in the wait, on a busy machine some before it or after it.
        for _ in 0..3 {
            drop(timeout(BRIEF, child.recv().into_future()).await);
        }
        assert!(!child.is_alive() && !connector.is_alive(&child));
        assert!(child.is_dirty() && !connector.is_clean(&child));
        // Of what another caller asks not a byte is written, and it is told at once.
        let error = child.request("again?").within(BRIEF).await.unwrap_err();
        assert!(error.is_retry_safe(), "{error}");
        let is_refused = matches!(
            error,
            StdioError::Broken { .. } | StdioError::Unanswered { .. }
        );
        assert!(is_refused, "not what the caller before has met: {error}");
        connector.close(child, CloseReason::Dirty).await;
        assert!(connector.children().pids().is_empty());
    });
}
