//! Why a request was refused or failed.

use serde::Serialize;

/// An error as the host gets it. `message` says what went wrong, and often what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fault {
    /// -32700, -32600, -32601 and -32602 as JSON-RPC has them; -32000 for the rest.
    pub(crate) code: i32,
    /// What went wrong, for people.
    pub(crate) message: String,
    /// What went wrong, for programs.
    pub(crate) data: FaultData,
}

/// What went wrong, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct FaultData {
    /// Which kind of failure.
    pub(crate) kind: FaultKind,
    /// The name of the system's error, such as `ENOENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errno: Option<&'static str>,
    /// Whether the same request may succeed later.
    pub(crate) is_transient: bool,
    /// Of a `write`: how many of its bytes the pipe took before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) written_bytes: Option<u64>,
}

/// Which kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum FaultKind {
    /// The line is no JSON.
    NotJson,
    /// The line is longer than `lineBytesMax`. It was skipped.
    LineTooLong,
    /// The line is no request of JSON-RPC 2.0.
    InvalidRequest,
    /// There is no such method.
    UnknownMethod,
    /// The parameters do not fit the method.
    InvalidParams,
    /// The first request must be `initialize`.
    NotInitialized,
    /// There can be only one `initialize`.
    AlreadyInitialized,
    /// This program does not speak that version.
    UnsupportedVersion,
    /// There is no process `hostPid`.
    HostNotFound,
    /// The system does not let this program watch `hostPid`.
    HostNotWatchable,
    /// A request with this id waits for its answer.
    DuplicateId,
    /// A child of this name exists.
    DuplicateChild,
    /// There is no child of this name.
    UnknownChild,
    /// There are `childrenMax` children.
    TooManyChildren,
    /// There is no such program.
    ProgramNotFound,
    /// The file cannot be executed.
    ProgramNotExecutable,
    /// The working directory cannot be used.
    Cwd,
    /// Arguments and environment are too long for the system.
    ArgumentsTooLong,
    /// The system has no room for another process.
    Resources,
    /// The child was not started for another reason.
    SpawnFailed,
    /// The child has not been started yet.
    NotStarted,
    /// Its stdin was closed, or is not a pipe.
    StdinClosed,
    /// The child has closed its stdin.
    StdinBroken,
    /// Too much waits to be written to the child.
    TooManyWrites,
    /// The termination of the child has begun.
    Stopping,
    /// The process or its group has gone.
    ProcessGone,
    /// The system refused to send the signal.
    SignalRefused,
    /// This program is about to leave.
    ShuttingDown,
}

impl Fault {
    /// Of this kind.
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        let codes = [
            (FaultKind::NotJson, -32700),
            (FaultKind::LineTooLong, -32600),
            (FaultKind::InvalidRequest, -32600),
            (FaultKind::DuplicateId, -32600),
            (FaultKind::UnknownMethod, -32601),
            (FaultKind::InvalidParams, -32602),
        ];
        let found = codes.iter().find(|(standard, _)| *standard == kind);
        let code = found.map_or(-32000, |(_, code)| *code);
        Self {
            code,
            message: message.into(),
            data: FaultData {
                kind,
                errno: None,
                is_transient: false,
                written_bytes: None,
            },
        }
    }

    /// With the name of the system's error.
    pub(crate) const fn errno(mut self, errno: Option<&'static str>) -> Self {
        self.data.errno = errno;
        self
    }

    /// The same request may succeed later.
    pub(crate) const fn transient(mut self, is_transient: bool) -> Self {
        self.data.is_transient = is_transient;
        self
    }

    /// The pipe took so many bytes before.
    pub(crate) const fn written(mut self, bytes: u64) -> Self {
        self.data.written_bytes = Some(bytes);
        self
    }
}
