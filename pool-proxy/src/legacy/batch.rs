//! Batches, which revision 2025-03-26 has and all later ones have not.
//!
//! The messages of a batch are served as if each had come alone, all at once. Their replies are one array if
//! each is known soon, otherwise one stream.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{once, select_all};
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use pool_stdio::Batch;

use super::endpoint::{post, speaks_batches};
use crate::asker::Asker;
use crate::wire::{
    Answer, BadMessage, ClientMessage, Kind, ReplyBody, accepted, event, json, parse, refuse, sse,
};

/// Answers a body that is an array.
pub(crate) async fn post_batch(asker: &Asker<'_>, headers: &HeaderMap, body: &Bytes) -> Answer {
    if !speaks_batches(asker, headers) {
        return refused(&BadMessage::Batch);
    }
    let messages = match messages(body) {
        Ok(messages) => messages,
        Err(error) => return refused(&error),
    };
    let has_request = messages.iter().any(|message| message.kind == Kind::Request);
    let answers = messages.into_iter().map(|message| async move {
        let kind = message.kind;
        (kind, post(asker, headers, message).await)
    });
    let answers = join_all(answers).await;
    if !has_request {
        // One that was refused decides; there is nothing else to say.
        let refusal = answers
            .into_iter()
            .map(|(_, answer)| answer)
            .find(|answer| !answer.status().is_success());
        return refusal.unwrap_or_else(accepted);
    }
    let refusal = common_refusal(&answers);
    let replies = answers
        .into_iter()
        .filter(|(kind, answer)| *kind == Kind::Request || !answer.status().is_success());
    let mut answer = joined(replies.map(|(_, answer)| answer.into_body()).collect());
    if let Some((status, retry_after)) = refusal {
        *answer.status_mut() = status;
        if let Some(after) = retry_after {
            answer.headers_mut().insert(RETRY_AFTER, after);
        }
    }
    answer
}

/// If all messages are refused with one status, such as the 404 of a session that has ended, it is that of the batch.
fn common_refusal(all: &[(Kind, Answer)]) -> Option<(StatusCode, Option<HeaderValue>)> {
    let (_, first) = all.first()?;
    let status = first.status();
    let is_common = !status.is_success() && all.iter().all(|(_, one)| one.status() == status);
    is_common.then(|| (status, first.headers().get(RETRY_AFTER).cloned()))
}

/// The messages of a batch.
fn messages(body: &Bytes) -> Result<Vec<ClientMessage>, BadMessage> {
    let batch = Batch::of(body.clone(), BATCH_MAX).ok().flatten();
    let batch = batch.ok_or(BadMessage::NotRpc(NO_BATCH))?;
    let messages: Vec<_> = batch
        .messages()
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()?;
    match messages
        .iter()
        .any(|message| message.method == "initialize")
    {
        true => Err(BadMessage::NotRpc("initialize must not be in a batch")),
        false => Ok(messages),
    }
}

/// One answer of all replies.
fn joined(bodies: Vec<ReplyBody>) -> Answer {
    let is_known = |body: &ReplyBody| matches!(body, ReplyBody::Whole(_));
    if bodies.iter().all(is_known) {
        let replies = bodies.into_iter().filter_map(|body| match body {
            ReplyBody::Whole(reply) => reply,
            ReplyBody::Events(_) => None,
        });
        return Batch::join(replies).map_or_else(accepted, json);
    }
    let streams = bodies.into_iter().filter_map(|body| match body {
        ReplyBody::Whole(None) => None,
        ReplyBody::Whole(Some(reply)) => Some(once(async move { event(&reply) }).boxed()),
        ReplyBody::Events(events) => Some(events),
    });
    sse(select_all(streams))
}

fn refused(error: &BadMessage) -> Answer {
    refuse(
        StatusCode::BAD_REQUEST,
        None,
        error.code(),
        &error.to_string(),
    )
}

/// Each message of a batch can hold a child.
const BATCH_MAX: usize = 100;
const NO_BATCH: &str = "a batch is an array of 1 to 100 messages";
