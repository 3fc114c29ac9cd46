#![doc = include_str!("../README.md")]

pub mod codec;
mod error;
mod exclusive;
mod launch;
mod metrics;
mod one_shot;
mod process;
mod rpc;

pub use codec::Codec;
pub use error::{ChildReport, StdioError};
pub use exclusive::{Request, StdioConnection, StdioConnector};
pub use one_shot::{OneShot, OneShotConnector, OneShotStream, Output, Run};
pub use process::{
    CgroupProblem, CgroupSpec, Child, ChildInput, ChildOutput, Children, Command, CommandError,
    CommandSpec, CountFailure, Drain, Exit, Health, KillScope, LadderTimes, OwnedPipe,
    ProcessLimits, ProcessWatch, Rung, Signal, SignalError, SpawnError, StderrLine, StderrPolicy,
    StderrTail, Stop, Survivors, TerminateAllReport, Termination, WatchError, guard_main, health,
    prepare, set_host_death_grace,
};
pub use rpc::{
    Call, ChildCaller, ClientIds, ErrorObject, Exchange, Fate, Framing, JsonRpcConnection,
    JsonRpcConnector, NotRepeated, Notification, Notifications, OnDrop, Progress, Protocol, Retry,
    RetryError, Retrying, RpcError, RpcLease, RpcLimits, RpcPool, RpcReport, RpcStatus,
    ServerMessage, ServerRequest, Session, Terms, join_batch, split_batch,
};
