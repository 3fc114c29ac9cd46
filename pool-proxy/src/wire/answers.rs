//! Which status and which error object a client gets.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::value::RawValue;
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
    let mut answer = json(error_object(id, code, reason));
    *answer.status_mut() = status;
    answer
}

/// A refusal of what may work later.
pub(crate) fn unavailable(id: Option<&Bytes>, reason: &str, after: Duration) -> Answer {
    let mut answer = refuse(StatusCode::SERVICE_UNAVAILABLE, id, UNAVAILABLE, reason);
    // Rounded up, because zero asks for a storm.
    let seconds = after.as_millis().div_ceil(1000).max(1);
    if let Ok(seconds) = HeaderValue::try_from(seconds.to_string()) {
        answer.headers_mut().insert(RETRY_AFTER, seconds);
    }
    answer
}

/// An error as a reply to the request with this id.
fn error_object(id: Option<&Bytes>, code: i64, message: &str) -> Bytes {
    error_with_data(id, code, message, None)
}

/// The same with further data.
pub(crate) fn error_with_data(
    id: Option<&Bytes>,
    code: i64,
    message: &str,
    data: Option<Value>,
) -> Bytes {
    let id = id.and_then(|id| serde_json::from_slice::<&RawValue>(id).ok());
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = data;
    }
    Bytes::from(json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string())
}

/// A result as a reply to the request with this id.
pub(crate) fn result_object(id: &[u8], result: &RawValue) -> Bytes {
    let mut text = Vec::with_capacity(id.len() + result.get().len() + 40);
    text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    text.extend_from_slice(id);
    text.extend_from_slice(br#","result":"#);
    text.extend_from_slice(result.get().as_bytes());
    text.push(b'}');
    text.into()
}

/// An error of a server: the request may be repeated later.
const UNAVAILABLE: i64 = -32000;
