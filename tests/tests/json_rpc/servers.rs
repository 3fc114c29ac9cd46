//! Servers that nobody here wrote, where they are installed: both framings, both protocols.

use std::time::Duration;

use pool_core::Connector;
use pool_stdio::{CommandError, CommandSpec, JsonRpcConnection, JsonRpcConnector, Protocol};
use serde_json::{Value, json};

use crate::bed::{Bed, context, on_both_runtimes};

/// A greeted child, or `None`, with a line that says so, if the program is missing.
async fn open(
    bed: &Bed,
    program: &str,
    protocol: Protocol,
    params: &Value,
) -> Option<JsonRpcConnection> {
    let spec = bed.scene.census.mark(CommandSpec::new(program));
    let connector = match JsonRpcConnector::new(spec, protocol) {
        Ok(connector) => connector.initialize(params).unwrap(),
        Err(CommandError::NotFound { .. }) => {
            skipped(program);
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    bed.note(connector.children());
    Some(connector.connect(&context()).await.unwrap())
}

#[expect(clippy::print_stderr, reason = "whoever reads the log should know")]
fn skipped(program: &str) {
    eprintln!("skipped: {program} is not installed");
}

fn mcp() -> Value {
    let client = json!({ "name": "pool-tests", "version": "0" });
    json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client })
}

async fn lists_tools(bed: &Bed, program: &str) {
    let Some(child) = open(bed, program, Protocol::Mcp, &mcp()).await else {
        return;
    };
    let limit = Duration::from_secs(10);
    let (one, two) = tokio::join!(
        child.call::<Value>("tools/list", &()).within(limit),
        child
            .forward(r#"{"jsonrpc":"2.0","id":"x","method":"tools/list"}"#)
            .within(limit),
    );
    assert!(!one.unwrap()["tools"].as_array().unwrap().is_empty());
    let reply: Value = serde_json::from_slice(&two.unwrap().unwrap()).unwrap();
    assert_eq!(reply["id"], "x");
}

#[test]
fn an_mcp_server_in_python_lists_its_tools() {
    on_both_runtimes(async |bed| lists_tools(bed, "mcp-server-time").await);
}

#[test]
fn an_mcp_server_in_javascript_lists_its_tools() {
    on_both_runtimes(async |bed| lists_tools(bed, "mcp-server-memory").await);
}

#[test]
fn a_language_server_says_what_it_can() {
    on_both_runtimes(async |bed| {
        let params = json!({ "processId": null, "rootUri": null, "capabilities": {} });
        let Some(child) = open(bed, "pylsp", Protocol::Lsp, &params).await else {
            return;
        };
        let greeted: Value =
            serde_json::from_str(child.initialize_result().unwrap().get()).unwrap();
        assert!(greeted["capabilities"].is_object());
        let limit = Duration::from_secs(10);
        child
            .call::<Value>("shutdown", &())
            .within(limit)
            .await
            .unwrap();
    });
}
