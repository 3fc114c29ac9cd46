//! Starts that fail: how often they count, and what is said of them.

use std::process::Stdio;

use futures_util::future::join_all;
use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;

use crate::client::{Client, NEWEST, initialize};
use crate::proxy::{Beacon, Proxy, legacy, scratch};
use crate::run;

/// What `/readyz` says.
async fn readiness(proxy: &Proxy) -> Value {
    let ready = Client::at(proxy.address, "/readyz");
    ready.send(Method::GET, "").await.json().await
}

/// The log of a proxy whose stderr is a pipe, as far as it has come.
struct Log {
    stderr: BufReader<Receiver>,
    said: String,
}

impl Log {
    fn of(proxy: &mut Proxy) -> Self {
        let stderr = Receiver::from_owned_fd(proxy.stderr().into()).unwrap();
        Self {
            stderr: BufReader::new(stderr),
            said: String::new(),
        }
    }

    /// The next line with these words.
    async fn line(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let bytes = self.stderr.read_line(&mut line).await.unwrap();
            assert!(bytes > 0, "no line has {words:?}: {}", self.said);
            self.said.push_str(&line);
            if line.contains(words) {
                return line;
            }
        }
    }

    /// All that it says until the proxy has ended.
    async fn whole(mut self, proxy: Proxy) -> String {
        proxy.terminate();
        self.stderr.read_to_string(&mut self.said).await.unwrap();
        self.said
    }
}

#[test]
fn a_child_of_a_session_that_has_not_answered_yet_is_starting_and_serves_nobody() {
    run(async {
        let beacon = Beacon::new();
        // The child answers nothing before it is told to.
        let config = legacy(&beacon, "").replace("env = {", "env = { GATED = 'yes',");
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address);
        let hello = initialize(NEWEST);
        let killing = async {
            let mut child = beacon.next().await;
            assert_eq!(child.line().await, "asked\n");
            child.signal(Signal::SIGKILL);
        };
        let (failed, ()) = tokio::join!(client.post(&hello), killing);
        assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
        let answering = async {
            let mut child = beacon.next().await;
            assert_eq!(child.line().await, "asked\n");
            let said = readiness(&proxy).await;
            let legacy = &said["servers"]["legacy"];
            assert_eq!(said["cannot_start"], json!(["legacy"]), "{said}");
            assert_eq!(said["ready"], false, "{said}");
            assert_eq!(legacy["starting"], 1, "{said}");
            assert_eq!(legacy["failed_starts"], 1, "{said}");
            child.tell("go").await;
            child
        };
        let (begun, _child) = tokio::join!(client.post(&hello), answering);
        assert_eq!(begun.status, StatusCode::OK);
        let said = readiness(&proxy).await;
        let legacy = &said["servers"]["legacy"];
        assert_eq!(said["cannot_start"], json!([]), "{said}");
        assert_eq!(legacy["starting"], 0, "{said}");
        assert_eq!(legacy["failed_starts"], 0, "{said}");
    });
}

#[test]
fn a_session_whose_child_may_not_start_yet_is_waiting() {
    run(async {
        let beacon = Beacon::new();
        // No child answers, and each holds up the next one for a while.
        let config = legacy(&beacon, "").replace("env = {", "env = { GATED = 'yes',");
        let proxy = Proxy::configured(&format!("[limits]\nstarts_max = 1\n{config}"));
        let (client, hello) = (Client::new(proxy.address), initialize(NEWEST));
        let waiting = join_all((0..20).map(|_| client.abandoned(&hello))).await;
        loop {
            let said = readiness(&proxy).await;
            // All but one, until the next one may start.
            if said["servers"]["legacy"]["waiting"].as_u64() >= Some(10) {
                break;
            }
        }
        drop(waiting);
    });
}

#[test]
fn a_failed_start_counts_once_however_many_requests_fail_with_it() {
    run(async {
        for sharing in ["session", "shared"] {
            let program = scratch("sh");
            std::fs::write(&program, "#!/bin/sh\n").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&program, mode).unwrap();
            let command = format!("command = ['{}']", program.display());
            let config = format!("[servers.lost]\n{command}\nsharing = '{sharing}'\n");
            let mut proxy = Proxy::with_stderr(&config, Stdio::piped());
            let log = Log::of(&mut proxy);
            // It was there when the configuration was checked, and cannot be spawned any more.
            std::fs::remove_file(&program).unwrap();
            let (client, hello) = (Client::new(proxy.address), initialize(NEWEST));
            for reply in join_all((0..40).map(|_| client.post(&hello))).await {
                assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            }
            // A pool tells its callers first, and then whoever observes it.
            let (said, counted) = loop {
                let said = readiness(&proxy).await;
                let counted = said["servers"]["lost"]["failed_starts"].as_u64().unwrap();
                if counted > 0 {
                    break (said, counted);
                }
            };
            let log = log.whole(proxy).await;
            let told = log.matches("a child did not start").count();
            // One can have failed since.
            assert!((1..=told as u64).contains(&counted), "{said}: {log}");
        }
    });
}

#[test]
fn a_start_that_fails_when_its_client_has_gone_has_a_warning_too() {
    run(async {
        // As a server that listens to HTTP, and leaves stdio unanswered.
        let script =
            "echo running on port 3000; echo last words >&2; while read -r line; do :; done";
        let limits = "wait_timeout = '50ms'\nstart_timeout = '2s'";
        let config = format!("[servers.silent]\ncommand = ['sh', '-c', '{script}']\n{limits}\n");
        let mut proxy = Proxy::with_stderr(&config, Stdio::piped());
        let mut log = Log::of(&mut proxy);
        let client = Client::new(proxy.address);
        // On a busy machine the start may not have begun when the client has waited long enough.
        loop {
            let gone = client.abandoned(&initialize(NEWEST)).await;
            let line = log.line("outcome=").await;
            drop(gone);
            if line.contains("outcome=\"starting\"") {
                break;
            }
            assert!(line.contains("outcome=\"busy\""), "{line}");
        }
        let warning = log.line("a child did not start").await;
        for part in [
            " WARN ",
            "\"silent\"",
            "pid=",
            "not done within 2s",
            "running on port 3000",
            "last words",
        ] {
            assert!(warning.contains(part), "{part}: {warning}");
        }
        let said = readiness(&proxy).await;
        assert_eq!(said["servers"]["silent"]["failed_starts"], 1, "{said}");
        let log = log.whole(proxy).await;
        assert_eq!(log.matches("a child did not start").count(), 1, "{log}");
    });
}

#[test]
fn a_child_whose_first_result_is_no_object_has_not_started() {
    run(async {
        for sharing in ["session", "shared", "request"] {
            let script = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":[]}/"#;
            let command = format!("command = ['sed', '-u', '{script}']");
            let config = format!("[servers.odd]\n{command}\nsharing = '{sharing}'\n");
            let mut proxy = Proxy::with_stderr(&config, Stdio::piped());
            let mut log = Log::of(&mut proxy);
            let reply = Client::new(proxy.address).post(&initialize(NEWEST)).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{sharing}");
            let warning = log.line("a child did not start").await;
            for part in [" WARN ", "\"odd\"", "pid", "not understood"] {
                assert!(warning.contains(part), "{sharing}, {part}: {warning}");
            }
            // The line is written before the failure counts, or after it.
            loop {
                let said = readiness(&proxy).await;
                if said["cannot_start"] == json!(["odd"]) {
                    break;
                }
            }
        }
    });
}
