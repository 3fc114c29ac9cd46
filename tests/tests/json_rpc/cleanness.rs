//! What a call that was given up leaves behind, in an exclusive and in a shared pool.

use pool_core::{ConnectionPool, SharedLease, SharedPool};
use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, Signal};
use pool_tests::children::poll_times;
use serde_json::Value;

use crate::bed::on_both_runtimes;
use crate::{connector, server};

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
        let pid = first.process().pid();
        bed.signal_all(Signal::Stop);
        poll_times(first.call::<Value>("mine", &()), 1).await;
        drop(first);
        let second = pool.acquire().await.unwrap();
        let mut notifications = second.notifications();
        if second.process().pid() == pid {
            bed.signal_all(Signal::Continue);
        }
        second.call::<Value>("mine", &()).await.unwrap();
        let Some(notice) = notifications.recv().await else {
            panic!("it was said before the reply")
        };
        let expected = if second.process().pid() == pid {
            "about 1"
        } else {
            "about 0"
        };
        assert_eq!(notice.method, expected);
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
        let (id, pid) = (SharedLease::id(&lease), lease.process().pid());
        // It is sent, and never answered: the child is not running.
        bed.signal_all(Signal::Stop);
        poll_times(lease.call::<Value>("echo", &()), 1).await;
        drop(lease);
        bed.signal_all(Signal::Continue);
        let next = pool.acquire().await.unwrap();
        assert_eq!((SharedLease::id(&next), next.process().pid()), (id, pid));
    });
}
