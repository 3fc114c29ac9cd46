//! Whether a child answers by id, so that one child can serve all callers at once.
//!
//! One answer with the id of its request does not prove that: an echo repeats the id too, and a child
//! can always answer with 1. So all callers ask one child at once, each with its own id, as they do
//! through a multiplexed pool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pool_core::Connector;
use pool_stdio::{JsonRpcConnection, JsonRpcConnector, Protocol, RpcError, Stop};
use serde_json::Value;
use tokio::task::JoinSet;

use super::look::context;
use super::problem::Problem;
use super::task::Task;

/// Why one child cannot serve all callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotById {
    /// Only JSON-RPC has ids, and it is never framed like this.
    Framing,
    /// The request has no id that an answer can carry.
    Request,
    /// The child's answer does not carry that id.
    Answer,
    /// Asked with several ids at once, the child mixed them up.
    AtOnce,
}

impl fmt::Display for NotById {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Framing => "JSON-RPC is never framed like this",
            Self::Request => "the request is not a JSON-RPC request with an id",
            Self::Answer => "the command does not answer with a result for the id of the request",
            Self::AtOnce => {
                "asked by all callers at once, the command does not answer each by its id"
            }
        })
    }
}

/// The id of a JSON-RPC request that has one.
pub(super) fn id_of_request(message: &[u8]) -> Option<Value> {
    let request: Value = serde_json::from_slice(message).ok()?;
    let is_request = request["jsonrpc"] == "2.0" && request["method"].is_string();
    let id = &request["id"];
    (is_request && (id.is_string() || id.is_number())).then(|| id.clone())
}

fn is_answer_to(id: &Value, answer: &[u8]) -> bool {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return false;
    };
    let has_outcome = answer.get("result").is_some() || answer.get("error").is_some();
    has_outcome && answer.get("method").is_none() && answer["id"] == *id
}

/// Starts children that are asked by id.
pub(super) fn connector(task: &Task) -> Result<JsonRpcConnector, Problem> {
    let connector = JsonRpcConnector::new(task.spec(), Protocol::Plain)?;
    task.started_children.add(connector.children());
    Ok(match task.framing.of_json_rpc() {
        Some(framing) => connector.framing(framing),
        None => connector,
    })
}

/// Checks the answer that a child gave to one caller, then those that it gives to all callers at once.
pub(super) async fn try_it(task: &Task, answer: &[u8]) -> Result<(), NotById> {
    if task.framing.of_json_rpc().is_none() {
        return Err(NotById::Framing);
    }
    let id = id_of_request(&task.message).ok_or(NotById::Request)?;
    if !is_answer_to(&id, answer) {
        return Err(NotById::Answer);
    }
    let connector = connector(task).map_err(|_| NotById::AtOnce)?;
    let opened = connector.connect(&context(task.patience)).await;
    let child = Arc::new(opened.map_err(|_| NotById::AtOnce)?);
    let mut asked = JoinSet::new();
    for _ in 0..task.limits.concurrency {
        let (child, message) = (Arc::clone(&child), task.message.clone());
        let patience = task.patience;
        asked.spawn(async move { ask(&child, message.into(), patience).await });
    }
    let mut all = true;
    while let Some(answer) = asked.join_next().await {
        let answer = answer.ok().and_then(Result::ok);
        all &= answer.is_some_and(|answer| is_answer_to(&id, &answer));
    }
    if let Some(child) = Arc::into_inner(child) {
        child.terminate(Stop::Force).await;
    }
    if all { Ok(()) } else { Err(NotById::AtOnce) }
}

/// One request, forwarded under an id that no other caller has.
pub(super) async fn ask(
    child: &JsonRpcConnection,
    message: Bytes,
    patience: Duration,
) -> Result<Bytes, Problem> {
    match child.forward(message).within(patience).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(RpcError::Timeout { .. }) => Err(Problem::Silent),
        Err(error) => Err(Problem::of_rpc(&error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{id_of_request, is_answer_to};

    #[test]
    fn only_a_request_with_an_id_can_be_answered_by_it() {
        let request = br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#;
        assert_eq!(id_of_request(request), Some(json!("a")));
        for other in [
            r#"{"jsonrpc":"2.0","method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"id":1,"method":"ping"}"#,
            "[1]",
            "hello",
        ] {
            assert_eq!(id_of_request(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn an_echo_and_an_answer_to_somebody_else_are_no_answers() {
        let is_answer = |answer: &str| is_answer_to(&json!(1), answer.as_bytes());
        assert!(is_answer(r#"{"jsonrpc":"2.0","id":1,"result":null}"#));
        assert!(is_answer(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}"#
        ));
        for other in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":2,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
            "pong",
        ] {
            assert!(!is_answer(other), "{other}");
        }
    }
}
