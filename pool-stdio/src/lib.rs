#![doc = include_str!("../README.md")]

mod child;
mod children;
pub mod codec;
mod command;
mod connection;
mod connector;
mod custodian;
mod error;
mod lines;
mod metrics;
mod outcome;
mod rpc;
mod signal;
mod spawner;
mod stderr;
mod sweep;
mod sys;
mod terminate;
mod wake;
mod ward;

pub use child::{Child, Exited, Handover, Liveness, SignalError, Terminating};
pub use children::{Children, Emptied, TerminateAll, TerminateAllReport};
pub use command::{Command, CommandError, CommandSpec, EnvPolicy};
pub use connection::{Codec, OneShot, Output, StdioConnection, StrayPolicy};
pub use connector::{OneShotConnector, StdioConnector};
pub use error::{ChildReport, Stage, StdioError};
pub use outcome::{Drain, Exit, Rung, Termination};
pub use rpc::{
    Answer, Cancel, ErrorObject, Fate, Framing, JsonRpcConnection, JsonRpcConnector, Notice,
    Notices, Notification, Progress, Protocol, RpcCounts, RpcError, RpcReport, ServerRequest,
    StrayFrames,
};
pub use signal::Signal;
pub use spawner::{SpawnError, Spawning, prepare};
pub use stderr::{LineSink, RingLimits, StderrLine, StderrPolicy, StderrTail};
pub use terminate::{KillScope, LadderTimes, Stop};
