//! The engine against a peer that does what a test says, over pipes in memory, on a paused clock.

#![expect(
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test's tasks end with its runtime, and whatever is not expected is wrong"
)]

mod cases;
mod corners;
mod ends;
mod fidelity;
mod model;
mod pipe;

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, DuplexStream, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::Client;
use super::driver::{Desk, Driver, Inlet, StrayFrames, Witness};
use super::error::{Cause, Down};
use super::framing::{Frames, Framing};
use super::link::{Link, Terms};
use super::protocol::Protocol;
use super::serve::{Handler, Servant};
use super::way_out::Outlet;
use crate::metrics::Meters;

impl Outlet for DuplexStream {
    fn into_fd(self: Box<Self>) -> Option<OwnedFd> {
        None
    }
}

impl Inlet for DuplexStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut chunk = [0; 256];
        let room = chunk.len().min(bytes.capacity() - bytes.len()).max(1);
        let mut read = ReadBuf::new(&mut chunk[..room]);
        ready!(AsyncRead::poll_read(Pin::new(self), cx, &mut read))?;
        bytes.put_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

/// How a test wants its connection.
struct Setup {
    protocol: Protocol,
    terms: Terms,
    strays: StrayFrames,
    handler: Option<Arc<Handler>>,
    /// Of each pipe.
    pipe_bytes: usize,
}

impl Setup {
    fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            terms: Terms {
                pid: 0,
                framing: Framing::Lines,
                frame_bytes_max: 1 << 20,
                cancel: protocol.cancel(),
                queue_max: 64,
                enqueue_timeout: Duration::from_secs(5),
                write_timeout: Duration::from_secs(10),
                notices_max: 4,
            },
            strays: StrayFrames::Skip,
            handler: None,
            pipe_bytes: 4096,
        }
    }

    fn plain() -> Self {
        Self::new(Protocol::Plain)
    }

    fn mcp() -> Self {
        Self::new(Protocol::Mcp)
    }

    fn open(self) -> (Line, Peer) {
        let (inlet, output) = tokio::io::duplex(self.pipe_bytes);
        let (line, input) = self.open_with(inlet);
        (line, Peer { input, output })
    }

    /// With another way to read.
    fn open_with(self, inlet: impl Inlet) -> (Line, BufReader<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(self.pipe_bytes);
        let (link, notices) = Link::new(self.terms.clone(), Box::new(ours));
        let meters = Meters::new("test");
        let driver = Driver {
            link: Arc::clone(&link),
            inlet,
            notices,
            frames: Frames::new(self.terms.framing, self.terms.frame_bytes_max),
            protocol: self.protocol,
            strays: self.strays,
            servant: Servant::new(self.handler, self.protocol),
            witness: Witness::default(),
            exited: None,
            meters: Arc::clone(&meters),
            desk: Desk::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        let client = Client {
            link,
            protocol: self.protocol,
            meters,
        };
        (Line { client, tasks }, BufReader::new(theirs))
    }
}

/// Our end.
struct Line {
    client: Client,
    tasks: JoinSet<()>,
}

impl Line {
    fn close(&self) {
        let report = Witness::default().report(&self.client.link);
        let cause = Cause::Closed;
        drop(self.client.link.go_down(Down { cause, report }));
    }

    /// The driver ends by itself.
    async fn ended(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// The other end.
struct Peer {
    input: BufReader<DuplexStream>,
    output: DuplexStream,
}

impl Peer {
    /// The next line, as it came; `None` at the end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.input.read_line(&mut line).await.unwrap();
        (read > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    async fn message(&mut self) -> Value {
        let line = self.line().await.expect("a message is due");
        serde_json::from_str(&line).unwrap()
    }

    async fn say(&mut self, text: impl AsRef<str>) {
        let line = format!("{}\n", text.as_ref());
        self.output.write_all(line.as_bytes()).await.unwrap();
    }

    async fn reply(&mut self, id: &Value, result: impl Into<Value>) {
        let result: Value = result.into();
        self.say(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
        ))
        .await;
    }

    /// Answers the next request with its params.
    async fn echo(&mut self) -> Value {
        let request = self.message().await;
        self.reply(&request["id"], request["params"].clone()).await;
        request
    }
}

/// Waits until nobody has anything to do: the clock moves only then.
async fn quiet() {
    sleep(Duration::from_millis(1)).await;
}
