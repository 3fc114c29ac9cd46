//! What the log says of requests and of starts, and what it never says.

use std::collections::BTreeSet;
use std::process::Stdio;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;

use crate::client::{Client, NEWEST, initialize, request, tool};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;
use crate::stateless::{modern, speaking};

#[test]
fn a_failed_start_has_one_warning_that_names_the_server_and_the_reason() {
    run(async {
        for sharing in ["session", "shared", "request"] {
            let server =
                format!("command = ['sh', '-c', 'echo why >&2; exit 3']\nsharing = '{sharing}'");
            let config = format!("[servers.bad]\n{server}\n");
            let mut proxy = Proxy::with_stderr(&config, Stdio::piped());
            let client = Client::new(proxy.address);
            let reply = client.post(&initialize(NEWEST)).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            let stderr = Receiver::from_owned_fd(proxy.stderr().into()).unwrap();
            let (mut stderr, mut log) = (BufReader::new(stderr), String::new());
            // The end of a child can be seen after that of its pipes.
            while !log.contains(" WARN ") {
                stderr.read_line(&mut log).await.unwrap();
            }
            proxy.terminate();
            stderr.read_to_string(&mut log).await.unwrap();
            let warnings: Vec<_> = log.lines().filter(|line| line.contains(" WARN ")).collect();
            assert!(!warnings.is_empty(), "{sharing}: {log}");
            let mut pids = BTreeSet::new();
            for warning in warnings {
                for part in ["\"bad\"", "exit status: 3", "why"] {
                    assert!(warning.contains(part), "{sharing}, {part}: {log}");
                }
                let (_, pid) = warning.split_once("pid").unwrap();
                let pid = pid[1..].split([' ', ',', ')']).next().unwrap();
                assert!(pid.parse::<u32>().is_ok(), "{warning}");
                assert!(pids.insert(pid), "{sharing}, twice of {pid}: {log}");
            }
        }
    });
}

#[test]
fn a_request_has_one_line_with_its_error_if_it_failed() {
    run(async {
        let beacon = Beacon::new();
        let config = legacy(&beacon, "sharing = 'shared'\nchildren_max = 1");
        let proxy =
            Proxy::with_stderr(&format!("[log]\nformat = 'json'\n{config}"), Stdio::piped());
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let pid = client.call(1, "pid", json!({})).await;
        client.ask(2, "tools/call", json!({ "name": "exit" })).await;
        let log = proxy.log().await;
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect();
        let of_requests: Vec<_> = lines
            .iter()
            .filter(|line| line["message"] == "request")
            .collect();
        let calls: Vec<_> = of_requests
            .iter()
            .filter(|line| line["method"] == "tools/call")
            .collect();
        let [good, bad] = calls[..] else {
            panic!("{log}");
        };
        for line in [good, bad] {
            assert_eq!(line["server"], "legacy");
            assert_eq!(line["principal"], "anonymous");
            assert_eq!(line["pid"].to_string(), pid);
            assert!(line["request"].is_u64() && line["ms"].is_f64(), "{line}");
        }
        assert_ne!(good["request"], bad["request"]);
        assert_eq!(
            (&good["level"], &good["outcome"]),
            (&json!("INFO"), &json!("ok"))
        );
        assert_eq!(
            (&bad["level"], &bad["outcome"]),
            (&json!("WARN"), &json!("child died"))
        );
        assert!(
            bad["error"].as_str().unwrap().contains("exit status: 3"),
            "{bad}"
        );
        assert!(good.get("error").is_none(), "{good}");
        // No line but its own tells of it.
        let tell = |line: &&Value| line["message"].as_str().unwrap().contains("request failed");
        assert_eq!(lines.iter().filter(tell).count(), 0, "{log}");
    });
}

#[test]
fn a_request_that_gets_no_child_in_time_has_a_warning_and_one_that_is_refused_has_not() {
    run(async {
        for sharing in ["session", "shared"] {
            let beacon = Beacon::new();
            let lines = format!("sharing = '{sharing}'\nwait_timeout = '3s'\nchildren_max = 1");
            // The child answers nothing before it is told to.
            let server = legacy(&beacon, &lines).replace("env = {", "env = { GATED = 'yes',");
            let limits = "[limits]\nrequests_per_principal_max = 1\n";
            let config = format!("[log]\nformat = 'json'\n{limits}{server}");
            let proxy = Proxy::with_stderr(&config, Stdio::piped());
            let client = Client::new(proxy.address);
            let hello = initialize(NEWEST);
            let second = async {
                // It was started for the first, which waits for it.
                let child = beacon.next().await;
                (client.post(&hello).await, child)
            };
            let (first, (second, _child)) = tokio::join!(client.post(&hello), second);
            let statuses = [first.status, second.status].map(|status| status.as_u16());
            assert_eq!(statuses, [503, 429], "{sharing}");
            let log = proxy.log().await;
            let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
            let lines: Vec<Value> = lines.collect();
            let requests = lines.iter().filter(|line| line["message"] == "request");
            let (refused, late): (Vec<_>, Vec<_>) =
                requests.partition(|line| line["outcome"] == "too many");
            let ([refused], [late]) = (&refused[..], &late[..]) else {
                panic!("{log}");
            };
            assert_eq!(refused["level"], "INFO", "{log}");
            assert!(refused.get("error").is_none(), "{log}");
            // On a busy machine the start of the child may not even have begun.
            assert!(
                ["starting", "busy"].contains(&late["outcome"].as_str().unwrap()),
                "{log}"
            );
            assert_eq!(late["level"], "WARN", "{log}");
            assert!(late["error"].is_string(), "{log}");
        }
    });
}

/// The lines of requests of this method, of a log in JSON.
fn lines_of(log: &str, method: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    lines.filter(|line| line["method"] == method).collect()
}

#[test]
fn an_initialize_that_is_refused_is_logged_and_counted_as_refused() {
    run(async {
        let beacon = Beacon::new();
        let config = legacy(&beacon, "sharing = 'shared'");
        let proxy =
            Proxy::with_stderr(&format!("[log]\nformat = 'json'\n{config}"), Stdio::piped());
        let client = Client::new(proxy.address);
        let versionless = request(1, "initialize", json!({ "capabilities": {} }));
        let mut reply = client.post(&versionless).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(reply.json().await["error"]["code"], -32602);
        let metrics = Client::at(proxy.address, "/metrics");
        let said = metrics.send(Method::GET, "").await.text().await;
        let count = r#"proxy_requests_total{server="legacy",outcome="refused"} 1"#;
        assert!(said.contains(count), "{said}");
        let log = proxy.log().await;
        let [line] = &lines_of(&log, "initialize")[..] else {
            panic!("{log}");
        };
        assert_eq!(
            (&line["outcome"], &line["level"]),
            (&json!("refused"), &json!("INFO"))
        );
    });
}

#[test]
fn a_request_that_its_modern_client_cancels_has_a_line_with_the_child_that_had_it() {
    run(async {
        let beacon = Beacon::new();
        let config = legacy(&beacon, "sharing = 'shared'\nchildren_max = 1");
        let proxy =
            Proxy::with_stderr(&format!("[log]\nformat = 'json'\n{config}"), Stdio::piped());
        let client = Client::new(proxy.address);
        let call = speaking(&client, "tools/call").with("mcp-name", "begin");
        let params = json!({ "name": "begin", "_meta": { "progressToken": 1 } });
        let mut stream = call.post(&modern("tools/call", params)).await;
        stream.event().await.unwrap();
        let mut child = beacon.next().await;
        drop(stream);
        assert_eq!(child.line().await, "cancelled\n");
        let log = proxy.log().await;
        let [line] = &lines_of(&log, "tools/call")[..] else {
            panic!("{log}");
        };
        assert_eq!(line["outcome"], "client gone");
        assert_eq!(line["pid"], child.pid);
    });
}

#[test]
fn the_time_for_which_a_client_listened_is_not_that_of_a_request() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address);
        let wanted = json!({ "notifications": { "toolsListChanged": true } });
        let mut stream = speaking(&client, "subscriptions/listen")
            .post(&modern("subscriptions/listen", wanted))
            .await;
        stream.event().await.unwrap();
        drop(stream);
        let metrics = Client::at(proxy.address, "/metrics");
        let said = loop {
            let said = metrics.send(Method::GET, "").await.text().await;
            if said.contains(r#"outcome="client gone"} 1"#) {
                break said;
            }
        };
        let timed = r#"proxy_request_seconds_count{server="legacy"} 1"#;
        assert!(!said.contains(timed), "{said}");
        client.call(1, "echo", json!({ "text": "timed" })).await;
        let said = metrics.send(Method::GET, "").await.text().await;
        assert!(said.contains(timed), "{said}");
    });
}

#[test]
fn neither_log_nor_metrics_nor_health_tells_a_secret() {
    run(async {
        let beacon = Beacon::new();
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"; // test
        let config = legacy(&beacon, "sharing = 'shared'")
            .replace("env = {", "env = { API_KEY = 'secret-of-the-server',");
        let tokens = format!("[tokens.alice]\nsha256 = '{hash}'\n");
        let proxy = Proxy::with_stderr(&format!("{config}{tokens}"), Stdio::piped());
        let client = Client::new(proxy.address).with("authorization", "Bearer test");
        let session = client.begin(NEWEST).await;
        session
            .call(1, "echo", json!({ "text": "secret-of-the-call" }))
            .await;
        session
            .ask(
                2,
                "tools/call",
                json!({ "name": "exit", "arguments": { "text": "secret-of-the-call" } }),
            )
            .await;
        let stranger = client.with("authorization", "Bearer secret-of-a-stranger");
        let refused = stranger.post(&tool(1, "pid", json!({}))).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        let mut told = String::new();
        for path in ["/metrics", "/readyz", "/healthz"] {
            let watch = Client::at(proxy.address, path);
            told += &watch.send(Method::GET, "").await.text().await;
        }
        told += &proxy.log().await;
        assert!(told.contains("alice"), "{told}");
        for secret in ["secret-of", hash, "Bearer"] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    });
}
