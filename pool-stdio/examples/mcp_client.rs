//! One MCP server for many callers: lists its tools, from sixty-four tasks at once.
//!
//! Run with `cargo run --release -p pool-stdio --example mcp_client`, with `-- COMMAND ARGS` for a server
//! other than `mcp-server-time`, such as `npx @modelcontextprotocol/server-memory`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use pool_core::SharedPool;
use pool_stdio::{CommandError, CommandSpec, JsonRpcConnector, Protocol};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CALLERS: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next();
    let program = program.unwrap_or_else(|| "mcp-server-time".to_owned());
    let server = CommandSpec::new(program).args(arguments);
    let connector = match JsonRpcConnector::new(server, Protocol::Mcp) {
        Err(error @ CommandError::NotFound { .. }) => {
            println!("nothing to show here: {error}");
            return Ok(());
        }
        connector => connector?,
    };
    let client = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "example", "version": "0" },
    });
    let pool = SharedPool::builder(connector.initialize(&client)?)
        .name("mcp")
        .max_size(2)
        .target_leases(256)
        .build()?;
    pool.warm_up(1).await?;

    let mut calls = JoinSet::new();
    for _ in 0..CALLERS {
        let pool = pool.clone();
        calls.spawn(async move {
            let child = pool.acquire().await?;
            let limit = Duration::from_secs(10);
            let tools: Value = child.call("tools/list", &json!({})).within(limit).await?;
            Ok::<_, Box<dyn Error + Send + Sync>>((child.process().pid(), tools))
        });
    }
    let mut names = Vec::new();
    let mut pids = Vec::new();
    while let Some(call) = calls.join_next().await {
        let (pid, tools) = call??;
        pids.push(pid);
        let tools = tools["tools"].as_array().cloned().unwrap_or_default();
        let all = tools.iter().filter_map(|tool| tool["name"].as_str());
        names = all.map(ToOwned::to_owned).collect::<Vec<_>>();
    }
    pids.sort_unstable();
    pids.dedup();
    println!("{CALLERS} callers, {} server; tools: {names:?}", pids.len());

    let report = pool.close(Duration::from_secs(10)).await;
    assert!(report.is_complete());
    Ok(())
}
