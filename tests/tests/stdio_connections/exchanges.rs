//! What makes an exchange complete: nobody gets a connection over which something is still to come.

use std::pin::pin;
use std::time::Duration;

use pool_core::{ConnectionPool, Connector};
use pool_stdio::codec::Line;
use pool_stdio::{Signal, StdioError};
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::poll_times;

use crate::bed::{assert_line, context, eager, give_up, on_both_runtimes};

/// Takes two lines as one request, as a tool does that reads its arguments line by line.
fn two_lines_make_a_request() -> Behaviour {
    Behaviour::new().read_lines(2).print("done\n").then_echo()
}

/// Answers with some lines, each of them after a pause, as an engine does that thinks aloud.
fn thinks_aloud() -> Behaviour {
    Behaviour::new()
        .read_lines(1)
        .then(Step::PrintBytewise(b"info 1\ninfo 2\nbest\n".to_vec()))
        .then_echo()
}

fn is_best(line: &Line) -> bool {
    line.bytes == "best"
}

#[test]
fn a_message_without_a_reply_leaves_a_connection_that_nobody_else_gets() {
    on_both_runtimes(async |bed| {
        let pool = bed.pool(&two_lines_make_a_request(), 1);
        let mut lease = pool.acquire().await.unwrap();
        let pid = lease.process().pid();
        lease.notify("the file of the first caller").await.unwrap();
        assert!(lease.is_dirty());
        drop(lease);
        let lease = pool.acquire().await.unwrap();
        assert_ne!(lease.process().pid(), pid);
    });
}

#[test]
fn a_later_reply_accounts_for_the_messages_before_it() {
    on_both_runtimes(async |bed| {
        let mut child = bed.child(&two_lines_make_a_request()).await;
        child.notify("a file").await.unwrap();
        assert_line(child.request("execute").await, "done");
        assert!(!child.is_dirty());
        // A reply to a request that was written before says nothing about it.
        let mut child = bed.child(&Behaviour::echo()).await;
        give_up(child.process().pid(), child.request("one")).await;
        child.notify("two").await.unwrap();
        assert_line(child.recv().await, "one");
        assert!(child.is_dirty());
    });
}

#[test]
fn a_sent_message_is_not_answered_by_the_first_frame_that_comes() {
    on_both_runtimes(async |bed| {
        let pool = bed.pool(&thinks_aloud(), 1);
        let mut lease = pool.acquire().await.unwrap();
        let pid = lease.process().pid();
        lease.send("go").await.unwrap();
        assert_line(lease.recv().await, "info 1");
        assert!(lease.is_dirty());
        drop(lease);
        let lease = pool.acquire().await.unwrap();
        assert_ne!(lease.process().pid(), pid);
    });
}

#[test]
fn a_told_end_of_replies_decides_whatever_a_caller_reads() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&thinks_aloud()).replies_until(is_best);
        let mut child = connector.connect(&context()).await.unwrap();
        // One frame is not the whole reply, whether it was asked for by `request` or by `send`.
        assert_line(child.request("go").await, "info 1");
        assert!(child.is_dirty());
        let error = child.request("too early").await.unwrap_err();
        assert!(matches!(error, StdioError::Unanswered { .. }), "{error}");
        assert_line(child.recv().await, "info 2");
        assert_line(child.recv().await, "best");
        assert!(!child.is_dirty());

        let mut child = connector.connect(&context()).await.unwrap();
        child.send("go").await.unwrap();
        let frames = child.recv().until(|line| line.bytes == "info 1").await;
        assert_eq!(frames.unwrap().len(), 1);
        assert!(child.is_dirty());
        let rest = child.recv().until(is_best).await.unwrap();
        assert_eq!(rest.len(), 2);
        assert!(!child.is_dirty());
    });
}

#[test]
fn each_of_many_messages_is_owed_a_reply() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo()).replies_until(|_| true);
        let mut child = connector.connect(&context()).await.unwrap();
        for number in 0..3 {
            child.send(number.to_string()).await.unwrap();
        }
        for number in 0..3 {
            assert!(child.is_dirty());
            assert_line(child.recv().await, number.to_string());
        }
        assert!(!child.is_dirty());
    });
}

#[test]
fn a_request_of_several_messages_is_written_as_a_whole_or_not_at_all() {
    on_both_runtimes(async |bed| {
        let mut child = bed.child(&two_lines_make_a_request()).await;
        drop(child.request("a file").and("execute"));
        assert!(!child.is_dirty());
        let error = child.request("a file").and("two\nlines").await.unwrap_err();
        assert!(matches!(&error, StdioError::Encode { .. }), "{error}");
        assert!(error.is_retry_safe() && !child.is_dirty());
        assert_line(child.request("a file").and("execute").await, "done");
        assert!(!child.is_dirty());
        assert_line(child.request("next").await, "next");
    });
}

#[test]
fn a_reply_that_comes_before_its_request_was_written_makes_the_connection_unusable() {
    on_both_runtimes(async |bed| {
        // It answers a request of which it has read nothing.
        let early = bed
            .scene
            .handler("early", Behaviour::new().print("early\n"));
        let mut child = bed.child(&early.hang()).await;
        drop(bed.scene.beacon.expect(1));
        {
            let mut request = pin!(child.request("x".repeat(1 << 20)).into_future());
            assert!(poll_times(&mut request, 1).await.is_none());
            bed.signal_all(Signal::Terminate);
            assert_line(request.await, "early");
        }
        // What becomes of the rest of it is no reply to anything else.
        assert!(child.is_dirty());
        let error = child.request("more").await.unwrap_err();
        let is_refused = matches!(error, StdioError::Broken { .. });
        assert!(is_refused && error.is_retry_safe(), "{error}");
        let error = child.send("more").await.unwrap_err();
        assert!(matches!(error, StdioError::Broken { .. }), "{error}");
        assert!(child.is_dirty());
    });
}

/// Answers late, and the question of a quiet token as any other.
fn slow_echo() -> Behaviour {
    Behaviour::new().then(Step::Echo {
        lines: None,
        delay: Duration::from_millis(20),
    })
}

fn token(number: u64) -> String {
    format!("token {number}")
}

#[test]
fn a_quiet_token_saves_the_child_of_a_request_that_was_given_up() {
    on_both_runtimes(async |bed| {
        let connector = bed
            .connector(&slow_echo())
            .quiet_token(token, |number, line| line.bytes == token(number));
        let pool = eager(ConnectionPool::builder(connector))
            .max_size(1)
            .build();
        let pool = pool.unwrap();
        let pid = pool.acquire().await.unwrap().process().pid();
        for polls in 1..4 {
            let mut lease = pool.acquire().await.unwrap();
            assert_eq!(lease.process().pid(), pid);
            give_up(pid, lease.request("given up")).await;
            for _ in 1..polls {
                lease.notify("left in between").await.unwrap();
            }
            assert!(lease.is_dirty());
            drop(lease);
            let mut lease = pool.acquire().await.unwrap();
            assert!(!lease.is_dirty());
            assert_line(lease.request("own").await, "own");
        }
    });
}

#[test]
fn half_a_request_is_written_to_its_end_before_the_quiet_token() {
    on_both_runtimes(async |bed| {
        let connector = bed
            .connector(&Behaviour::echo())
            .quiet_token(token, |number, line| line.bytes == token(number));
        let pool = eager(ConnectionPool::builder(connector))
            .max_size(1)
            .build();
        let pool = pool.unwrap();
        let mut lease = pool.acquire().await.unwrap();
        let pid = lease.process().pid();
        let large = "x".repeat(1 << 20);
        assert!(poll_times(lease.request(&large), 1).await.is_none());
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        assert_eq!(lease.process().pid(), pid);
        assert_line(lease.request("own").await, "own");
    });
}

#[test]
fn a_quiet_token_without_its_number_does_not_save_a_child() {
    on_both_runtimes(async |bed| {
        // A caller may have asked the same question, and its answer be still to come.
        let connector = bed
            .connector(&slow_echo())
            .quiet_token(|_| "isready", |_, line| line.bytes == "isready");
        let mut child = connector.connect(&context()).await.unwrap();
        give_up(child.process().pid(), child.request("isready")).await;
        assert!(connector.is_clean(&child) && connector.needs_reset(&child));
        connector.reset(&mut child).await.unwrap_err();
        assert!(child.is_dirty() && !connector.is_clean(&child));
    });
}

#[test]
fn a_caller_cannot_ask_for_the_next_quiet_token() {
    on_both_runtimes(async |bed| {
        let connector = bed
            .connector(&slow_echo())
            .quiet_token(token, |number, line| line.bytes == token(number));
        let pool = eager(ConnectionPool::builder(connector))
            .max_size(1)
            .build();
        let pool = pool.unwrap();
        for guess in 0..3 {
            let mut lease = pool.acquire().await.unwrap();
            let pid = lease.process().pid();
            // It is answered before the question of the pool.
            give_up(pid, lease.request(token(guess))).await;
            drop(lease);
            let mut lease = pool.acquire().await.unwrap();
            assert_eq!(lease.process().pid(), pid);
            assert_line(lease.request("own").await, "own");
        }
    });
}

#[test]
fn a_child_that_does_not_answer_a_quiet_token_is_replaced() {
    on_both_runtimes(async |bed| {
        let deaf = Behaviour::new().read_lines(1).print("one\n").read_to_end();
        let connector = bed
            .connector(&deaf)
            .quiet_token(token, |number, line| line.bytes == token(number));
        let pool = eager(ConnectionPool::builder(connector))
            .max_size(1)
            .reset_timeout(Duration::from_millis(50))
            .build()
            .unwrap();
        let mut lease = pool.acquire().await.unwrap();
        let pid = lease.process().pid();
        assert_line(lease.request("go").await, "one");
        assert!(poll_times(lease.request("given up"), 1).await.is_none());
        drop(lease);
        let lease = pool.acquire().await.unwrap();
        assert_ne!(lease.process().pid(), pid);
    });
}
