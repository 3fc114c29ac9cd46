//! Which messages of a session with a child of its own reach that child, and which are answered without one.
//!
//! A child that lives answers itself. If there is none, lists come from what was kept of others of its kind, and
//! whatever else is asked for starts one.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use pool_stdio::Terms;

use super::own_start::child_of;
use crate::asker::Asker;
use crate::backend::Listed;
use crate::delivery::{Call, Failure, deliver};
use crate::request_log::RequestLog;
use crate::sessions::{InUse, LiveChild, OwnChild, SessionKind};
use crate::wire::{Answer, ClientMessage, MessageKind, accepted, json, refuse, result_object};

/// Answers a message of a session.
pub(super) async fn to_own_child(
    asker: &Asker<'_>,
    session: InUse,
    message: ClientMessage,
    (terms, mut log): (Terms, RequestLog),
) -> Answer {
    let SessionKind::Own(own) = &session.0.kind else {
        return accepted();
    };
    if message.method == "notifications/cancelled" && own.waiting.cancel(&message.params) {
        log.set_outcome("cancel");
        return accepted();
    }
    if let Some(answer) = without_child(own, &message, &mut log) {
        return answer;
    }
    let sent = match child_for((asker, &session), own, &message, &mut log).await {
        Ok(child) => send(child, &message, &terms),
        Err(failure) => Err(failure),
    };
    let (child, mut exchange) = match sent {
        Ok(sent) => sent,
        Err(failure) => return failed(&failure, &message, &mut log),
    };
    if message.kind == MessageKind::Request {
        let call = Call::own(
            exchange,
            (session, Arc::clone(&child)),
            id_of(&message),
            log,
        );
        let call = keeping_list(call, child, &message).without_client(&asker.app.tasks);
        // Order: its slices keep the whole body.
        drop(message);
        return deliver(call).await;
    }
    log.set_pid(exchange.pid());
    match exchange.reply().await.map_err(Failure::from) {
        Ok(_) => {
            log.set_outcome("taken");
            accepted()
        }
        Err(failure) => failed(&failure, &message, &mut log),
    }
}

/// The child that gets a message. Its client can cancel a request that waits for it.
async fn child_for(
    (asker, session): (&Asker<'_>, &InUse),
    own: &OwnChild,
    message: &ClientMessage,
    log: &mut RequestLog,
) -> Result<Arc<LiveChild>, Failure> {
    if message.kind == MessageKind::Request {
        log.hold(asker.request_place(Some(session))?);
    }
    if let Some(live) = own.live() {
        return Ok(live);
    }
    let started = async {
        let child = child_of(asker, session, own).await;
        // The end of the proxy ends the session. A new one could not begin here, either.
        child.map_err(|failure| match asker.app.stop.is_cancelled() {
            true => Failure::closing(),
            false => failure,
        })
    };
    if message.kind != MessageKind::Request {
        return started.await;
    }
    let id = id_of(message);
    let waiting = own.waiting.enter(&id);
    let waiting = waiting.ok_or_else(|| Failure::id_in_use(&id))?;
    tokio::select! {
        // Order: a child that has started in the meantime gets nothing that was cancelled.
        biased;
        () = waiting.cancelled() => Err(Failure::cancelled()),
        child = started => child,
    }
}

fn send(
    child: Arc<LiveChild>,
    message: &ClientMessage,
    terms: &Terms,
) -> Result<(Arc<LiveChild>, pool_stdio::Exchange), Failure> {
    if !leaves_nothing(message) {
        // Order: before the child has it.
        child.note_personal();
    }
    let exchange = child.session().exchange(message.bytes.clone(), terms)?;
    Ok((child, exchange))
}

/// The answer to a message that needs no child; `None` if there is a child, or must be.
fn without_child(own: &OwnChild, message: &ClientMessage, log: &mut RequestLog) -> Option<Answer> {
    let method = &*message.method;
    let is_initialized = method == "notifications/initialized" && own.is_told_here();
    if !is_initialized && own.live().is_some() {
        return None;
    }
    match message.kind {
        MessageKind::Notification if is_initialized || is_for_nobody(method) => {
            log.set_outcome("taken");
            Some(accepted())
        }
        MessageKind::Answer => {
            log.set_outcome("refused");
            let reason = "an answer to nothing that was asked";
            let id = message.id.as_ref();
            Some(refuse(StatusCode::BAD_REQUEST, id, INVALID_REQUEST, reason))
        }
        MessageKind::Request if method == "ping" => {
            log.set_outcome("ok");
            Some(json(result_object(&id_of(message), "{}")))
        }
        MessageKind::Request => match own.kept_list(method, &message.params) {
            Some(Listed::Kept(result, _)) => {
                log.set_outcome("kept");
                Some(json(result_object(&id_of(message), result.get())))
            }
            Some(Listed::Missing(_) | Listed::Not) | None => None,
        },
        MessageKind::Notification => None,
    }
}

/// Notifications that say nothing to a child that starts later: it has no request of the client, and asks for its
/// roots itself.
fn is_for_nobody(method: &str) -> bool {
    matches!(
        method,
        "notifications/cancelled" | "notifications/progress" | "notifications/roots/list_changed"
    )
}

/// Whether a child is the same to its client before and after this message.
fn leaves_nothing(message: &ClientMessage) -> bool {
    let method = &*message.method;
    let is_list = matches!(
        method,
        "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list"
    );
    is_list
        || matches!(
            method,
            "ping" | "notifications/initialized" | "notifications/cancelled"
        )
}

/// Keeps the reply if it is a list of a child that its client has left nothing in.
fn keeping_list(call: Call, child: Arc<LiveChild>, message: &ClientMessage) -> Call {
    let Some(kind) = child.kind().map(Arc::clone) else {
        return call;
    };
    match kind.lists.find(&message.method, &message.params) {
        Listed::Missing(request) if !child.is_personal() => call.translated(move |reply| {
            if !child.is_personal() {
                kind.lists.keep(&request, &reply);
            }
            (StatusCode::OK, reply)
        }),
        Listed::Missing(_) | Listed::Kept(..) | Listed::Not => call,
    }
}

fn failed(failure: &Failure, message: &ClientMessage, log: &mut RequestLog) -> Answer {
    failure.note_in(log);
    match message.kind {
        MessageKind::Request => failure.answer(message.id.as_ref()),
        MessageKind::Notification | MessageKind::Answer => failure.not_taken(),
    }
}

fn id_of(message: &ClientMessage) -> Bytes {
    message.id.clone().unwrap_or_default()
}

const INVALID_REQUEST: i64 = -32600;
