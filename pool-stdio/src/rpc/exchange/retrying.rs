//! One message of one client over a pool, with as many exchanges as it takes.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pool_core::{AcquireError, BoxFuture};
use tokio::time::timeout_at;

use super::admission::{Attempt, admit};
use super::client_exchange::Exchange;
use super::client_ids::Registration;
use super::held::Held;
use super::retry_policy::{History, NotRepeated, RetryError, RetryPolicy};
use super::rpc_pool::RpcPool;
use super::terms::Terms;
use crate::rpc::client::read_message;
use crate::rpc::error::{Fate, RpcError};
use crate::rpc::limit::Limit;
use crate::rpc::notification::Notification;
use crate::rpc::scan::MessageKind;

/// One message of one client over a pool. Used as an [`Exchange`] is.
///
/// Made by [`Retry::exchange`](crate::Retry::exchange).
#[must_use = "a message is sent when its reply or its notes are awaited"]
pub struct Retrying {
    policy: RetryPolicy,
    pool: RpcPool,
    message: Bytes,
    terms: Terms,
    deadline: Option<Limit>,
    history: History,
    /// The client's id, from the first attempt to the outcome.
    registration: Option<Arc<Registration>>,
    stage: Stage,
    /// Of the attempt before, if a child may have executed it.
    doubt: Option<RpcError>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most requests need one attempt, and a box would cost each of them an allocation"
)]
enum Stage {
    New,
    Acquiring(BoxFuture<'static, Result<Held, NoHeld>>),
    /// The last attempt so far. It is kept for its notes.
    Running(Exchange),
    /// There is no further attempt.
    Settled(Result<(), RetryError>),
}

/// What is known of a message before it has a child.
enum Reserved {
    /// The client's id is in flight from now on.
    Id(Arc<Registration>),
    /// It needs no id.
    Nothing,
    /// It is a cancel, and has had its effect.
    Cancel,
}

/// Why there is no child.
enum NoHeld {
    Refused(AcquireError),
    Late(Limit),
}

/// Reserves the client's id, so that a second request under it is refused, and a cancel finds it.
fn reserve(message: &[u8], terms: &Terms) -> Result<Reserved, RpcError> {
    let Some(client) = &terms.client else {
        return Ok(Reserved::Nothing);
    };
    let (kind, envelope) = read_message(message)?;
    Ok(match (kind, envelope.id) {
        (MessageKind::Request, Some(id)) => {
            Reserved::Id(Arc::new(client.register(id.of(message))?))
        }
        (MessageKind::Notification, _) if client.cancel(message) => Reserved::Cancel,
        _ => Reserved::Nothing,
    })
}

impl Retrying {
    pub(super) fn new(policy: RetryPolicy, pool: RpcPool, message: Bytes, terms: Terms) -> Self {
        let (registration, stage) = match reserve(&message, &terms) {
            Ok(Reserved::Id(registration)) => (Some(registration), Stage::New),
            Ok(Reserved::Nothing) => (None, Stage::New),
            Ok(Reserved::Cancel) => (None, Stage::Settled(Ok(()))),
            Err(error) => (None, Stage::Settled(Err(RetryError::Failed(error)))),
        };
        Self {
            policy,
            pool,
            message,
            terms,
            deadline: None,
            history: History::default(),
            registration,
            stage,
            doubt: None,
        }
    }

    /// As [`Exchange::next`]. Once a note was taken, a request that may have been executed is not sent
    /// again.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Notification> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Exchange::reply`].
    ///
    /// # Errors
    ///
    /// [`NoChild`](RetryError::NoChild) or [`NoChildInTime`](RetryError::NoChildInTime) if the pool lends
    /// none, [`OutcomeUnknown`](RetryError::OutcomeUnknown) if a child may have executed the request,
    /// [`Failed`](RetryError::Failed) if it failed in another way.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost, not even a place in the queue of the pool.
    pub async fn reply(&mut self) -> Result<Option<Bytes>, RetryError> {
        poll_fn(|cx| self.poll_reply(cx)).await
    }

    /// The process id of the child of the latest attempt, if that has begun.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        match &self.stage {
            Stage::Running(exchange) => Some(exchange.pid()),
            Stage::New | Stage::Acquiring(_) | Stage::Settled(_) => None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notification>> {
        loop {
            let Some(exchange) = ready!(self.poll_exchange(cx)) else {
                return Poll::Ready(None);
            };
            let note = exchange.poll_next(cx);
            let failed = match exchange.outcome() {
                Some(Ok(_)) => {
                    self.registration = None;
                    None
                }
                Some(Err(error)) => Some(error.clone()),
                None => None,
            };
            let note = ready!(note);
            if note.is_some() {
                self.history.has_passed_on = true;
                return Poll::Ready(note);
            }
            // The outcome is known.
            match failed {
                Some(error) => self.repeat_or_fail(error),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, RetryError>> {
        while let Some(exchange) = ready!(self.poll_exchange(cx)) {
            match ready!(exchange.poll_over(cx)) {
                Ok(reply) => {
                    let reply = reply.clone();
                    self.registration = None;
                    return Poll::Ready(Ok(reply));
                }
                Err(error) => {
                    let error = error.clone();
                    self.repeat_or_fail(error);
                }
            }
        }
        match &self.stage {
            Stage::Settled(outcome) => Poll::Ready(outcome.clone().map(|()| None)),
            Stage::New | Stage::Acquiring(_) | Stage::Running(_) => Poll::Pending,
        }
    }

    /// Sends the request again that failed so, or settles how it failed.
    fn repeat_or_fail(&mut self, error: RpcError) {
        let failed = error.clone();
        if let Some(registration) = &self.registration
            && error.ends_connection()
        {
            registration.take_back();
            if registration.is_cancelled() {
                return self.cancelled(error.fate());
            }
        }
        match self.policy.decide(&self.message, error, &mut self.history) {
            Ok(()) => {
                if failed.fate() == Fate::MaybeExecuted {
                    self.doubt = Some(failed);
                }
                self.acquire();
            }
            Err(error) => self.fail(error),
        }
    }

    /// There is no further attempt.
    fn fail(&mut self, error: RetryError) {
        let error = self.in_doubt(error);
        self.registration = None;
        self.stage = Stage::Settled(Err(error));
    }

    /// The client has cancelled the request while no child had it. `fate` is that of the last attempt.
    fn cancelled(&mut self, fate: Fate) {
        self.fail(RetryError::Failed(RpcError::ClientCancelled { fate }));
    }

    /// If the first attempt may have been executed, the client is told so, whatever became of the
    /// second one.
    fn in_doubt(&self, error: RetryError) -> RetryError {
        match (&self.doubt, error) {
            (Some(doubt), RetryError::NoChild(_) | RetryError::NoChildInTime { .. }) => {
                RetryError::OutcomeUnknown {
                    error: doubt.clone(),
                    why: NotRepeated::NoChild,
                }
            }
            (Some(_), RetryError::Failed(error @ RpcError::ClientCancelled { .. })) => {
                RetryError::Failed(error.maybe_executed())
            }
            (Some(_), RetryError::Failed(error)) if error.is_retry_safe() => {
                RetryError::OutcomeUnknown {
                    error,
                    why: NotRepeated::RepeatedBefore,
                }
            }
            (_, error) => error,
        }
    }

    /// The exchange of the present attempt; `None` if there will be none any more.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Option<&mut Exchange>> {
        if matches!(self.stage, Stage::New) {
            self.deadline = self.terms.limit.map(Limit::starting_now);
            self.policy.budget.save();
        }
        if matches!(self.stage, Stage::New | Stage::Acquiring(_))
            && let Some(registration) = &self.registration
            && registration.poll_cancelled(cx)
        {
            self.cancelled(Fate::NotSent);
        }
        if matches!(self.stage, Stage::New) {
            self.acquire();
        }
        if let Stage::Acquiring(acquiring) = &mut self.stage {
            let acquired = ready!(Pin::new(acquiring).poll(cx));
            self.begin(acquired);
        }
        Poll::Ready(match &mut self.stage {
            Stage::Running(exchange) => Some(exchange),
            Stage::New | Stage::Acquiring(_) | Stage::Settled(_) => None,
        })
    }

    /// Begins another attempt.
    fn acquire(&mut self) {
        self.history.attempts += 1;
        if let Some(held) = self.pool.try_acquire() {
            self.begin(Ok(held));
            return;
        }
        let acquiring = self.pool.acquire();
        self.stage = Stage::Acquiring(match self.deadline {
            None => Box::pin(async move { acquiring.await.map_err(NoHeld::Refused) }),
            Some(limit) => Box::pin(async move {
                match timeout_at(limit.until, acquiring).await {
                    Ok(acquired) => acquired.map_err(NoHeld::Refused),
                    Err(_) => Err(NoHeld::Late(limit)),
                }
            }),
        });
    }

    fn begin(&mut self, acquired: Result<Held, NoHeld>) {
        let begun = match acquired {
            Ok(held) => {
                let attempt = Attempt {
                    deadline: self.deadline,
                    registration: self.registration.clone(),
                };
                admit(held, self.message.clone(), &self.terms, attempt).map_err(RetryError::Failed)
            }
            Err(NoHeld::Refused(error)) => Err(RetryError::NoChild(error)),
            Err(NoHeld::Late(limit)) => Err(RetryError::NoChildInTime {
                limit: limit.duration,
            }),
        };
        match begun {
            Ok(exchange) => self.stage = Stage::Running(exchange),
            Err(error) => self.fail(error),
        }
    }
}

impl fmt::Debug for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}
