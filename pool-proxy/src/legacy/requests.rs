//! Which messages reach a child, and which are answered here.

use std::sync::Arc;

use hyper::StatusCode;
use pool_stdio::Terms;
use serde::Deserialize;

use super::own_requests::to_own_child;
use crate::asker::Asker;
use crate::backend::{KeyState, Listed, SharedChildren};
use crate::delivery::{Call, Failure, deliver};
use crate::request_log::RequestLog;
use crate::sessions::{InUse, Kind};
use crate::wire::{
    Answer, ClientMessage, Kind as MessageKind, Revision, Spoken, accepted, json, refuse,
    result_object,
};

/// Answers a message of a session.
pub(super) async fn in_session(
    asker: &Asker<'_>,
    session: InUse,
    message: ClientMessage,
) -> Answer {
    let mut log = RequestLog::new(&asker.server.meters, &asker.principal, &message.method);
    if let Err(failure) = take_place(asker, Some(&session), &message, &mut log) {
        return failure.answer(message.id.as_ref());
    }
    let (shared, ids) = match &session.0.kind {
        Kind::Own(_) => {
            let terms = terms(asker, &message);
            return to_own_child(asker, session, message, (terms, log)).await;
        }
        Kind::Shared { key, ids, .. } => (key.clone(), ids.clone()),
    };
    if message.kind != MessageKind::Request {
        // Order: a cancel takes effect before it is acknowledged.
        let is_cancel = ids.cancel(&message.bytes);
        return one_way(&message, is_cancel, log);
    }
    let terms = terms(asker, &message).client(&ids);
    through_shared((asker, &shared), Some(session), message, &terms, log).await
}

/// Takes a place among the requests in flight, if it is a request.
fn take_place(
    asker: &Asker<'_>,
    session: Option<&InUse>,
    message: &ClientMessage,
    log: &mut RequestLog,
) -> Result<(), Failure> {
    if message.kind != MessageKind::Request {
        return Ok(());
    }
    let of_session = session.map(|session| &session.0.requests);
    let places = &asker.app.request_places;
    match places.request(&asker.principal, of_session) {
        Ok(place) => {
            log.hold(place);
            Ok(())
        }
        Err(too_many) => {
            let failure = Failure::from(too_many);
            failure.note_in(log);
            Err(failure)
        }
    }
}

/// Answers a message outside of any session, which only shared children can serve.
pub(super) async fn sessionless(
    asker: &Asker<'_>,
    shared: &SharedChildren,
    revision: Revision,
    message: ClientMessage,
) -> Answer {
    let mut log = RequestLog::new(&asker.server.meters, &asker.principal, &message.method);
    if message.kind != MessageKind::Request {
        return one_way(&message, false, log);
    }
    if let Err(failure) = take_place(asker, None, &message, &mut log) {
        return failure.answer(message.id.as_ref());
    }
    match shared.key(&asker.principal, Spoken::Sessions(revision)) {
        Ok(key) => {
            let terms = terms(asker, &message);
            through_shared((asker, &key), None, message, &terms, log).await
        }
        Err(error) => {
            let failure = Failure::from(error);
            failure.note_in(&mut log);
            failure.answer(message.id.as_ref())
        }
    }
}

fn terms(asker: &Asker<'_>, message: &ClientMessage) -> Terms {
    let limit = asker.server.time_limit(&message.method, &message.params);
    Terms::new().within(limit)
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
    (asker, key): (&Asker<'_>, &KeyState),
    session: Option<InUse>,
    message: ClientMessage,
    terms: &Terms,
    mut log: RequestLog,
) -> Answer {
    let id = message.id.clone().unwrap_or_default();
    let done = match here(&message.method) {
        Here::No => {
            let listed = key.lists.find(&message.method, &message.params);
            if let Listed::Kept(result, _) = listed {
                log.set_outcome("kept");
                return json(result_object(&id, result.get()));
            }
            let exchange = match key.exchange(message.bytes, terms) {
                Ok(exchange) => exchange,
                Err(error) => {
                    let failure = Failure::from(error);
                    failure.note_in(&mut log);
                    return failure.answer(Some(&id));
                }
            };
            // Order: its slices keep the whole body.
            drop(message.params);
            let mut call =
                Call::shared(exchange, session, id, log).without_client(&asker.app.tasks);
            if let Listed::Missing(request) = listed {
                let lists = Arc::clone(&key.lists);
                call = call.translated(move |reply| {
                    lists.keep(&request, &reply);
                    (StatusCode::OK, reply)
                });
            }
            return deliver(call).await;
        }
        Here::Empty => Ok(()),
        Here::Level => check_level(&message),
        Here::Subscription(change) => match &session {
            Some(session) => change_subscription(session, change, &message).await,
            None => Err(Failure::refused(METHOD_NOT_FOUND, WITHOUT_STREAM)),
        },
        Here::Refused(reason) => Err(Failure::refused(METHOD_NOT_FOUND, reason)),
    };
    match done {
        Ok(()) => {
            log.set_outcome("ok");
            json(result_object(&id, "{}"))
        }
        Err(failure) => {
            failure.note_in(&mut log);
            failure.answer(Some(&id))
        }
    }
}

/// What is not forwarded to shared children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    No,
    Empty,
    Level,
    Subscription(Change),
    Refused(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Subscribe,
    Unsubscribe,
}

fn here(method: &str) -> Here {
    match method {
        "ping" => Here::Empty,
        "logging/setLevel" => Here::Level,
        "resources/subscribe" => Here::Subscription(Change::Subscribe),
        "resources/unsubscribe" => Here::Subscription(Change::Unsubscribe),
        _ if method.starts_with("tasks/") => Here::Refused(
            "the children of this server are shared, and a task stays in one: use sharing = \"session\"",
        ),
        _ => Here::No,
    }
}

/// A level is accepted, and has no effect: a line of the child's log names no request, so it is given to nobody.
fn check_level(message: &ClientMessage) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Params {
        level: String,
    }
    let params = serde_json::from_slice::<Params>(&message.params);
    match params.is_ok_and(|params| LEVELS.contains(&&*params.level)) {
        true => Ok(()),
        false => Err(Failure::refused(INVALID_PARAMS, "params.level is no level")),
    }
}

async fn change_subscription(
    session: &InUse,
    change: Change,
    message: &ClientMessage,
) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Params {
        uri: String,
    }
    let Kind::Shared {
        key, subscriber, ..
    } = &session.0.kind
    else {
        return Err(Failure::refused(METHOD_NOT_FOUND, WITHOUT_STREAM));
    };
    let Ok(params) = serde_json::from_slice::<Params>(&message.params) else {
        return Err(Failure::refused(INVALID_PARAMS, "params.uri is missing"));
    };
    match change {
        Change::Subscribe => {
            let limit = session.0.server.settings.request_timeout;
            Ok(key.subscribe(subscriber, &params.uri, limit).await?)
        }
        Change::Unsubscribe => {
            subscriber.unsubscribe(&params.uri);
            Ok(())
        }
    }
}

const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const WITHOUT_STREAM: &str = "updates go to the stream of a session, and this is no request of one";
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shared_is_refused_and_a_ping_needs_no_child() {
        assert_eq!(here("ping"), Here::Empty);
        assert_eq!(here("tools/call"), Here::No);
        assert!(matches!(here("tasks/get"), Here::Refused(_)));
    }
}
