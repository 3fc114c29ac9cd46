//! One language server for many callers: opens a document, and asks for its symbols from eight tasks
//! at once.
//!
//! Run with `cargo run -p pool-stdio --example lsp_client`, with `-- COMMAND ARGS` for a server of
//! Python other than `pylsp`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use pool_core::SharedPool;
use pool_stdio::{CommandError, CommandSpec, JsonRpcConnector, Protocol};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CALLERS: usize = 8;
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().unwrap_or_else(|| "pylsp".to_owned());
    let server = CommandSpec::new(program).args(arguments);
    let connector = match JsonRpcConnector::new(server, Protocol::Lsp) {
        Err(error @ CommandError::NotFound { .. }) => {
            println!("nothing to show here: {error}");
            return Ok(());
        }
        connector => connector?,
    };
    let editor = json!({ "processId": std::process::id(), "rootUri": null, "capabilities": {} });
    // One child: what is opened in it is not open in another.
    let pool = SharedPool::builder(connector.initialize(&editor)?)
        .name("lsp")
        .max_size(1)
        .connect_timeout(LIMIT)
        .build()?;

    let child = pool.acquire().await?;
    let uri = "file:///example.py";
    let text = "class Greeter:\n    def greet(self):\n        return 'hello'\n";
    let document = json!({ "uri": uri, "languageId": "python", "version": 1, "text": text });
    let opened = json!({ "textDocument": document });
    child.notify("textDocument/didOpen", &opened).await?;

    let mut calls = JoinSet::new();
    for _ in 0..CALLERS {
        let pool = pool.clone();
        calls.spawn(async move {
            let child = pool.acquire().await?;
            let wanted = json!({ "textDocument": { "uri": uri } });
            let method = "textDocument/documentSymbol";
            let symbols: Vec<Value> = child.call(method, &wanted).within(LIMIT).await?;
            Ok::<_, Box<dyn Error + Send + Sync>>(symbols)
        });
    }
    while let Some(symbols) = calls.join_next().await {
        let symbols = symbols??;
        let names = symbols.iter().filter_map(|symbol| symbol["name"].as_str());
        println!(
            "pid {}: {:?}",
            child.process().pid(),
            names.collect::<Vec<_>>()
        );
    }

    // As the protocol wants it; then the pool sees to it that the child really ends.
    child.call::<()>("shutdown", &()).within(LIMIT).await?;
    child.notify("exit", &()).await?;
    drop(child);
    let report = pool.close(LIMIT).await;
    assert!(report.is_complete());
    Ok(())
}
