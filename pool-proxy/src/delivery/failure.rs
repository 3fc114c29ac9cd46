//! What a client is told of a request without a reply.
//!
//! A client learns what happened and whether its request may have been executed; it does not learn what the
//! child wrote to stderr, which may hold secrets. The log has that.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use pool_core::{AcquireError, AcquirePhase, BudgetUsage, KeyedAcquireError};
use pool_stdio::{Fate, RetryError, RpcError};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::backend::{EraError, KeyState, NotSubscribed};
use crate::request_log::RequestLog;
use crate::sessions::TooMany;
use crate::wire::{
    Answer, MODERN_VERSION, Revision, error_with_data, json as json_answer, too_many, unavailable,
};

/// Why there is no reply.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For the log.
    outcome: &'static str,
    /// For the log, too: what went wrong, if the log has not said it yet.
    error: Option<String>,
    /// Of the child that it failed at.
    pid: Option<u32>,
    code: i64,
    reason: String,
    /// What a child has added to its error.
    data: Option<Box<RawValue>>,
    answer: AnswerKind,
}

#[derive(Debug, Clone, Copy)]
enum AnswerKind {
    /// The request was accepted: the error is its reply.
    Reply,
    Refusal(StatusCode),
    Later(Duration),
    /// When the client has less under way.
    TooMany,
}

impl Failure {
    /// The answer to a notification or an answer that no child has got. It is no request, so nothing waits for an
    /// error as its reply: the protocol demands a status that says it.
    pub(crate) fn not_taken(&self) -> Answer {
        match self.answer {
            AnswerKind::Reply => unavailable(None, &self.reason, SOON),
            AnswerKind::Refusal(_) | AnswerKind::Later(_) | AnswerKind::TooMany => {
                self.answer(None)
            }
        }
    }

    /// As one message.
    pub(crate) fn message(&self, id: Option<&Bytes>) -> Bytes {
        let data = self.data.as_deref();
        let data = data.and_then(|data| serde_json::from_str(data.get()).ok());
        error_with_data(id, self.code, &self.reason, data)
    }

    /// Tells the log of the request.
    pub(crate) fn note_in(&self, log: &mut RequestLog) {
        log.set_failure(self.outcome, self.error.clone());
        if let Some(pid) = self.pid {
            log.set_pid(pid);
        }
    }

    pub(crate) fn answer(&self, id: Option<&Bytes>) -> Answer {
        match self.answer {
            AnswerKind::Reply => json_answer(self.message(id)),
            AnswerKind::Refusal(status) => {
                let mut answer = json_answer(self.message(id));
                *answer.status_mut() = status;
                answer
            }
            AnswerKind::Later(after) => unavailable(id, &self.reason, after),
            AnswerKind::TooMany => too_many(id, &self.reason, SOON),
        }
    }

    /// Of a child that did not answer its first message. The log has said why.
    pub(crate) fn of_start() -> Self {
        Self::later(NO_START, CANNOT_START, LATER)
    }

    /// With what the log does not say elsewhere.
    fn because(self, error: Option<&dyn Error>) -> Self {
        Self {
            error: error.map(ToString::to_string),
            ..self
        }
    }

    fn later(outcome: &'static str, reason: impl Into<String>, after: Duration) -> Self {
        Self {
            outcome,
            code: SERVER_ERROR,
            reason: reason.into(),
            data: None,
            error: None,
            pid: None,
            answer: AnswerKind::Later(after),
        }
    }

    /// What was asked for is not to be had here.
    pub(crate) fn refused(code: i64, reason: &str) -> Self {
        Self::reply("refused", code, reason)
    }

    /// Its client has cancelled it before a child had it.
    pub(crate) fn cancelled() -> Self {
        RpcError::ClientCancelled {
            fate: Fate::NotSent,
        }
        .into()
    }

    /// Another request of its client waits under the same id.
    pub(crate) fn id_in_use(id: &[u8]) -> Self {
        let id = String::from_utf8_lossy(id).into_owned();
        RpcError::IdInUse { id }.into()
    }

    /// No child is ready yet.
    pub(crate) fn starting() -> Self {
        let reason = "starting: the server is not ready yet";
        Self {
            error: Some(reason.to_owned()),
            ..Self::later("starting", reason, LATER)
        }
    }

    pub(crate) fn closing() -> Self {
        Self::later("closing", "the proxy is shutting down", LATER)
    }

    /// No session can have an id.
    pub(crate) fn without_random_numbers() -> Self {
        Self::later("no random numbers", "no random numbers", LATER)
    }

    /// The params of a request are not as the protocol wants them.
    pub(crate) fn bad_params(reason: &str) -> Self {
        Self {
            code: INVALID_PARAMS,
            ..Self::refusal("refused", StatusCode::BAD_REQUEST, reason)
        }
    }

    /// What tells a client to begin a new session.
    pub(crate) fn session_over() -> Self {
        let reason = "there is no such session: it has ended, or never began. Initialize again";
        Self {
            code: SESSION_NOT_FOUND,
            ..Self::refusal("no session", StatusCode::NOT_FOUND, reason)
        }
    }

    fn reply(outcome: &'static str, code: i64, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            code,
            reason: reason.into(),
            data: None,
            error: None,
            pid: None,
            answer: AnswerKind::Reply,
        }
    }

    fn refusal(outcome: &'static str, status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            code: INVALID_REQUEST,
            reason: reason.into(),
            data: None,
            error: None,
            pid: None,
            answer: AnswerKind::Refusal(status),
        }
    }
}

impl From<TooMany> for Failure {
    fn from(error: TooMany) -> Self {
        Self {
            answer: AnswerKind::TooMany,
            ..Self::reply("too many", SERVER_ERROR, error.to_string())
        }
    }
}

impl From<&EraError> for Failure {
    fn from(error: &EraError) -> Self {
        let with_sessions = || Revision::ALL.into_iter().rev().map(Revision::name);
        let (kind, code, supported) = match error {
            // As servers with sessions refuse a version.
            EraError::OnlyModern => (AnswerKind::Reply, INVALID_PARAMS, vec![MODERN_VERSION]),
            EraError::OnlySessions => (UNSUPPORTED, UNSUPPORTED_VERSION, with_sessions().collect()),
            EraError::NoCommonVersion(_) => (UNSUPPORTED, UNSUPPORTED_VERSION, Vec::new()),
        };
        let way_out = match error {
            EraError::OnlyModern => "use a client that speaks it",
            EraError::OnlySessions => {
                "use a client that initializes, or set sharing = \"shared\" if the server keeps nothing \
                 between requests"
            }
            EraError::NoCommonVersion(_) => "use another version of the server",
        };
        let mut data = json!({ "supported": supported });
        if code == UNSUPPORTED_VERSION {
            data["requested"] = MODERN_VERSION.into();
        }
        Self {
            data: to_raw_value(&data).ok(),
            answer: kind,
            ..Self::reply("refused", code, format!("{error}: {way_out}"))
        }
    }
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Self {
        if let Some(error) = era_error(&error) {
            return error.into();
        }
        // Why a child did not start is said where that is seen.
        let is_said = error.context().last_failure.is_some();
        Self::of_refusal(&error).because((!is_said).then_some(&error))
    }
}

impl Failure {
    fn of_refusal(error: &AcquireError) -> Self {
        match error {
            AcquireError::Overloaded { limit, .. } => {
                let reason = format!(
                    "busy: no child of this server is free, and no more than {limit} requests may wait for one"
                );
                Self::later("busy", reason, SOON)
            }
            AcquireError::Timeout { context, .. }
                if context
                    .budget
                    .as_ref()
                    .is_some_and(BudgetUsage::is_too_heavy) =>
            {
                Self::later("no memory", NO_MEMORY, SOON)
            }
            AcquireError::Timeout { context, .. } if context.last_failure.is_some() => {
                Self::later(NO_START, CANNOT_START, LATER)
            }
            AcquireError::Timeout { context, .. } if context.phase == AcquirePhase::Connect => {
                Self::starting()
            }
            AcquireError::Timeout { limit, .. } => {
                let reason = format!("busy: no child of this server was free within {limit:?}");
                Self::later("busy", reason, SOON)
            }
            AcquireError::Unavailable { retry_after, .. } => {
                Self::later(NO_START, CANNOT_START, *retry_after)
            }
            AcquireError::Closed { .. } | _ => Self::closing(),
        }
    }
}

/// Why a child that was started speaks to nobody, if that is why there is none.
fn era_error(error: &AcquireError) -> Option<&EraError> {
    let failure = error.context().last_failure.as_ref()?;
    failure.source()?.downcast_ref()
}

impl From<KeyedAcquireError> for Failure {
    fn from(error: KeyedAcquireError) -> Self {
        match error {
            KeyedAcquireError::Acquire(error) => error.into(),
            KeyedAcquireError::Closed { .. } => Self::closing(),
            error @ (KeyedAcquireError::TooManyKeys { .. }
            | KeyedAcquireError::NotBuilt { .. }
            | _) => {
                tracing::error!(%error, "no pool for a key");
                Self::later(
                    "no pool",
                    "the proxy has no room for another principal",
                    LATER,
                )
            }
        }
    }
}

impl From<NotSubscribed> for Failure {
    fn from(error: NotSubscribed) -> Self {
        match error {
            NotSubscribed::Refused(error) => Self {
                data: error.data,
                ..Self::reply("ok", error.code, error.message)
            },
            NotSubscribed::NoChild(error) => error.into(),
            NotSubscribed::Late => {
                let reason = "no child has answered";
                Self {
                    error: Some(reason.to_owned()),
                    ..Self::reply("timeout", TIMED_OUT, reason)
                }
            }
            NotSubscribed::NotOffered => Self::refused(
                METHOD_NOT_FOUND,
                "this server offers no subscriptions: each of its children serves one request",
            ),
            NotSubscribed::TooMany => Self::reply(
                "refused",
                SERVER_ERROR,
                "too many subscriptions, or too long a URI",
            ),
        }
    }
}

impl Failure {
    /// Of a request that the children of this key did not answer.
    pub(crate) fn of_key(error: RetryError, key: &KeyState) -> Self {
        match error {
            RetryError::NoChild(error) => error.into(),
            RetryError::NoChildInTime { .. } if key.is_starting() => Self::starting(),
            RetryError::NoChildInTime { limit } => {
                let reason = format!("busy: no child of this server was free within {limit:?}");
                Self::later("busy", reason, SOON).because(Some(&error))
            }
            RetryError::OutcomeUnknown { error, .. } | RetryError::Failed(error) => error.into(),
            _ => Self::reply("failed", SERVER_ERROR, "the request failed"),
        }
    }
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        // What the client did itself is no error.
        let is_of_client = matches!(
            error,
            RpcError::ClientCancelled { .. }
                | RpcError::BadRequest { .. }
                | RpcError::IdInUse { .. }
        );
        Self {
            pid: error.report().map(|report| report.pid),
            ..Self::of_child(&error).because((!is_of_client).then_some(&error))
        }
    }
}

impl Failure {
    fn of_child(error: &RpcError) -> Self {
        let fate = match error.is_retry_safe() {
            true => "the request was not executed",
            false => "outcome unknown: the request may have been executed",
        };
        let of_child =
            |what: &str| Self::reply("child died", SERVER_ERROR, format!("{what}; {fate}"));
        let report = error.report();
        if report.is_some_and(|report| report.kill_cause.is_some()) {
            let what = "the server's process used more memory than it may, and was ended";
            return Self::reply("too heavy", SERVER_ERROR, format!("{what}; {fate}"));
        }
        match error {
            RpcError::Timeout { limit, .. } => {
                let reason = format!("no reply within {limit:?}; {fate}");
                Self::reply("timeout", TIMED_OUT, reason)
            }
            RpcError::ProcessExited { .. } => of_child("the server's process exited"),
            RpcError::OutputClosed { .. } | RpcError::StdinClosed { .. } => {
                of_child("the server's process closed its pipes")
            }
            RpcError::Hung { .. } | RpcError::WriteStalled { .. } => {
                of_child("the server's process hung and was ended")
            }
            RpcError::Protocol { .. } => of_child("the server's process broke the protocol"),
            RpcError::FrameTooLarge {
                report: Some(_), ..
            } => of_child("the server's process sent a message that is too long"),
            RpcError::FrameTooLarge { .. } => Self::refusal(
                "too large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "the message is too long",
            ),
            RpcError::ClientCancelled { .. } => {
                Self::reply("cancelled", SERVER_ERROR, "cancelled by the client")
            }
            RpcError::BadRequest { .. } | RpcError::IdInUse { .. } => {
                Self::refusal("refused", StatusCode::BAD_REQUEST, error.to_string())
            }
            RpcError::Cancelled { .. }
            | RpcError::ServerCancelled
            | RpcError::SubscriptionOverflow { .. }
            | RpcError::Refused(_)
            | RpcError::BadResult { .. }
            | _ => Self::reply(
                "failed",
                SERVER_ERROR,
                format!("the request failed; {fate}"),
            ),
        }
    }
}

const UNSUPPORTED: AnswerKind = AnswerKind::Refusal(StatusCode::BAD_REQUEST);
const NO_START: &str = "cannot start";
const CANNOT_START: &str = "the server cannot be started; the proxy's log says why";
const NO_MEMORY: &str =
    "busy: the servers together use as much memory as they may (limits.memory_bytes_max)";
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const UNSUPPORTED_VERSION: i64 = -32022;
const SERVER_ERROR: i64 = -32000;
/// As the official servers call it.
const SESSION_NOT_FOUND: i64 = -32001;
/// As the official clients call it.
const TIMED_OUT: i64 = -32001;
/// When a child may be free.
const SOON: Duration = Duration::from_secs(1);
/// When a child may have started.
pub(crate) const LATER: Duration = Duration::from_secs(5);
