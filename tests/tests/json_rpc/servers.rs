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
use tokio::time::{Instant, interval};

use crate::bed::{Bed, on_both_runtimes};

/// A server, and what it speaks.
struct Server {
    program: &'static str,
    arguments: &'static [&'static str],
    speaks: Speaks,
}

#[derive(Clone, Copy)]
enum Speaks {
    /// A revision of MCP with a handshake.
    Legacy,
    /// The revision 2026-07-28 of MCP.
    Modern,
    /// LSP, and documents whose names end so.
    Lsp(&'static str),
}

const fn server(
    program: &'static str,
    arguments: &'static [&'static str],
    speaks: Speaks,
) -> Server {
    Server {
        program,
        arguments,
        speaks,
    }
}

const EVERYTHING: Server = server("mcp-server-everything", &[], Speaks::Legacy);
const TYPESCRIPT_SDK: Server = server("typescript-sdk-server", &[], Speaks::Modern);
const CLANGD: Server = server("clangd", &["--log=error"], Speaks::Lsp("cpp"));
const PYTHON_SDK: Server = server("python-sdk-server", &[], Speaks::Modern);

/// Longer than a start of any of them takes.
const LIMIT: Duration = Duration::from_secs(20);
/// A stopped child is found after this long, and ended after twice as long.
const HANG: Duration = Duration::from_millis(500);

impl Server {
    /// A pool of it that ends a child soon if it hangs, or `None`, with a line that says so, if the program is
    /// missing.
    fn pool(&self, bed: &Bed) -> Option<SharedPool<JsonRpcConnection>> {
        let limits = RpcLimits {
            hang_after: HANG,
            ..RpcLimits::default()
        };
        self.pool_within(bed, limits)
    }

    fn pool_within(&self, bed: &Bed, limits: RpcLimits) -> Option<SharedPool<JsonRpcConnection>> {
        let spec = CommandSpec::new(self.program).args(self.arguments.iter().map(OsStr::new));
        let spec = bed.scene.census.mark(spec);
        let protocol = match self.speaks {
            Speaks::Legacy | Speaks::Modern => Protocol::Mcp,
            Speaks::Lsp(_) => Protocol::Lsp,
        };
        let connector = match JsonRpcConnector::new(spec, protocol) {
            Ok(connector) => connector,
            Err(CommandError::NotFound { .. }) => {
                skipped(self.program);
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let hello = match self.speaks {
            Speaks::Legacy => Some(json!({ "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": { "name": "pool-tests", "version": "0" } })),
            Speaks::Modern => None,
            Speaks::Lsp(_) => {
                Some(json!({ "processId": null, "rootUri": null, "capabilities": {} }))
            }
        };
        let mut connector = connector.limits(limits);
        if let Some(hello) = hello {
            connector = connector.initialize(&hello).unwrap();
        }
        bed.note(connector.children());
        // Some need seconds for their start on a busy machine.
        let pool = eager(SharedPool::builder(connector)).connect_timeout(LIMIT);
        Some(pool.max_size(1).build().unwrap())
    }

    /// Every request has the same id, and every client the same progress token.
    fn request(&self, method: &str, mut params: Value) -> String {
        match self.speaks {
            Speaks::Legacy => params["_meta"] = json!({ "progressToken": 7 }),
            Speaks::Modern => {
                params["_meta"] = json!({
                    "progressToken": 7,
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "io.modelcontextprotocol/clientInfo": { "name": "pool-tests", "version": "0" },
                });
            }
            Speaks::Lsp(_) => {}
        }
        json!({ "jsonrpc": "2.0", "id": "same", "method": method, "params": params }).to_string()
    }

    fn call_tool(&self, name: &str, arguments: Value) -> String {
        self.request(
            "tools/call",
            json!({ "name": name, "arguments": arguments }),
        )
    }

    /// A request that changes nothing.
    fn harmless(&self) -> String {
        match self.speaks {
            Speaks::Legacy | Speaks::Modern => self.request("tools/list", json!({})),
            Speaks::Lsp(ending) => {
                let document = json!({ "uri": document(ending) });
                let params = json!({ "textDocument": document });
                self.request("textDocument/documentSymbol", params)
            }
        }
    }

    const fn cancel(&self) -> &'static str {
        match self.speaks {
            Speaks::Legacy | Speaks::Modern => {
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"same"}}"#
            }
            Speaks::Lsp(_) => {
                r#"{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"same"}}"#
            }
        }
    }

    /// Opens a document with one function, `foo`, if it is a language server.
    async fn open_document(&self, child: &JsonRpcConnection) {
        let Speaks::Lsp(ending) = self.speaks else {
            return;
        };
        let (language, text) = match ending {
            "cpp" => ("cpp", "int foo() { return 1; }\n"),
            "py" => ("python", "def foo():\n    return 1\n"),
            "sh" => ("shellscript", "foo() {\n  :\n}\n"),
            _ => ("typescript", "function foo() { return 1; }\n"),
        };
        let opened = json!({ "textDocument": { "uri": document(ending), "languageId": language,
            "version": 1, "text": text } });
        child.notify("textDocument/didOpen", &opened).await.unwrap();
    }
}

/// It need not be there.
fn document(ending: &str) -> String {
    format!("file:///tmp/pool-tests-document.{ending}")
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
    let harmless = server.harmless();

    let child = pool.acquire().await.unwrap();
    server.open_document(&child).await;
    drop(child);
    let unknown = server.request("pool/unknown", json!({}));
    let (known, unknown) = tokio::join!(
        send(&retry, &harmless, &terms),
        send(&retry, &unknown, &terms)
    );
    let known = known.unwrap();
    let is_known = match server.speaks {
        Speaks::Legacy | Speaks::Modern => known["result"]["tools"].is_array(),
        Speaks::Lsp(_) => known["result"][0]["name"] == "foo",
    };
    assert!(is_known, "{known}");
    let unknown = unknown.unwrap();
    assert!(unknown["error"].is_object(), "{unknown}");

    // It may be answered before the cancel is read.
    let client = ClientIds::new();
    let mut exchange = retry.exchange(harmless.clone(), &terms.clone().client(&client));
    let cancelling = async { assert!(client.cancel(server.cancel().as_bytes())) };
    let (outcome, ()) = tokio::join!(biased; exchange.reply(), cancelling);
    let is_expected = matches!(
        outcome,
        Ok(_) | Err(RetryError::Failed(RpcError::ClientCancelled { .. }))
    );
    assert!(is_expected, "{outcome:?}");

    is_replaced(&pool, &retry, &harmless).await;
    assert!(pool.close(LIMIT).await.is_complete());
}

/// A request whose child is killed is answered by another child. A child that is stopped fails one request,
/// and is ended.
async fn is_replaced(pool: &SharedPool<JsonRpcConnection>, retry: &Retry, harmless: &str) {
    let terms = Terms::new().within(LIMIT);
    let child = pool.acquire().await.unwrap();
    let pid = child.process().pid();
    signal(pid, Signal::SIGSTOP);
    let killing = async move {
        while child.status().pending == 0 {
            tokio::task::yield_now().await;
        }
        signal(pid, Signal::SIGKILL);
        // Its lease would keep the only place for another child.
        drop(child);
    };
    let (repeated, ()) = tokio::join!(send(retry, harmless, &terms), killing);
    repeated.unwrap();

    let child = pool.acquire().await.unwrap();
    assert_ne!(child.process().pid(), pid);
    let exited = child.process().exited();
    signal(child.process().pid(), Signal::SIGSTOP);
    drop(child);
    let brief = Terms::new().within(HANG);
    let error = send(retry, harmless, &brief).await.unwrap_err();
    let RetryError::OutcomeUnknown { error, .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(error, RpcError::Timeout { .. }), "{error}");
    send(retry, harmless, &terms).await.unwrap();
    exited.await;
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
    server_everything: EVERYTHING;
    server_filesystem: server("mcp-server-filesystem", &["/tmp"], Speaks::Legacy);
    server_memory: server("mcp-server-memory", &[], Speaks::Legacy);
    server_git: server("mcp-server-git", &[], Speaks::Legacy);
    server_time: server("mcp-server-time", &[], Speaks::Legacy);
    typescript_sdk: TYPESCRIPT_SDK;
    python_sdk: PYTHON_SDK;
    clangd: CLANGD;
    pylsp: server("pylsp", &[], Speaks::Lsp("py"));
    bash_language_server: server("bash-language-server", &["start"], Speaks::Lsp("sh"));
    typescript_language_server: server("typescript-language-server", &["--stdio"], Speaks::Lsp("ts"));
}

/// One call each period, each with a limit of a second, until the child that was stopped is gone. Default
/// settings. Returns how long that took, and how many calls failed.
async fn ended_at_one_call_each(
    bed: &Bed,
    server: &Server,
    period: Duration,
) -> Option<(Duration, usize)> {
    let pool = server.pool_within(bed, RpcLimits::default())?;
    let child = pool.acquire().await.unwrap();
    server.open_document(&child).await;
    let retry = Retry::new(pool.clone());
    let terms = Terms::new().within(LIMIT);
    send(&retry, &server.harmless(), &terms).await.unwrap();
    let exited = child.process().exited();
    signal(child.process().pid(), Signal::SIGSTOP);
    drop(child);
    let begun = Instant::now();
    let mut failed = 0;
    let calls = async {
        let terms = Terms::new().within(Duration::from_secs(1));
        let mut ticks = interval(period);
        loop {
            ticks.tick().await;
            failed += usize::from(send(&retry, &server.harmless(), &terms).await.is_err());
        }
    };
    tokio::select! {
        () = calls => {}
        _ = exited => {}
    }
    Some((begun.elapsed(), failed))
}

/// A stopped child is gone within ten seconds.
async fn is_ended(bed: &Bed, server: &Server, period: Duration) {
    if let Some((time, failed)) = ended_at_one_call_each(bed, server, period).await {
        assert!(time < Duration::from_secs(10), "{time:?}");
        assert!(failed >= 1, "a call was the evidence");
    }
}

macro_rules! ended {
    ($($name:ident: $server:expr, $seconds:expr;)*) => {$(
        #[test]
        fn $name() {
            let period = Duration::from_secs($seconds);
            on_both_runtimes(async |bed| is_ended(bed, &$server, period).await);
        }
    )*};
}

// One start for each test: it takes seconds on a busy machine.
ended! {
    server_everything_is_ended_at_a_call_each_second: EVERYTHING, 1;
    server_everything_is_ended_at_a_call_each_2_seconds: EVERYTHING, 2;
    server_everything_is_ended_at_a_call_each_20_seconds: EVERYTHING, 20;
    clangd_is_ended_at_a_call_each_second: CLANGD, 1;
    clangd_is_ended_at_a_call_each_2_seconds: CLANGD, 2;
    clangd_is_ended_at_a_call_each_20_seconds: CLANGD, 20;
}

/// Two clients with equal ids and tokens each see the two steps of their own request, and a cancel by a
/// client's id ends its own request only.
async fn keeps_clients_apart(bed: &Bed, server: &Server, steps: &str, waits: &str) {
    let Some(pool) = server.pool(bed) else {
        return;
    };
    let retry = Retry::new(pool);
    let terms = Terms::new().within(LIMIT);
    let notes_of = async || {
        let mut exchange = retry.exchange(steps.to_owned(), &terms);
        let mut notes = 0;
        while let Some(note) = exchange.next().await {
            assert_eq!(note.params::<Value>().unwrap()["progressToken"], 7);
            notes += 1;
        }
        let reply = exchange.reply().await.unwrap().unwrap();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(reply["id"], "same");
        notes
    };
    assert_eq!(tokio::join!(notes_of(), notes_of()), (2, 2));

    let client = ClientIds::new();
    let mut exchange = retry.exchange(waits.to_owned(), &terms.clone().client(&client));
    let cancelling = async {
        // An answer to something later shows that the server has the request.
        send(&retry, &server.harmless(), &terms).await.unwrap();
        assert!(client.cancel(server.cancel().as_bytes()));
    };
    let (outcome, ()) = tokio::join!(biased; exchange.reply(), cancelling);
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, RetryError::Failed(RpcError::ClientCancelled { .. })),
        "{error}"
    );
    send(&retry, &server.harmless(), &terms).await.unwrap();
}

#[test]
fn server_everything_keeps_clients_apart() {
    on_both_runtimes(async |bed| {
        let lasting = |seconds: u32, steps: u32| {
            let arguments = json!({ "duration": seconds, "steps": steps });
            EVERYTHING.call_tool("trigger-long-running-operation", arguments)
        };
        keeps_clients_apart(bed, &EVERYTHING, &lasting(1, 2), &lasting(3_600, 1)).await;
    });
}

/// As for the server of every kind of feature. Besides, the server says itself what was cancelled, and
/// what is said of a subscription has the id of its client.
async fn keeps_modern_clients_apart(bed: &Bed, server: &Server) {
    let call = |name: &str| server.call_tool(name, json!({}));
    keeps_clients_apart(bed, server, &call("steps"), &call("wait")).await;

    let Some(pool) = server.pool(bed) else {
        return;
    };
    let retry = Retry::new(pool);
    let terms = Terms::new().within(LIMIT);
    let client = ClientIds::new();
    let mut exchange = retry.exchange(call("wait"), &terms.clone().client(&client));
    assert!(exchange.next().await.is_some(), "it has begun");
    assert!(client.cancel(server.cancel().as_bytes()));
    assert!(exchange.reply().await.is_err());
    let mut cancelled = Value::Null;
    while cancelled != "1" {
        let reply = send(&retry, &call("cancelled"), &terms).await.unwrap();
        cancelled = reply["result"]["content"][0]["text"].clone();
        assert!(cancelled == "0" || cancelled == "1", "{reply}");
    }

    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    let listen = server.request("subscriptions/listen", wanted);
    let mut clients = [
        retry.exchange(listen.clone(), &terms),
        retry.exchange(listen, &terms),
    ];
    for method in [
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
    ] {
        for client in &mut clients {
            let note = client.next().await.unwrap();
            assert_eq!(note.method, method);
            let params = note.params::<Value>().unwrap();
            let id = &params["_meta"]["io.modelcontextprotocol/subscriptionId"];
            assert_eq!(id, "same");
        }
        send(&retry, &call("change"), &terms).await.unwrap();
    }
}

#[test]
fn typescript_sdk_keeps_clients_apart() {
    on_both_runtimes(async |bed| keeps_modern_clients_apart(bed, &TYPESCRIPT_SDK).await);
}

#[test]
fn python_sdk_keeps_clients_apart() {
    on_both_runtimes(async |bed| keeps_modern_clients_apart(bed, &PYTHON_SDK).await);
}
