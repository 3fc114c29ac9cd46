//! Children that many clients share.

use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::client::{Client, NEWEST, initialize, request, tool};
use crate::proxy::{Beacon, Proxy, legacy, scratch};
use crate::run;

#[test]
fn sessions_share_a_child_and_get_their_own_replies_under_equal_ids() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let client = Client::new(proxy.address);
        let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let (first, second) = tokio::join!(
            one.call("same", "echo", json!({ "text": "of one" })),
            two.call("same", "echo", json!({ "text": "of two" })),
        );
        assert_eq!((first.as_str(), second.as_str()), ("of one", "of two"));
        let child = beacon.next().await;
        assert_eq!(one.call(1, "pid", json!({})).await, child.pid.to_string());
        assert_eq!(two.call(1, "pid", json!({})).await, child.pid.to_string());
        assert!(beacon.is_quiet().await, "one child serves both");
    });
}

#[test]
fn a_client_without_a_session_is_served() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'stateless'"));
        let client = Client::new(proxy.address);
        assert_eq!(client.call(7, "echo", json!({ "text": "hi" })).await, "hi");
        let pong = client.ask("p", "ping", json!({})).await;
        assert_eq!(pong, json!({ "jsonrpc": "2.0", "id": "p", "result": {} }));
    });
}

#[test]
fn a_second_client_is_initialized_without_a_child() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address);
        let mut first = client.post(&initialize(NEWEST)).await;
        let child = beacon.next().await;
        child.signal(Signal::SIGKILL);
        child.gone().await;
        let mut second = client.post(&initialize(NEWEST)).await;
        assert_ne!(
            first.headers["mcp-session-id"],
            second.headers["mcp-session-id"]
        );
        let (first, second) = (first.json().await, second.json().await);
        assert_eq!(first, second);
        assert_eq!(first["result"]["serverInfo"]["name"], "legacy.py");
        let capabilities = &first["result"]["capabilities"];
        assert_eq!(
            *capabilities,
            json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true } })
        );
        assert!(beacon.is_quiet().await);
    });
}

#[test]
fn progress_comes_before_the_reply_under_the_tokens_of_the_client() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let params = json!({ "name": "progress", "_meta": { "progressToken": "mine" } });
        let mut reply = client.post(&request(1, "tools/call", params)).await;
        assert_eq!(reply.headers["x-accel-buffering"], "no");
        let progress = reply.event().await.unwrap();
        assert_eq!(progress["params"]["progressToken"], "mine");
        assert_eq!(reply.event().await.unwrap()["id"], 1);
        assert!(reply.event().await.is_none());
    });
}

#[test]
fn a_cancel_ends_the_request_that_it_names_and_no_other() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let client = Client::new(proxy.address);
        let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut child = beacon.next().await;
        let call = tool("same", "hold", json!({}));
        let held_by = |client: Client, call| async move { client.post(&call).await.text().await };
        let mut held_one = Box::pin(held_by(one.clone(), call.clone()));
        let mut held_two = Box::pin(held_by(two.clone(), call.clone()));
        let seen = async {
            // Both are at the child when it answers what came after them.
            while one
                .call(1, "calls", json!({}))
                .await
                .parse::<u32>()
                .unwrap()
                < 3
            {}
        };
        tokio::select! {
            biased;
            text = &mut held_one => panic!("{text}"),
            text = &mut held_two => panic!("{text}"),
            () = seen => {}
        }
        let cancel = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "same" }
        });
        let cancelled = async {
            let mut reply = one.post(&cancel).await;
            assert_eq!(
                (reply.status, reply.text().await.as_str()),
                (StatusCode::ACCEPTED, "")
            );
            held_one.await
        };
        let text = tokio::select! {
            text = &mut held_two => panic!("{text}"),
            text = cancelled => text,
        };
        assert!(text.contains("cancelled by the client"), "{text}");
        assert_eq!(child.line().await, "cancelled\n", "the child is told");
        drop(held_two);
    });
}

#[test]
fn what_a_dead_child_may_have_executed_is_not_repeated_unless_it_reads() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let reply = client.ask(1, "tools/call", json!({ "name": "exit" })).await;
        let text = reply["error"]["message"].as_str().unwrap();
        assert_eq!(
            text,
            "the server's process exited; outcome unknown: the request may have been executed"
        );
        let (first, _) = (beacon.next().await, client.call(2, "pid", json!({})).await);
        first.gone().await;
        assert_eq!(
            client.ask(3, "tools/list", json!({})).await["result"]["tools"][0]["name"],
            "echo"
        );
    });
}

#[test]
fn an_idle_child_leaves_and_the_next_caller_gets_another() {
    run(async {
        let beacon = Beacon::new();
        let lines = "sharing = 'shared'\nidle_timeout = '100ms'";
        let proxy = Proxy::configured(&legacy(&beacon, lines));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        beacon.next().await.gone().await;
        assert_eq!(
            client.call(1, "echo", json!({ "text": "again" })).await,
            "again"
        );
    });
}

#[test]
fn a_killed_child_costs_the_next_caller_nothing_but_a_start() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        for id in 0..3 {
            let killed = beacon.next().await;
            killed.signal(Signal::SIGKILL);
            killed.gone().await;
            assert_eq!(
                client.call(id, "echo", json!({ "text": "still" })).await,
                "still"
            );
        }
    });
}

#[test]
fn a_stopped_child_costs_its_callers_one_deadline_and_no_later_call_anything() {
    run(async {
        let beacon = Beacon::new();
        let lines = "sharing = 'shared'\nchildren_max = 1\nrequest_timeout = '110s'\n\
                     tool_timeouts = { wait = '300ms' }";
        let proxy = Proxy::configured(&legacy(&beacon, lines));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let stopped = beacon.next().await;
        stopped.signal(Signal::SIGSTOP);
        let victim = |id: u32| client.ask(id, "tools/call", json!({ "name": "wait" }));
        let victims = tokio::join!(victim(1), victim(2), victim(3));
        for reply in [victims.0, victims.1, victims.2] {
            assert_eq!(reply["error"]["code"], -32001, "{reply}");
        }
        // One that the stopped child got would fail when that is ended: it may have been executed.
        for id in 4..8 {
            let pid = client.call(id, "pid", json!({})).await;
            assert_ne!(pid, stopped.pid.to_string());
        }
    });
}

#[test]
fn a_change_of_a_list_reaches_the_streams_of_all_sessions() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address);
        let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut stream_one = one.send(Method::GET, "").await;
        let mut stream_two = two.send(Method::GET, "").await;
        one.call(1, "change", json!({})).await;
        for stream in [&mut stream_one, &mut stream_two] {
            let said = stream.event().await.unwrap();
            assert_eq!(said["method"], "notifications/tools/list_changed");
        }
        assert_eq!(
            two.send(Method::DELETE, "").await.status,
            StatusCode::NO_CONTENT
        );
        assert!(
            stream_two.event().await.is_none(),
            "the stream ends with its session"
        );
        assert_eq!(
            two.post(&tool(1, "pid", json!({}))).await.status,
            StatusCode::NOT_FOUND
        );
    });
}

#[test]
fn a_second_stream_of_a_session_takes_the_place_of_the_first() {
    run(async {
        for sharing in ["shared", "session"] {
            let beacon = Beacon::new();
            let proxy = Proxy::configured(&legacy(&beacon, &format!("sharing = '{sharing}'")));
            let client = Client::new(proxy.address).begin(NEWEST).await;
            let mut dead = client.send(Method::GET, "").await;
            let mut stream = client.send(Method::GET, "").await;
            assert_eq!(stream.status, StatusCode::OK);
            assert!(dead.event().await.is_none(), "the first one ends");
            match sharing {
                "shared" => drop(client.call(1, "change", json!({})).await),
                // No request is in flight that it could belong to.
                _ => drop(
                    client
                        .post(&json!({ "jsonrpc": "2.0", "method": "notifications/change" }))
                        .await,
                ),
            }
            let said = stream.event().await.unwrap();
            assert_eq!(said["method"], "notifications/tools/list_changed");
        }
    });
}

#[test]
fn a_session_whose_promise_is_not_kept_any_more_ends_though_its_client_asks_nothing() {
    run(async {
        let beacon = Beacon::new();
        let grown = scratch("grown");
        let env = format!("env = {{ GROWN = '{}',", grown.display());
        let config = legacy(&beacon, "sharing = 'shared'").replace("env = {", &env);
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut stream = client.send(Method::GET, "").await;
        std::fs::write(&grown, "").unwrap();
        // Another client has a new child started, which has other capabilities. If the first one was slow to start, there
        // are two to be killed before.
        let other = client.without("mcp-session-id");
        let replacing = async {
            loop {
                let child = beacon.next().await;
                child.signal(Signal::SIGKILL);
                child.gone().await;
                other.call(1, "pid", json!({})).await;
            }
        };
        tokio::select! {
            event = stream.event() => assert!(event.is_none()),
            _ = replacing => {}
        }
        std::fs::remove_file(&grown).unwrap();
    });
}

#[test]
fn what_cannot_be_shared_is_refused_with_the_way_out() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let reply = client.ask(1, "tasks/list", json!({})).await;
        assert_eq!(reply["error"]["code"], -32601);
        let text = reply["error"]["message"].as_str().unwrap();
        assert!(text.contains("sharing = \"session\""), "{text}");
        let answer = json!({ "jsonrpc": "2.0", "id": 0, "result": {} });
        assert_eq!(client.post(&answer).await.status, StatusCode::BAD_REQUEST);
    });
}

#[test]
fn a_log_level_is_accepted_and_no_line_of_the_log_reaches_a_client() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut stream = client.send(Method::GET, "").await;
        let set =
            |level: &'static str| client.ask(1, "logging/setLevel", json!({ "level": level }));
        assert_eq!(set("debug").await["result"], json!({}));
        assert_eq!(set("loud").await["error"]["code"], -32602);
        assert_eq!(client.call(2, "log", json!({})).await, "logged");
        client.call(3, "change", json!({})).await;
        let first = stream.event().await.unwrap();
        assert_eq!(first["method"], "notifications/tools/list_changed");
    });
}

#[test]
fn a_batch_of_the_revision_that_has_them_is_served_message_by_message() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let client = Client::new(proxy.address);
        let session = client.begin("2025-03-26").await;
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/x" });
        let echo = |id: u32| tool(id, "echo", json!({ "text": id.to_string() }));
        let batch = json!([echo(1), note, request(2, "ping", json!({})), echo(3)]);
        let mut reply = session.post(&batch).await;
        assert_eq!(reply.status, StatusCode::OK);
        let mut replies = Vec::new();
        if reply.headers["content-type"] == "application/json" {
            replies = serde_json::from_value(reply.json().await).unwrap();
        } else {
            // On a busy machine, after 5 s.
            while let Some(event) = reply.event().await {
                replies.push(event);
            }
            replies.sort_by_key(|one| one["id"].as_u64());
        }
        let ids: Vec<_> = replies.iter().map(|one| &one["id"]).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(replies[2]["result"]["content"][0]["text"], "3");
        assert_eq!(
            session.post(&json!([note])).await.status,
            StatusCode::ACCEPTED
        );

        let params = json!({ "name": "progress", "_meta": { "progressToken": "mine" } });
        let batch = json!([echo(1), request(2, "tools/call", params)]);
        let mut stream = session.post(&batch).await;
        let mut events = Vec::new();
        while let Some(event) = stream.event().await {
            events.push(event);
        }
        assert_eq!(events.len(), 3, "{events:?}");

        let newer = client.begin(NEWEST).await;
        let mut refused = newer.post(&json!([echo(1)])).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(refused.json().await["error"]["code"], -32600);
        let ended = client.with("mcp-session-id", "none");
        assert_eq!(
            ended.post(&json!([echo(1), echo(2)])).await.status,
            StatusCode::NOT_FOUND
        );
        for wrong in [json!([]), json!(vec![note; 101])] {
            let mut refused = session.post(&wrong).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
            assert_eq!(refused.json().await["error"]["code"], -32600);
        }
        let hidden = json!([initialize("2025-03-26")]);
        assert_eq!(client.post(&hidden).await.status, StatusCode::BAD_REQUEST);
    });
}

#[test]
fn a_child_of_an_older_promise_gets_no_further_request() {
    run(async {
        let beacon = Beacon::new();
        let grown = scratch("grown");
        let env = format!("env = {{ GROWN = '{}',", grown.display());
        let lines = "sharing = 'shared'\nchildren_max = 2\nrequest_timeout = '110s'\n\
                     tool_timeouts = { hold = '100ms' }";
        let proxy = Proxy::configured(&legacy(&beacon, lines).replace("env = {", &env));
        let client = Client::new(proxy.address);
        let waiting = async { client.call(1, "wait", json!({})).await };
        let replaced = async {
            let mut old = beacon.next().await;
            assert_eq!(old.line().await, "waiting\n");
            // It works on one request, and does not answer another: a child with other capabilities comes.
            std::fs::write(&grown, "").unwrap();
            let late = client.ask(2, "tools/call", json!({ "name": "hold" })).await;
            assert_eq!(late["error"]["code"], -32001, "{late}");
            client.call(3, "pid", json!({})).await;
            let new = beacon.next().await;
            old.tell("done").await;
            (old, new)
        };
        let (waited, (old, new)) = tokio::join!(waiting, replaced);
        assert_eq!(waited, "done", "what was in flight goes on");
        new.signal(Signal::SIGKILL);
        new.gone().await;
        let served_by = client.call(4, "pid", json!({})).await;
        std::fs::remove_file(&grown).unwrap();
        assert_ne!(served_by, old.pid.to_string());
        old.gone().await;
    });
}

#[test]
fn a_burst_of_changes_of_one_list_hides_no_change_of_another() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'\nchildren_max = 1"));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut stream = client.send(Method::GET, "").await;
        client.call(1, "burst", json!({})).await;
        let mut told = std::collections::BTreeSet::new();
        while told.len() < 2 {
            let changed = stream.event().await.unwrap();
            told.insert(changed["method"].as_str().unwrap().to_owned());
        }
        let methods = ["prompts", "tools"].map(|list| format!("notifications/{list}/list_changed"));
        assert_eq!(told.into_iter().collect::<Vec<_>>(), methods);
    });
}

#[test]
fn a_call_that_asks_for_a_task_is_a_call_like_any_other() {
    run(async {
        for sharing in ["shared", "request"] {
            let beacon = Beacon::new();
            let proxy = Proxy::configured(&legacy(&beacon, &format!("sharing = '{sharing}'")));
            let client = Client::new(proxy.address);
            let params =
                json!({ "name": "params", "task": { "ttl": 60000 }, "arguments": { "n": 1 } });
            let reply = client.ask("t", "tools/call", params).await;
            let given = reply["result"]["content"][0]["text"].as_str().unwrap();
            let given: serde_json::Value = serde_json::from_str(given).unwrap();
            let without = json!({ "name": "params", "arguments": { "n": 1 } });
            assert_eq!(given, without, "{sharing}: {reply}");
        }
    });
}
