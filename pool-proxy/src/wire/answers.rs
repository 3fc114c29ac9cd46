//! Which status and which error object a client gets.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::reply_body::ReplyBody;

pub(crate) type Answer = Response<ReplyBody>;

/// One JSON-RPC message with status 200.
pub(crate) fn json(message: Bytes) -> Answer {
    let mut answer = Response::new(ReplyBody::whole(message));
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// Nothing more to say of a notification or an answer.
pub(crate) fn accepted() -> Answer {
    let mut answer = Response::new(ReplyBody::whole(Bytes::new()));
    *answer.status_mut() = StatusCode::ACCEPTED;
    answer
}

/// Words for people.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(ReplyBody::whole(text));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// A refusal: a status, and the same as a JSON-RPC error under the id of the request, if it is known.
pub(crate) fn refuse(status: StatusCode, id: Option<&Bytes>, code: i64, reason: &str) -> Answer {
    let mut answer = json(error_with_data(id, code, reason, None));
    *answer.status_mut() = status;
    answer
}

/// The same refusal, which is counted under this reason.
pub(crate) fn because(mut refusal: Answer, reason: &'static str) -> Answer {
    refusal.extensions_mut().insert(RefusedFor(reason));
    refusal
}

/// Counts an answer, if it refuses a request as a whole. One line of the log for each would let anybody fill it.
pub(crate) fn count_refusal(answer: &Answer) {
    let status = answer.status();
    if status.is_client_error() || status.is_server_error() {
        let reason = answer.extensions().get::<RefusedFor>();
        let reason = reason.map_or("other", |reason| reason.0);
        let status = status.as_u16().to_string();
        metrics::counter!("proxy_refused_total", "status" => status, "reason" => reason)
            .increment(1);
    }
}

/// Why a request is refused, as a label of the metric.
#[derive(Debug, Clone, Copy)]
struct RefusedFor(&'static str);

/// A refusal of what may work later.
pub(crate) fn unavailable(id: Option<&Bytes>, reason: &str, after: Duration) -> Answer {
    later(StatusCode::SERVICE_UNAVAILABLE, id, reason, after)
}

/// A refusal of what works when the client has less under way.
pub(crate) fn too_many(id: Option<&Bytes>, reason: &str, after: Duration) -> Answer {
    let refusal = later(StatusCode::TOO_MANY_REQUESTS, id, reason, after);
    because(refusal, "requests")
}

fn later(status: StatusCode, id: Option<&Bytes>, reason: &str, after: Duration) -> Answer {
    let mut answer = refuse(status, id, UNAVAILABLE, reason);
    // Rounded up, because zero asks for a storm.
    let seconds = after.as_millis().div_ceil(1000).max(1);
    if let Ok(seconds) = HeaderValue::try_from(seconds.to_string()) {
        answer.headers_mut().insert(RETRY_AFTER, seconds);
    }
    answer
}

/// An error as a reply to the request with this id.
pub(crate) fn error_with_data(
    id: Option<&Bytes>,
    code: i64,
    message: &str,
    data: Option<Value>,
) -> Bytes {
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = data;
    }
    error_object(id.map_or(&[], |id| id), &error)
}

/// The same of a whole error.
pub(crate) fn error_object(id: &[u8], error: &Value) -> Bytes {
    reply_object(id, "error", error.to_string().as_bytes())
}

/// A result as a reply to the request with this id.
pub(crate) fn result_object(id: &[u8], result: &str) -> Bytes {
    reply_object(id, "result", result.as_bytes())
}

/// A reply with the id as its client wrote it: a number could lose digits on the way through a [`Value`].
/// Without an id it is null.
fn reply_object(id: &[u8], member: &str, value: &[u8]) -> Bytes {
    let id = if id.is_empty() { b"null" } else { id };
    let parts = [
        br#"{"jsonrpc":"2.0","id":"#,
        id,
        b",\"",
        member.as_bytes(),
        b"\":",
        value,
        b"}",
    ];
    parts.concat().into()
}

/// An error of a server: the request may be repeated later.
const UNAVAILABLE: i64 = -32000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_the_id_that_its_client_wrote() {
        for id in [
            "123456789012345678901234567890",
            r#""\u00e4""#,
            "1.50",
            "-0",
        ] {
            let id = Bytes::from(id);
            let error = error_with_data(Some(&id), -1, "a \"reason\"", Some(json!({ "x": 1 })));
            let head = [br#"{"jsonrpc":"2.0","id":"#, &id[..], b","].concat();
            assert!(error.starts_with(&head), "{error:?}");
            let read: Value = serde_json::from_slice(&error).unwrap();
            assert_eq!(
                read["error"],
                json!({ "code": -1, "message": "a \"reason\"", "data": { "x": 1 } })
            );
        }
        let without = error_with_data(None, -1, "", None);
        assert!(without.starts_with(br#"{"jsonrpc":"2.0","id":null,"error":{"#));
    }
}
