//! How many connections the descriptors of the proxy allow.

use std::process::Stdio;

use serde_json::json;

use crate::client::{Client, NEWEST};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

/// So many connections are wanted, and two children. A shell limits the program first.
const CONNECTIONS: usize = 300;

fn started(limit: &str, beacon: &Beacon) -> Proxy {
    let settings = format!("[http]\nconnections_max = {CONNECTIONS}\n[limits]\nchildren_max = 2\n");
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

/// The warning about too few descriptors: how many connections are accepted, and how many descriptors are needed.
fn warning(log: &str) -> Option<(usize, u64)> {
    let line = log.lines().find(|line| line.contains(" WARN "))?;
    let after = |text: &str| {
        let (_, rest) = line.split_once(text).unwrap_or_else(|| panic!("{line}"));
        rest.split_once(|c: char| !c.is_ascii_digit())
            .unwrap()
            .0
            .parse::<u64>()
            .unwrap()
    };
    for part in ["http.connections_max = 300", "limits.children_max"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let accepted = after("pool_proxy::descriptors: ");
    Some((usize::try_from(accepted).unwrap(), after("ulimit -n ")))
}

#[test]
fn the_soft_limit_is_raised_to_what_connections_and_children_need() {
    run(async {
        let beacon = Beacon::new();
        let proxy = started("ulimit -S -n 100", &beacon);
        assert!(limit_of(&proxy) > CONNECTIONS as u64);
        Client::new(proxy.address).begin(NEWEST).await;
        let log = proxy.log().await;
        assert_eq!(warning(&log), None, "{log}");
    });
}

#[test]
fn at_the_hard_limit_fewer_connections_are_accepted_and_the_log_says_which_limit_is_enough() {
    run(async {
        let beacon = Beacon::new();
        let proxy = started("ulimit -n 100", &beacon);
        assert_eq!(limit_of(&proxy), 100);
        Client::new(proxy.address).begin(NEWEST).await;
        let log = proxy.log().await;
        let (accepted, needed) = warning(&log).expect(&log);
        assert!((16..100).contains(&accepted), "{log}");
        assert!(log.contains("may have 100 descriptors"), "{log}");
        // The limit that it names is enough, and the least that is.
        let enough = started(&format!("ulimit -n {needed}"), &beacon);
        let log = enough.log().await;
        assert_eq!(warning(&log), None, "{log}");
        let short = started(&format!("ulimit -n {}", needed - 1), &beacon);
        let log = short.log().await;
        assert_eq!(warning(&log), Some((CONNECTIONS - 1, needed)), "{log}");
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
    let settings = "[limits]\nchildren_max = 9223372036854775807\n";
    let config = format!("{settings}[servers.a]\ncommand = ['cat']\n");
    let said = Proxy::refused("ulimit -n 256", &config);
    assert!(said.contains("raise the limit to"), "{said}");
}

/// So many connections, idle, leave enough for children.
#[test]
fn children_start_though_all_connections_are_taken() {
    run(async {
        let beacon = Beacon::new();
        let log = started("ulimit -n 100", &beacon).log().await;
        let (accepted, _) = warning(&log).expect(&log);
        let proxy = started("ulimit -n 100", &beacon);
        let mut idle = Vec::new();
        // One less than are accepted, for the client.
        for _ in 1..accepted {
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
