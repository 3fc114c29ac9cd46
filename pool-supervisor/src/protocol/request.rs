//! What the host can ask for: the parameters of each method.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of this protocol. A host that asks for another one is refused.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// The parameters of `initialize`, which must be the first request.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct InitializeParams {
    /// The version of the protocol that the host speaks: 1.
    pub(crate) protocol_version: u32,
    /// The process whose end means that the host has gone. Useful if somebody else can have inherited the
    /// write end of this program's stdin: that would hide the end of the input.
    #[serde(default)]
    pub(crate) host_pid: Option<u32>,
    /// How long the children have after SIGTERM when the host has gone, until they are killed. Default 500.
    #[serde(default)]
    pub(crate) host_grace_ms: Option<u64>,
    /// How much output of all children together is kept without being sent. Default 64 MiB.
    #[serde(default)]
    pub(crate) kept_bytes_total_max: Option<u64>,
}

/// The parameters of `spawn`. Exactly one of `argv` and `shell` is given.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpawnParams {
    /// The name of the child, chosen by the host: 1 to 128 bytes, not in use. It is free again after
    /// `terminated`.
    pub(crate) child: String,
    /// The program and its arguments. A name without a slash is looked up in the `PATH` of `env`.
    #[serde(default)]
    pub(crate) argv: Option<Vec<String>>,
    /// A script for a shell, run as `shellPath -c shell`.
    #[serde(default)]
    pub(crate) shell: Option<String>,
    /// The shell. Default `/bin/sh`.
    #[serde(default)]
    pub(crate) shell_path: Option<String>,
    /// What the program sees as its own name. Default: the first of `argv`, or the shell. With `limits` it sees its path, and any
    /// other name than the first of `argv` is refused.
    #[serde(default)]
    pub(crate) argv0: Option<String>,
    /// The whole environment. Nothing is inherited from this program.
    pub(crate) env: BTreeMap<String, String>,
    /// The working directory, absolute.
    pub(crate) cwd: String,
    /// Which processes an end of the child ends. Default `tree`.
    #[serde(default)]
    pub(crate) scope: Scope,
    /// Whether the child leads a session of its own, without a terminal. Linux only.
    #[serde(default)]
    pub(crate) session: bool,
    /// How long each step of a termination may last.
    #[serde(default)]
    pub(crate) ladder: Ladder,
    /// What the system does not let the child have.
    #[serde(default)]
    pub(crate) limits: ChildLimits,
    /// What the child has as stdin, stdout and stderr.
    #[serde(default)]
    pub(crate) stdio: Stdio,
    /// What becomes of output for which there is no credit.
    #[serde(default)]
    pub(crate) keep: Keep,
    /// The credit that the child begins with. Default 0.
    #[serde(default)]
    pub(crate) credit: Credit,
    /// What becomes of processes that the child leaves behind when it exits by itself. Default `end`.
    #[serde(default)]
    pub(crate) after_exit: AfterExit,
    /// After this time the child is cancelled, with the reason `timeout`. Default: never.
    #[serde(default)]
    pub(crate) timeout_ms: Option<u64>,
}

/// Which processes an end of the child ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum Scope {
    /// The child alone.
    Root,
    /// Its process group.
    Group,
    /// Its process group, and descendants that left it.
    #[default]
    Tree,
}

/// How long each step of a termination may last, in milliseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Ladder {
    /// For writing what was queued for stdin. Default 500.
    pub(crate) flush_ms: Option<u64>,
    /// From the end of stdin to SIGTERM. Default 0: SIGTERM comes at once.
    pub(crate) eof_grace_ms: Option<u64>,
    /// From SIGTERM to SIGKILL. Default 5000.
    pub(crate) term_grace_ms: Option<u64>,
    /// From SIGTERM to SIGKILL if the cancel is by force. Default 0: SIGKILL at once.
    pub(crate) force_grace_ms: Option<u64>,
    /// From the death of the child by SIGKILL, for the rest of its scope to die. Default 2000.
    pub(crate) kill_wait_ms: Option<u64>,
    /// From the end of the scope, for reading the rest of the output. Default 2000.
    pub(crate) drain_timeout_ms: Option<u64>,
    /// How long a pipe may stay open in silence after the end of the scope. Default 500.
    pub(crate) drain_idle_ms: Option<u64>,
}

/// What the system does not let a child have. Each process that it starts has the same limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ChildLimits {
    /// How much memory it may map. A request for more fails. Default: no limit.
    pub(crate) address_space_bytes: Option<u64>,
    /// How long it may compute; on Unix rounded up to seconds. Then the system kills it. Default: no limit.
    pub(crate) cpu_ms: Option<u64>,
    /// How many descriptors it may have. Refused on Windows. Default: that of this program.
    pub(crate) open_files: Option<u64>,
}

/// What a child has as stdin, stdout and stderr.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Stdio {
    /// Default `pipe`.
    pub(crate) stdin: StdinMode,
    /// Default `pipe`.
    pub(crate) stdout: StdoutMode,
    /// Default `pipe`.
    pub(crate) stderr: StderrMode,
}

/// What a child has as stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) enum StdinMode {
    /// A pipe for `write`.
    #[default]
    Pipe,
    /// A pipe that is at its end from the start.
    Null,
}

/// What a child has as stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) enum StdoutMode {
    /// A pipe that becomes `output`.
    #[default]
    Pipe,
    /// `/dev/null`.
    Null,
}

/// What a child has as stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) enum StderrMode {
    /// A pipe that becomes `output`.
    #[default]
    Pipe,
    /// `/dev/null`.
    Null,
    /// The stderr of this program.
    Log,
}

/// What becomes of output for which there is no credit.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Keep {
    /// How much output of the child is kept without being sent. Default 256 KiB.
    pub(crate) bytes_max: Option<u64>,
    /// What happens when that is reached. Default `pause`.
    pub(crate) when_full: WhenFull,
}

/// What happens when no more output can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) enum WhenFull {
    /// The pipe is not read any more, so that the child blocks.
    #[default]
    Pause,
    /// The oldest output is dropped and counted.
    DropOldest,
}

/// How many bytes of each stream may be sent.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Credit {
    /// Bytes of stdout.
    pub(crate) stdout: u64,
    /// Bytes of stderr.
    pub(crate) stderr: u64,
}

/// What becomes of processes that the child leaves behind when it exits by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) enum AfterExit {
    /// Those of the scope are ended by the ladder when stdout and stderr are at their ends, or silent for
    /// `drainIdleMs`, at the latest `drainTimeoutMs` after the exit.
    #[default]
    End,
    /// The same without a limit of time: when stdout and stderr are at their ends, or at a cancel.
    Wait,
}

/// One of the two streams that a child writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum StreamName {
    /// Its stdout.
    Stdout,
    /// Its stderr.
    Stderr,
}

/// The parameters of `write`. Exactly one of `text` and `base64` is given.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WriteParams {
    /// The name of the child.
    pub(crate) child: String,
    /// The bytes, as text.
    #[serde(default)]
    pub(crate) text: Option<String>,
    /// The bytes, in standard base64 with padding.
    #[serde(default)]
    pub(crate) base64: Option<String>,
}

/// The parameters of `closeStdin`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CloseStdinParams {
    /// The name of the child.
    pub(crate) child: String,
}

/// The parameters of `signal`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SignalParams {
    /// The name of the child.
    pub(crate) child: String,
    /// The name of the signal, such as `SIGTERM`. `initialize` tells which there are.
    pub(crate) signal: String,
    /// Who gets it. Default `group`.
    #[serde(default)]
    pub(crate) to: SignalTarget,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) enum SignalTarget {
    /// The child alone.
    Root,
    /// Its process group.
    #[default]
    Group,
}

/// The parameters of `cancel`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CancelParams {
    /// The name of the child.
    pub(crate) child: String,
    /// How the termination begins. A second cancel can hasten it, never slow it. Default `orderly`.
    #[serde(default)]
    pub(crate) mode: CancelMode,
    /// Why, up to 256 bytes; `terminated` repeats the reason of the first cancel.
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// How a termination begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) enum CancelMode {
    /// The whole ladder: flush, end of input, SIGTERM, SIGKILL.
    #[default]
    Orderly,
    /// SIGKILL, after `forceGraceMs`.
    Force,
}

/// The parameters of `grant`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GrantParams {
    /// The name of the child.
    pub(crate) child: String,
    /// Which stream.
    pub(crate) stream: StreamName,
    /// How many more bytes of it may be sent.
    pub(crate) bytes: u64,
}

/// The parameters of `list`: none.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListParams {}

/// The parameters of `shutdown`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ShutdownParams {
    /// How long the children have after SIGTERM until they are killed. Default: `hostGraceMs`.
    pub(crate) grace_ms: Option<u64>,
}
