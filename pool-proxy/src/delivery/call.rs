//! What a request yields before its reply, and how it ends.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::StatusCode;
use pool_stdio::{Exchange, Retrying, RpcLimits};

use super::failure::Failure;
use crate::request_log::RequestLog;
use crate::sessions::{InUse, LiveChild, StreamTurn};

/// A request of a client, on its way through a child.
pub(crate) struct Call {
    way: Way,
    pub(crate) id: Bytes,
    log: RequestLog,
    translation: Option<Translation>,
}

/// What is done to the reply of a child before its client gets it.
type Translation = Box<dyn Fn(Bytes) -> (StatusCode, Bytes) + Send>;

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
        child: Arc<LiveChild>,
        _session: InUse,
        is_silent: bool,
        /// `Some` when the reply has come: how many messages of the child may still go before it.
        before_reply: Option<usize>,
    },
}

impl Call {
    pub(crate) fn shared(
        exchange: Retrying,
        session: Option<InUse>,
        id: Bytes,
        log: RequestLog,
    ) -> Self {
        let way = Way::Shared {
            exchange: Box::new(exchange),
            _session: session,
        };
        Self {
            way,
            id,
            log,
            translation: None,
        }
    }

    pub(crate) fn own(
        exchange: Exchange,
        (session, child): (InUse, Arc<LiveChild>),
        id: Bytes,
        mut log: RequestLog,
    ) -> Self {
        log.set_pid(exchange.pid());
        let way = Way::Own {
            exchange: Box::new(exchange),
            turn: session.0.turns.request(),
            child,
            _session: session,
            is_silent: false,
            before_reply: None,
        };
        Self {
            way,
            id,
            log,
            translation: None,
        }
    }

    /// With a reply that is said differently, under another status.
    pub(crate) fn translated(
        mut self,
        translation: impl Fn(Bytes) -> (StatusCode, Bytes) + Send + 'static,
    ) -> Self {
        self.translation = Some(Box::new(translation));
        self
    }

    /// Whether no child has the request yet, so that it can still be refused.
    pub(crate) fn waits_for_child(&self) -> bool {
        match &self.way {
            Way::Shared { exchange, .. } => exchange.pid().is_none(),
            Way::Own { .. } => false,
        }
    }

    /// The next message for the client; `None` when the outcome is known.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        match &mut self.way {
            Way::Shared { exchange, .. } => exchange.next().await.map(|note| note.message),
            Way::Own {
                exchange,
                turn,
                child,
                is_silent,
                before_reply,
                ..
            } => loop {
                let is_mine = turn.is_mine() && !*is_silent;
                if let Some(left) = before_reply {
                    *left = left.checked_sub(1).filter(|_| is_mine)?;
                    return child.next().now_or_never().flatten();
                }
                // Not biased: a child that never stops talking holds up neither its notes nor its reply.
                tokio::select! {
                    message = child.next(), if is_mine => match message {
                        Some(message) => return Some(message),
                        None => *is_silent = true,
                    },
                    note = exchange.next() => match note {
                        Some(note) => return Some(note.message),
                        // What the child said before its reply is among as many messages as are kept.
                        None => *before_reply = Some(RpcLimits::default().notifications_max),
                    },
                    () = turn.changed() => {}
                }
            },
        }
    }

    /// The outcome, after [`next`](Self::next) has said that it is known.
    pub(crate) async fn outcome(&mut self) -> Result<(StatusCode, Bytes), Failure> {
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
                let reply = reply.unwrap_or_default();
                Ok(match &self.translation {
                    Some(translation) => translation(reply),
                    None => (StatusCode::OK, reply),
                })
            }
            Err(failure) => {
                self.log.set_outcome(failure.outcome);
                Err(failure)
            }
        }
    }
}
