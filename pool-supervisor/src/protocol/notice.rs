//! What the host is told without asking: the notifications.

use serde::Serialize;

use super::request::StreamName;

/// A notification.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "method", content = "params", rename_all = "camelCase")]
pub(crate) enum Notice {
    /// A child was started. The first that is told of it.
    Spawned(SpawnedNotice),
    /// A child has written this.
    Output(OutputNotice),
    /// A stream of a child is at its end, or is not read any more.
    StreamEnded(StreamEndedNotice),
    /// A child has exited. It is told as soon as that is seen; output can follow.
    Exit(ExitNotice),
    /// A child has ended with its scope, and all of its output was told. The last that is told of it.
    Terminated(Box<TerminatedNotice>),
}

/// A child was started.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpawnedNotice {
    /// The name of the child.
    pub(crate) child: String,
    /// Its process id.
    pub(crate) pid: u32,
}

/// A child has written this. It has `text` or `base64`, whichever is shorter; bytes that are no UTF-8 come
/// in base64.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutputNotice {
    /// The name of the child.
    pub(crate) child: String,
    /// Which stream.
    pub(crate) stream: StreamName,
    /// The number of this notification among those of the stream, from 0.
    pub(crate) seq: u64,
    /// How many bytes of the stream were dropped before these, since the last that were told.
    #[serde(skip_serializing_if = "is_zero")]
    #[cfg_attr(test, schemars(default))]
    pub(crate) dropped_bytes: u64,
    /// The bytes, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// The bytes, in standard base64 with padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A stream of a child is at its end, or is not read any more. All of its output was told. It is not told of
/// a stream that is not a pipe.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamEndedNotice {
    /// The name of the child.
    pub(crate) child: String,
    /// Which stream.
    pub(crate) stream: StreamName,
    /// How far it was read.
    pub(crate) drain: DrainReport,
}

/// A child has exited.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExitNotice {
    /// The name of the child.
    pub(crate) child: String,
    /// How it exited.
    pub(crate) exit: ExitReport,
}

/// How a child exited. Both are null if its status was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExitReport {
    /// Its exit code, if it exited.
    pub(crate) code: Option<u32>,
    /// The name of the signal that ended it, if one did.
    pub(crate) signal: Option<String>,
}

/// A child has ended with its scope, and all of its output was told.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct TerminatedNotice {
    /// The name of the child.
    pub(crate) child: String,
    /// Its process id, which the system may have given to another process by now.
    pub(crate) pid: u32,
    /// How it exited.
    pub(crate) exit: ExitReport,
    /// Whether it had exited before its termination began.
    pub(crate) exited_by_itself: bool,
    /// Why its termination was begun; null if it exited by itself.
    pub(crate) reason: Option<String>,
    /// Which step of the ladder ended the last process of its scope.
    pub(crate) rung: RungReport,
    /// What became of its stdout.
    pub(crate) stdout: StreamReport,
    /// What became of its stderr.
    pub(crate) stderr: StreamReport,
    /// Bytes that were queued for its stdin and never written.
    pub(crate) unwritten_bytes: u64,
    /// The processes of its scope that outlived all this.
    pub(crate) survivors: SurvivorReport,
    /// From the begin of the termination to this notification. If the child exited by itself: from its
    /// exit.
    pub(crate) elapsed_ms: u64,
}

/// Which step of the ladder ended the last process of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum RungReport {
    /// None: everything had exited before.
    AlreadyGone,
    /// The end of its input.
    Eof,
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}

/// What became of a stream.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamReport {
    /// How far it was read.
    pub(crate) drain: DrainReport,
    /// Bytes that were told as `output`.
    pub(crate) bytes: u64,
    /// Bytes that were dropped as the oldest.
    pub(crate) dropped_bytes: u64,
    /// Bytes that were read and not told, because the time for that was over.
    pub(crate) cut_bytes: u64,
}

/// How far a stream was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum DrainReport {
    /// To its end.
    Whole,
    /// There was no such pipe.
    None,
    /// Until `drainTimeoutMs` after the end of the scope, while a process outside of the scope wrote.
    TimedOut,
    /// Until `drainIdleMs` without a byte after the end of the scope: a process outside of it holds the
    /// pipe.
    Idle,
    /// The host gave no credit for the rest in `drainTimeoutMs` after a cancel.
    NoCredit,
    /// The pipe could not be read.
    Failed,
}

/// The processes of a scope that outlived its termination.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SurvivorReport {
    /// How many; null if they could not be counted.
    pub(crate) count: Option<u64>,
    /// Why they could not be counted.
    pub(crate) unknown_because: Option<String>,
    /// The process ids of those that are known.
    pub(crate) pids: Vec<u32>,
}
