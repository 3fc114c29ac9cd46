//! Which clients of shared children are told of which resources.

use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::client::{Client, NEWEST};
use crate::proxy::{Beacon, Proxy, Sighting, legacy};
use crate::run;

const SHARED: &str = "sharing = 'shared'\nchildren_max = 1";

async fn subscribe(client: &Client, uri: &str) -> Value {
    client
        .ask(1, "resources/subscribe", json!({ "uri": uri }))
        .await
}

async fn unsubscribe(client: &Client, uri: &str) {
    let reply = client
        .ask(1, "resources/unsubscribe", json!({ "uri": uri }))
        .await;
    assert_eq!(reply["result"], json!({}), "{reply}");
}

/// What the child says of its subscriptions until it is told to say something else.
async fn told(child: &mut Sighting, client: &Client) -> Vec<String> {
    client.call(1, "mark", json!({})).await;
    let mut lines = Vec::new();
    loop {
        match child.line().await.as_str() {
            "mark\n" => return lines,
            line => lines.push(line.trim_end().to_owned()),
        }
    }
}

#[test]
fn an_update_reaches_the_subscribers_of_its_resource_and_nobody_else() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, SHARED));
        let client = Client::new(proxy.address);
        let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut stream_one = one.send(Method::GET, "").await;
        let mut stream_two = two.send(Method::GET, "").await;
        assert_eq!(subscribe(&one, "a:1").await["result"], json!({}));
        assert_eq!(subscribe(&two, "a:2").await["result"], json!({}));
        for uri in ["a:3", "a:1", "a:2"] {
            one.call(1, "update", json!({ "uri": uri })).await;
        }
        for (stream, uri) in [(&mut stream_one, "a:1"), (&mut stream_two, "a:2")] {
            let updated = stream.event().await.unwrap();
            assert_eq!(updated["method"], "notifications/resources/updated");
            assert_eq!(updated["params"]["uri"], uri);
        }
        one.call(1, "change", json!({})).await;
        for stream in [&mut stream_one, &mut stream_two] {
            let next = stream.event().await.unwrap();
            assert_eq!(next["method"], "notifications/tools/list_changed");
        }
    });
}

#[test]
fn the_first_subscriber_subscribes_at_the_child_and_the_last_one_unsubscribes() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, SHARED));
        let client = Client::new(proxy.address);
        let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut child = beacon.next().await;
        subscribe(&one, "a:1").await;
        assert_eq!(told(&mut child, &one).await, ["subscribe a:1"]);
        subscribe(&two, "a:1").await;
        unsubscribe(&one, "a:1").await;
        unsubscribe(&one, "a:1").await;
        assert!(told(&mut child, &one).await.is_empty());
        let ended = two.send(Method::DELETE, "").await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT);
        assert_eq!(child.line().await, "unsubscribe a:1\n");
    });
}

#[test]
fn a_resource_that_the_child_does_not_answer_for_delays_no_other() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, SHARED));
        let client = Client::new(proxy.address);
        let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut child = beacon.next().await;
        let others = async {
            assert_eq!(child.line().await, "subscribe a:never\n");
            assert_eq!(subscribe(&two, "a:1").await["result"], json!({}));
            unsubscribe(&two, "a:1").await;
            let told = told(&mut child, &two).await;
            assert_eq!(told, ["subscribe a:1", "unsubscribe a:1"]);
        };
        tokio::select! {
            reply = subscribe(&one, "a:never") => panic!("{reply}"),
            () = others => {}
        }
    });
}

#[test]
fn a_child_that_replaces_a_dead_one_is_subscribed_again() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, SHARED));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut stream = client.send(Method::GET, "").await;
        subscribe(&client, "a:1").await;
        let killed = beacon.next().await;
        killed.signal(Signal::SIGKILL);
        let mut next = beacon.next().await;
        assert_eq!(next.line().await, "subscribe a:1\n");
        client.call(1, "update", json!({ "uri": "a:1/part" })).await;
        let updated = stream.event().await.unwrap();
        assert_eq!(updated["params"]["uri"], "a:1/part");
    });
}

#[test]
fn a_refused_subscription_has_the_error_of_the_child_and_is_none() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, SHARED));
        let client = Client::new(proxy.address);
        let session = client.begin(NEWEST).await;
        let reply = subscribe(&session, "a:none").await;
        let error =
            json!({ "code": -32002, "message": "no such resource", "data": { "uri": "a:none" } });
        assert_eq!(reply["error"], error);
        let mut child = beacon.next().await;
        assert_eq!(told(&mut child, &session).await, ["subscribe a:none"]);
        subscribe(&session, "a:none").await;
        assert_eq!(
            told(&mut child, &session).await,
            ["subscribe a:none"],
            "it is asked again"
        );
        let reply = subscribe(&client, "a:1").await;
        assert_eq!(reply["error"]["code"], -32601, "there is no session");
    });
}
