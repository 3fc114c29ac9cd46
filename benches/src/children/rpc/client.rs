//! The two clients that are compared.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_reuse::builtin::{Tool, Wire};
use pool_reuse::measure::Measured;
use pool_stdio::{JsonRpcConnection, JsonRpcConnector, Protocol};
use rmcp::RoleClient;
use rmcp::service::{RunningService, ServiceExt};
use rmcp::transport::TokioChildProcess;
use serde_json::json;
use tokio::process;
use tokio::time::Instant;

use super::tool_call::{call, check, params};
use crate::children::cores::Cores;
use crate::children::program::Program;

/// One of the two clients, with its child.
#[derive(Debug, Clone)]
pub(super) enum Client {
    /// `pool-stdio`.
    Ours(Arc<JsonRpcConnection>),
    /// `rmcp`, over its child process transport.
    Rmcp(Arc<RunningService<RoleClient, ()>>),
}

impl Client {
    /// Starts a child on these cores and initializes it.
    pub(super) async fn ours(cores: &Cores) -> Measured<Self> {
        Ok(Self::Ours(Arc::new(connect(cores).await?)))
    }

    /// The same through rmcp, which starts the child from this thread and so on its cores.
    pub(super) async fn rmcp() -> Measured<Self> {
        let command = process::Command::from(Program::server(Wire::Lines)?.command());
        let service = ().serve(TokioChildProcess::new(command)?).await?;
        Ok(Self::Rmcp(Arc::new(service)))
    }

    /// One call of the tool that answers at once.
    pub(super) async fn call(&self) -> Measured<()> {
        let result = match self {
            Self::Ours(child) => return call(child, Tool::Answer).await,
            Self::Rmcp(service) => service.call_tool(params(Tool::Answer)).await?,
        };
        check(&result)
    }
}

/// A child of ours on these cores.
pub(super) async fn connect(cores: &Cores) -> Measured<JsonRpcConnection> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, deadline);
    let child = connector()?.connect(&cx).await?;
    // Another thread started it.
    cores.move_child(child.process().pid())?;
    Ok(child)
}

/// Starts our children, and initializes them as rmcp does.
pub(super) fn connector() -> Measured<JsonRpcConnector> {
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "benches", "version": "0" },
    });
    let spec = Program::server(Wire::Lines)?.spec();
    Ok(JsonRpcConnector::new(spec, Protocol::Mcp)?.initialize(&params)?)
}
