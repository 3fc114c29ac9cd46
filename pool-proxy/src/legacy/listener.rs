//! The stream that a client keeps open for what belongs to none of its requests.

use std::future::pending;

use bytes::Bytes;
use futures_util::stream::unfold;
use serde_json::json;
use tokio::time::sleep;

use crate::backend::{News, Subscriber};
use crate::delivery::COMMENT_INTERVAL;
use crate::sessions::{InUse, SessionKind, StreamTurn};
use crate::wire::{Answer, COMMENT, event, sse};

/// Answers the GET of a session. An earlier stream of it ends: its client may be gone without a word, and the
/// protocol lets a server send each message on one stream only.
pub(super) fn listen(session: InUse) -> Answer {
    let turn = session.0.turns.listener();
    let news = match &session.0.kind {
        SessionKind::Shared { key, .. } => Some(key.promise.news()),
        SessionKind::Own(_) => None,
    };
    let stream = GetStream {
        session,
        turn,
        news,
    };
    // The first comment sends the head of the answer, so that the client knows that it is heard.
    sse(unfold(
        (Some(COMMENT), stream),
        |(first, mut stream)| async {
            let bytes = match first {
                Some(first) => first,
                None => stream.next().await?,
            };
            Some((bytes, (None, stream)))
        },
    ))
}

struct GetStream {
    session: InUse,
    turn: StreamTurn,
    /// Of the children that the session shares.
    news: Option<News>,
}

impl GetStream {
    async fn next(&mut self) -> Option<Bytes> {
        let ended = self.session.0.ended.clone();
        let replaced = self.turn.replaced();
        tokio::select! {
            biased;
            () = ended.cancelled() => None,
            () = replaced => None,
            message = self.message() => message.map(|message| event(&message)),
            () = sleep(COMMENT_INTERVAL) => Some(COMMENT),
        }
    }

    async fn message(&mut self) -> Option<Bytes> {
        let own = match &self.session.0.kind {
            SessionKind::Shared { subscriber, .. } => {
                return shared_message(self.news.as_mut()?, subscriber).await;
            }
            SessionKind::Own(own) => own,
        };
        let mut live = own.watch();
        loop {
            let child = live.borrow_and_update().clone();
            let message = async {
                match &child {
                    Some(child) => child.next().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                message = message, if self.turn.is_mine() => return message,
                () = self.turn.changed() => {}
                // Fails only without the session, which is in this.
                _ = live.changed() => {}
            }
        }
    }
}

/// What children that are shared say to the client of a session.
async fn shared_message(news: &mut News, subscriber: &Subscriber) -> Option<Bytes> {
    tokio::select! {
        uri = subscriber.next() => Some(updated(&uri)),
        change = news.next() => change,
    }
}

fn updated(uri: &str) -> Bytes {
    let method = "notifications/resources/updated";
    json!({ "jsonrpc": "2.0", "method": method, "params": { "uri": uri } })
        .to_string()
        .into()
}
