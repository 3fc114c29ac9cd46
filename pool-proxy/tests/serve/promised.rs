//! Sessions that begin without a child, because an earlier one has said all that they need.
//!
//! Most tests allow one child only: a start that takes long, on a busy machine, would have another one beside it.

use std::process::Stdio;

use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::client::{Client, NEWEST, children, initialize, request, tool};
use crate::proxy::{Beacon, Proxy, legacy, scratch};
use crate::run;

const ONE: &str = "children_max = 1\n";

#[test]
fn a_session_begins_and_lists_without_a_child_and_has_one_of_its_own_from_its_first_call_on() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ONE));
        let client = Client::new(proxy.address);
        let first = client.begin(NEWEST).await;
        let child = beacon.next().await;
        let listed = first.ask("a", "tools/list", json!({})).await;
        child.signal(Signal::SIGKILL);
        child.gone().await;

        let hello = client.post(&initialize(NEWEST)).await.json().await;
        assert_eq!(hello["result"]["capabilities"]["logging"], json!({}));
        let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        for session in [&one, &two] {
            let again = session.ask("b", "tools/list", json!({})).await;
            assert_eq!(
                (&again["id"], &again["result"]),
                (&json!("b"), &listed["result"])
            );
            let pong = session.ask("c", "ping", json!({})).await;
            assert_eq!(pong["result"], json!({}));
        }
        assert!(beacon.is_quiet().await, "no child was started");

        let pid = one.call(1, "pid", json!({})).await;
        let own = beacon.next().await;
        assert_eq!(pid, own.pid.to_string());
        // It was told that its client is initialized, and answers itself.
        assert_eq!(one.call(2, "told", json!({})).await, "1");
        one.ask(3, "tools/list", json!({})).await;
        assert_eq!(one.call(4, "lists", json!({})).await, "1");
        one.send(Method::DELETE, "").await;
        own.gone().await;
        assert_eq!(two.call(1, "calls", json!({})).await, "1");
    });
}

#[test]
fn a_session_outlives_a_child_that_refuses_its_client_for_a_while_and_ends_with_a_refusal_that_stays()
 {
    run(async {
        let beacon = Beacon::new();
        let refusal = scratch("refusal");
        let config = legacy(&beacon, ONE).replace(
            "env = {",
            &format!("env = {{ REFUSES = '{}',", refusal.display()),
        );
        let proxy = Proxy::with_stderr(&config, Stdio::piped());
        let client = Client::new(proxy.address);
        let first = client.begin(NEWEST).await;
        first.send(Method::DELETE, "").await;
        beacon.next().await.gone().await;
        let session = client.begin(NEWEST).await;

        std::fs::write(&refusal, "-32603").unwrap();
        let call = json!({ "name": "pid", "arguments": {} });
        let refused = session.ask(1, "tools/call", call).await;
        let said = refused["error"]["message"].as_str().unwrap();
        for part in ["the database is locked (-32603)", "not executed"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        beacon.next().await.gone().await;
        std::fs::remove_file(&refusal).unwrap();
        let pid = session.call(2, "pid", json!({})).await;
        let child = beacon.next().await;
        assert_eq!(pid, child.pid.to_string());
        session.send(Method::DELETE, "").await;
        child.gone().await;

        let session = client.begin(NEWEST).await;
        std::fs::write(&refusal, "-32602").unwrap();
        let ended = session.post(&tool(1, "pid", json!({}))).await;
        assert_eq!(ended.status, StatusCode::NOT_FOUND);
        std::fs::remove_file(&refusal).unwrap();
        let log = proxy.log().await;
        let told = log
            .matches("a child refused the client of a session")
            .count();
        assert_eq!(told, 2, "{log}");
        assert!(!log.contains("another version"), "{log}");
    });
}

#[test]
fn requests_that_come_at_once_start_one_child() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address);
        let first = client.begin(NEWEST).await;
        let session = client.begin(NEWEST).await;
        let pids = tokio::join!(
            session.call(1, "pid", json!({})),
            session.call(2, "pid", json!({})),
            session.call(3, "pid", json!({})),
        );
        assert!(pids.0 == pids.1 && pids.1 == pids.2, "{pids:?}");
        assert_ne!(first.call(1, "pid", json!({})).await, pids.0);
    });
}

#[test]
fn a_child_that_is_not_what_was_promised_ends_the_session_before_it_gets_a_request() {
    run(async {
        let beacon = Beacon::new();
        let grown = scratch("grown");
        let config = legacy(&beacon, ONE).replace(
            "env = {",
            &format!("env = {{ GROWN = '{}',", grown.display()),
        );
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address);
        let first = client.begin(NEWEST).await;
        let (session, other) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut stream = session.send(Method::GET, "").await;
        first.ask(1, "tools/list", json!({})).await;
        first.send(Method::DELETE, "").await;
        beacon.next().await.gone().await;

        std::fs::write(&grown, "").unwrap();
        let refused = session.post(&tool(1, "mark", json!({}))).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
        assert!(stream.event().await.is_none());
        let mut child = beacon.next().await;
        assert_eq!(child.line().await, "", "it was asked for nothing");
        // What was promised before is not mixed with what children say now.
        let refused = other.post(&request(1, "tools/list", json!({}))).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
        let hello = client.post(&initialize(NEWEST)).await.json().await;
        assert_eq!(hello["result"]["capabilities"]["prompts"], json!({}));
        std::fs::remove_file(&grown).unwrap();
    });
}

#[test]
fn a_child_that_nothing_was_left_in_leaves_when_it_is_idle_and_its_session_goes_on() {
    run(async {
        let (beacon, clock) = (Beacon::new(), Beacon::new());
        let lines = format!("{ONE}idle_timeout = '50ms'");
        let other = legacy(&clock, &lines).replace("servers.legacy", "servers.clock");
        let proxy = Proxy::configured(&format!("{}{other}", legacy(&beacon, &lines)));
        let client = Client::at(proxy.address, "/servers/legacy/mcp");
        let session = client.begin(NEWEST).await;
        let mut stream = session.send(Method::GET, "").await;
        session.ask(1, "tools/list", json!({})).await;
        beacon.next().await.gone().await;
        let pid = session.call(2, "pid", json!({})).await;
        assert_eq!(beacon.next().await.pid.to_string(), pid);
        // With two requests in flight, what the new child says goes to the stream that was there before it.
        let hold = tool("held", "hold", json!({}));
        let told = async {
            let calls = async || -> u32 {
                let calls = session.call(0, "calls", json!({})).await;
                calls.parse().unwrap()
            };
            // Each call counts itself; one counts the other request, too.
            let mut before = 1;
            loop {
                let now = calls().await;
                if now > before + 1 {
                    break;
                }
                before = now;
            }
            session.call(3, "change", json!({})).await;
            stream.event().await.unwrap()
        };
        let told = tokio::select! {
            reply = session.post(&hold) => panic!("{}", reply.status),
            told = told => told,
        };
        assert_eq!(told["method"], "notifications/tools/list_changed");
        // This one stays, though another one that is idle for less leaves.
        let clock_client = Client::at(proxy.address, "/servers/clock/mcp");
        clock_client.begin(NEWEST).await;
        clock.next().await.gone().await;
        assert_eq!(session.call(4, "pid", json!({})).await, pid);
    });
}

#[test]
fn a_child_that_nothing_was_left_in_is_given_to_another_session_and_its_own_goes_on() {
    run(async {
        let beacon = Beacon::new();
        let limits = "[limits]\nchildren_max = 1\nsession_idle_min = '1ms'\n";
        let proxy = Proxy::configured(&format!("{limits}{}", legacy(&beacon, "")));
        let client = Client::new(proxy.address);
        let (unused, other) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let child = beacon.next().await;
        other.call(1, "pid", json!({})).await;
        child.gone().await;
        other.send(Method::DELETE, "").await;
        assert_eq!(unused.call(1, "calls", json!({})).await, "1");
    });
}

#[test]
fn a_client_that_its_child_asks_at_once_begins_with_its_child() {
    run(async {
        let beacon = Beacon::new();
        let config = legacy(&beacon, ONE).replace("env = {", "env = { ASKS = 'yes',");
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address);
        let first = client.begin(NEWEST).await;
        let mut stream = first.send(Method::GET, "").await;
        assert_eq!(stream.event().await.unwrap()["method"], "roots/list");
        first.send(Method::DELETE, "").await;
        beacon.next().await.gone().await;
        let second = client.begin(NEWEST).await;
        let child = beacon.next().await;
        second.send(Method::DELETE, "").await;
        child.gone().await;
        // Of a client that says something else of itself, this is not known.
        let mut hello = initialize(NEWEST);
        hello["params"]["clientInfo"]["name"] = "other".into();
        client.post(&hello).await;
        beacon.next().await;
        assert_eq!(client.post(&hello).await.status, StatusCode::OK);
        assert!(beacon.is_quiet().await);
    });
}

#[test]
fn what_a_client_may_see_by_what_it_did_is_not_listed_to_another() {
    run(async {
        let beacon = Beacon::new();
        let limits = "[limits]\nchildren_max = 1\nsession_idle_min = '1ms'\n";
        let proxy = Proxy::configured(&format!("{limits}{}", legacy(&beacon, "")));
        let client = Client::new(proxy.address);
        let session = client.begin(NEWEST).await;
        session.call(1, "pid", json!({})).await;
        session.ask(2, "tools/list", json!({})).await;
        session.send(Method::DELETE, "").await;
        beacon.next().await.gone().await;
        let other = client.begin(NEWEST).await;
        other.ask(1, "tools/list", json!({})).await;
        assert_eq!(other.call(2, "lists", json!({})).await, "1");
        let of_other = beacon.next().await;
        // That list is kept, until a child says that it has changed.
        let third = client.begin(NEWEST).await;
        third.ask(1, "tools/list", json!({})).await;
        assert!(beacon.is_quiet().await);
        other.call(3, "change", json!({})).await;
        third.ask(2, "tools/list", json!({})).await;
        of_other.gone().await;
        assert_eq!(third.call(3, "lists", json!({})).await, "1");
    });
}

#[test]
fn a_cancel_of_a_request_that_waits_for_its_child_keeps_it_from_the_child() {
    run(async {
        let beacon = Beacon::new();
        let gate = scratch("gate");
        let config = legacy(&beacon, ONE)
            .replace("env = {", &format!("env = {{ GATE = '{}',", gate.display()));
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address);
        let first = client.begin(NEWEST).await;
        first.send(Method::DELETE, "").await;
        beacon.next().await.gone().await;
        let session = client.begin(NEWEST).await;
        std::fs::write(&gate, "").unwrap();
        let waiting = async {
            session
                .post(&tool("same", "mark", json!({})))
                .await
                .last()
                .await
        };
        let cancelling = async {
            let mut child = beacon.next().await;
            assert_eq!(child.line().await, "asked\n");
            // A second one under its id is refused, and one that nobody waits for is none.
            let again = session.post(&tool("same", "mark", json!({}))).await;
            assert_eq!(again.status, StatusCode::BAD_REQUEST);
            for id in [json!(7), json!("same")] {
                let params = json!({ "requestId": id });
                let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
                assert_eq!(session.post(&cancel).await.status, StatusCode::ACCEPTED);
            }
            child
        };
        let (cancelled, mut child) = tokio::join!(waiting, cancelling);
        let said = cancelled["error"]["message"].as_str().unwrap();
        assert_eq!(
            (said, &cancelled["id"]),
            ("cancelled by the client", &json!("same"))
        );
        // The child starts all the same, and serves the next request, which is its first.
        child.tell("go").await;
        assert_eq!(session.call(2, "calls", json!({})).await, "1");
        std::fs::remove_file(&gate).unwrap();
    });
}

#[test]
fn a_first_call_is_told_that_the_child_starts_and_a_later_one_has_that_child() {
    run(async {
        let beacon = Beacon::new();
        let gate = scratch("gate");
        let lines = format!("{ONE}wait_timeout = '50ms'");
        let config = legacy(&beacon, &lines)
            .replace("env = {", &format!("env = {{ GATE = '{}',", gate.display()));
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address);
        // On a busy machine a start takes longer than a client waits.
        let first = loop {
            let reply = client.post(&initialize(NEWEST)).await;
            if reply.status == StatusCode::OK {
                break reply;
            }
        };
        let first = first.headers["mcp-session-id"].to_str().unwrap().to_owned();
        let first = client.with("mcp-session-id", &first);
        first.send(Method::DELETE, "").await;
        while children(proxy.address).await > 0 {}
        let session = client.begin(NEWEST).await;
        std::fs::write(&gate, "").unwrap();
        session.told_of_a_start(&tool(1, "pid", json!({}))).await;
        let mut child = beacon.next().await;
        while child.line().await != "asked\n" {
            child = beacon.next().await;
        }
        child.tell("go").await;
        assert_eq!(child.line().await, "goes on\n");
        let reply = loop {
            let mut reply = session.post(&tool(2, "pid", json!({}))).await;
            if reply.status != StatusCode::SERVICE_UNAVAILABLE {
                break reply.last().await;
            }
        };
        let pid = reply["result"]["content"][0]["text"].as_str().unwrap();
        assert_eq!(pid, child.pid.to_string());
        std::fs::remove_file(&gate).unwrap();
    });
}
