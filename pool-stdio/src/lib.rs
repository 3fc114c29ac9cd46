//! Child processes as pooled connections: spawned, spoken to over stdio, and ended with their whole
//! tree.

mod child;
mod children;
pub mod codec;
mod command;
mod custodian;
mod lines;
mod outcome;
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
pub use outcome::{Drain, Exit, Rung, Termination};
pub use signal::Signal;
pub use spawner::{SpawnError, Spawning, prepare};
pub use stderr::{LineSink, RingLimits, StderrLine, StderrPolicy, StderrTail};
pub use terminate::{KillScope, LadderTimes, Stop};
