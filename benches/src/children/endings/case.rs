//! The cases by name.

/// A case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// Close while a megabyte waits for a server that never reads.
    CloseWhileWriting,
    /// Close a server that has started another process.
    CloseWithAProcess,
    /// The same, with a process group where the client has to be asked for one.
    CloseWithAGroup,
    /// Drop the connection on a thread without a runtime. Of rmcp it is the transport before a client
    /// serves it: a client that runs is ended by its own task.
    DropWithoutRuntime,
    /// A request is pending when the server closes its stdout.
    StdoutClosed,
    /// The last answer has no newline.
    LastLine,
    /// A request with a timeout of a second, to a server that never reads.
    Timeout,
}
