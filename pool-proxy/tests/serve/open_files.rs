//! How many connections the descriptors of the proxy allow.

use std::process::Stdio;

use serde_json::json;

use crate::client::{Client, NEWEST};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

fn started(limit: &str, settings: &str, beacon: &Beacon) -> Proxy {
    let config = format!("{settings}{}", legacy(beacon, "sharing = 'shared'"));
    Proxy::limited(limit, &config, Stdio::piped())
}

/// The soft limit of descriptors of the process.
fn limit_of(proxy: &Proxy) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.unwrap().split_whitespace().nth(3).unwrap();
    soft.parse().unwrap()
}

#[test]
fn the_soft_limit_is_raised_to_what_connections_and_children_need() {
    run(async {
        let beacon = Beacon::new();
        let settings = "[http]\nconnections_max = 300\n[limits]\nchildren_max = 2\n";
        let proxy = started("ulimit -S -n 100", settings, &beacon);
        let raised = limit_of(&proxy);
        assert!((316..600).contains(&raised), "{raised}");
        Client::new(proxy.address).begin(NEWEST).await;
        let log = proxy.log().await;
        assert!(!log.contains("ulimit"), "{log}");
    });
}

#[test]
fn at_the_hard_limit_fewer_connections_are_accepted_and_the_log_says_how_many() {
    run(async {
        let beacon = Beacon::new();
        let settings = "[http]\nconnections_max = 300\n[limits]\nchildren_max = 2\n";
        let proxy = started("ulimit -n 100", settings, &beacon);
        assert_eq!(limit_of(&proxy), 100);
        Client::new(proxy.address).begin(NEWEST).await;
        let log = proxy.log().await;
        let warning = log
            .lines()
            .find(|line| line.contains(" WARN "))
            .expect(&log);
        for part in [
            "20 connections are accepted at a time instead of http.connections_max = 300",
            "may have 100 descriptors",
            "ulimit -n 380",
            "limits.children_max",
        ] {
            assert!(warning.contains(part), "{part}: {warning}");
        }
    });
}

#[test]
fn a_start_is_refused_if_children_need_more_than_there_is() {
    let settings = "[limits]\nchildren_max = 64\n";
    let config = format!("{settings}[servers.a]\ncommand = ['cat']\n");
    let said = Proxy::refused("ulimit -n 256", &config);
    assert!(
        said.contains("may have 256 descriptors") && said.contains("limits.children_max = 64"),
        "{said}"
    );
}

/// So many connections, idle, leave enough for children.
#[test]
fn children_start_though_all_connections_are_taken() {
    run(async {
        let beacon = Beacon::new();
        let settings = "[http]\nconnections_max = 300\n[limits]\nchildren_max = 2\n";
        let proxy = started("ulimit -n 100", settings, &beacon);
        let mut idle = Vec::new();
        // One less than are accepted, for the client.
        for _ in 0..19 {
            idle.push(tokio::net::TcpStream::connect(proxy.address).await.unwrap());
        }
        let session = Client::new(proxy.address).begin(NEWEST).await;
        assert_eq!(
            session.call(1, "echo", json!({ "text": "served" })).await,
            "served"
        );
        drop(idle);
        let log = proxy.log().await;
        assert!(!log.contains("Too many open files"), "{log}");
    });
}
