//! The protocol as types: what a line of input asks for, and what a line of output says.

mod answer;
mod envelope;
mod fault;
mod notice;
mod request;
#[cfg(test)]
mod schema;

pub(crate) use self::answer::{
    CancelResult, Capabilities, ChildState, DoneResult, InitializeResult, Limits, ListResult,
    ListedChild, ShutdownResult, SpawnResult, WriteResult,
};
pub(crate) use self::envelope::{
    Incoming, Malformed, Method, NAME_BYTES_MAX, RequestId, answer_line, decode, fault_line,
    notice_line,
};
pub(crate) use self::fault::{Fault, FaultKind};
pub(crate) use self::notice::{
    DrainReport, ExitNotice, ExitReport, Notice, OutputNotice, RungReport, SpawnedNotice,
    StreamEndedNotice, StreamReport, SurvivorReport, TerminatedNotice,
};
pub(crate) use self::request::{
    AfterExit, CancelMode, CancelParams, ChildLimits, CloseStdinParams, GrantParams,
    InitializeParams, Ladder, PROTOCOL_VERSION, Scope, ShutdownParams, SignalParams, SignalTarget,
    SpawnParams, StderrMode, StdinMode, StdoutMode, StreamName, WhenFull, WriteParams,
};
