//! Child processes as pooled connections: spawned, spoken to over stdio, and ended with their whole
//! tree.
//!
//! The process layer needs no runtime. A [`CommandSpec`] says what to start, and is checked before
//! anything is; [`Command::spawn`] starts a [`Child`] on a thread that may block; a second thread
//! watches every child from its birth to its last descendant's end. Its pipes are plain descriptors,
//! ready to be registered with whatever runtime there is.
//!
//! A child is ended by a ladder: queued input is flushed, stdin is closed, then come SIGTERM and
//! SIGKILL, each to the whole [`KillScope`] and after a grace; then what is left in the pipes is read,
//! for a bounded time. A [`Termination`] tells how it went. The ladder runs to its end once it has
//! begun, whatever is dropped or cancelled; and dropping a [`Child`] begins it.
//!
//! # Examples
//!
//! ```
//! # #[cfg(unix)] {
//! use pool_stdio::{CommandSpec, Rung, Stop};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let command = CommandSpec::new("cat").build()?;
//! let child = command.spawn().await?;
//! assert!(child.is_alive());
//!
//! // `cat` leaves when its input ends, long before anything harsher is due.
//! let end = child.terminate(Stop::Orderly).await;
//! assert_eq!(end.rung, Rung::Eof);
//! assert!(end.exit.status().is_some_and(|status| status.success()));
//! # Ok(())
//! # })
//! # }
//! # main().unwrap();
//! # }
//! ```

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
pub use signal::Signal;
pub use spawner::{SpawnError, Spawning, prepare};
pub use stderr::{LineSink, RingLimits, StderrLine, StderrPolicy, StderrTail};
pub use terminate::{KillScope, LadderTimes, Stop};
