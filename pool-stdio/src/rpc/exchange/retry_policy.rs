//! When a failed request is sent again. Decides, and sends nothing.
//!
//! # The rule
//!
//! * What was not sent is sent again, on another child.
//! * What may have been executed is sent again once, only if the caller says that repeating it does no
//!   harm, and only if nothing of it was passed on. So one request ends two children at most.
//! * If the child wrote what cannot be read, the request may be the cause. What may have been executed is
//!   not sent again then.
//! * Each resend is one of the attempts. One of what may have been executed is paid from the budget, too. What was
//!   not sent costs no child anything, however many requests one dying child leaves in its queue.
//!
//! Only a child that ended gives a reason to send again: an answer is an answer, and a deadline has passed
//! for good.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pool_core::AcquireError;
use thiserror::Error;

use crate::rpc::error::{Fate, RpcError};
use crate::rpc::scan::Envelope;

/// Why a request over a pool has no reply.
///
/// [`Retry`](crate::Retry) has an example.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum RetryError {
    /// The pool lent no child. Nothing was sent that a child may have executed.
    #[error("no child: {0}")]
    NoChild(#[source] AcquireError),
    /// The pool lent no child before the request's deadline. Nothing was sent that a child may have
    /// executed.
    #[error("no child within {limit:?}")]
    NoChildInTime {
        /// [`within`](crate::Terms::within).
        limit: Duration,
    },
    /// A child may have executed the request, wholly or in part, and nobody can tell.
    #[error("outcome unknown, and not sent again ({why}): {error}")]
    OutcomeUnknown {
        /// How the last attempt failed.
        #[source]
        error: RpcError,
        /// Why it was not sent again.
        why: NotRepeated,
    },
    /// The request failed in another way. If [`is_retry_safe`](RpcError::is_retry_safe), no child has
    /// executed it.
    #[error(transparent)]
    Failed(RpcError),
}

/// Why a request that may have been executed was not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotRepeated {
    /// Its caller has not said that repeating it does no harm.
    NotIdempotent,
    /// It had been sent again before.
    RepeatedBefore,
    /// Its caller had taken a note of it, so a repetition would be seen.
    NotesPassedOn,
    /// All attempts were used up.
    Attempts,
    /// Too many requests that may have been executed were sent again lately.
    Budget,
    /// Its deadline has passed.
    Deadline,
    /// A child wrote something that cannot be read, perhaps in reply to this request. Another child would
    /// do the same.
    UnreadableReply,
    /// The pool lent no other child.
    NoChild,
}

impl fmt::Display for NotRepeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotIdempotent => "repeating it may do harm",
            Self::RepeatedBefore => "it had been sent again before",
            Self::NotesPassedOn => "a note of it had been passed on",
            Self::Attempts => "all attempts were used up",
            Self::Budget => "too many requests were sent again lately",
            Self::Deadline => "its deadline has passed",
            Self::UnreadableReply => "its reply may be what cannot be read",
            Self::NoChild => "there was no other child",
        })
    }
}

type IsIdempotent = dyn Fn(&str, &[u8]) -> bool + Send + Sync;

/// When requests are sent again.
#[derive(Clone)]
pub(super) struct RetryPolicy {
    pub(super) attempts_max: u32,
    pub(super) budget: Arc<RetryBudget>,
    pub(super) is_idempotent: Option<Arc<IsIdempotent>>,
}

/// What was done for a request so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct History {
    /// How often it was sent, or could not be.
    pub(super) attempts: u32,
    /// It was sent again although it may have been executed.
    pub(super) was_repeated: bool,
    pub(super) has_passed_on: bool,
}

impl RetryPolicy {
    pub(super) fn new() -> Self {
        Self {
            attempts_max: ATTEMPTS_DEFAULT,
            budget: Arc::new(RetryBudget::new(BUDGET_DEFAULT)),
            is_idempotent: None,
        }
    }

    /// Whether to send a request again that failed so, or what its caller is told.
    pub(super) fn decide(
        &self,
        message: &[u8],
        error: RpcError,
        history: &mut History,
    ) -> Result<(), RetryError> {
        if error.fate() == Fate::NotSent {
            let is_worth_it = error.ends_connection() && history.attempts < self.attempts_max;
            return match is_worth_it {
                true => Ok(()),
                false => Err(RetryError::Failed(error)),
            };
        }
        let is_timeout = matches!(error, RpcError::Timeout { .. });
        let is_unreadable = matches!(
            error,
            RpcError::FrameTooLarge { .. } | RpcError::Protocol { .. }
        );
        if !is_timeout && !error.ends_connection() {
            return Err(RetryError::Failed(error));
        }
        let why = if is_timeout {
            NotRepeated::Deadline
        } else if is_unreadable {
            NotRepeated::UnreadableReply
        } else if history.was_repeated {
            NotRepeated::RepeatedBefore
        } else if history.has_passed_on {
            NotRepeated::NotesPassedOn
        } else if !self.may_repeat(message) {
            NotRepeated::NotIdempotent
        } else if history.attempts >= self.attempts_max {
            NotRepeated::Attempts
        } else if !self.budget.spend() {
            NotRepeated::Budget
        } else {
            history.was_repeated = true;
            return Ok(());
        };
        Err(RetryError::OutcomeUnknown { error, why })
    }

    fn may_repeat(&self, message: &[u8]) -> bool {
        let Some(is_idempotent) = &self.is_idempotent else {
            return false;
        };
        let Ok(envelope) = Envelope::of(message) else {
            return false;
        };
        let method = envelope
            .method
            .and_then(|method| serde_json::from_slice::<String>(method.of(message)).ok());
        let params = envelope
            .params
            .map_or(&b""[..], |params| params.of(message));
        method.is_some_and(|method| is_idempotent(&method, params))
    }
}

/// Limits the resends of what may have been executed to a share of the requests, so that they cannot add up to a
/// storm.
#[derive(Debug)]
pub(super) struct RetryBudget {
    percent: u32,
    /// Hundredths of a resend.
    saved: AtomicU32,
}

impl RetryBudget {
    pub(super) const fn new(percent: u32) -> Self {
        let percent = if percent < 100 { percent } else { 100 };
        let saved = if percent == 0 { 0 } else { SAVED_MAX };
        Self {
            percent,
            saved: AtomicU32::new(saved),
        }
    }

    /// A request begins: a part of a resend is saved.
    pub(super) fn save(&self) {
        // Most of the time it is full, and nothing is written that others read.
        if self.saved.load(Ordering::Relaxed) < SAVED_MAX {
            let more = |saved: u32| Some((saved + self.percent).min(SAVED_MAX));
            let updated = self
                .saved
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
            debug_assert!(updated.is_ok(), "the closure always has a value");
        }
    }

    /// Takes a whole resend, if there is one.
    fn spend(&self) -> bool {
        let less = |saved: u32| saved.checked_sub(RESEND);
        let updated = self
            .saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        updated.is_ok()
    }
}

const ATTEMPTS_DEFAULT: u32 = 3;
/// Percent of the requests.
const BUDGET_DEFAULT: u32 = 20;
/// One resend, in hundredths.
const RESEND: u32 = 100;
/// What a quiet time saves: as many as one child that ends may leave behind.
const SAVED_MAX: u32 = 100 * RESEND;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::report::ChildFacts;

    const MESSAGE: &[u8] = br#"{"id":1,"method":"tools\/call","params":{"name":"read"}}"#;

    fn exited(fate: Fate) -> RpcError {
        let report = ChildFacts::default().report(Vec::new());
        RpcError::ProcessExited { report, fate }
    }

    fn policy(is_idempotent: bool) -> RetryPolicy {
        let mut policy = RetryPolicy::new();
        policy.is_idempotent = Some(Arc::new(move |method, params| {
            assert_eq!((method, params), ("tools/call", &br#"{"name":"read"}"#[..]));
            is_idempotent
        }));
        policy
    }

    fn why(outcome: Result<(), RetryError>) -> NotRepeated {
        let error = outcome.unwrap_err();
        let RetryError::OutcomeUnknown { why, .. } = error else {
            panic!("{error}")
        };
        why
    }

    fn decide(policy: &RetryPolicy, fate: Fate, history: &mut History) -> Result<(), RetryError> {
        history.attempts += 1;
        policy.decide(MESSAGE, exited(fate), history)
    }

    #[test]
    fn what_was_not_sent_is_sent_again_as_often_as_attempts_allow() {
        let (policy, mut history) = (policy(false), History::default());
        for _ in 1..ATTEMPTS_DEFAULT {
            decide(&policy, Fate::NotSent, &mut history).unwrap();
        }
        let error = decide(&policy, Fate::NotSent, &mut history).unwrap_err();
        assert!(matches!(error, RetryError::Failed(error) if error.is_retry_safe()));
    }

    #[test]
    fn what_was_not_sent_costs_nothing_of_the_budget() {
        let mut policy = policy(true);
        policy.budget = Arc::new(RetryBudget::new(0));
        decide(&policy, Fate::NotSent, &mut History::default()).unwrap();
        let refused = decide(&policy, Fate::MaybeExecuted, &mut History::default());
        assert_eq!(why(refused), NotRepeated::Budget);
    }

    #[test]
    fn what_may_have_been_executed_is_sent_again_once_and_only_with_permission() {
        let mut history = History::default();
        let refused = decide(&policy(false), Fate::MaybeExecuted, &mut history);
        assert_eq!(why(refused), NotRepeated::NotIdempotent);
        let policy = policy(true);
        let mut history = History::default();
        decide(&policy, Fate::MaybeExecuted, &mut history).unwrap();
        let refused = decide(&policy, Fate::MaybeExecuted, &mut history);
        assert_eq!(why(refused), NotRepeated::RepeatedBefore);
        let mut history = History {
            has_passed_on: true,
            ..History::default()
        };
        let refused = decide(&policy, Fate::MaybeExecuted, &mut history);
        assert_eq!(why(refused), NotRepeated::NotesPassedOn);
        let mut history = History {
            attempts: ATTEMPTS_DEFAULT,
            ..History::default()
        };
        let refused = decide(&policy, Fate::MaybeExecuted, &mut history);
        assert_eq!(why(refused), NotRepeated::Attempts);
    }

    #[test]
    fn answers_deadlines_and_refusals_are_final() {
        let policy = policy(true);
        let timeout = |fate| RpcError::Timeout {
            limit: Duration::ZERO,
            pid: 1,
            report: ChildFacts::default().report(Vec::new()),
            fate,
        };
        let decide = |error| policy.decide(MESSAGE, error, &mut History::default());
        assert_eq!(
            why(decide(timeout(Fate::MaybeExecuted))),
            NotRepeated::Deadline
        );
        for error in [
            timeout(Fate::NotSent),
            RpcError::ServerCancelled,
            RpcError::BadRequest {
                reason: String::new(),
            },
            RpcError::ClientCancelled {
                fate: Fate::MaybeExecuted,
            },
        ] {
            assert!(matches!(decide(error).unwrap_err(), RetryError::Failed(_)));
        }
    }

    #[test]
    fn a_request_whose_reply_cannot_be_read_ends_one_child() {
        let policy = policy(true);
        let report = ChildFacts::default().report(Vec::new());
        let too_large = |fate| RpcError::FrameTooLarge {
            limit_bytes: 1,
            report: Some(Arc::clone(&report)),
            fate,
        };
        let broken = RpcError::Protocol {
            reason: "".into(),
            report: Arc::clone(&report),
            fate: Fate::MaybeExecuted,
        };
        for error in [too_large(Fate::MaybeExecuted), broken] {
            let refused = policy.decide(MESSAGE, error, &mut History::default());
            assert_eq!(why(refused), NotRepeated::UnreadableReply);
        }
        let mut history = History::default();
        let not_sent = too_large(Fate::NotSent);
        policy.decide(MESSAGE, not_sent, &mut history).unwrap();
    }

    #[test]
    fn resends_are_a_share_of_the_requests() {
        let budget = RetryBudget::new(20);
        while budget.spend() {}
        for _ in 0..3 {
            for _ in 0..5 {
                assert!(!budget.spend());
                budget.save();
            }
            assert!(budget.spend(), "one for five requests");
        }
        for _ in 0..10_000 {
            budget.save();
        }
        let saved = (0..).take_while(|_| budget.spend()).count();
        assert_eq!(saved, 100, "what is saved is bounded");
        let none = RetryBudget::new(0);
        none.save();
        assert!(!none.spend());
    }
}
