//! Connections whose clients ask for nothing.

use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, NEWEST};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

/// No connection ends for having been idle for too long.
const EIGHT: &str = "[http]\nconnections_max = 8\nhead_timeout = '10m'\n";

#[test]
fn silent_connections_at_the_limit_lock_nobody_out() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&format!("{EIGHT}{}", legacy(&beacon, "")));
        let mut silent = Vec::new();
        for number in 0..8 {
            let mut stream = TcpStream::connect(proxy.address).await.unwrap();
            if number % 2 == 1 {
                stream.write_all(b"GET /healthz HT").await.unwrap();
            }
            silent.push(stream);
        }
        let alive = Client::at(proxy.address, "/healthz");
        assert_eq!(alive.send(Method::GET, "").await.status, StatusCode::OK);
        // The first one has been silent for longest.
        let mut rest = Vec::new();
        drop(silent.remove(0).read_to_end(&mut rest).await);
        let metrics = Client::at(proxy.address, "/metrics");
        let said = metrics.send(Method::GET, "").await.text().await;
        assert!(
            said.contains("proxy_connections_idle_closed_total"),
            "{said}"
        );
    });
}

#[test]
fn a_connection_with_a_request_or_a_stream_is_not_closed_for_another_client() {
    run(async {
        let beacon = Beacon::new();
        let config = legacy(&beacon, "sharing = 'shared'\nchildren_max = 1");
        let proxy = Proxy::configured(&format!("{EIGHT}{config}"));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut child = beacon.next().await;
        let mut stream = client.send(Method::GET, "").await;
        let waiting = async { client.call("held", "wait", json!({})).await };
        let others = async {
            assert_eq!(child.line().await, "waiting\n");
            let mut silent = Vec::new();
            for _ in 0..8 {
                silent.push(TcpStream::connect(proxy.address).await.unwrap());
            }
            let alive = Client::at(proxy.address, "/healthz");
            assert_eq!(alive.send(Method::GET, "").await.status, StatusCode::OK);
            child.tell("go").await;
        };
        let (said, ()) = tokio::join!(waiting, others);
        assert_eq!(said, "go");
        client.call(2, "change", json!({})).await;
        let changed = stream.event().await.unwrap();
        assert_eq!(changed["method"], "notifications/tools/list_changed");
    });
}
