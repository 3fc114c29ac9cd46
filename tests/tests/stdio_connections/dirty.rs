//! A request that did not come to its end: nobody ever sees its reply.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use pool_core::{ConnectionPool, Connector};
use pool_stdio::codec::{DecodeError, Line, LineCodec};
use pool_stdio::{KillScope, Signal, StdioConnector, StdioError};
use pool_testkit::fixture::{Behaviour, Step};
use pool_tests::children::{Sighting, poll_times};
use tokio::time::Instant;
use tokio_util::codec::{Decoder, Encoder};

use crate::bed::{assert_line, context, give_up, on_both_runtimes, while_stopped, within};

/// A request that a child cannot have read as a whole, because a pipe holds 64 KiB.
fn large() -> String {
    "x".repeat(1 << 20)
}

#[test]
fn a_request_is_dirty_from_its_first_poll_until_its_reply_is_read() {
    on_both_runtimes(async |bed| {
        let mut child = bed.child(&Behaviour::echo()).await;
        drop(child.request("never polled"));
        assert!(!child.is_dirty());
        give_up(child.process().pid(), child.request("one")).await;
        assert!(child.is_dirty());
        // The holder of the connection can still wait for the reply.
        assert_line(child.recv().await, "one");
        assert!(!child.is_dirty());
        assert_line(child.request("two").await, "two");
        assert!(!child.is_dirty());
    });
}

#[test]
fn a_request_after_a_cancelled_one_is_refused_before_anything_is_written() {
    on_both_runtimes(async |bed| {
        let mut child = bed.child(&Behaviour::echo()).await;
        give_up(child.process().pid(), child.request("one")).await;
        let error = child.request("two").await.unwrap_err();
        assert!(matches!(&error, StdioError::Unanswered { .. }), "{error}");
        assert!(error.is_retry_safe());
        assert_line(child.recv().await, "one");
        assert_line(child.request("three").await, "three");
    });
}

#[test]
fn a_reply_cancelled_at_any_poll_never_reaches_the_next_caller() {
    on_both_runtimes(async |bed| {
        // Each byte of the first reply is a read of its own, or nearly.
        let reply = "the first reply, which nobody else may see\n";
        let behaviour = Behaviour::new()
            .read_lines(1)
            .then(Step::PrintBytewise(reply.into()))
            .then_echo();
        let pool = bed.pool(&behaviour, 1);
        let mut dirty = 0;
        for polls in 0.. {
            let mut lease = pool.acquire().await.unwrap();
            let pid = lease.process().pid();
            let outcome = poll_times(lease.request("first"), polls).await;
            let is_dirty = lease.is_dirty();
            assert_eq!(is_dirty, polls > 0 && outcome.is_none());
            drop(lease);
            let mut lease = pool.acquire().await.unwrap();
            assert_eq!(lease.process().pid() == pid, !is_dirty);
            if is_dirty || polls == 0 {
                assert_line(lease.request("second").await, reply.trim_end());
            } else {
                assert_line(lease.request("second").await, "second");
            }
            dirty += usize::from(is_dirty);
            pool.evict_all();
            if outcome.is_some() {
                break;
            }
        }
        assert!(dirty > 0);
    });
}

#[test]
fn a_large_request_cancelled_at_any_poll_never_disturbs_the_next_caller() {
    on_both_runtimes(async |bed| {
        let pool = bed.pool(&Behaviour::echo(), 1);
        let large = large();
        for polls in 1..200 {
            let mut lease = pool.acquire().await.unwrap();
            let outcome = poll_times(lease.request(&large), polls).await;
            assert_eq!(lease.is_dirty(), outcome.is_none());
            drop(lease);
            let mut lease = pool.acquire().await.unwrap();
            assert_line(lease.request("next").await, "next");
            if let Some(reply) = outcome {
                assert_eq!(reply.unwrap().bytes.len(), large.len());
                break;
            }
        }
    });
}

#[test]
fn a_late_reply_after_a_timeout_is_destroyed_with_its_child() {
    on_both_runtimes(async |bed| {
        let pool = bed.pool(&Behaviour::echo(), 1);
        for number in 0..4 {
            let mut lease = pool.acquire().await.unwrap();
            let pid = lease.process().pid();
            let limit = Duration::from_millis(2);
            let request = lease.request(format!("late {number}")).within(limit);
            let error = while_stopped(pid, request).await.unwrap_err();
            let StdioError::TimedOut { report, .. } = &error else {
                panic!("{error}");
            };
            assert!(
                report.to_string().contains("while the reply was awaited"),
                "{report}"
            );
            assert_eq!(report.request_bytes, "late 0\n".len());
            assert_eq!(report.request_bytes_written, report.request_bytes);
            assert!(!error.is_retry_safe());
            drop(lease);
            let mut lease = pool.acquire().await.unwrap();
            let line = format!("own {number}");
            assert_line(lease.request(line.clone()).await, line);
        }
    });
}

#[test]
fn a_timeout_fires_with_a_child_that_never_reads_and_a_full_pipe() {
    on_both_runtimes(async |bed| {
        let limit = Duration::from_millis(100);
        let mut child = bed.child(&Behaviour::new().hang()).await;
        let begun = Instant::now();
        let error = within(limit, child.request(large()).within(limit)).await;
        let taken = begun.elapsed();
        let error = error.unwrap_err();
        let StdioError::TimedOut { report, .. } = &error else {
            panic!("{error}");
        };
        assert!(
            report.to_string().contains("while the request was written"),
            "{report}"
        );
        assert!(report.request_bytes_written > 0);
        assert!(report.request_bytes_written < report.request_bytes);
        assert!(!error.is_retry_safe());
        // Both clocks are read a moment apart.
        let moment = Duration::from_millis(2);
        assert!(
            report.elapsed + moment > limit && report.elapsed <= taken + moment,
            "{report}"
        );
        // The rest of it will never be written, nor anything after it.
        let error = child.request("more").await.unwrap_err();
        assert!(matches!(error, StdioError::Broken { .. }), "{error}");
        assert!(child.is_dirty());
    });
}

/// Writes bytes as they are, reads lines.
struct Bulk {
    lines: LineCodec,
}

impl Encoder<Vec<u8>> for Bulk {
    type Error = io::Error;

    fn encode(&mut self, bytes: Vec<u8>, wire: &mut BytesMut) -> io::Result<()> {
        wire.extend_from_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Bulk {
    type Item = Line;
    type Error = DecodeError;

    fn decode(&mut self, wire: &mut BytesMut) -> Result<Option<Line>, DecodeError> {
        self.lines.decode(wire)
    }
}

#[test]
fn a_child_that_stops_reading_until_it_is_read_does_not_lock_up_its_caller() {
    on_both_runtimes(async |bed| {
        let lines = || Bulk {
            lines: LineCodec::new(),
        };
        let spec = bed.scene.spec(&Behaviour::echo());
        let connector = bed.watch(StdioConnector::with_codec(spec, lines).unwrap());
        // Both pipes are full long before the request is written.
        let request = b"0123456789abcde\n".repeat(1 << 14);
        let (mut seen, count) = (0, 1 << 14);
        let is_last = move |_: &Line| {
            seen += 1;
            seen == count
        };
        let mut child = connector.connect(&context()).await.unwrap();
        let reply = child.request(request.clone()).until(is_last).await.unwrap();
        assert!(reply.iter().all(|line| line.bytes == "0123456789abcde"));
        assert!(!child.is_dirty());
        // The same with the two halves apart.
        child.send(request).await.unwrap();
        let mut seen = 0;
        let is_last = move |_: &Line| {
            seen += 1;
            seen == count
        };
        assert_eq!(child.recv().until(is_last).await.unwrap().len(), count);
    });
}

#[test]
fn a_message_that_is_no_frame_is_refused_and_leaves_the_connection_clean() {
    on_both_runtimes(async |bed| {
        let mut child = bed.child(&Behaviour::echo()).await;
        let error = child.request("two\nlines").await.unwrap_err();
        assert!(matches!(error, StdioError::Encode { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("message refused by the codec: ") && text.contains("(pid "),
            "{text}"
        );
        assert!(error.is_retry_safe());
        assert!(!child.is_dirty());
        assert_line(child.request("one").await, "one");
    });
}

#[test]
fn a_reply_of_many_lines_is_dirty_until_its_last() {
    on_both_runtimes(async |bed| {
        let go_on = Behaviour::new().print("end\n");
        let behaviour = Behaviour::new().then(Step::OnTerminate(go_on));
        let behaviour = behaviour.read_lines(1).print("ready\n");
        let behaviour = behaviour.read_lines(1).print("a\nb\nc\n").hang();
        let mut child = bed.child(&behaviour).await;
        // Its first answer says that a SIGTERM does not end it any more.
        assert_eq!(child.request("hello").await.unwrap().bytes, "ready");
        let is_end = |line: &Line| line.bytes == "end";
        assert!(
            poll_times(child.request("go").until(is_end), 1)
                .await
                .is_none()
        );
        assert!(child.is_dirty());
        // Its lines are lost with the future; reading one of them does not make it clean.
        child.process().signal(Signal::Terminate).unwrap();
        let rest = child.recv().until(is_end).await.unwrap();
        assert_eq!(rest.last().unwrap().bytes, "end");
        assert!(!child.is_dirty());
    });
}

/// A caller that gives up in the middle of a session leaves no process behind, wherever in the tree.
#[test]
fn a_request_that_is_given_up_takes_the_whole_tree_with_it() {
    on_both_runtimes(async |bed| {
        let away = bed.scene.away("leaf").hang();
        let deaf = bed.scene.deaf("leaf").hang();
        let root = bed.scene.actor("root").start(away).start(deaf);
        let spec = bed
            .scene
            .spec(&root.read_to_end())
            .kill_scope(KillScope::Tree);
        let connector = bed.watch(StdioConnector::new(spec).unwrap());
        let children = connector.children();
        let pool = ConnectionPool::builder(connector)
            .max_size(1)
            .build()
            .unwrap();
        let mut lease = pool.acquire().await.unwrap();
        let seen = bed.scene.beacon.expect(3);
        assert!(poll_times(lease.request("anybody?"), 1).await.is_none());
        drop(lease);
        children.emptied().await;
        assert!(seen.iter().all(Sighting::is_dead));
    });
}
