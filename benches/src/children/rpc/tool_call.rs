//! The call that all clients make.

use rmcp::model::{CallToolRequestParams, CallToolResult};

use pool_reuse::builtin::Tool;
use pool_reuse::measure::Measured;
use pool_stdio::JsonRpcConnection;

pub(super) fn params(tool: Tool) -> CallToolRequestParams {
    CallToolRequestParams::new(tool.name())
}

pub(super) fn check(result: &CallToolResult) -> Measured<()> {
    match result.content.len() {
        1 => Ok(()),
        _ => Err("one piece of content is expected".into()),
    }
}

/// One call of a tool through `pool-stdio`.
pub(super) async fn call(child: &JsonRpcConnection, tool: Tool) -> Measured<()> {
    check(&child.call("tools/call", &params(tool)).await?)
}
