//! The server that the bare command serves: one to try the proxy with, which needs no other program.

use std::io::{self, BufRead, Write};

use serde_json::{Value, json};

/// Speaks MCP on stdin and stdout until its input ends.
pub(crate) fn serve() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if let Some(reply) = reply(&message) {
            writeln!(out, "{reply}")?;
            out.flush()?;
        }
    }
    Ok(())
}

/// The reply to a request; none to anything else.
fn reply(message: &Value) -> Option<Value> {
    let id = message.get("id")?;
    let params = &message["params"];
    let outcome = match message["method"].as_str()? {
        "initialize" => Ok(json!({
            "protocolVersion": params["protocolVersion"],
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "pool-proxy built-in", "version": env!("CARGO_PKG_VERSION") },
        })),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": [echo()] })),
        "tools/call" if params["name"] == "echo" => call_echo(&params["arguments"]),
        "tools/call" => Err((-32602, "unknown tool")),
        _ => Err((-32601, "method not found")),
    };
    Some(match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, text)) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": text } })
        }
    })
}

fn echo() -> Value {
    json!({
        "name": "echo",
        "description": "Answers with its text",
        "inputSchema": {
            "type": "object",
            "properties": { "text": { "type": "string" } },
            "required": ["text"],
        },
        "annotations": { "readOnlyHint": true },
    })
}

fn call_echo(arguments: &Value) -> Result<Value, (i64, &'static str)> {
    let text = arguments["text"]
        .as_str()
        .ok_or((-32602, "text is missing"))?;
    Ok(json!({ "content": [{ "type": "text", "text": text }] }))
}
