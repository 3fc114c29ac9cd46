//! What each HTTP method does, and which session a request names.

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};

use super::initialize::{SESSION_HEADER, initialize};
use super::listener::listen;
use super::requests::{in_session, sessionless};
use crate::asker::Asker;
use crate::backend::Pools;
use crate::delivery::Failure;
use crate::request_log::RequestLog;
use crate::sessions::InUse;
use crate::wire::{
    Answer, ClientMessage, MODERN_VERSION, MessageKind, Revision, accepted, because, refuse,
};

/// Answers a message.
pub(crate) async fn post(asker: &Asker<'_>, headers: &HeaderMap, message: ClientMessage) -> Answer {
    if message.kind == MessageKind::Request && message.method == "initialize" {
        let log = RequestLog::new(&asker.server.meters, &asker.principal, &message.method);
        return initialize(asker, message, log).await;
    }
    match named_session(asker, headers) {
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
        Pools::Session(_) => {
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

/// Opens the stream of a session.
pub(crate) fn get(asker: &Asker<'_>, headers: &HeaderMap) -> Answer {
    match named_session(asker, headers) {
        Named::Session(session) if revision(headers, Some(&session)).is_some() => {
            listen(session.into_stream())
        }
        Named::Session(_) => unknown_version(None),
        Named::Unknown => unknown_session(None),
        Named::None => missing_session(),
    }
}

/// Ends a session.
pub(crate) fn delete(asker: &Asker<'_>, headers: &HeaderMap) -> Answer {
    match named_session(asker, headers) {
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

/// The session that a request names.
enum Named {
    None,
    Unknown,
    Session(InUse),
}

fn named_session(asker: &Asker<'_>, headers: &HeaderMap) -> Named {
    let Some(id) = headers.get(SESSION_HEADER) else {
        return Named::None;
    };
    let sessions = &asker.app.sessions;
    let found = id.to_str().ok();
    let found = found.and_then(|id| sessions.find(id, &asker.server, &asker.principal));
    found.map_or(Named::Unknown, Named::Session)
}

fn missing_session() -> Answer {
    refuse(
        StatusCode::BAD_REQUEST,
        None,
        SERVER_ERROR,
        "Mcp-Session-Id is missing: give this address to an MCP client, which begins a session with initialize",
    )
}

/// What tells a client to begin a new one.
fn unknown_session(id: Option<&Bytes>) -> Answer {
    because(Failure::session_over().answer(id), "session")
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

/// Whether a request speaks the one revision that has batches.
pub(super) fn speaks_batches(asker: &Asker<'_>, headers: &HeaderMap) -> bool {
    let with_batches = Revision::March2025;
    match named_session(asker, headers) {
        Named::Session(session) => session.0.version == with_batches.name(),
        Named::None | Named::Unknown => revision(headers, None) == Some(with_batches),
    }
}

fn unknown_version(id: Option<&Bytes>) -> Answer {
    let known = Revision::ALL.map(Revision::name).join(", ");
    let reason = format!(
        "MCP-Protocol-Version must be the one that initialize has agreed to, one of {known}, or {MODERN_VERSION}"
    );
    let refusal = refuse(StatusCode::BAD_REQUEST, id, SERVER_ERROR, &reason);
    because(refusal, "version")
}

const SERVER_ERROR: i64 = -32000;
