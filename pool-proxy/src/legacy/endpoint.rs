//! What each HTTP method does, and which headers a request needs.

use bytes::Bytes;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};

use super::asker::{Asker, Named};
use super::initialize::initialize;
use super::listener::listen;
use super::requests::{in_session, sessionless};
use crate::backend::Pools;
use crate::request_log::RequestLog;
use crate::sessions::InUse;
use crate::wire::{Answer, ClientMessage, Kind, Revision, accepted, parse, plain, refuse};

/// Answers a request of a client that was let in.
pub(crate) async fn serve(asker: &Asker<'_>, head: &Parts, body: Bytes) -> Answer {
    match head.method {
        Method::POST => post(asker, &head.headers, &body).await,
        Method::GET => get(asker, &head.headers),
        Method::DELETE => delete(asker, &head.headers),
        _ => {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "POST, GET or DELETE\n");
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
            answer
        }
    }
}

async fn post(asker: &Asker<'_>, headers: &HeaderMap, body: &Bytes) -> Answer {
    if !is_json(headers) {
        let reason = "Content-Type must be application/json";
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            None,
            INVALID_REQUEST,
            reason,
        );
    }
    if !accepts(headers, "application/json") || !accepts(headers, "text/event-stream") {
        let reason = "Accept must list application/json and text/event-stream";
        return refuse(StatusCode::NOT_ACCEPTABLE, None, INVALID_REQUEST, reason);
    }
    let message = match parse(body) {
        Ok(message) => message,
        Err(error) => {
            let code = error.code();
            return refuse(StatusCode::BAD_REQUEST, None, code, &error.to_string());
        }
    };
    if message.kind == Kind::Request && message.method == "initialize" {
        let log = RequestLog::new(&asker.server.name, &asker.principal, &message.method);
        return initialize(asker, message, log).await;
    }
    match asker.session(headers) {
        Named::Session(session) if revision(headers, Some(&session)).is_some() => {
            in_session(asker, session, message).await
        }
        Named::Session(_) => unknown_version(message.id.as_ref()),
        Named::Unknown => unknown_session(message.id.as_ref()),
        Named::None => without_session(asker, headers, message).await,
    }
}

async fn without_session(asker: &Asker<'_>, headers: &HeaderMap, message: ClientMessage) -> Answer {
    let Some(revision) = revision(headers, None) else {
        return unknown_version(message.id.as_ref());
    };
    match &asker.server.pools {
        Pools::Shared(shared) => sessionless(asker, shared, revision, message).await,
        Pools::Session { .. } => {
            let reason = "Mcp-Session-Id is missing: this server needs a session, which begins \
                          with initialize";
            refuse(
                StatusCode::BAD_REQUEST,
                message.id.as_ref(),
                SERVER_ERROR,
                reason,
            )
        }
    }
}

fn get(asker: &Asker<'_>, headers: &HeaderMap) -> Answer {
    if !accepts(headers, "text/event-stream") {
        return plain(
            StatusCode::NOT_ACCEPTABLE,
            "Accept must list text/event-stream\n",
        );
    }
    match asker.session(headers) {
        Named::Session(session) if revision(headers, Some(&session)).is_some() => listen(session),
        Named::Session(_) => unknown_version(None),
        Named::Unknown => unknown_session(None),
        Named::None => missing_session(),
    }
}

fn delete(asker: &Asker<'_>, headers: &HeaderMap) -> Answer {
    match asker.session(headers) {
        Named::Session(session) => {
            asker.app.sessions.end(&session.0);
            let mut answer = accepted();
            *answer.status_mut() = StatusCode::NO_CONTENT;
            answer
        }
        Named::Unknown => unknown_session(None),
        Named::None => missing_session(),
    }
}

fn missing_session() -> Answer {
    refuse(
        StatusCode::BAD_REQUEST,
        None,
        SERVER_ERROR,
        "Mcp-Session-Id is missing",
    )
}

/// What tells a client to begin a new one.
fn unknown_session(id: Option<&Bytes>) -> Answer {
    let reason = "there is no such session: it has ended, or never began. Initialize again";
    refuse(StatusCode::NOT_FOUND, id, SESSION_NOT_FOUND, reason)
}

/// The revision that a request speaks, by its header; `None` if that is unknown.
fn revision(headers: &HeaderMap, session: Option<&InUse>) -> Option<Revision> {
    let Some(named) = headers.get("mcp-protocol-version") else {
        return Some(Revision::UNSAID);
    };
    let named = named.to_str().unwrap_or_default();
    // A child may have agreed to an older one.
    let is_agreed = session.is_some_and(|session| session.0.version == named);
    Revision::of(named).or(is_agreed.then_some(Revision::UNSAID))
}

fn unknown_version(id: Option<&Bytes>) -> Answer {
    let known = Revision::ALL.map(Revision::name).join(", ");
    let reason = format!("MCP-Protocol-Version is none of {known}");
    refuse(StatusCode::BAD_REQUEST, id, SERVER_ERROR, &reason)
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
const SERVER_ERROR: i64 = -32000;
/// As the official servers call it.
const SESSION_NOT_FOUND: i64 = -32001;

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
