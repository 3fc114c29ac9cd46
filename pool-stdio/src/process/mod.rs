//! Child processes: started without blocking, watched without a runtime, ended with their whole tree.
//!
//! Other rooms of this crate use what is re-exported here, and nothing else.

mod cgroup;
mod cgroup_spec;
mod child;
mod child_pipes;
mod children;
mod command;
mod command_error;
mod cookie;
mod custodian;
mod environment;
mod guardian;
mod headcount;
mod health;
mod host;
mod limits;
mod line_feed;
mod lock;
mod memory;
mod notifier;
mod once;
mod outcome;
mod proc_scan;
mod process_watch;
mod program;
mod record;
mod roster;
mod service;
mod shim;
mod signal;
mod spawn_attempt;
mod spawn_error;
mod spawn_queue;
mod spawner;
mod stderr;
mod stopping;
mod sys;
mod terminate;
mod turns;
mod ward;
mod watched;

pub use cgroup_spec::{CgroupProblem, CgroupSpec};
pub use child::Child;
pub use child_pipes::{ChildInput, ChildOutput};
pub use children::Children;
pub use command::{Command, CommandSpec};
pub use command_error::CommandError;
pub use guardian::{guard_main, set_host_death_grace};
pub use health::{Health, health};
pub use limits::ProcessLimits;
pub use outcome::{CountFailure, Drain, Exit, Rung, Survivors, TerminateAllReport, Termination};
pub use process_watch::{ProcessWatch, WatchError};
pub use signal::{Signal, SignalError};
pub use spawn_error::SpawnError;
pub use spawner::prepare;
pub use stderr::{StderrLine, StderrPolicy, StderrTail};
pub use terminate::{KillScope, LadderTimes, Stop};

pub(crate) use child::{ChildRemote, ExitWait, Handover, Liveness};
pub(crate) use lock::lock;
pub(crate) use once::{Once, Wait};
pub(crate) use record::ChildRecord;
pub use sys::OwnedPipe;
pub(crate) use sys::{AsyncStdin, AsyncStdout, PipeEnd, StdoutView};
