//! Children that serve one request each.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::client::{Client, NEWEST, children, request, tool};
use crate::era;
use crate::proxy::{Beacon, Proxy, legacy, modern_server};
use crate::run;

/// No more than are named, though a start takes long on a busy machine.
const ONE_SPARE: &str = "sharing = 'request'\nspare = 1\nchildren_max = 2\n";

#[test]
fn no_child_serves_two_requests_of_anybody() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'request'\nchildren_max = 4"));
        let client = Client::new(proxy.address);
        let session = client.begin(NEWEST).await;
        let mut pids = BTreeSet::new();
        for id in 0..4 {
            assert!(pids.insert(client.call(id, "pid", json!({})).await));
            assert_eq!(session.call(id, "calls", json!({})).await, "1");
        }
        let at_once = (0..8).map(|id| {
            let client = client.clone();
            async move { client.call(id, "pid", json!({})).await }
        });
        for pid in join_all(at_once).await {
            assert!(pids.insert(pid));
        }
    });
}

#[test]
fn a_request_is_served_by_a_child_that_was_ready_before_it_came() {
    run(async {
        let beacon = Beacon::new();
        // A child starts when the test says so.
        let config = legacy(&beacon, ONE_SPARE).replace("env = {", "env = { GATED = 'yes',");
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address);
        let started = async {
            let (mut one, mut two) = (beacon.next().await, beacon.next().await);
            one.tell("go").await;
            two.tell("go").await;
            [one, two]
        };
        let (first, started) = tokio::join!(client.call(1, "pid", json!({})), started);
        let second = client.call(2, "pid", json!({})).await;
        let known: BTreeSet<_> = started.iter().map(|child| child.pid.to_string()).collect();
        assert_eq!(BTreeSet::from([first, second]), known);
        // Its successor does not start before it is told to.
        beacon.next().await;
    });
}

#[test]
fn what_is_kept_ready_for_one_key_starves_no_other() {
    run(async {
        let beacon = Beacon::new();
        let one = legacy(&beacon, "sharing = 'request'");
        let other = one.replace("servers.legacy", "servers.other");
        let limits = "[limits]\nchildren_max = 1\n";
        let proxy = Proxy::configured(&format!("{limits}{one}{other}"));
        for round in 0..3 {
            for path in ["/servers/legacy/mcp", "/servers/other/mcp"] {
                let client = Client::at(proxy.address, path);
                assert_eq!(client.call(round, "calls", json!({})).await, "1");
            }
        }
    });
}

#[test]
fn no_child_is_left_when_nobody_has_asked_for_long() {
    run(async {
        let beacon = Beacon::new();
        let lines = format!("{ONE_SPARE}idle_timeout = '100ms'");
        let proxy = Proxy::configured(&legacy(&beacon, &lines));
        // A session alone needs none.
        let client = Client::new(proxy.address).begin(NEWEST).await;
        client.call(1, "pid", json!({})).await;
        while children(proxy.address).await > 0 {}
        beacon.all_gone().await;
        assert_eq!(client.call(2, "calls", json!({})).await, "1");
    });
}

#[test]
fn at_the_end_none_is_left() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'request'\nspare = 3"));
        Client::new(proxy.address).call(1, "pid", json!({})).await;
        let seen = [
            beacon.next().await,
            beacon.next().await,
            beacon.next().await,
        ];
        proxy.terminate();
        assert!(proxy.ended().await.success());
        for child in seen {
            child.gone().await;
        }
    });
}

#[test]
fn a_child_is_asked_for_nothing_else_and_leaves_by_itself_in_both_eras() {
    run(async {
        let beacon = Beacon::new();
        let lines = "sharing = 'request'\nspare = 0\nchildren_max = 1";
        let old = legacy(&beacon, lines).replace("env = {", "env = { BYE = 'yes',");
        let new = modern_server(&beacon, &[("BYE", "yes")], lines);
        let proxy = Proxy::configured(&format!("{old}{new}"));
        let client = Client::at(proxy.address, "/servers/legacy/mcp");
        let pid = client.call(1, "pid", json!({})).await;
        let mut child = beacon.next().await;
        assert_eq!(
            (child.pid.to_string(), &*child.line().await),
            (pid, "bye\n")
        );
        let client = Client::at(proxy.address, "/servers/modern/mcp");
        for _ in 0..2 {
            let reply = era::call(&client, "pid", json!({})).await;
            let mut child = beacon.next().await;
            assert_eq!(era::text(&reply), child.pid.to_string());
            // What it is asked for, and its last word.
            let mut line = child.line().await;
            while line != "bye\n" {
                assert!(!line.is_empty() && !line.starts_with("listen"), "{line}");
                line = child.line().await;
            }
        }
    });
}

#[test]
fn lists_are_kept_and_cost_one_child() {
    run(async {
        let beacon = Beacon::new();
        let lines = "sharing = 'request'\nspare = 1\nchildren_max = 1";
        let proxy = Proxy::configured(&legacy(&beacon, lines));
        let client = Client::new(proxy.address);
        let listed = client.ask(1, "tools/list", json!({})).await;
        let again = client.ask(2, "tools/list", json!({})).await;
        assert_eq!(again["result"], listed["result"]);
        // A second one takes the place of the first, and nobody takes that.
        let _first = beacon.next().await;
        let _spare = beacon.next().await;
        assert!(beacon.is_quiet().await, "no child was used up");
    });
}

#[test]
fn what_needs_a_child_that_lives_on_is_neither_offered_nor_served() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ONE_SPARE));
        let client = Client::new(proxy.address);
        let hello = client
            .post(&crate::client::initialize(NEWEST))
            .await
            .json()
            .await;
        assert_eq!(
            hello["result"]["capabilities"],
            json!({ "resources": {}, "tools": { "listChanged": true } })
        );
        let session = client.begin(NEWEST).await;
        let subscribe = request(1, "resources/subscribe", json!({ "uri": "a:1" }));
        let refused = session.post(&subscribe).await.json().await;
        assert_eq!(refused["error"]["code"], -32601, "{refused}");
    });
}

#[test]
fn what_a_dead_child_may_have_executed_is_sent_again_once_if_that_does_no_harm() {
    run(async {
        for is_trusted in [true, false] {
            let beacon = Beacon::new();
            let lines = "sharing = 'request'\nspare = 0\nchildren_max = 1";
            let lines = format!("{lines}\ntrust_annotations = {is_trusted}");
            let proxy = Proxy::configured(&legacy(&beacon, &lines));
            let client = Client::new(proxy.address);
            client.ask(1, "tools/list", json!({})).await;
            beacon.next().await.gone().await;
            let killed = async {
                let mut first = beacon.next().await;
                assert_eq!(first.line().await, "waiting\n");
                first.signal(Signal::SIGKILL);
                if is_trusted {
                    let mut next = beacon.next().await;
                    assert_eq!(next.line().await, "waiting\n");
                    next.tell("again").await;
                }
            };
            let call = tool(2, "wait", json!({}));
            let (mut reply, ()) = tokio::join!(client.post(&call), killed);
            let reply = reply.last().await;
            match is_trusted {
                true => assert_eq!(reply["result"]["content"][0]["text"], "again", "{reply}"),
                false => {
                    let text = reply["error"]["message"].as_str().unwrap();
                    assert!(text.contains("outcome unknown"), "{text}");
                }
            }
        }
    });
}
