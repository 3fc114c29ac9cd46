//! When an answer is one message and when a stream.
//!
//! An answer is one message if the reply is the first thing that there is to say, within five seconds.
//! Otherwise it becomes a stream of events, which ends with the reply; a silent stream gets comments. The
//! stream holds the call, so a client that goes away ends it as the call's terms say.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use hyper::Response;
use tokio::time::{sleep, timeout};

use super::call::Call;
use crate::wire::{Answer, COMMENT, event, json, sse};

/// Answers a request.
pub(crate) async fn deliver(mut call: Call) -> Answer {
    let first = match timeout(SILENCE_MAX, call.next()).await {
        Ok(None) => {
            return match call.outcome().await {
                Ok((status, reply)) => {
                    let mut answer = json(reply);
                    *answer.status_mut() = status;
                    answer
                }
                Err(failure) => failure.answer(Some(&call.id)),
            };
        }
        Ok(Some(message)) => event(&message),
        Err(_) => COMMENT,
    };
    stream(first, call)
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
/// Below the 30 s after which many proxies close a silent stream.
pub(crate) const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
