//! Which messages reach a child, and which are answered here.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use pool_stdio::Terms;
use serde::Deserialize;

use super::own_requests::to_own_child;
use crate::asker::Asker;
use crate::backend::{KeyState, Listed, NotSubscribed, SharedChildren};
use crate::delivery::{Call, Failure, deliver};
use crate::request_log::RequestLog;
use crate::sessions::{InUse, SessionKind};
use crate::wire::{
    Answer, ClientMessage, MessageKind, Revision, Spoken, accepted, json, refuse, result_object,
};

/// Answers a message of a session.
pub(super) async fn in_session(
    asker: &Asker<'_>,
    session: InUse,
    message: ClientMessage,
) -> Answer {
    let log = RequestLog::new(&asker.server.meters, &asker.principal, &message.method);
    let (shared, ids) = match &session.0.kind {
        SessionKind::Own(_) => {
            let terms = terms(asker, &message);
            return to_own_child(asker, session, message, (terms, log)).await;
        }
        SessionKind::Shared { key, ids, .. } => (key.clone(), ids.clone()),
    };
    if message.kind != MessageKind::Request {
        // Order: a cancel takes effect before it is acknowledged.
        let is_cancel = ids.cancel(&message.bytes);
        return one_way(&message, is_cancel, log);
    }
    let terms = terms(asker, &message).client(&ids);
    through_shared((asker, &shared), Some(session), message, &terms, log).await
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
    match shared.key(&asker.principal, Spoken::Sessions(revision)) {
        Ok(key) => {
            let terms = terms(asker, &message);
            through_shared((asker, &key), None, message, &terms, log).await
        }
        Err(error) => failed(&error.into(), message.id.as_ref(), &mut log),
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
    (asker, key): (&Asker<'_>, &Arc<KeyState>),
    session: Option<InUse>,
    message: ClientMessage,
    terms: &Terms,
    mut log: RequestLog,
) -> Answer {
    let done = match here(&message.method) {
        Here::No => return to_child((asker, key), session, message, terms, log).await,
        Here::Empty => Ok(()),
        Here::Level => check_level(&message),
        Here::Subscription(change) => match &session {
            Some(session) => {
                change_subscription((asker, session), change, &message, &mut log).await
            }
            None => Err(Failure::refused(METHOD_NOT_FOUND, WITHOUT_STREAM)),
        },
        Here::Refused(reason) => Err(Failure::refused(METHOD_NOT_FOUND, reason)),
    };
    match done {
        Ok(()) => {
            log.set_outcome("ok");
            let id = message.id.as_deref();
            json(result_object(id.unwrap_or_default(), "{}"))
        }
        Err(failure) => failed(&failure, message.id.as_ref(), &mut log),
    }
}

/// Asks a child, unless what was kept of others is the answer.
async fn to_child(
    (asker, key): (&Asker<'_>, &Arc<KeyState>),
    session: Option<InUse>,
    message: ClientMessage,
    terms: &Terms,
    mut log: RequestLog,
) -> Answer {
    let id = message.id.clone().unwrap_or_default();
    let listed = key.lists.find(&message.method, &message.params);
    if let Listed::Kept(result, _) = listed {
        log.set_outcome("kept");
        return json(result_object(&id, result.get()));
    }
    match asker.request_place(session.as_ref()) {
        Ok(place) => log.hold(place),
        Err(too_many) => return failed(&too_many.into(), Some(&id), &mut log),
    }
    // None is offered, so the protocol demands that the wish is ignored: nobody could ask for it, since a task stays in
    // the child that has begun it.
    let bytes = message.without_task().unwrap_or(message.bytes);
    let exchange = match key.exchange(bytes, terms) {
        Ok(exchange) => exchange,
        Err(error) => return failed(&error.into(), Some(&id), &mut log),
    };
    // Order: its slices keep the whole body.
    drop(message.params);
    let through = (exchange, Arc::clone(key));
    let mut call = Call::shared(through, session, id, log).without_client(&asker.app.tasks);
    if let Listed::Missing(request) = listed {
        let lists = Arc::clone(&key.lists);
        call = call.translated(move |reply| {
            lists.keep(&request, &reply);
            (StatusCode::OK, reply)
        });
    }
    deliver(call).await
}

fn failed(failure: &Failure, id: Option<&Bytes>, log: &mut RequestLog) -> Answer {
    failure.note_in(log);
    failure.answer(id)
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
    (asker, session): (&Asker<'_>, &InUse),
    change: Change,
    message: &ClientMessage,
    log: &mut RequestLog,
) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Params {
        uri: String,
    }
    let SessionKind::Shared {
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
            log.hold(asker.request_place(Some(session))?);
            let limit = session.0.server.settings.request_timeout;
            match key.subscribe(subscriber, &params.uri, limit).await {
                Err(NotSubscribed::Late) if key.is_starting() => Err(Failure::starting()),
                subscribed => Ok(subscribed?),
            }
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
