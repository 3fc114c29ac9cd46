//! When an answer is one message and when a stream.
//!
//! An answer is one message if the reply is the first thing that there is to say, within five seconds.
//! Otherwise it becomes a stream of events, which ends with the reply; a silent stream gets comments. The
//! stream holds the call, so a client that goes away ends it as the call's terms say.
//!
//! A stream has the status 200, so nothing can be refused once it has begun. Therefore none begins before a
//! child has the request: until then there is no answer at all, for as long as a request may wait for a child.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use hyper::Response;
use tokio::time::{sleep, timeout};

use super::call::Call;
use crate::wire::{Answer, COMMENT, event, json, sse};

/// Answers a request.
pub(crate) async fn deliver(mut call: Call) -> Answer {
    let mut patience = SILENCE_MAX;
    loop {
        match timeout(patience, call.next()).await {
            Ok(None) => return whole(call).await,
            Ok(Some(message)) => return stream(event(&message), call),
            Err(_) if call.waits_for_child() => patience = LOOK_INTERVAL,
            Err(_) => return stream(COMMENT, call),
        }
    }
}

async fn whole(mut call: Call) -> Answer {
    match call.outcome().await {
        Ok((status, reply)) => {
            let mut answer = json(reply);
            *answer.status_mut() = status;
            answer
        }
        Err(failure) => failure.answer(Some(&call.id)),
    }
}

fn stream(first: Bytes, call: Call) -> Answer {
    let stages = Stage::First(first, call);
    let answer: Response<_> = sse(unfold(stages, |stage| async {
        match stage {
            Stage::First(bytes, call) => Some((bytes, Stage::Running(call))),
            Stage::Running(mut call) => {
                let message = tokio::select! {
                    message = call.next() => message,
                    () = sleep(COMMENT_INTERVAL) => return Some((COMMENT, Stage::Running(call))),
                };
                if let Some(message) = message {
                    return Some((event(&message), Stage::Running(call)));
                }
                let reply = match call.outcome().await {
                    Ok((_, reply)) => reply,
                    Err(failure) => failure.message(Some(&call.id)),
                };
                Some((event(&reply), Stage::Over))
            }
            Stage::Over => None,
        }
    }));
    answer
}

enum Stage {
    First(Bytes, Call),
    Running(Call),
    Over,
}

/// Before an answer becomes a stream.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// After that: how often a request that waits for a child is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Below the 30 s after which many proxies close a silent stream.
pub(crate) const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
