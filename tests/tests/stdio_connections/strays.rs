//! Output that nobody asked for: never taken for the reply to the next request.

use pool_core::{ConnectionPool, Connector};
use pool_stdio::{Signal, StdioConnection, StdioError};
use pool_testkit::fixture::{Behaviour, Replies, Step, Stream};

use crate::bed::{Bed, Pool, assert_line, eager, on_both_runtimes};

/// What happens to strays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strays {
    Rejected,
    Discarded,
}

fn pool(bed: &Bed, behaviour: &Behaviour, strays: Strays) -> Pool {
    let connector = bed.connector(behaviour);
    let connector = match strays {
        Strays::Rejected => connector,
        Strays::Discarded => connector.discard_stray_output(),
    };
    eager(ConnectionPool::builder(connector))
        .max_size(1)
        .build()
        .unwrap()
}

/// Answers, and says something more when it is told to, by a signal.
fn chatty(text: &str) -> Behaviour {
    let speak = Behaviour::new().print(text).print_error("said");
    Behaviour::new()
        .then(Step::OnTerminate(speak))
        .read_lines(1)
        .print("one\n")
        .then_echo()
}

/// Makes it speak, and waits until it has, without reading that.
async fn provoke(child: &mut StdioConnection) {
    assert_line(child.request("go").await, "one");
    child.process().signal(Signal::Terminate).unwrap();
    while child.process().stderr_tail().text != "said" {
        tokio::task::yield_now().await;
    }
}

#[test]
fn rejected_strays_make_a_connection_dead_for_the_pool() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed, &chatty("stray\n"), Strays::Rejected);
        let mut lease = pool.acquire().await.unwrap();
        provoke(&mut lease).await;
        assert!(!lease.is_alive());
        let pid = lease.process().pid();
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        assert_ne!(lease.process().pid(), pid);
        assert_line(lease.request("go").await, "one");
    });
}

#[test]
fn rejected_strays_fail_the_next_request_before_it_is_written() {
    on_both_runtimes(async |bed| {
        let mut child = bed.child(&chatty("stray\n")).await;
        provoke(&mut child).await;
        let error = child.request("two").await.unwrap_err();
        let StdioError::StrayOutput { report } = &error else {
            panic!("{error}");
        };
        assert_eq!(report.partial.as_ref(), b"stray\n");
        assert!(error.is_retry_safe());
        assert!(child.is_dirty());
    });
}

#[test]
fn discarded_strays_are_gone_before_the_next_request() {
    on_both_runtimes(async |bed| {
        let text = "stray line\n".repeat(1000);
        let pool = pool(bed, &chatty(&text), Strays::Discarded);
        let mut lease = pool.acquire().await.unwrap();
        let pid = lease.process().pid();
        provoke(&mut lease).await;
        assert!(lease.is_alive());
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        assert_eq!(lease.process().pid(), pid);
        assert_line(lease.request("two").await, "two");
    });
}

#[test]
fn half_a_stray_line_is_rejected_even_by_the_lenient_policy() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed, &chatty("half a li"), Strays::Discarded);
        let mut lease = pool.acquire().await.unwrap();
        provoke(&mut lease).await;
        let error = lease.request("two").await.unwrap_err();
        assert!(matches!(error, StdioError::StrayOutput { .. }), "{error}");
        let pid = lease.process().pid();
        drop(lease);
        assert_ne!(pool.acquire().await.unwrap().process().pid(), pid);
    });
}

#[test]
fn what_comes_with_a_reply_in_one_read_is_stray_too() {
    on_both_runtimes(async |bed| {
        let twice = Behaviour::new().then(Step::Reply(Replies::Twice));
        let request = |id: u32| format!(r#"{{"id":{id}}}"#);
        let both = Behaviour::new()
            .read_lines(1)
            .print("one\none again\n")
            .then_echo();
        for (strays, is_kept) in [(Strays::Rejected, false), (Strays::Discarded, true)] {
            let pool = pool(bed, &both, strays);
            let mut lease = pool.acquire().await.unwrap();
            let pid = lease.process().pid();
            assert_line(lease.request("go").await, "one");
            drop(lease);
            let mut lease = pool.acquire().await.unwrap();
            assert_eq!(lease.process().pid() == pid, is_kept);
            let expected = if is_kept { "two" } else { "one" };
            assert_line(lease.request("two").await, expected);
        }
        // A child that answers twice: the second answer is never the next caller's.
        let pool = pool(bed, &twice, Strays::Rejected);
        let judge = bed.connector(&twice);
        for id in 0..20 {
            let mut lease = pool.acquire().await.unwrap();
            let reply = lease.request(request(id)).await.unwrap();
            let expected = format!(r#""id":{id},"#);
            assert!(String::from_utf8_lossy(&reply.bytes).contains(&expected));
            // Until the second answer is there, if it was not read with the first.
            while judge.is_alive(&lease) && judge.is_clean(&lease) {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn a_flood_of_strays_does_not_keep_a_caller() {
    on_both_runtimes(async |bed| {
        let behaviour = Behaviour::new().then(Step::Flood {
            stream: Stream::Stdout,
            bytes: 1 << 40,
        });
        let pool = pool(bed, &behaviour, Strays::Discarded);
        let mut lease = pool.acquire().await.unwrap();
        let error = loop {
            match lease.request("go").await {
                // The flood began after the request was written.
                Ok(line) => assert_eq!(line.bytes, "flood"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StdioError::StrayOutput { .. }), "{error}");
    });
}
