//! Which era a request is of, and what all eras have in common.

use bytes::Bytes;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};

use crate::asker::Asker;
use crate::wire::{Answer, BadMessage, because, parse, plain, refuse};
use crate::{legacy, modern};

/// Answers a request of a client that was let in.
pub(crate) async fn serve(asker: &Asker<'_>, head: &Parts, body: Bytes) -> Answer {
    let headers = &head.headers;
    if let Some(name) = repeated(headers) {
        let reason = format!("{name} is there more than once");
        let refusal = refuse(StatusCode::BAD_REQUEST, None, HEADER_MISMATCH, &reason);
        return because(refusal, "header");
    }
    match head.method {
        Method::POST => post(asker, headers, body).await,
        // The other era has neither.
        Method::GET | Method::DELETE if modern::is_named(headers) => method_not_allowed("POST"),
        Method::GET if !accepts(headers, "text/event-stream") => plain(
            StatusCode::NOT_ACCEPTABLE,
            "Accept must list text/event-stream\n",
        ),
        Method::GET => legacy::get(asker, headers),
        Method::DELETE => legacy::delete(asker, headers),
        _ => method_not_allowed("POST, GET, DELETE"),
    }
}

async fn post(asker: &Asker<'_>, headers: &HeaderMap, body: Bytes) -> Answer {
    if !is_json(headers) {
        let reason = "Content-Type must be application/json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return because(refuse(status, None, INVALID_REQUEST, reason), "type");
    }
    if !accepts(headers, "application/json") || !accepts(headers, "text/event-stream") {
        let reason = "Accept must list application/json and text/event-stream";
        let status = StatusCode::NOT_ACCEPTABLE;
        return because(refuse(status, None, INVALID_REQUEST, reason), "accept");
    }
    // Order: a body is not kept for as long as its reply takes. A message keeps it until a child has it.
    let parsed = match parse(&body) {
        Err(BadMessage::Batch) => return legacy::post_batch(asker, headers, body).await,
        parsed => parsed,
    };
    drop(body);
    match parsed {
        Ok(message) if modern::speaks(headers, &message) => {
            modern::post(asker, headers, message).await
        }
        Ok(message) => legacy::post(asker, headers, message).await,
        Err(error) => {
            let (status, code) = (StatusCode::BAD_REQUEST, error.code());
            because(refuse(status, None, code, &error.to_string()), "message")
        }
    }
}

/// A header that may be there once, and is there twice: another program on the way could read the other one.
fn repeated(headers: &HeaderMap) -> Option<&HeaderName> {
    let is_single = |name: &HeaderName| *name == CONTENT_TYPE || name.as_str().starts_with("mcp-");
    let is_repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    headers
        .keys()
        .find(|name| is_single(name) && is_repeated(name))
}

fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = plain(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("allowed: {allowed}\n"),
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| media_type(kind).eq_ignore_ascii_case("application/json"))
}

/// Whether an answer of this type is accepted; without a word of it, any is.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    if !headers.contains_key(ACCEPT) {
        return true;
    }
    let of_type = wanted.split('/').next().unwrap_or_default();
    let lists = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|list| list.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(media_type)
        .any(|kind| {
            kind == "*/*"
                || kind.eq_ignore_ascii_case(wanted)
                || kind
                    .strip_suffix("/*")
                    .is_some_and(|kind| kind.eq_ignore_ascii_case(of_type))
        })
}

/// Without its parameters.
fn media_type(kind: &str) -> &str {
    kind.split(';').next().unwrap_or_default().trim()
}

const INVALID_REQUEST: i64 = -32600;
const HEADER_MISMATCH: i64 = -32020;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_accepted_by_its_name_or_a_wildcard() {
        let accepts = |list: &'static str, kind: &str| {
            accepts(
                &HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(list))]),
                kind,
            )
        };
        let both = "application/json;q=0.9, TEXT/event-stream";
        assert!(accepts(both, "application/json") && accepts(both, "text/event-stream"));
        assert!(accepts("*/*", "text/event-stream") && accepts("text/*", "text/event-stream"));
        assert!(
            !accepts("application/json", "text/event-stream") && !accepts("", "application/json")
        );
    }
}
