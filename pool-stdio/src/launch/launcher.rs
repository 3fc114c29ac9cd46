//! Starts the children of one connector.
//!
//! Decides what a failure to start means for the pool: *permanent* if the same attempt cannot
//! succeed (no such program, not executable), *transient* otherwise (no descriptors, no memory, no
//! process to be had).

use std::io;
use std::sync::Arc;

use pool_core::{CloseReason, ConnectContext, ConnectError, ConnectionId};
use tokio::time::{Instant, timeout_at};

use crate::error::{ChildReport, Stage, StdioError};
use crate::metrics::{ChildMeter, Meters};
use crate::process::{
    AsyncStdin, AsyncStdout, Child, Children, Command, CommandError, CommandSpec, LadderTimes, Stop,
};

/// Starts the children of one connector.
#[derive(Debug)]
pub(crate) struct Launcher {
    command: Command,
    children: Children,
    meters: Arc<Meters>,
}

/// A child that was started for a connector. Nothing was said to it yet.
#[derive(Debug)]
pub(crate) struct LaunchedChild {
    pub(crate) child: Child,
    pub(crate) stdin: AsyncStdin,
    pub(crate) stdout: AsyncStdout,
    pub(crate) id: ConnectionId,
    /// When the pool asked for the connection.
    pub(crate) requested_at: Instant,
    pub(crate) meter: ChildMeter,
}

impl Launcher {
    pub(crate) fn new(spec: CommandSpec) -> Result<Self, CommandError> {
        let command = spec.build()?;
        command.check_for_connector()?;
        let meters = Meters::new(&command.name());
        Ok(Self {
            command,
            children: Children::new(),
            meters,
        })
    }

    pub(crate) fn children(&self) -> Children {
        self.children.clone()
    }

    pub(crate) fn ladder_times(&self) -> LadderTimes {
        self.command.times()
    }

    /// Starts a child by the deadline, and registers its pipes with the present runtime.
    ///
    /// # Panics
    ///
    /// If the runtime does no I/O.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no child.
    pub(crate) async fn launch(&self, cx: &ConnectContext) -> Result<LaunchedChild, ConnectError> {
        let requested_at = Instant::now();
        let spawning = timeout_at(cx.deadline, self.children.spawn(&self.command));
        let error = match spawning.await {
            Ok(Ok(child)) => return self.register(child, cx.id, requested_at),
            Ok(Err(source)) => StdioError::Spawn { source },
            Err(_) => StdioError::SpawnTimedOut {
                limit: cx.deadline.saturating_duration_since(requested_at),
            },
        };
        self.meters.spawn_failed();
        let is_permanent = matches!(&error, StdioError::Spawn { source } if !source.is_transient());
        Err(if is_permanent {
            ConnectError::permanent(error)
        } else {
            ConnectError::transient(error)
        })
    }

    fn register(
        &self,
        mut child: Child,
        id: ConnectionId,
        requested_at: Instant,
    ) -> Result<LaunchedChild, ConnectError> {
        let meter = ChildMeter::new(Arc::clone(&self.meters), Instant::now() - requested_at);
        match register_pipes(&mut child) {
            Ok((stdin, stdout)) => Ok(LaunchedChild {
                child,
                stdin,
                stdout,
                id,
                requested_at,
                meter,
            }),
            Err(source) => {
                let report = ChildReport::of(&child, Stage::Handshake, Some(requested_at));
                Err(ConnectError::transient(StdioError::Register {
                    source,
                    report,
                }))
            }
        }
    }
}

/// Registers our ends of a child's pipes with the present runtime.
fn register_pipes(child: &mut Child) -> io::Result<(AsyncStdin, AsyncStdout)> {
    let ends = child.take_ends();
    let (stdin, stdout) = ends.ok_or_else(|| io::Error::other("a pipe was taken"))?;
    Ok((AsyncStdin::new(stdin)?, AsyncStdout::new(stdout)?))
}

/// How the end of a child begins that the pool closes for this reason.
pub(crate) const fn stop_mode(reason: CloseReason) -> Stop {
    if reason.is_orderly() {
        Stop::Orderly
    } else {
        Stop::Force
    }
}
