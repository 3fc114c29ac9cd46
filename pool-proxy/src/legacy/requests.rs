//! Which messages reach a child, and which are answered here.

use bytes::Bytes;
use hyper::StatusCode;
use pool_stdio::{OnDrop, Session, Terms};

use crate::asker::Asker;
use crate::backend::SharedChildren;
use crate::delivery::{Call, Failure, deliver};
use crate::request_log::RequestLog;
use crate::sessions::{InUse, Kind};
use crate::wire::{
    Answer, ClientMessage, Kind as MessageKind, Revision, accepted, error_object, json, refuse,
};

/// Answers a message of a session.
pub(super) async fn in_session(
    asker: &Asker<'_>,
    session: InUse,
    message: ClientMessage,
) -> Answer {
    let log = RequestLog::new(&asker.server.name, &asker.principal, &message.method);
    let (shared, ids) = match &session.0.kind {
        Kind::Own(_) => return to_own_child(asker, session, message, log).await,
        Kind::Shared { key, ids, .. } => (key.clone(), ids.clone()),
    };
    if message.kind != MessageKind::Request {
        // Order: a cancel takes effect before it is acknowledged.
        let is_cancel = ids.cancel(&message.bytes);
        return one_way(&message, is_cancel, log);
    }
    let terms = terms(asker, &message).client(&ids);
    through_shared(&shared.retry, Some(session), message, &terms, log).await
}

/// Answers a message outside of any session, which only shared children can serve.
pub(super) async fn sessionless(
    asker: &Asker<'_>,
    shared: &SharedChildren,
    revision: Revision,
    message: ClientMessage,
) -> Answer {
    let mut log = RequestLog::new(&asker.server.name, &asker.principal, &message.method);
    if message.kind != MessageKind::Request {
        return one_way(&message, false, log);
    }
    match shared.key(&asker.principal, revision) {
        Ok(key) => {
            let terms = terms(asker, &message);
            through_shared(&key.retry, None, message, &terms, log).await
        }
        Err(error) => {
            let failure = Failure::from(error);
            log.set_outcome(failure.outcome);
            failure.answer(message.id.as_ref())
        }
    }
}

/// In these eras a client that goes away does not cancel.
fn terms(asker: &Asker<'_>, message: &ClientMessage) -> Terms {
    let limit = asker.server.time_limit(&message.method, &message.params);
    Terms::new().within(limit).on_drop(OnDrop::Detach)
}

/// A notification or an answer of a client of shared children. The children are told nothing by one of their
/// clients, and ask none of them.
fn one_way(message: &ClientMessage, is_cancel: bool, mut log: RequestLog) -> Answer {
    if message.kind == MessageKind::Answer {
        log.set_outcome("refused");
        let reason = "an answer to nothing that was asked: the children of this server are shared";
        return refuse(
            StatusCode::BAD_REQUEST,
            message.id.as_ref(),
            INVALID_REQUEST,
            reason,
        );
    }
    log.set_outcome(if is_cancel { "cancel" } else { "taken" });
    accepted()
}

async fn through_shared(
    retry: &pool_stdio::Retry,
    session: Option<InUse>,
    message: ClientMessage,
    terms: &Terms,
    mut log: RequestLog,
) -> Answer {
    let id = message.id.unwrap_or_default();
    match here(&message.method) {
        Here::Empty => {
            log.set_outcome("ok");
            json(Bytes::from(
                [br#"{"jsonrpc":"2.0","id":"#, &id[..], br#","result":{}}"#].concat(),
            ))
        }
        Here::Refused(reason) => {
            log.set_outcome("refused");
            json(error_object(Some(&id), METHOD_NOT_FOUND, reason))
        }
        Here::No => {
            deliver(Call::shared(
                retry.exchange(message.bytes, terms),
                session,
                id,
                log,
            ))
            .await
        }
    }
}

/// What is not forwarded to shared children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    No,
    Empty,
    Refused(&'static str),
}

fn here(method: &str) -> Here {
    match method {
        "ping" => Here::Empty,
        "logging/setLevel" => Here::Refused(
            "the children of this server are shared, and a log level is one for all: use sharing = \"session\"",
        ),
        "resources/subscribe" | "resources/unsubscribe" => Here::Refused(
            "the children of this server are shared, and subscriptions are not: use sharing = \"session\"",
        ),
        _ if method.starts_with("tasks/") => Here::Refused(
            "the children of this server are shared, and a task stays in one: use sharing = \"session\"",
        ),
        _ => Here::No,
    }
}

async fn to_own_child(
    asker: &Asker<'_>,
    session: InUse,
    message: ClientMessage,
    mut log: RequestLog,
) -> Answer {
    let begun = match &session.0.kind {
        Kind::Own(child) => send(asker, child, &message),
        Kind::Shared { .. } => return accepted(),
    };
    let mut exchange = match begun {
        Ok(exchange) => exchange,
        Err(failure) => {
            log.set_outcome(failure.outcome);
            return failure.answer(message.id.as_ref());
        }
    };
    if message.kind == MessageKind::Request {
        let id = message.id.unwrap_or_default();
        return deliver(Call::own(exchange, session, id, log)).await;
    }
    log.set_pid(exchange.pid());
    match exchange.reply().await.map_err(Failure::from) {
        Ok(_) => {
            log.set_outcome("taken");
            accepted()
        }
        Err(failure) => {
            log.set_outcome(failure.outcome);
            failure.answer(message.id.as_ref())
        }
    }
}

fn send(
    asker: &Asker<'_>,
    child: &Session,
    message: &ClientMessage,
) -> Result<pool_stdio::Exchange, Failure> {
    let terms = terms(asker, message);
    Ok(child.exchange(message.bytes.clone(), &terms)?)
}

const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shared_is_refused_and_a_ping_needs_no_child() {
        assert_eq!(here("ping"), Here::Empty);
        assert_eq!(here("tools/call"), Here::No);
        for method in ["logging/setLevel", "resources/subscribe", "tasks/get"] {
            assert!(matches!(here(method), Here::Refused(_)), "{method}");
        }
    }
}
