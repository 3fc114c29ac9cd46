//! What the host is answered: the result of each method.

use serde::Serialize;

use super::request::Scope;

/// The result of `initialize`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct InitializeResult {
    /// The version of the protocol that is spoken from now on.
    pub(crate) protocol_version: u32,
    /// The version of this program.
    pub(crate) program_version: &'static str,
    /// The process id of this program.
    pub(crate) pid: u32,
    /// The operating system, such as `linux`.
    pub(crate) platform: &'static str,
    /// What can be asked for here.
    pub(crate) capabilities: Capabilities,
    /// What is refused beyond.
    pub(crate) limits: Limits,
}

/// What can be asked for on this system.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Capabilities {
    /// The scopes that are told apart here.
    pub(crate) scopes: Vec<Scope>,
    /// The names of the signals that can be sent.
    pub(crate) signals: Vec<&'static str>,
    /// Whether `session` works.
    pub(crate) session: bool,
}

/// What is refused beyond.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    /// Bytes of one line of input.
    pub(crate) line_bytes_max: u64,
    /// Children at the same time.
    pub(crate) children_max: u64,
    /// Bytes that wait to be written to one child.
    pub(crate) write_bytes_max: u64,
    /// Bytes of output that are kept for all children.
    pub(crate) kept_bytes_total_max: u64,
    /// Raw bytes in one `output`.
    pub(crate) output_bytes_max: u64,
}

/// The result of `spawn`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpawnResult {
    /// The process id.
    pub(crate) pid: u32,
}

/// The result of `write`: the pipe took all of it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct WriteResult {
    /// How many bytes.
    pub(crate) bytes: u64,
}

/// The result of `closeStdin`, `signal` and `grant`: it was done.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct DoneResult {}

/// The result of `cancel`: the termination has begun. `terminated` tells how it ended.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct CancelResult {
    /// In which state the child was.
    pub(crate) was: ChildState,
}

/// The state of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum ChildState {
    /// The system has not started it yet.
    Starting,
    /// It runs.
    Running,
    /// It has exited by itself.
    Exited,
    /// Its termination was begun by a cancel, a shutdown, or the end of the host.
    Stopping,
}

/// The result of `list`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListResult {
    /// All children that were asked for and not told as `terminated`, by name.
    pub(crate) children: Vec<ListedChild>,
    /// Bytes of output that are kept for all of them.
    pub(crate) kept_bytes: u64,
    /// Whether the children are ended if this program is killed: by a guardian, or on Windows by the system.
    pub(crate) has_guardian: bool,
}

/// One child in a list.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedChild {
    /// Its name.
    pub(crate) child: String,
    /// Its process id, once it was started.
    pub(crate) pid: Option<u32>,
    /// Its state.
    pub(crate) state: ChildState,
    /// Bytes of its output that are kept.
    pub(crate) kept_bytes: u64,
    /// Bytes that wait to be written to its stdin.
    pub(crate) unwritten_bytes: u64,
}

/// The result of `shutdown`: every child is told as `terminated`, and this program leaves.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShutdownResult {
    /// How many children ended by this.
    pub(crate) ended: u64,
    /// The process ids of those that did not.
    pub(crate) left: Vec<u32>,
}
