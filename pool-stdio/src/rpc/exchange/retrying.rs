//! One message of one client over a pool, with as many exchanges as it takes.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pool_core::{AcquireError, BoxFuture};
use tokio::time::timeout_at;

use super::admission::admit;
use super::client_exchange::Exchange;
use super::held::Held;
use super::retry_policy::{History, NotRepeated, RetryError, RetryPolicy};
use super::rpc_pool::RpcPool;
use super::terms::Terms;
use crate::rpc::error::{Fate, RpcError};
use crate::rpc::limit::Limit;
use crate::rpc::notifications::Notification;

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
    Failed(RetryError),
}

/// Why there is no child.
enum NoHeld {
    Refused(AcquireError),
    Late(Limit),
}

impl Retrying {
    pub(super) const fn new(
        policy: RetryPolicy,
        pool: RpcPool,
        message: Bytes,
        terms: Terms,
    ) -> Self {
        Self {
            policy,
            pool,
            message,
            terms,
            deadline: None,
            history: History {
                attempts: 0,
                was_repeated: false,
                has_passed_on: false,
            },
            stage: Stage::New,
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
            Stage::New | Stage::Acquiring(_) | Stage::Failed(_) => None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notification>> {
        loop {
            let Some(exchange) = ready!(self.poll_exchange(cx)) else {
                return Poll::Ready(None);
            };
            let note = ready!(exchange.poll_next(cx));
            if note.is_some() {
                self.history.has_passed_on = true;
                return Poll::Ready(note);
            }
            // The outcome is known.
            match exchange.outcome() {
                Some(Err(error)) => {
                    let error = error.clone();
                    self.repeat_or_fail(error);
                }
                Some(Ok(_)) | None => return Poll::Ready(None),
            }
        }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, RetryError>> {
        while let Some(exchange) = ready!(self.poll_exchange(cx)) {
            match ready!(exchange.poll_over(cx)) {
                Ok(reply) => return Poll::Ready(Ok(reply.clone())),
                Err(error) => {
                    let error = error.clone();
                    self.repeat_or_fail(error);
                }
            }
        }
        match &self.stage {
            Stage::Failed(error) => Poll::Ready(Err(error.clone())),
            Stage::New | Stage::Acquiring(_) | Stage::Running(_) => Poll::Pending,
        }
    }

    /// Sends the request again that failed so, or settles how it failed.
    fn repeat_or_fail(&mut self, error: RpcError) {
        let failed = error.clone();
        match self.policy.decide(&self.message, error, &mut self.history) {
            Ok(()) => {
                if failed.fate() == Fate::MaybeExecuted {
                    self.doubt = Some(failed);
                }
                self.acquire();
            }
            Err(error) => self.stage = Stage::Failed(self.in_doubt(error)),
        }
    }

    /// What was sent twice is in doubt, whatever became of the second attempt.
    fn in_doubt(&self, error: RetryError) -> RetryError {
        match (&self.doubt, error) {
            (Some(doubt), RetryError::NoChild(_) | RetryError::NoChildInTime { .. }) => {
                RetryError::OutcomeUnknown {
                    error: doubt.clone(),
                    why: NotRepeated::NoChild,
                }
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
            self.acquire();
        }
        if let Stage::Acquiring(acquiring) = &mut self.stage {
            let acquired = ready!(Pin::new(acquiring).poll(cx));
            self.begin(acquired);
        }
        Poll::Ready(match &mut self.stage {
            Stage::Running(exchange) => Some(exchange),
            Stage::New | Stage::Acquiring(_) | Stage::Failed(_) => None,
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
                // Order: the attempt before is dropped first, so that its id is free.
                self.stage = Stage::New;
                admit(held, self.message.clone(), &self.terms, self.deadline)
                    .map_err(RetryError::Failed)
            }
            Err(NoHeld::Refused(error)) => Err(RetryError::NoChild(error)),
            Err(NoHeld::Late(limit)) => Err(RetryError::NoChildInTime {
                limit: limit.duration,
            }),
        };
        self.stage = match begun {
            Ok(exchange) => Stage::Running(exchange),
            Err(error) => Stage::Failed(self.in_doubt(error)),
        };
    }
}

impl fmt::Debug for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}
