//! What callers get.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{ConnectionPool, Connector};
use pool_stdio::{ErrorObject, Progress, Protocol, Stop};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::bed::{context, eager, kill, on_both_runtimes};
use crate::{AMPLE, child, connector, held, server};

#[test]
fn many_callers_share_a_child_and_each_has_its_own_reply() {
    on_both_runtimes(async |bed| {
        let child = Arc::new(child(bed, &server()).await);
        let mut callers = JoinSet::new();
        for caller in 0..64 {
            let child = Arc::clone(&child);
            callers.spawn(async move {
                for number in 0..50 {
                    let params = [caller, number];
                    assert_eq!(
                        child.call::<[u32; 2]>("echo", &params).await.unwrap(),
                        params
                    );
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        let status = child.status();
        let dropped = [
            status.late,
            status.duplicate,
            status.unknown,
            status.strays,
            status.unheard,
            status.unsent,
        ];
        assert_eq!((status.pending, dropped), (0, [0; 6]));
    });
}

#[test]
fn replies_out_of_order_reach_who_asked() {
    on_both_runtimes(async |bed| {
        let child = Arc::new(child(bed, &server()).await);
        let mut calls = held(&child, 20).await;
        assert_eq!(child.status().pending, 20);
        assert_eq!(child.call::<u32>("release", &()).await.unwrap(), 20);
        let mut seen = Vec::new();
        while let Some(call) = calls.join_next().await {
            seen.push(call.unwrap().unwrap()[0].as_u64().unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn a_cancelled_call_leaves_the_connection_good() {
    on_both_runtimes(async |bed| {
        let child = Arc::new(child(bed, &server()).await);
        drop(held(&child, 10).await);
        // A task that is aborted is dropped a moment later.
        while child.status().pending > 0 {
            tokio::task::yield_now().await;
        }
        let late = async |count| {
            while child.status().late < count {
                child.call::<Value>("ping", &()).await.unwrap();
            }
        };
        assert_eq!(child.call::<u32>("release", &()).await.unwrap(), 10);
        late(10).await;
        assert_eq!(child.call::<[u32; 1]>("echo", &[7]).await.unwrap(), [7]);
        assert_eq!(child.status().pending, 0);
        assert!(child.is_alive());
    });
}

#[test]
fn a_large_message_is_forwarded_and_comes_back_as_it_was() {
    on_both_runtimes(async |bed| {
        let child = child(bed, &server()).await;
        let body = "y\\n".repeat(100_000);
        let request =
            format!(r#"{{"jsonrpc":"2.0","method":"echo","params":["{body}"],"id":"a\u0062"}}"#);
        let reply = child.forward(request).await.unwrap().unwrap();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(reply["id"], "ab");
        assert_eq!(reply["result"][0], "y\n".repeat(100_000));
    });
}

#[test]
fn progress_and_notifications_and_questions_find_their_way() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp).on_request(|request| {
            Box::pin(async move {
                assert_eq!(request.method, "roots/list");
                RawValue::from_string("[]".to_owned())
                    .map_err(|error| ErrorObject::new(-32603, error.to_string()))
            })
        });
        let child = connector.connect(&context()).await.unwrap();
        let pid = child.process().pid();
        let (progress, mut notifications) = Progress::channel(4);
        let params = json!({"_meta": {"progressToken": "mine"}, "progress": 0.5});
        let done = child.call::<Value>("progress", &params).progress(progress);
        assert_eq!(done.await.unwrap()["progress"], 0.5);
        let Some(notice) = notifications.recv().await else {
            panic!("it has made progress");
        };
        let params: Value = notice.params().unwrap();
        assert_eq!(params, json!({"progressToken": "mine", "progress": 0.5}));

        let mut notifications = child.notifications();
        child.notify("echo/hello", &[1]).await.unwrap();
        let Some(notice) = notifications.recv().await else {
            panic!("it is echoed");
        };
        assert_eq!((notice.method.as_str(), notice.pid), ("echo/hello", pid));

        let answer: Value = child.call("ask", &()).await.unwrap();
        assert_eq!(
            answer,
            json!({"jsonrpc": "2.0", "id": "asked", "result": []})
        );
    });
}

#[test]
fn nobody_who_asks_us_waits_for_ever() {
    on_both_runtimes(async |bed| {
        let child = child(bed, &server()).await;
        let answer: Value = child.call("ask", &()).await.unwrap();
        assert_eq!(answer["error"]["code"], -32601);
    });
}

#[test]
fn the_result_of_initialize_is_kept() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let connector = connector.initialize(&json!({})).unwrap();
        let child = connector.connect(&context()).await.unwrap();
        let greeted: Value =
            serde_json::from_str(child.initialize_result().unwrap().get()).unwrap();
        assert_eq!(greeted["pid"], child.process().pid());
        assert!(child.is_alive());
        let termination = child.terminate(Stop::Orderly).await;
        assert_eq!(termination.rung, pool_stdio::Rung::Eof);
    });
}

#[test]
fn a_pool_lends_pings_and_replaces_them() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let pool = eager(ConnectionPool::builder(connector))
            .max_size(1)
            .check_interval(Duration::from_millis(1))
            .build()
            .unwrap();
        let first = pool.acquire().await.unwrap().process().pid();
        assert_eq!(pool.acquire().await.unwrap().process().pid(), first);
        kill(first);
        let second = loop {
            let lease = pool.acquire().await.unwrap();
            if lease.process().pid() != first {
                break lease;
            }
        };
        let seven: [u32; 1] = second.call("echo", &[7]).await.unwrap();
        assert_eq!(seven, [7]);
        drop(second);
        assert!(pool.close(AMPLE).await.is_complete());
    });
}

#[cfg(not(windows))]
#[test]
fn content_length_is_spoken_with_a_child_too() {
    on_both_runtimes(async |bed| {
        // `cat` returns our own requests, which are requests to us, which are refused, which comes
        // back as a reply.
        let spec = bed.scene.census.mark(pool_stdio::CommandSpec::new("cat"));
        let connector = pool_stdio::JsonRpcConnector::new(spec, Protocol::Plain).unwrap();
        let connector = connector.framing(pool_stdio::Framing::ContentLength);
        bed.note(connector.children());
        let child = connector.connect(&context()).await.unwrap();
        let error = child.call::<Value>("m", &()).await.unwrap_err();
        let pool_stdio::RpcError::Refused(object) = &error else {
            panic!("{error}");
        };
        assert_eq!(object.code, -32601);
    });
}
