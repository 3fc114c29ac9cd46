//! Start, end, and what is said of the proxy itself.

use std::process::Stdio;

use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::client::{Client, NEWEST, initialize, tool};
use crate::gone::until_waiting;
use crate::proxy::{Beacon, Proxy, legacy, scratch};
use crate::run;

#[test]
fn the_bare_command_serves_a_server_of_its_own() {
    run(async {
        let mut proxy = Proxy::start(&["--listen", "127.0.0.1:0"], Stdio::inherit());
        let client = Client::new(proxy.address);
        // As the line that it prints: without Accept and without a session.
        let mut line = proxy.next_line();
        while !line.contains("curl") {
            line = proxy.next_line();
        }
        let (_, words) = line.split_once("curl -s ").unwrap();
        let header = "-H 'Content-Type: application/json' \\";
        assert_eq!(words, format!("http://{}/mcp {header}", proxy.address));
        let body = proxy.next_line();
        let body = body.trim_start().strip_prefix("-d '").unwrap();
        let body = body.strip_suffix('\'').unwrap().to_owned();
        let mut reply = client.without("accept").send(Method::POST, body).await;
        let reply = reply.last().await;
        assert_eq!(reply["result"]["content"][0]["text"], "hello");
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
    ends_in_order(Signal::SIGTERM);
}

#[test]
#[expect(clippy::print_stderr, reason = "what is skipped is said")]
fn a_hangup_ends_it_in_order() {
    // The proxy inherits what these tests were started with, and `nohup` is a wish that it respects.
    if is_hangup_ignored() {
        eprintln!("!! SKIPPED: SIGHUP is ignored here, as under nohup");
        return;
    }
    ends_in_order(Signal::SIGHUP);
}

fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("it can be read");
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .expect("it is told");
    let mask = u64::from_str_radix(ignored.trim(), 16).expect("it is a number");
    mask & 1 << (Signal::SIGHUP as i32 - 1) != 0
}

fn ends_in_order(signal: Signal) {
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
            proxy.signal(signal);
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
        let (_one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        two.call(1, "pid", json!({})).await;
        let children = (beacon.next().await, beacon.next().await);
        proxy.kill();
        tokio::join!(children.0.gone(), children.1.gone());
    });
}

#[test]
#[cfg(target_os = "linux")]
fn what_left_the_process_group_of_a_child_ends_with_it() {
    run(async {
        for end in ["DELETE", "SIGTERM", "SIGKILL"] {
            let beacon = Beacon::new();
            let mut proxy = Proxy::configured(&legacy(&beacon, ""));
            let client = Client::new(proxy.address).begin(NEWEST).await;
            let child = beacon.next().await;
            assert_eq!(client.call(1, "detach", json!({})).await, "detached");
            let detached = beacon.next().await;
            match end {
                "DELETE" => {
                    let ended = client.send(Method::DELETE, "").await;
                    assert_eq!(ended.status, StatusCode::NO_CONTENT);
                }
                "SIGTERM" => proxy.terminate(),
                _ => proxy.kill(),
            }
            tokio::join!(child.gone(), detached.gone());
        }
    });
}

#[test]
fn a_child_gets_little_of_the_environment() {
    run(async {
        let beacon = Beacon::new();
        let lines = "sharing = 'shared'\nenv_pass = ['CARGO_PKG_NAME']";
        let proxy = Proxy::configured(&legacy(&beacon, lines));
        // What a client says is no variable, whatever it is called.
        let client = Client::new(proxy.address).with("LD_PRELOAD", "/tmp/evil.so");
        let evil =
            json!({ "LD_PRELOAD": "/tmp/evil.so", "PATH": "/tmp", "NODE_OPTIONS": "-r evil" });
        let call = json!({ "name": "environment", "arguments": {}, "_meta": { "env": evil }, "env": evil });
        let environment = client.ask(1, "tools/call", call).await;
        let environment = environment["result"]["content"][0]["text"]
            .as_str()
            .unwrap();
        let environment: Value = serde_json::from_str(environment).unwrap();
        // `python3` can be a script that puts something before it.
        let path = environment["PATH"].as_str().unwrap();
        assert!(path.ends_with(&std::env::var("PATH").unwrap()), "{path}");
        for name in ["LD_PRELOAD", "NODE_OPTIONS"] {
            assert!(environment.get(name).is_none(), "{environment}");
        }
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
fn a_server_that_cannot_start_is_named_and_its_clients_are_told_to_come_later() {
    run(async {
        for sharing in ["session", "shared"] {
            let script = "echo secret-of-the-child >&2; exit 3";
            let server = format!("command = ['sh', '-c', '{script}']\nsharing = '{sharing}'");
            let good = "[servers.good]\ncommand = ['cat']\n";
            let proxy = Proxy::configured(&format!("[servers.bad]\n{server}\n{good}"));
            let client = Client::at(proxy.address, "/servers/bad/mcp");
            let mut reply = client.post(&initialize(NEWEST)).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(reply.headers.contains_key("retry-after"));
            let text = reply.text().await;
            assert!(
                text.contains("cannot be started") && !text.contains("secret"),
                "{text}"
            );
            // A pool tells its callers first, and then whoever observes it.
            let ready = Client::at(proxy.address, "/readyz");
            loop {
                let ready = ready.send(Method::GET, "").await.json().await;
                assert_eq!(ready["ready"], true);
                if ready["cannot_start"] == json!(["bad"]) {
                    break;
                }
            }
        }
    });
}

#[test]
fn callers_of_a_server_that_is_busy_or_starts_are_told_so() {
    run(async {
        let beacon = Beacon::new();
        let lines = "sharing = 'shared'\nwaiters_max = 0";
        let proxy = Proxy::configured(&legacy(&beacon, lines));
        let mut reply = Client::new(proxy.address).post(&initialize(NEWEST)).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            reply
                .text()
                .await
                .contains("no more than 0 requests may wait")
        );

        // It reads, and never answers its first message.
        let command = "['sh', '-c', 'while read -r line; do :; done']";
        let slow = format!("[servers.slow]\ncommand = {command}\nsharing = 'shared'\n");
        let proxy = Proxy::configured(&format!("{slow}wait_timeout = '50ms'\n"));
        let client = Client::new(proxy.address);
        client.told_of_a_start(&initialize(NEWEST)).await;

        // It waits for longer than a silent answer takes to become a stream, and still has a status.
        let proxy = Proxy::configured(&format!("{slow}wait_timeout = '5200ms'\n"));
        let call = tool(1, "pid", json!({}));
        let mut reply = Client::new(proxy.address).post(&call).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reply.headers.contains_key("retry-after"));
        assert!(reply.text().await.contains("starting"));
    });
}

#[test]
fn a_caller_whose_own_limit_ends_while_the_server_starts_is_told_that_it_starts() {
    run(async {
        for sharing in ["shared", "stateless", "request"] {
            let beacon = Beacon::new();
            let lines = format!("sharing = '{sharing}'\ntool_timeouts = {{ quick = '300ms' }}");
            // It answers nothing before it is told to.
            let config = legacy(&beacon, &lines).replace("env = {", "env = { GATED = 'yes',");
            let proxy = Proxy::configured(&config);
            let client = Client::new(proxy.address);
            client.told_of_a_start(&tool(1, "quick", json!({}))).await;
        }
    });
}

#[test]
fn a_caller_whose_own_limit_ends_while_all_children_work_is_told_that_they_do() {
    run(async {
        let beacon = Beacon::new();
        let lines = "sharing = 'request'\nchildren_max = 1\ntool_timeouts = { quick = '300ms' }";
        let proxy = Proxy::configured(&legacy(&beacon, lines));
        let client = Client::new(proxy.address);
        let held = async { client.call("held", "wait", json!({})).await };
        let late = async {
            let mut child = beacon.next().await;
            assert_eq!(child.line().await, "waiting\n");
            let mut reply = client.post(&tool(1, "quick", json!({}))).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            let text = reply.text().await;
            assert!(text.contains("busy"), "{text}");
            assert_eq!(reply.headers["retry-after"], "1");
            child.tell("go").await;
        };
        tokio::join!(held, late);
    });
}

#[test]
fn told_to_end_it_says_so_to_a_request_that_waits_for_the_child_of_its_session() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "children_max = 1"));
        let client = Client::new(proxy.address);
        let (busy, other) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let mut child = beacon.next().await;
        let holding = async { busy.call(1, "wait", json!({})).await };
        let waiting = async { other.post(&tool(2, "mark", json!({}))).await };
        let told = async {
            assert_eq!(child.line().await, "waiting\n");
            let ending = async {
                until_waiting(&proxy, 1).await;
                proxy.terminate();
            };
            let (mut reply, ()) = tokio::join!(waiting, ending);
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(reply.headers.contains_key("retry-after"));
            assert!(reply.text().await.contains("shutting down"));
            child.tell("go").await;
        };
        let (said, ()) = tokio::join!(holding, told);
        assert_eq!(said, "go");
    });
}

#[test]
fn where_others_reach_it_only_an_admin_sees_how_it_is() {
    run(async {
        let beacon = Beacon::new();
        let hash = |token: &str| match token {
            "test" => "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            _ => "8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918", // admin
        };
        let (user, admin) = (hash("test"), hash("admin"));
        let tokens = format!(
            "[tokens.user]\nsha256 = '{user}'\n[tokens.boss]\nsha256 = '{admin}'\nadmin = true\n"
        );
        let file = scratch("toml");
        std::fs::write(&file, format!("{}{tokens}", legacy(&beacon, ""))).unwrap();
        let config = file.to_str().unwrap();
        let words = ["serve", "--listen", "0.0.0.0:0", "--config", config];
        let proxy = Proxy::start(&words, Stdio::inherit());
        std::fs::remove_file(&file).unwrap();
        for path in ["/readyz", "/metrics"] {
            let client = Client::at(proxy.address, path);
            let asked = [
                (client.clone(), 401),
                (client.with("authorization", "Bearer test"), 404),
                (client.with("authorization", "Bearer admin"), 200),
            ];
            for (client, status) in asked {
                let reply = client.send(Method::GET, "").await;
                assert_eq!(reply.status.as_u16(), status, "{path}");
            }
        }
        let alive = Client::at(proxy.address, "/healthz")
            .send(Method::GET, "")
            .await;
        assert_eq!(alive.status, StatusCode::OK);
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
