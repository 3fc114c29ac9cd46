//! JSON-RPC: many callers on one child, through ours and through rmcp's client.
//!
//! The child is the program itself. Both clients call the same tool with the same params type and
//! parse the same result type, [`CallToolResult`].

use std::io::{self, BufRead, BufReader, Write};
use std::sync::Arc;

use hdrhistogram::Histogram;
use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_stdio::{CommandSpec, JsonRpcConnection, JsonRpcConnector, Protocol};
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RunningService, ServiceExt};
use rmcp::transport::TokioChildProcess;
use rmcp::{RoleClient, model::ErrorData};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::clock::Stopwatch;

/// The argument that makes a program the child.
pub const SERVE: &str = "--serve-mcp";

/// What goes wrong here ends the program.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The child: answers what it has read, and writes when there is nothing more to read.
///
/// # Errors
///
/// If its pipes are closed.
pub fn serve() -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut output = io::stdout().lock();
    let (mut line, mut answers) = (Vec::new(), Vec::new());
    while input.read_until(b'\n', &mut line)? > 0 {
        answer(&line, &mut answers);
        line.clear();
        let has_more = input.buffer().contains(&b'\n');
        if !has_more && !answers.is_empty() {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
    }
    Ok(())
}

fn answer(line: &[u8], answers: &mut Vec<u8>) {
    let head = &line[..line.len().min(HEAD_BYTES)];
    let Some(at) = find(head, b"\"id\":") else {
        return;
    };
    let digits = head[at + 5..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let id = &head[at + 5..at + 5 + digits.count()];
    answers.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    answers.extend_from_slice(id);
    answers.extend_from_slice(b",\"result\":");
    if let Some(at) = find(head, ECHO) {
        answers.extend_from_slice(&line[at + ECHO.len()..]);
        return;
    }
    let is_greeting = find(head, b"\"initialize\"").is_some();
    answers.extend_from_slice(if is_greeting { GREETING } else { RESULT });
    answers.extend_from_slice(b"}\n");
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// One of the two clients, with its child.
#[derive(Debug, Clone)]
pub enum Client {
    /// `pool-stdio`.
    Ours(Arc<JsonRpcConnection>),
    /// `rmcp`, over its child process transport.
    Rmcp(Arc<RunningService<RoleClient, ()>>),
}

impl Client {
    /// Starts a child, and greets it.
    ///
    /// # Errors
    ///
    /// If it cannot be started or greeted.
    pub async fn ours() -> Outcome<Self> {
        let client = json!({ "name": "benches", "version": "0" });
        let params =
            json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
        let spec = CommandSpec::new(std::env::current_exe()?).arg(SERVE);
        let connector = JsonRpcConnector::new(spec, Protocol::Mcp)?.initialize(&params)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, deadline);
        Ok(Self::Ours(Arc::new(connector.connect(&cx).await?)))
    }

    /// The same, the way of rmcp.
    ///
    /// # Errors
    ///
    /// If it cannot be started or greeted.
    pub async fn rmcp() -> Outcome<Self> {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.arg(SERVE);
        let service = ().serve(TokioChildProcess::new(command)?).await?;
        Ok(Self::Rmcp(Arc::new(service)))
    }

    async fn call(&self) -> Outcome<CallToolResult> {
        let params = CallToolRequestParams::new("answer");
        Ok(match self {
            Self::Ours(child) => child.call("tools/call", &params).await?,
            Self::Rmcp(service) => service.call_tool(params).await?,
        })
    }
}

/// What a round showed.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Requests per second.
    pub rate: f64,
    /// Of the time that a call took, in nanoseconds.
    pub p50: f64,
    /// The same.
    pub p99: f64,
}

/// So many callers, one call after the other each, until this many calls are done in all.
///
/// # Errors
///
/// If a call fails.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
pub async fn round(client: &Client, callers: u32, calls: u32) -> Outcome<Round> {
    let each = calls / callers;
    let mut tasks = JoinSet::new();
    let watch = Stopwatch::start();
    for _ in 0..callers {
        let client = client.clone();
        tasks.spawn(async move { caller(&client, each).await });
    }
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(times) = tasks.join_next().await {
        all.add(times??)?;
    }
    let seconds = watch.elapsed().as_secs_f64();
    Ok(Round {
        rate: f64::from(each * callers) / seconds,
        p50: all.value_at_quantile(0.5) as f64,
        p99: all.value_at_quantile(0.99) as f64,
    })
}

async fn caller(client: &Client, calls: u32) -> Outcome<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    for _ in 0..calls {
        let watch = Stopwatch::start();
        let result = client.call().await?;
        if result.content.len() != 1 {
            return Err(ErrorData::internal_error("one content is expected", None).into());
        }
        times.record(watch.elapsed_ns())?;
    }
    Ok(times)
}

/// A request that the child answers with its own params.
#[must_use]
pub fn large_request(body_bytes: usize) -> Vec<u8> {
    let mut request = br#"{"jsonrpc":"2.0","id":123456,"method":"tools/call","params":""#.to_vec();
    request.resize(request.len() + body_bytes, b'x');
    request.extend_from_slice(b"\"}");
    let at = find(&request[..HEAD_BYTES], b"\"method\":").unwrap_or_default();
    request.splice(at..at + CALL.len(), ECHO.iter().copied());
    request
}

const CALL: &[u8] = b"\"method\":\"tools/call\",\"params\":";
const ECHO: &[u8] = b"\"method\":\"echo\",\"params\":";
const HEAD_BYTES: usize = 128;
const GREETING: &[u8] = br#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"0"}}"#;
const RESULT: &[u8] = br#"{"content":[{"type":"text","text":"the answer is 42"}],"isError":false}"#;
