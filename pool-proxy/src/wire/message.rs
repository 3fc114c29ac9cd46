//! What of a client's message is read: which kind it is, its id and its method. The rest passes as bytes.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use super::members::members;

/// A message of a client.
#[derive(Debug, Clone)]
pub(crate) struct ClientMessage {
    pub(crate) kind: MessageKind,
    /// As the client wrote it. A copy, since it lives longer than the body.
    pub(crate) id: Option<Bytes>,
    /// Empty in an answer.
    pub(crate) method: String,
    /// The JSON text; empty if there is none.
    pub(crate) params: Bytes,
    /// The whole message.
    pub(crate) bytes: Bytes,
    /// Whether its params have a member `task`: it asks that the request becomes a task.
    asks_for_task: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Request,
    Notification,
    /// To a question of the server.
    Answer,
}

/// Why a body is no message.
#[derive(Debug, Error)]
pub(crate) enum BadMessage {
    #[error("the body is not JSON, or has a member twice: {0}")]
    NotJson(serde_json::Error),
    #[error("the body is an array; only revision 2025-03-26 has batches")]
    Batch,
    #[error("not a message of JSON-RPC 2.0: {0}")]
    NotRpc(&'static str),
}

impl BadMessage {
    /// The code of its error object.
    pub(crate) const fn code(&self) -> i64 {
        match self {
            Self::NotJson(_) => -32700,
            Self::Batch | Self::NotRpc(_) => -32600,
        }
    }
}

#[derive(Deserialize)]
struct Head<'m> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'m, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'m RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'m, str>>,
    #[serde(borrow)]
    params: Option<&'m RawValue>,
    #[serde(borrow)]
    result: Option<&'m RawValue>,
    #[serde(borrow)]
    error: Option<&'m RawValue>,
}

/// A member that is there, and may be null.
fn present<'m, D: Deserializer<'m>>(value: D) -> Result<Option<&'m RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Reads one message.
pub(crate) fn parse(bytes: &Bytes) -> Result<ClientMessage, BadMessage> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(BadMessage::Batch);
    }
    let head: Head<'_> = serde_json::from_slice(bytes).map_err(BadMessage::NotJson)?;
    if head.jsonrpc.as_deref() != Some("2.0") {
        return Err(BadMessage::NotRpc("jsonrpc is not \"2.0\""));
    }
    let is_answer = head.result.is_some() || head.error.is_some();
    let kind = match (&head.method, head.id, is_answer) {
        (Some(_), Some(_), false) => MessageKind::Request,
        (Some(_), None, false) => MessageKind::Notification,
        (None, Some(_), true) => MessageKind::Answer,
        (Some(_), _, true) => return Err(BadMessage::NotRpc("it has a method and a result")),
        (None, _, _) => {
            return Err(BadMessage::NotRpc(
                "it has neither a method nor a result with an id",
            ));
        }
    };
    if let Some(id) = head.id
        && !is_id(id.get())
    {
        return Err(BadMessage::NotRpc(
            "an id is a string or a number that can be read",
        ));
    }
    let params = head.params.map(RawValue::get);
    let asks_for_task = match params.filter(|params| params.starts_with('{')) {
        Some(params) => {
            let members = members(params.as_bytes()).map_err(BadMessage::NotJson)?;
            members.contains_key("task")
        }
        None => false,
    };
    Ok(ClientMessage {
        kind,
        id: head
            .id
            .map(|id| Bytes::copy_from_slice(id.get().as_bytes())),
        params: params.map_or(Bytes::new(), |params| bytes.slice_ref(params.as_bytes())),
        method: head.method.map_or(String::new(), Cow::into_owned),
        bytes: bytes.clone(),
        asks_for_task,
    })
}

impl ClientMessage {
    /// The same request as one that asks for no task; `None` if it is one.
    pub(crate) fn without_task(&self) -> Option<Bytes> {
        if !self.asks_for_task {
            return None;
        }
        let mut params = members(&self.params).ok()?;
        params.remove("task");
        let params = serde_json::to_string(&params).ok()?;
        let id = String::from_utf8_lossy(self.id.as_deref()?);
        let method = Value::from(&*self.method);
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#);
        Some(text.into())
    }
}

/// Whether it is a string or a number that others can read, too: no half of a surrogate pair, no 1e999.
fn is_id(text: &str) -> bool {
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<Cow<'_, str>>(text).is_ok(),
        Some(b'-' | b'0'..=b'9') => serde_json::from_str::<f64>(text).is_ok(),
        _ => false,
    }
}

/// The name of the tool that a `tools/call` calls.
pub(crate) fn tool_name(params: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Call {
        name: String,
    }
    serde_json::from_slice::<Call>(params)
        .ok()
        .map(|call| call.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> Result<ClientMessage, BadMessage> {
        parse(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_request_without_its_task_is_the_same_otherwise() {
        let of = |text: &'static str| parse(&Bytes::from_static(text.as_bytes())).unwrap();
        let call = r#"{"id":1234567890123456789012,"method":"tools/call","params":{"t\u0061sk":{},"name":"a","arguments":{"task":1.50}},"jsonrpc":"2.0"}"#;
        let same = r#"{"jsonrpc":"2.0","id":1234567890123456789012,"method":"tools/call","params":{"arguments":{"task":1.50},"name":"a"}}"#;
        assert_eq!(of(call).without_task().unwrap(), same);
        assert_eq!(of(same).without_task(), None);
        let other = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert_eq!(of(other).without_task(), None);
    }

    #[test]
    fn the_kind_follows_from_the_members() {
        let request =
            of(r#" {"jsonrpc":"2.0","method":"to\u006fls","id": "a" ,"params":{"x":1}}"#).unwrap();
        assert_eq!(request.kind, MessageKind::Request);
        assert_eq!(request.method, "tools");
        assert_eq!(request.id.unwrap(), r#""a""#);
        assert_eq!(request.params, r#"{"x":1}"#);
        assert_eq!(
            of(r#"{"jsonrpc":"2.0","method":"m"}"#).unwrap().kind,
            MessageKind::Notification
        );
        assert_eq!(
            of(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).unwrap().kind,
            MessageKind::Answer
        );
        assert_eq!(
            of(r#"{"jsonrpc":"2.0","id":1,"error":{}}"#).unwrap().kind,
            MessageKind::Answer
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"m"}]"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
            r#"{"id":1,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"a","n\u0061me":"a"}}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1e999,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":"\ud800","method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":"\ud800","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m"} x"#,
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_passed_over() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        // Either way it takes no stack.
        drop(parse(&Bytes::from(deep)));
    }
}
