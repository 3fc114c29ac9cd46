//! What of a child's reply has to be said differently.
//!
//! Results of earlier revisions have no type, no caching hints, and another code for a resource that does
//! not exist. What a modern child says passes as it is, but for the time that is left of a list that was kept.
//! Values pass as bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::wire::error_object;

/// What of a request its reply depends on.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Of `resources/read`.
    pub(super) uri: Option<String>,
    pub(super) lists_ttl: Duration,
    /// Whether the list was kept, so that `lists_ttl` is what is left of its time.
    pub(super) is_kept: bool,
    pub(super) scope: &'static str,
}

#[derive(Deserialize)]
struct Reply<'r> {
    #[serde(borrow)]
    id: &'r RawValue,
    #[serde(borrow)]
    result: Option<BTreeMap<String, &'r RawValue>>,
    error: Option<ErrorMembers>,
}

#[derive(Deserialize)]
struct ErrorMembers {
    code: i64,
    message: String,
    data: Option<Value>,
}

/// The reply as the client expects it, and its status. What cannot be read passes as it is.
pub(super) fn translate(reply: Bytes, asked: &Asked) -> (StatusCode, Bytes) {
    let Ok(read) = serde_json::from_slice::<Reply<'_>>(&reply) else {
        return (StatusCode::OK, reply);
    };
    let translated = match (read.result, read.error) {
        (Some(result), _) => result_text(read.id, result, asked).map(|text| (StatusCode::OK, text)),
        (None, Some(error)) => {
            let status = status_of(error.code);
            match error_text(read.id, error, asked) {
                Some(text) => Some((status, text)),
                None => Some((status, reply.clone())),
            }
        }
        (None, None) => None,
    };
    translated.unwrap_or((StatusCode::OK, reply))
}

fn result_text(id: &RawValue, result: BTreeMap<String, &RawValue>, asked: &Asked) -> Option<Bytes> {
    let complete = to_raw_value("complete").ok()?;
    let scope = to_raw_value(asked.scope).ok()?;
    let ttl = to_raw_value(&ttl_ms(asked)).ok()?;
    // What is added lives shorter than what was read.
    let mut result = result;
    if result.contains_key("resultType") {
        if !asked.is_kept {
            return None;
        }
        result.insert("ttlMs".to_owned(), &ttl);
    }
    result.entry("resultType".to_owned()).or_insert(&complete);
    if is_cacheable(&asked.method) {
        result.entry("ttlMs".to_owned()).or_insert(&ttl);
        result.entry("cacheScope".to_owned()).or_insert(&scope);
    }
    let text = serde_json::to_vec(&json_object(id, &result)).ok()?;
    Some(text.into())
}

#[derive(serde::Serialize)]
struct Written<'r> {
    jsonrpc: &'static str,
    id: &'r RawValue,
    result: &'r BTreeMap<String, &'r RawValue>,
}

const fn json_object<'r>(
    id: &'r RawValue,
    result: &'r BTreeMap<String, &'r RawValue>,
) -> Written<'r> {
    Written {
        jsonrpc: "2.0",
        id,
        result,
    }
}

/// What an earlier revision says in another way.
fn error_text(id: &RawValue, error: ErrorMembers, asked: &Asked) -> Option<Bytes> {
    if error.code != OLD_RESOURCE_NOT_FOUND || asked.method != "resources/read" {
        return None;
    }
    let data = error.data.unwrap_or_else(|| json!({ "uri": asked.uri }));
    let error = json!({ "code": INVALID_PARAMS, "message": error.message, "data": data });
    Some(error_object(id.get().as_bytes(), &error))
}

const fn status_of(code: i64) -> StatusCode {
    match code {
        METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        MISSING_CAPABILITY | UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

fn is_cacheable(method: &str) -> bool {
    method == "resources/read" || method.ends_with("/list")
}

/// A list of an earlier revision is told to have changed; a resource is not.
fn ttl_ms(asked: &Asked) -> u64 {
    match asked.method.ends_with("/list") {
        true => u64::try_from(asked.lists_ttl.as_millis()).unwrap_or(u64::MAX),
        false => 0,
    }
}

const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const MISSING_CAPABILITY: i64 = -32021;
const UNSUPPORTED_VERSION: i64 = -32022;
const OLD_RESOURCE_NOT_FOUND: i64 = -32002;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, reply: &'static str) -> (u16, String) {
        let asked = Asked {
            method: method.to_owned(),
            uri: Some("file:///a".to_owned()),
            lists_ttl: Duration::from_secs(2),
            is_kept: false,
            scope: "private",
        };
        let (status, text) = translate(Bytes::from_static(reply.as_bytes()), &asked);
        (status.as_u16(), String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn results_get_a_type_and_lists_their_hints_and_numbers_stay_as_they_were() {
        let reply = r#"{"jsonrpc":"2.0","id":"a","result":{"n":1.10000000000000000001}}"#;
        let typed = r#"{"jsonrpc":"2.0","id":"a","result":{"n":1.10000000000000000001,"resultType":"complete"}}"#;
        assert_eq!(of("tools/call", reply), (200, typed.to_owned()));
        let (_, list) = of(
            "tools/list",
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#,
        );
        assert_eq!(
            list,
            r#"{"jsonrpc":"2.0","id":1,"result":{"cacheScope":"private","resultType":"complete","tools":[],"ttlMs":2000}}"#
        );
    }

    #[test]
    fn what_a_modern_child_says_passes_unless_it_was_kept() {
        let reply =
            r#"{"jsonrpc":"2.0","id":1,"result":{"ttlMs":9,"resultType":"complete","tools":[]}}"#;
        assert_eq!(of("tools/list", reply), (200, reply.to_owned()));
        let question = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{}}}"#;
        assert_eq!(of("resources/read", question), (200, question.to_owned()));
        let asked = Asked {
            method: "tools/list".to_owned(),
            uri: None,
            lists_ttl: Duration::from_millis(5),
            is_kept: true,
            scope: "private",
        };
        let reply = reply.replace(r#","tools""#, r#","cacheScope":"public","tools""#);
        let (_, text) = translate(reply.into(), &asked);
        assert_eq!(
            text,
            r#"{"jsonrpc":"2.0","id":1,"result":{"cacheScope":"public","resultType":"complete","tools":[],"ttlMs":5}}"#
        );
        let error = r#"{"jsonrpc":"2.0", "id":1,"error":{"code":-32022,"message":"no"}}"#;
        assert_eq!(of("tools/call", error), (400, error.to_owned()));
    }

    #[test]
    fn errors_get_the_status_and_the_code_of_the_era() {
        let (status, _) = of(
            "x/y",
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#,
        );
        assert_eq!(status, 404);
        let (status, _) = of(
            "tools/call",
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"no"}}"#,
        );
        assert_eq!(status, 400);
        let (status, text) = of(
            "resources/read",
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"no"}}"#,
        );
        assert_eq!(status, 200);
        assert!(
            text.contains("-32602") && text.contains(r#""uri":"file:///a""#),
            "{text}"
        );
        let odd = r#"{"jsonrpc":"2.0","id":1,"result":[1]}"#;
        assert_eq!(of("tools/call", odd), (200, odd.to_owned()));
    }
}
