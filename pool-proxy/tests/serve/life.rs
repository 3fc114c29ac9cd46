//! Start, end, and what is said of the proxy itself.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Client, NEWEST};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

#[test]
fn the_bare_command_serves_a_server_of_its_own() {
    run(async {
        let proxy = Proxy::serve(&[
            "--sharing",
            "stateless",
            "--",
            env!("CARGO_BIN_EXE_pool-proxy"),
            "built-in",
        ]);
        let client = Client::new(proxy.address);
        // As the line that it prints: without Accept and without a session.
        let bare = client.without("accept");
        assert_eq!(
            bare.call(1, "echo", json!({ "text": "hello" })).await,
            "hello"
        );
        let listed = client
            .begin(NEWEST)
            .await
            .ask(1, "tools/list", json!({}))
            .await;
        assert_eq!(listed["result"]["tools"][0]["name"], "echo");
    });
}

#[test]
fn told_to_end_it_finishes_what_was_begun_and_leaves_nothing() {
    run(async {
        let beacon = Beacon::new();
        let config = legacy(&beacon, "");
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut child = beacon.next().await;
        let mut listener = client.send(Method::GET, "").await;
        let waiting = async { client.call("t", "wait", json!({})).await };
        let ending = async {
            assert_eq!(child.line().await, "waiting\n");
            proxy.terminate();
            assert!(
                listener.event().await.is_none(),
                "a stream without an end is closed"
            );
            child.tell("go").await;
        };
        let (waited, ()) = tokio::join!(waiting, ending);
        assert_eq!(waited, "go");
        assert!(proxy.ended().await.success());
        child.gone().await;
    });
}

#[test]
fn killed_it_leaves_no_child() {
    run(async {
        let beacon = Beacon::new();
        let mut proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address);
        let (_one, _two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let children = (beacon.next().await, beacon.next().await);
        proxy.kill();
        tokio::join!(children.0.gone(), children.1.gone());
    });
}

#[test]
fn a_child_gets_little_of_the_environment() {
    run(async {
        let beacon = Beacon::new();
        let lines = "sharing = 'shared'\nenv_pass = ['CARGO_PKG_NAME']";
        let proxy = Proxy::configured(&legacy(&beacon, lines));
        let client = Client::new(proxy.address);
        let environment = client.call(1, "environment", json!({})).await;
        let environment: Value = serde_json::from_str(&environment).unwrap();
        assert_eq!(environment["CARGO_PKG_NAME"], "pool-proxy");
        assert!(environment["PATH"].is_string());
        assert_eq!(environment["BEACON"].as_str(), beacon.path.to_str());
        assert!(
            environment.get("CARGO_PKG_VERSION").is_none(),
            "{environment}"
        );
    });
}

#[test]
fn it_says_how_it_is() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        Client::new(proxy.address).begin(NEWEST).await;
        let at = |path: &'static str| async move {
            Client::at(proxy.address, path).send(Method::GET, "").await
        };
        let mut alive = at("/healthz").await;
        assert_eq!(
            (alive.status, alive.text().await.as_str()),
            (StatusCode::OK, "ok\n")
        );
        let ready = at("/readyz").await.json().await;
        assert_eq!(ready["sessions"], 1);
        assert_eq!(ready["servers"]["legacy"]["children"], 1);
        let metrics = at("/metrics").await.text().await;
        assert!(metrics.contains("proxy_sessions 1"), "{metrics}");
        assert!(
            metrics.contains(r#"proxy_requests_total{server="legacy",outcome="ok"} 1"#),
            "{metrics}"
        );
    });
}
