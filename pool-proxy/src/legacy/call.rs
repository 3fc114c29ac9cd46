//! What a request yields before its reply, and how it ends.

use bytes::Bytes;
use futures_util::FutureExt;
use pool_stdio::{Exchange, Retrying};

use super::failure::Failure;
use crate::request_log::RequestLog;
use crate::sessions::{InUse, Kind, StreamTurn};

/// A request of a client, on its way through a child.
pub(super) struct Call {
    way: Way,
    pub(super) id: Bytes,
    log: RequestLog,
}

enum Way {
    /// Over children that serve others, too.
    Shared {
        exchange: Box<Retrying>,
        _session: Option<InUse>,
    },
    /// Over the child of a session. What that says to its client goes to this request's stream when it
    /// is its turn.
    Own {
        exchange: Box<Exchange>,
        turn: StreamTurn,
        session: InUse,
        is_silent: bool,
    },
}

impl Call {
    pub(super) fn shared(
        exchange: Retrying,
        session: Option<InUse>,
        id: Bytes,
        log: RequestLog,
    ) -> Self {
        let way = Way::Shared {
            exchange: Box::new(exchange),
            _session: session,
        };
        Self { way, id, log }
    }

    pub(super) fn own(exchange: Exchange, session: InUse, id: Bytes, mut log: RequestLog) -> Self {
        log.set_pid(exchange.pid());
        let way = Way::Own {
            exchange: Box::new(exchange),
            turn: session.0.turns.request(),
            session,
            is_silent: false,
        };
        Self { way, id, log }
    }

    /// The next message for the client; `None` when the outcome is known.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        match &mut self.way {
            Way::Shared { exchange, .. } => exchange.next().await.map(|note| note.message),
            Way::Own {
                exchange,
                turn,
                session,
                is_silent,
            } => {
                let Kind::Own(child) = &session.0.kind else {
                    return None;
                };
                loop {
                    let is_mine = turn.is_mine() && !*is_silent;
                    tokio::select! {
                        biased;
                        message = child.next(), if is_mine => match message {
                            Some(message) => return Some(message.message().clone()),
                            None => *is_silent = true,
                        },
                        note = exchange.next() => match note {
                            Some(note) => return Some(note.message),
                            // What the child said before its reply was queued before it.
                            None if is_mine => {
                                let message = child.next().now_or_never().flatten();
                                return message.map(|message| message.message().clone());
                            }
                            None => return None,
                        },
                        () = turn.changed() => {}
                    }
                }
            }
        }
    }

    /// The outcome, after [`next`](Self::next) has said that it is known.
    pub(super) async fn outcome(&mut self) -> Result<Bytes, Failure> {
        let reply = match &mut self.way {
            Way::Shared { exchange, .. } => {
                if let Some(pid) = exchange.pid() {
                    self.log.set_pid(pid);
                }
                exchange.reply().await.map_err(Failure::from)
            }
            Way::Own { exchange, .. } => exchange.reply().await.map_err(Failure::from),
        };
        match reply {
            Ok(reply) => {
                self.log.set_outcome("ok");
                Ok(reply.unwrap_or_default())
            }
            Err(failure) => {
                self.log.set_outcome(failure.outcome);
                Err(failure)
            }
        }
    }
}
