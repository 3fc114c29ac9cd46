//! The engine against a peer that does what a test says, over pipes in memory, on a paused clock.

#![expect(
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test's tasks end with its runtime, and whatever is not expected is wrong"
)]

mod builder;
mod cases;
mod corners;
mod ends;
mod exchanges;
mod faults;
mod fidelity;
mod isolation;
mod loads;
mod model;
mod news;
#[cfg(unix)]
mod pipe;
mod server_requests;
mod suspects;
mod wakeups;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use pool_core::{BoxFuture, ConnectionId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, DuplexStream, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::call::Call;
use super::client::Client;
use super::driver::Driver;
use super::error::{ConnectionEnd, EndCause};
use super::framing::{FrameDecoder, Framing};
use super::link::{Link, LinkSettings};
use super::note_limits::NoteLimits;
use super::pipes::{StdinPipe, StdoutPipe};
use super::protocol::Protocol;
use super::report::ChildFacts;
use super::router::{ReplyBatch, Router};
use super::server_request::{RequestHandler, Responder};
use crate::metrics::Meters;
use crate::process::{Exit, PipeEnd, Wait};

/// As a connection makes calls.
impl Client {
    fn call<R: DeserializeOwned>(&self, method: &str, params: &impl Serialize) -> Call<'_, R> {
        Call::new(self, method, params)
    }

    fn forward(&self, frame: impl Into<Bytes>) -> Call<'_, Option<Bytes>> {
        Call::forward(self, frame.into())
    }
}

impl StdinPipe for DuplexStream {
    fn into_end(self: Box<Self>) -> Option<PipeEnd> {
        None
    }
}

impl StdoutPipe for DuplexStream {
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
    settings: LinkSettings,
    handler: Option<Arc<RequestHandler>>,
    /// Of each pipe.
    pipe_bytes: usize,
}

impl Setup {
    fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            settings: LinkSettings {
                pid: 7,
                facts: ChildFacts::default(),
                connection_id: ConnectionId::from_u64(3),
                framing: Framing::Lines,
                frame_bytes_max: 1 << 20,
                cancel: protocol.cancel(),
                ping: protocol.ping(),
                queue_max: 64,
                enqueue_timeout: Duration::from_secs(5),
                write_timeout: Duration::from_secs(10),
                hang_after: Duration::from_secs(5),
                notes: NoteLimits {
                    notes_max: 4,
                    bytes_max: 1 << 20,
                },
            },
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

    fn open(self) -> (OurEnd, Peer) {
        let (stdout, output) = tokio::io::duplex(self.pipe_bytes);
        let (line, input) = self.open_with(stdout);
        (line, Peer { input, output })
    }

    /// With another way to read.
    fn open_with(self, stdout: impl StdoutPipe) -> (OurEnd, BufReader<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(self.pipe_bytes);
        let (link, notifications) = Link::new(self.settings.clone(), Box::new(ours));
        let meters = Meters::new("test");
        let router = Router {
            link: Arc::clone(&link),
            notifications,
            decoder: FrameDecoder::new(self.settings.framing, self.settings.frame_bytes_max),
            protocol: self.protocol,
            responder: Responder::new(self.handler, self.protocol),
            meters: Arc::clone(&meters),
            batch: ReplyBatch::default(),
        };
        let facts = self.settings.facts;
        let exited = facts.record.as_ref().map(|record| {
            let exited = Wait::new(Arc::clone(&record.exit));
            Box::pin(exited) as BoxFuture<'static, Exit>
        });
        let driver = Driver::new(stdout, router, facts, exited);
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        let client = Client {
            link,
            protocol: self.protocol,
            meters,
        };
        (OurEnd { client, tasks }, BufReader::new(theirs))
    }
}

/// Our end.
struct OurEnd {
    client: Client,
    tasks: JoinSet<()>,
}

impl OurEnd {
    fn close(&self) {
        let report = ChildFacts::default().report(Vec::new());
        let cause = EndCause::Closed;
        drop(self.client.link.close(ConnectionEnd { cause, report }));
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

/// Both ends end, and nothing is pending.
async fn end(line: OurEnd, peer: Peer) {
    assert_eq!(line.client.link.state().status().pending, 0);
    drop(peer);
    line.ended().await;
}
