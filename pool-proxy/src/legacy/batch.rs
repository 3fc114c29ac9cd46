//! Batches, which revision 2025-03-26 has and all later ones have not.
//!
//! The messages of a batch are served as if each had come alone, all at once. Their replies are one array if
//! each is known soon, otherwise one stream. A small batch can ask for many large replies, so what they may have
//! together is limited: a reply beyond it becomes an error.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{once, select_all};
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use pool_stdio::{join_batch, split_batch};

use super::endpoint::{post, speaks_batches};
use crate::asker::Asker;
use crate::wire::{
    Answer, BadMessage, ClientMessage, MessageKind, ReplyBody, accepted, because, error_with_data,
    event, json, parse, refuse, sse,
};

/// Answers a body that is an array.
pub(crate) async fn post_batch(asker: &Asker<'_>, headers: &HeaderMap, body: Bytes) -> Answer {
    if !speaks_batches(asker, headers) {
        return refused(&BadMessage::Batch);
    }
    let messages = match messages(body) {
        Ok(messages) => messages,
        Err(error) => return refused(&error),
    };
    let has_request = messages
        .iter()
        .any(|message| message.kind == MessageKind::Request);
    let room = &ReplyRoom::of(asker.app.http.batch_bytes_max);
    let answers = messages.into_iter().map(|message| async move {
        let (kind, id) = (message.kind, message.id.clone());
        let answer = post(asker, headers, message).await;
        (kind, room.take(answer, id.as_ref()))
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
        .filter(|(kind, answer)| *kind == MessageKind::Request || !answer.status().is_success());
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
fn common_refusal(all: &[(MessageKind, Answer)]) -> Option<(StatusCode, Option<HeaderValue>)> {
    let (_, first) = all.first()?;
    let status = first.status();
    let is_common = !status.is_success() && all.iter().all(|(_, one)| one.status() == status);
    is_common.then(|| (status, first.headers().get(RETRY_AFTER).cloned()))
}

/// How many bytes the replies of a batch still may have.
struct ReplyRoom {
    left: AtomicUsize,
    max: usize,
}

impl ReplyRoom {
    const fn of(max: usize) -> Self {
        Self {
            left: AtomicUsize::new(max),
            max,
        }
    }

    /// The answer, or an error in its place if there is no room for it. A stream is taken as it is: it says one
    /// reply at a time, when its client reads.
    fn take(&self, answer: Answer, id: Option<&Bytes>) -> Answer {
        let ReplyBody::Whole(Some(reply)) = answer.body() else {
            return answer;
        };
        let bytes = reply.len();
        let take = |left: usize| match left == self.max {
            // What may come alone may come first.
            true => Some(left.saturating_sub(bytes)),
            false => left.checked_sub(bytes),
        };
        let order = Ordering::Relaxed;
        match self.left.fetch_update(order, order, take) {
            Ok(_) => answer,
            Err(_) => json(error_with_data(id, NO_ROOM, NO_ROOM_REASON, None)),
        }
    }
}

/// The messages of a batch.
fn messages(body: Bytes) -> Result<Vec<ClientMessage>, BadMessage> {
    let batch = split_batch(body, BATCH_MAX).ok().flatten();
    let batch = batch.ok_or(BadMessage::NotRpc(NO_BATCH))?;
    let messages: Vec<_> = batch.iter().map(parse).collect::<Result<_, _>>()?;
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
        return join_batch(replies).map_or_else(accepted, json);
    }
    let streams = bodies.into_iter().filter_map(|body| match body {
        ReplyBody::Whole(None) => None,
        ReplyBody::Whole(Some(reply)) => Some(once(async move { event(&reply) }).boxed()),
        ReplyBody::Events(events) => Some(events),
    });
    sse(select_all(streams))
}

fn refused(error: &BadMessage) -> Answer {
    let (status, code) = (StatusCode::BAD_REQUEST, error.code());
    because(refuse(status, None, code, &error.to_string()), "message")
}

/// Each message of a batch can hold a child.
const BATCH_MAX: usize = 100;
/// An error of a server.
const NO_ROOM: i64 = -32000;
const NO_ROOM_REASON: &str = "the replies of this batch are too large together (http.batch_bytes_max). The request was \
                              executed, and its reply is lost: ask alone for what is large";
const NO_BATCH: &str = "a batch is an array of 1 to 100 messages";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_beyond_the_room_of_their_batch_become_errors() {
        let room = ReplyRoom::of(100);
        let whole = |bytes| json(Bytes::from(vec![b'x'; bytes]));
        let taken = |bytes| {
            let answer = room.take(whole(bytes), Some(&Bytes::from("7")));
            match answer.into_body() {
                ReplyBody::Whole(Some(reply)) => reply,
                ReplyBody::Whole(None) | ReplyBody::Events(_) => Bytes::new(),
            }
        };
        assert_eq!(taken(90).len(), 90);
        let refused = taken(11);
        assert!(
            refused.starts_with(br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"#),
            "{refused:?}"
        );
        assert_eq!(taken(10).len(), 10);
        assert_ne!(taken(1).len(), 1);
        // Alone it is not refused, so first it is not, either.
        let room = ReplyRoom::of(100);
        let answer = room.take(whole(101), None);
        assert_eq!(
            hyper::body::Body::size_hint(answer.body()).exact(),
            Some(101)
        );
        let answer = room.take(whole(1), None);
        assert_ne!(hyper::body::Body::size_hint(answer.body()).exact(), Some(1));
    }
}
