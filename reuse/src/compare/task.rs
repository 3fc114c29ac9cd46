//! What is sent to which command, and how often.

use std::time::Duration;

use pool_stdio::CommandSpec;

use super::framing::Framing;
use super::race::RaceLimits;
use super::started::StartedChildren;

/// What is sent to which command, and how often.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) spec: CommandSpec,
    /// The command as it is shown to the user.
    pub(super) name: String,
    pub(super) framing: Framing,
    pub(super) message: Vec<u8>,
    /// The message with its frame.
    pub(super) framed: Vec<u8>,
    /// How long one request can take.
    pub(super) patience: Duration,
    pub(super) limits: RaceLimits,
    /// How many children the pool can have.
    pub(super) size: usize,
    pub(super) started_children: StartedChildren,
}

impl Task {
    pub(super) fn spec(&self) -> CommandSpec {
        self.spec.clone()
    }
}
