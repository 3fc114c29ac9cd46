//! How both clients call the same tool.

use std::sync::Arc;

use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_stdio::{JsonRpcConnection, JsonRpcConnector, Protocol};
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RunningService, ServiceExt};
use rmcp::transport::TokioChildProcess;
use serde_json::json;
use tokio::process;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::bare::Bare;
use crate::children::program::{Cores, Program};
use pool_reuse::builtin::server::{Tool, Wire};
use pool_reuse::measure::Measured;
use pool_reuse::measure::clock::Stopwatch;

/// One of the two clients, with its child.
#[derive(Debug, Clone)]
pub(super) enum Client {
    /// `pool-stdio`.
    Ours(Arc<JsonRpcConnection>),
    /// `rmcp`, over its child process transport.
    Rmcp(Arc<RunningService<RoleClient, ()>>),
}

impl Client {
    /// Starts a child on these cores, and greets it.
    pub(super) async fn ours(cores: &Cores) -> Measured<Self> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, deadline);
        let child = connector()?.connect(&cx).await?;
        // It was started by another thread.
        cores.move_child(child.pid())?;
        Ok(Self::Ours(Arc::new(child)))
    }

    /// The same, the way of rmcp: from this thread, and so where this thread may run.
    pub(super) async fn rmcp() -> Measured<Self> {
        let command = process::Command::from(Program::server(Wire::Lines)?.command());
        let service = ().serve(TokioChildProcess::new(command)?).await?;
        Ok(Self::Rmcp(Arc::new(service)))
    }

    async fn call(&self) -> Measured<()> {
        let result = match self {
            Self::Ours(child) => return call(child, Tool::Answer).await,
            Self::Rmcp(service) => service.call_tool(params(Tool::Answer)).await?,
        };
        check(&result)
    }
}

/// What starts the child for ours, and greets it as rmcp does.
pub(super) fn connector() -> Measured<JsonRpcConnector> {
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "benches", "version": "0" },
    });
    let spec = Program::server(Wire::Lines)?.spec();
    Ok(JsonRpcConnector::new(spec, Protocol::Mcp)?.initialize(&params)?)
}

/// One call of a tool.
pub(super) async fn call(child: &JsonRpcConnection, tool: Tool) -> Measured<()> {
    check(&child.call("tools/call", &params(tool)).await?)
}

pub(super) fn params(tool: Tool) -> CallToolRequestParams {
    CallToolRequestParams::new(tool.name())
}

pub(super) fn check(result: &CallToolResult) -> Measured<()> {
    match result.content.len() {
        1 => Ok(()),
        _ => Err("one piece of content is expected".into()),
    }
}

/// What a round showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// Requests per second.
    pub(super) rate: f64,
    /// Of the time that a call took, in microseconds.
    pub(super) p50: f64,
    /// The same.
    pub(super) p99: f64,
}

/// The median time of a call over bare pipes, in microseconds.
pub(super) async fn bare_p50(mut bare: Bare, calls: u32) -> Measured<(Bare, f64)> {
    let caller = async move {
        let mut times = Vec::with_capacity(usize::try_from(calls)?);
        for _ in 0..calls {
            let watch = Stopwatch::start();
            bare.call().await?;
            times.push(watch.elapsed_ns());
        }
        times.sort_unstable();
        Ok((bare, micros(&times, 50)))
    };
    // A task as the others are.
    let mut tasks = JoinSet::new();
    tasks.spawn(caller);
    tasks.join_next().await.ok_or("it was spawned")??
}

/// So many callers, one call after the other each, until this many calls are done in all.
pub(super) async fn round(client: &Client, callers: u32, calls: u32) -> Measured<Round> {
    let each = calls / callers;
    let mut tasks = JoinSet::new();
    let mut all = Vec::with_capacity(usize::try_from(calls)?);
    let watch = Stopwatch::start();
    for _ in 0..callers {
        let client = client.clone();
        tasks.spawn(async move { caller(&client, each).await });
    }
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    let seconds = watch.elapsed().as_secs_f64();
    all.sort_unstable();
    Ok(Round {
        rate: f64::from(each * callers) / seconds,
        p50: micros(&all, 50),
        p99: micros(&all, 99),
    })
}

/// Of sorted nanoseconds, a percentile in microseconds.
fn micros(sorted: &[u64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    let nanos = sorted.get(at).copied().unwrap_or_default();
    Duration::from_nanos(nanos).as_secs_f64() * 1e6
}

/// The times are kept as they are: to sort them into a histogram is dearer than a call is. One
/// call ends when the next begins: looking at the clock twice is felt in what is measured.
async fn caller(client: &Client, calls: u32) -> Measured<Vec<u64>> {
    let mut times = Vec::with_capacity(usize::try_from(calls)?);
    let watch = Stopwatch::start();
    let mut before = 0;
    for _ in 0..calls {
        client.call().await?;
        let now = watch.elapsed_ns();
        times.push(now - before);
        before = now;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::micros;

    #[test]
    fn a_percentile_is_the_time_that_so_many_of_a_hundred_do_not_reach() {
        let sorted: Vec<u64> = (0..200).map(|number| number * 1_000).collect();
        assert!((micros(&sorted, 50) - 100.0).abs() < 1e-6);
        assert!((micros(&sorted, 99) - 198.0).abs() < 1e-6);
        assert!((micros(&[7_000], 99) - 7.0).abs() < 1e-6);
    }
}
