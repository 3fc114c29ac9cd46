//! Servers that nobody here wrote, where they are installed: what a proxy needs of each of them.
//!
//! `.ci/real-servers` installs those that a registry has, and prints what to add to `PATH`. A server that is not
//! there is skipped, with a line that says so. `docs/proof.md` has a table of one run.

use std::ffi::OsStr;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pool_core::SharedPool;
use pool_stdio::{
    ClientIds, CommandError, CommandSpec, JsonRpcConnection, JsonRpcConnector, Protocol, Retry,
    RetryError, RpcError, RpcLimits, Terms,
};
use pool_tests::children::eager;
use serde_json::{Value, json};

use crate::bed::{Bed, on_both_runtimes};

/// A server, and a request that changes nothing in it.
struct Server {
    program: &'static str,
    arguments: &'static [&'static str],
    protocol: Protocol,
    harmless: &'static str,
}

const fn mcp(program: &'static str, arguments: &'static [&'static str]) -> Server {
    Server {
        program,
        arguments,
        protocol: Protocol::Mcp,
        harmless: "tools/list",
    }
}

const fn lsp(program: &'static str, arguments: &'static [&'static str]) -> Server {
    Server {
        program,
        arguments,
        protocol: Protocol::Lsp,
        harmless: "workspace/symbol",
    }
}

/// Longer than a start of any of them takes.
const LIMIT: Duration = Duration::from_secs(20);
/// A stopped child is found after this long, and ended after twice as long.
const HANG: Duration = Duration::from_millis(500);

impl Server {
    /// A pool of it, or `None`, with a line that says so, if the program is missing.
    fn pool(&self, bed: &Bed) -> Option<SharedPool<JsonRpcConnection>> {
        let spec = CommandSpec::new(self.program).args(self.arguments.iter().map(OsStr::new));
        let spec = bed.scene.census.mark(spec);
        let connector = match JsonRpcConnector::new(spec, self.protocol) {
            Ok(connector) => connector,
            Err(CommandError::NotFound { .. }) => {
                skipped(self.program);
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let limits = RpcLimits {
            hang_after: HANG,
            ..RpcLimits::default()
        };
        let hello = match self.protocol {
            Protocol::Mcp => json!({ "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": { "name": "pool-tests", "version": "0" } }),
            _ => json!({ "processId": null, "rootUri": null, "capabilities": {} }),
        };
        let connector = connector.limits(limits).initialize(&hello).unwrap();
        bed.note(connector.children());
        Some(
            eager(SharedPool::builder(connector))
                .max_size(1)
                .build()
                .unwrap(),
        )
    }

    fn request(&self, method: &str) -> String {
        let params = match self.protocol {
            Protocol::Mcp => json!({}),
            _ => json!({ "query": "" }),
        };
        json!({ "jsonrpc": "2.0", "id": "same", "method": method, "params": params }).to_string()
    }
}

#[expect(clippy::print_stderr, reason = "whoever reads the log should know")]
fn skipped(program: &str) {
    eprintln!("!! SKIPPED: {program} is not installed");
}

async fn send(retry: &Retry, message: &str, terms: &Terms) -> Result<Value, RetryError> {
    let reply = retry.exchange(message.to_owned(), terms).reply().await?;
    let reply: Value = serde_json::from_slice(&reply.expect("a request has a reply")).unwrap();
    assert_eq!(reply["id"], "same", "{reply}");
    Ok(reply)
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// Equal ids of two clients, a cancel, a child that is killed with a request pending, and one that is stopped.
async fn serves(bed: &Bed, server: &Server) {
    let Some(pool) = server.pool(bed) else {
        return;
    };
    let retry = Retry::new(pool.clone()).repeat_if(|_, _| true);
    let terms = Terms::new().within(LIMIT);
    let harmless = server.request(server.harmless);

    let unknown = server.request("pool/unknown");
    let (known, unknown) = tokio::join!(
        send(&retry, &harmless, &terms),
        send(&retry, &unknown, &terms)
    );
    let known = known.unwrap();
    assert!(
        server.protocol != Protocol::Mcp || known["result"]["tools"].is_array(),
        "{known}"
    );
    let unknown = unknown.unwrap();
    assert!(unknown["error"].is_object(), "{unknown}");

    // It may be answered before the cancel is read.
    let client = ClientIds::new();
    let mut exchange = retry.exchange(harmless.clone(), &terms.clone().client(&client));
    let cancel = match server.protocol {
        Protocol::Mcp => {
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"same"}}"#
        }
        _ => r#"{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"same"}}"#,
    };
    let cancelling = async { assert!(client.cancel(cancel.as_bytes())) };
    let (outcome, ()) = tokio::join!(biased; exchange.reply(), cancelling);
    let is_expected = matches!(
        outcome,
        Ok(_) | Err(RetryError::Failed(RpcError::ClientCancelled { .. }))
    );
    assert!(is_expected, "{outcome:?}");

    let child = pool.acquire().await.unwrap();
    let pid = child.pid();
    signal(pid, Signal::SIGSTOP);
    let killing = async {
        while child.status().pending == 0 {
            tokio::task::yield_now().await;
        }
        signal(pid, Signal::SIGKILL);
    };
    let (repeated, ()) = tokio::join!(send(&retry, &harmless, &terms), killing);
    drop(child);
    repeated.unwrap();

    let child = pool.acquire().await.unwrap();
    assert_ne!(child.pid(), pid);
    let exited = child.process().exited();
    signal(child.pid(), Signal::SIGSTOP);
    drop(child);
    let brief = Terms::new().within(HANG);
    let error = send(&retry, &harmless, &brief).await.unwrap_err();
    let RetryError::OutcomeUnknown { error, .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(error, RpcError::Timeout { .. }), "{error}");
    send(&retry, &harmless, &terms).await.unwrap();
    exited.await;
    assert!(pool.close(LIMIT).await.is_complete());
}

macro_rules! served {
    ($($name:ident: $server:expr;)*) => {$(
        #[test]
        fn $name() {
            on_both_runtimes(async |bed| serves(bed, &$server).await);
        }
    )*};
}

served! {
    server_everything: mcp("mcp-server-everything", &[]);
    server_filesystem: mcp("mcp-server-filesystem", &["/tmp"]);
    server_memory: mcp("mcp-server-memory", &[]);
    server_git: mcp("mcp-server-git", &[]);
    server_time: mcp("mcp-server-time", &[]);
    clangd: lsp("clangd", &["--log=error"]);
    pylsp: lsp("pylsp", &[]);
    bash_language_server: lsp("bash-language-server", &["start"]);
    typescript_language_server: lsp("typescript-language-server", &["--stdio"]);
}

#[test]
fn server_everything_makes_progress() {
    on_both_runtimes(async |bed| {
        let Some(pool) = mcp("mcp-server-everything", &[]).pool(bed) else {
            return;
        };
        let retry = Retry::new(pool);
        let terms = Terms::new().within(LIMIT);
        let call = json!({ "jsonrpc": "2.0", "id": "same", "method": "tools/call", "params": {
            "name": "trigger-long-running-operation", "arguments": { "duration": 1, "steps": 2 },
            "_meta": { "progressToken": 7 } } });
        let mut exchange = retry.exchange(call.to_string(), &terms);
        let mut notes = 0;
        while let Some(note) = exchange.next().await {
            assert_eq!(note.params::<Value>().unwrap()["progressToken"], 7);
            notes += 1;
        }
        assert_eq!(notes, 2);
        assert!(exchange.reply().await.unwrap().is_some());
    });
}
