//! Which lines of the libraries are left out of the log: those that this program says itself, with the server's name.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Leaves out that a connect has failed: `backend` says that a child did not start, and why.
#[derive(Debug)]
pub(crate) struct SaidHere;

impl<S: Subscriber> Layer<S> for SaidHere {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        if event.metadata().target() != "pool_core" {
            return true;
        }
        let mut message = Message {
            is_said_here: false,
        };
        event.record(&mut message);
        !message.is_said_here
    }
}

struct Message {
    is_said_here: bool,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.is_said_here |= field.name() == "message" && format!("{value:?}") == CONNECT_FAILED;
    }
}

/// As `pool-core` says it.
const CONNECT_FAILED: &str = "connect failed";
