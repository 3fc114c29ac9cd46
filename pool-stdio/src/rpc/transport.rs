//! The pipes to a child, and the task that serves them.

use std::sync::Arc;

use pool_core::ConnectionId;
use tokio::task::JoinSet;

use super::client::Client;
use super::driver::Driver;
use super::error::{ConnectionEnd, EndCause, Fate, RpcError};
use super::framing::FrameDecoder;
use super::link::{Link, LinkSettings};
use super::protocol::Protocol;
use super::report::ChildFacts;
use super::router::{ReplyBatch, Router};
use super::server_request::{RequestHandler, Responder};
use crate::metrics::Meters;
use crate::process::{AsyncStdin, AsyncStdout, Child, Handover, StdoutView};

/// What the transports of one connector have in common.
#[derive(Clone)]
pub(super) struct TransportSettings {
    pub(super) protocol: Protocol,
    pub(super) link: LinkSettings,
    pub(super) handler: Option<Arc<RequestHandler>>,
}

/// The pipes to a child. Dropping it ends all calls and the task.
pub(super) struct Transport {
    pub(super) client: Client,
    tasks: JoinSet<()>,
    stdout: AsyncStdout,
    facts: ChildFacts,
}

impl Transport {
    /// Starts the task that serves the pipes.
    pub(super) fn open(
        child: &Child,
        connection_id: ConnectionId,
        stdin: AsyncStdin,
        stdout: AsyncStdout,
        settings: TransportSettings,
        meters: Arc<Meters>,
    ) -> Self {
        let TransportSettings {
            protocol,
            link: link_settings,
            handler,
        } = settings;
        let decoder = FrameDecoder::new(link_settings.framing, link_settings.frame_bytes_max);
        let facts = ChildFacts {
            record: Some(child.record()),
        };
        let link_settings = LinkSettings {
            pid: child.pid(),
            facts: facts.clone(),
            connection_id,
            ..link_settings
        };
        let (link, notifications) = Link::new(link_settings, Box::new(stdin));
        let router = Router {
            link: Arc::clone(&link),
            notifications,
            decoder,
            protocol,
            responder: Responder::new(handler, protocol),
            meters: Arc::clone(&meters),
            batch: ReplyBatch::default(),
        };
        let exited = Box::pin(child.exit_wait());
        let driver = Driver::new(stdout.clone(), router, facts.clone(), Some(exited));
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        let client = Client {
            link,
            protocol,
            meters,
        };
        Self {
            client,
            tasks,
            stdout,
            facts,
        }
    }

    /// Our end of the child's stdout.
    pub(super) fn stdout(&self) -> StdoutView<'_> {
        self.stdout.view()
    }

    /// The error of a call that ended for this reason before it was sent.
    pub(super) fn error(&self, cause: EndCause) -> RpcError {
        self.end(cause).error(Fate::NotSent)
    }

    fn end(&self, cause: EndCause) -> ConnectionEnd {
        let strays = self.client.link.state().strays();
        let report = self.facts.report(strays);
        ConnectionEnd { cause, report }
    }

    /// Ends all calls and the task, and returns the pipes. The pipe to stdin is returned once.
    pub(super) fn close(&mut self) -> Handover {
        let left = self.client.link.close(self.end(EndCause::Closed));
        self.tasks.abort_all();
        let mut handover = Handover::new();
        if let Some((rest, pipe)) = left
            && let Some(stdin) = pipe.into_end()
        {
            handover = handover.stdin(stdin, rest);
        }
        // The aborted task holds the pipe for a moment longer, but reads no more.
        match self.stdout.to_end() {
            Some(stdout) => handover.stdout(stdout),
            None => handover,
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        drop(self.close());
    }
}
