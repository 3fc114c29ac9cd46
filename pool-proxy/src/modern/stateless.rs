//! Which messages reach a child, and which are answered here.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use pool_stdio::{OnDrop, Terms};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::arguments::check_arguments;
use super::metadata::{BadMetadata, check};
use super::subscription::listen;
use super::translation::{Asked, translate};
use crate::asker::Asker;
use crate::backend::{Era, Hello, KeyState, Listed};
use crate::config::Sharing;
use crate::delivery::{Call, Failure, deliver};
use crate::request_log::RequestLog;
use crate::wire::{
    Answer, ClientMessage, MODERN_VERSION, MessageKind, Revision, Spoken, accepted,
    error_with_data, json as json_answer, refuse, result_object,
};

/// Answers a message.
pub(crate) async fn post(asker: &Asker<'_>, headers: &HeaderMap, message: ClientMessage) -> Answer {
    let id = message.id.clone();
    match message.kind {
        MessageKind::Request => {}
        // A client of this era cancels by closing its stream.
        MessageKind::Notification => return accepted(),
        MessageKind::Answer => {
            let reason = "this revision has no questions of the server";
            return refuse(
                StatusCode::BAD_REQUEST,
                id.as_ref(),
                INVALID_REQUEST,
                reason,
            );
        }
    }
    if let Err(bad) = check(headers, &message) {
        return refused(asker, id.as_ref(), &bad);
    }
    if is_of_another_era(&message.method) {
        return refuse(
            StatusCode::NOT_FOUND,
            id.as_ref(),
            METHOD_NOT_FOUND,
            "method not found",
        );
    }
    let mut log = RequestLog::new(&asker.server.meters, &asker.principal, &message.method);
    let shared = asker.server.sessionless();
    if let Some(error) = shared.refusal() {
        return failed(Failure::from(&error), id.as_ref(), &mut log);
    }
    let key = match shared.key(&asker.principal, Spoken::Modern) {
        Ok(key) => key,
        Err(error) => return failed(Failure::from(error), id.as_ref(), &mut log),
    };
    match &*message.method {
        "server/discover" => discover(asker, &key, &id.unwrap_or_default(), log).await,
        "subscriptions/listen" => match asker.app.request_places.listen(&asker.principal) {
            Ok(place) => {
                log.hold(place);
                log.note_stream();
                listen(asker, &key, &message, log)
            }
            Err(too_many) => failed(too_many.into(), id.as_ref(), &mut log),
        },
        _ => {
            if let Err(bad) = check_mirrored(headers, &key, &message) {
                log.set_outcome("refused");
                return refused(asker, id.as_ref(), &bad);
            }
            forward(asker, &key, message, log).await
        }
    }
}

/// Checks the headers that repeat arguments, if the tool has been listed.
fn check_mirrored(
    headers: &HeaderMap,
    key: &KeyState,
    message: &ClientMessage,
) -> Result<(), BadMetadata> {
    let is_call = message.method == "tools/call";
    match is_call.then(|| key.lists.tool(&message.params)).flatten() {
        Some(tool) => check_arguments(headers, &message.params, &tool.mirrored),
        None => Ok(()),
    }
}

async fn forward(
    asker: &Asker<'_>,
    key: &Arc<KeyState>,
    message: ClientMessage,
    mut log: RequestLog,
) -> Answer {
    let mut asked = asked(asker, &message);
    let listed = key.lists.find(&message.method, &message.params);
    if let Listed::Kept(result, left) = &listed {
        log.set_outcome("kept");
        (asked.lists_ttl, asked.is_kept) = (*left, true);
        let reply = result_object(message.id.as_deref().unwrap_or_default(), result.get());
        return json_answer(translate(reply, &asked).1);
    }
    match asker.request_place(None) {
        Ok(place) => log.hold(place),
        Err(too_many) => return failed(too_many.into(), message.id.as_ref(), &mut log),
    }
    let limit = asker.server.time_limit(&message.method, &message.params);
    // A client that closes the stream cancels.
    let terms = Terms::new().within(limit).on_drop(OnDrop::Cancel);
    let exchange = match key.exchange(message.bytes, &terms) {
        Ok(exchange) => exchange,
        Err(error) => return failed(Failure::from(error), message.id.as_ref(), &mut log),
    };
    // Order: its slices keep the whole body.
    drop(message.params);
    let through = (exchange, Arc::clone(key));
    let call = Call::shared(through, None, message.id.unwrap_or_default(), log);
    let lists = Arc::clone(&key.lists);
    let translation = move |reply: Bytes| {
        if let Listed::Missing(request) = &listed {
            lists.keep(request, &reply);
        }
        translate(reply, &asked)
    };
    deliver(call.translated(translation)).await
}

fn asked(asker: &Asker<'_>, message: &ClientMessage) -> Asked {
    #[derive(Deserialize)]
    struct Read {
        uri: Option<String>,
    }
    let is_read = message.method == "resources/read";
    let read = is_read
        .then(|| serde_json::from_slice::<Read>(&message.params).ok())
        .flatten();
    Asked {
        method: message.method.clone(),
        uri: read.and_then(|read| read.uri),
        lists_ttl: asker.server.settings.lists_ttl,
        is_kept: false,
        scope: scope(asker),
    }
}

/// What everybody may be told, only where children do not know who asks.
fn scope(asker: &Asker<'_>) -> &'static str {
    match asker.server.settings.sharing {
        Sharing::Stateless => "public",
        Sharing::Session | Sharing::Shared | Sharing::Request => "private",
    }
}

/// Answers `server/discover` with what the children promise.
async fn discover(
    asker: &Asker<'_>,
    key: &Arc<KeyState>,
    id: &Bytes,
    mut log: RequestLog,
) -> Answer {
    let hello = match hello(asker, key, &mut log).await {
        Ok(hello) => hello,
        Err(failure) => return failed(failure, Some(id), &mut log),
    };
    let result = match hello.era {
        Era::Modern => of_modern(&hello.result),
        Era::Legacy => of_legacy(&hello.result, asker),
    };
    log.set_outcome("ok");
    json_answer(result_object(id, &result.to_string()))
}

/// The promise of the children. If it is not known yet, the request waits for a child.
async fn hello(
    asker: &Asker<'_>,
    key: &KeyState,
    log: &mut RequestLog,
) -> Result<Arc<Hello>, Failure> {
    if let Some(hello) = key.promise.hello() {
        return Ok(hello);
    }
    log.hold(asker.request_place(None)?);
    Ok(key.hello().await?)
}

/// What a modern child says of itself, with the versions that are spoken here, too.
fn of_modern(said: &RawValue) -> Value {
    let mut result = serde_json::from_str::<Value>(said.get()).unwrap_or_default();
    if let Some(versions) = result["supportedVersions"].as_array_mut() {
        let known = versions_spoken();
        versions.retain(|version| known.iter().any(|known| version == known));
    }
    result
}

/// The same of what a legacy child has said when it was initialized.
fn of_legacy(said: &RawValue, asker: &Asker<'_>) -> Value {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        #[serde(default)]
        capabilities: Value,
        server_info: Option<Value>,
        instructions: Option<Value>,
    }
    let said = serde_json::from_str::<Said>(said.get()).unwrap_or_default();
    let mut result = json!({
        "resultType": "complete",
        "supportedVersions": versions_spoken(),
        "capabilities": said.capabilities,
        "ttlMs": u64::try_from(asker.server.settings.lists_ttl.as_millis()).unwrap_or(u64::MAX),
        "cacheScope": scope(asker),
    });
    if let Some(info) = said.server_info {
        result["_meta"] = json!({ "io.modelcontextprotocol/serverInfo": info });
    }
    if let Some(instructions) = said.instructions {
        result["instructions"] = instructions;
    }
    result
}

fn failed(failure: Failure, id: Option<&Bytes>, log: &mut RequestLog) -> Answer {
    failure.note_in(log);
    failure.answer(id)
}

fn refused(asker: &Asker<'_>, id: Option<&Bytes>, bad: &BadMetadata) -> Answer {
    let message = match bad {
        BadMetadata::Header(reason) => error_with_data(id, HEADER_MISMATCH, reason, None),
        BadMetadata::Meta(reason) => error_with_data(id, INVALID_PARAMS, reason, None),
        BadMetadata::Version(requested) => {
            let data = json!({ "supported": supported(asker), "requested": requested });
            error_with_data(
                id,
                UNSUPPORTED_VERSION,
                "unsupported protocol version",
                Some(data),
            )
        }
    };
    let mut answer = json_answer(message);
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
}

/// The versions that clients can use, as far as the children have said.
fn supported(asker: &Asker<'_>) -> Value {
    let key = asker.server.sessionless();
    let key = key.key(&asker.principal, Spoken::Modern).ok();
    match key.and_then(|key| key.promise.hello()) {
        Some(hello) if hello.era == Era::Modern => {
            of_modern(&hello.result)["supportedVersions"].take()
        }
        Some(_) | None => json!(versions_spoken()),
    }
}

/// All versions that a server is spoken to in.
fn versions_spoken() -> Vec<&'static str> {
    let with_sessions = Revision::ALL.into_iter().rev().map(Revision::name);
    std::iter::once(MODERN_VERSION)
        .chain(with_sessions)
        .collect()
}

/// What only earlier revisions have.
fn is_of_another_era(method: &str) -> bool {
    let is_gone = matches!(
        method,
        "initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe"
    );
    is_gone || method.starts_with("tasks/") || method.starts_with("notifications/")
}

const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;
