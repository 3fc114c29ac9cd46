//! The stdio server: a tool that repeats its message.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

/// Serves standard input until it ends.
#[expect(
    clippy::disallowed_methods,
    reason = "a server that serves one request at a time blocks while it does"
)]
pub(crate) fn run(pause: Duration) -> ExitCode {
    let mut input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => return ExitCode::SUCCESS,
            Ok(_) => {}
            Err(_) => return ExitCode::FAILURE,
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        let is_call = message["method"] == "tools/call";
        if let Some(reply) = reply(&message) {
            if is_call && !pause.is_zero() {
                std::thread::sleep(pause);
            }
            if serde_json::to_writer(&mut output, &reply).is_err()
                || output.write_all(b"\n").is_err()
            {
                return ExitCode::FAILURE;
            }
        }
        // Replies to what was read at once are written at once.
        if input.buffer().is_empty() && output.flush().is_err() {
            return ExitCode::FAILURE;
        }
    }
}

/// The reply to a request; there is none to a notification.
fn reply(message: &Value) -> Option<Value> {
    let id = message.get("id")?;
    let result = match message["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "load", "version": "1.0.0" },
        }),
        "tools/list" => json!({ "tools": [{
            "name": "echo",
            "description": "Repeats a message.",
            "inputSchema": { "type": "object", "properties": { "message": { "type": "string" } } },
        }] }),
        "tools/call" => {
            let message = &message["params"]["arguments"]["message"];
            json!({ "content": [{ "type": "text", "text": message }] })
        }
        "ping" => json!({}),
        method => {
            let error = json!({ "code": -32601, "message": format!("no such method: {method}") });
            return Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }));
        }
    };
    Some(json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::reply;

    #[test]
    fn a_call_is_answered_with_its_message_and_a_notification_with_nothing() {
        let call = json!({ "id": 7, "method": "tools/call", "params": { "arguments": { "message": "m" } } });
        let replied = reply(&call).unwrap();
        assert_eq!(replied["id"], 7);
        assert_eq!(replied["result"]["content"][0]["text"], "m");
        assert_eq!(
            reply(&json!({ "method": "notifications/initialized" })),
            None
        );
    }
}
