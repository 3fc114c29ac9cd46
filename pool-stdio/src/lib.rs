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
pub use error::{ChildReport, Stage, StdioError};
pub use exclusive::{Request, StdioConnection, StdioConnector, StrayPolicy};
pub use one_shot::{OneShot, OneShotConnector, Output, Run};
pub use process::child::{Child, Exited, Handover, Liveness, SignalError, Terminating};
pub use process::children::{Children, Emptied, TerminateAll, TerminateAllReport};
pub use process::command::{Command, CommandError, CommandSpec, EnvPolicy};
pub use process::outcome::{Drain, Exit, Rung, Termination};
pub use process::signal::Signal;
pub use process::spawner::{SpawnError, Spawning, prepare};
pub use process::stderr::{LineSink, RingLimits, StderrLine, StderrPolicy, StderrTail};
pub use process::terminate::{KillScope, LadderTimes, Stop};
pub use rpc::{
    Call, ErrorObject, Fate, Forward, Framing, JsonRpcConnection, JsonRpcConnector, Notification,
    Notifications, Progress, Protocol, RpcCounts, RpcError, RpcReport, ServerRequest, StrayFrames,
};
