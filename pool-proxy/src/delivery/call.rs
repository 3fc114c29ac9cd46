//! What a request yields before its reply, and how it ends.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::StatusCode;
use pool_stdio::{Exchange, Retrying, RpcLimits};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::failure::Failure;
use crate::backend::KeyState;
use crate::request_log::RequestLog;
use crate::sessions::{InUse, LiveChild, StreamTurn};

/// A request of a client, on its way through a child.
pub(crate) struct Call {
    carrier: Carrier,
    pub(crate) id: Bytes,
    /// `None` once the call goes on without its client.
    log: Option<RequestLog>,
    translation: Option<Translation>,
    /// Where it goes on if its client goes away. Otherwise, and once it is over, it ends with its client.
    goes_on: Option<TaskTracker>,
}

/// What is done to the reply of a child before its client gets it.
type Translation = Box<dyn Fn(Bytes) -> (StatusCode, Bytes) + Send>;

enum Carrier {
    /// Over children that serve others, too.
    Shared {
        exchange: Box<Retrying>,
        key: Arc<KeyState>,
        session: Option<InUse>,
    },
    /// Over the child of a session. What that says to its client goes to this request's stream when it
    /// is its turn.
    Own {
        exchange: Box<Exchange>,
        turn: StreamTurn,
        child: Arc<LiveChild>,
        session: InUse,
        is_silent: bool,
        /// `Some` when the reply has come: how many messages of the child may still go before it.
        before_reply: Option<usize>,
    },
    /// Its client has gone.
    Left,
}

impl Call {
    pub(crate) fn shared(
        (exchange, key): (Retrying, Arc<KeyState>),
        session: Option<InUse>,
        id: Bytes,
        log: RequestLog,
    ) -> Self {
        let carrier = Carrier::Shared {
            exchange: Box::new(exchange),
            key,
            session,
        };
        Self::of(carrier, id, log)
    }

    pub(crate) fn own(
        exchange: Exchange,
        (session, child): (InUse, Arc<LiveChild>),
        id: Bytes,
        mut log: RequestLog,
    ) -> Self {
        log.set_pid(exchange.pid());
        let carrier = Carrier::Own {
            exchange: Box::new(exchange),
            turn: session.0.turns.request(),
            child,
            session,
            is_silent: false,
            before_reply: None,
        };
        Self::of(carrier, id, log)
    }

    const fn of(carrier: Carrier, id: Bytes, log: RequestLog) -> Self {
        Self {
            carrier,
            id,
            log: Some(log),
            translation: None,
            goes_on: None,
        }
    }

    /// Which goes on to its reply or its deadline if its client goes away: in the eras with sessions that is no
    /// cancel. Until then it counts as in flight, and keeps its session in use.
    pub(crate) fn without_client(mut self, tasks: &TaskTracker) -> Self {
        self.goes_on = Some(tasks.clone());
        self
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
        match &self.carrier {
            Carrier::Shared { exchange, .. } => exchange.pid().is_none(),
            Carrier::Own { .. } | Carrier::Left => false,
        }
    }

    /// The next message for the client; `None` when the outcome is known.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        match &mut self.carrier {
            Carrier::Left => None,
            Carrier::Shared { exchange, .. } => exchange.next().await.map(|note| note.message),
            Carrier::Own {
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
        let mut pid = None;
        let reply = match &mut self.carrier {
            Carrier::Left => Ok(None),
            Carrier::Shared { exchange, key, .. } => {
                pid = exchange.pid();
                let reply = exchange.reply().await;
                reply.map_err(|error| Failure::of_key(error, key))
            }
            Carrier::Own { exchange, .. } => exchange.reply().await.map_err(Failure::from),
        };
        self.goes_on = None;
        if let (Some(log), Some(pid)) = (&mut self.log, pid) {
            log.set_pid(pid);
        }
        match reply {
            Ok(reply) => {
                if let Some(log) = &mut self.log {
                    log.set_outcome("ok");
                }
                let reply = reply.unwrap_or_default();
                Ok(match &self.translation {
                    Some(translation) => translation(reply),
                    None => (StatusCode::OK, reply),
                })
            }
            Err(failure) => {
                if let Some(log) = &mut self.log {
                    failure.note_in(log);
                }
                Err(failure)
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let (Some(log), Carrier::Shared { exchange, .. }) = (&mut self.log, &self.carrier)
            && let Some(pid) = exchange.pid()
        {
            log.set_pid(pid);
        }
        let Some(tasks) = self.goes_on.take() else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        // What belongs to the stream of the answer ends with that: the turn, and what the child says.
        let (carrier, log) = (
            mem::replace(&mut self.carrier, Carrier::Left),
            self.log.take(),
        );
        match carrier {
            Carrier::Shared {
                mut exchange,
                session,
                ..
            } => {
                if exchange.pid().is_none() {
                    // No child has it.
                    return;
                }
                let rest = async move {
                    drop(exchange.reply().await);
                    drop((session, log));
                };
                drop(tasks.spawn_on(rest, &runtime));
            }
            Carrier::Own {
                mut exchange,
                session,
                ..
            } => {
                let rest = async move {
                    drop(exchange.reply().await);
                    drop((session, log));
                };
                drop(tasks.spawn_on(rest, &runtime));
            }
            Carrier::Left => {}
        }
    }
}
