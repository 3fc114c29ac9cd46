//! HTTP in front, MCP servers behind: what a client posts goes to a child, and its reply comes back.
//! On Ctrl-C or SIGTERM no more is accepted, what was begun is finished, and the children leave.
//!
//! ```text
//! cargo run -p pool-stdio --example axum_proxy -- 127.0.0.1:8080 mcp-server-time
//! curl -d '{"jsonrpc":"2.0","id":"mine","method":"tools/list"}' http://127.0.0.1:8080
//! ```

#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use std::{error::Error, fmt::Display, time::Duration};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Bytes, extract::State, routing::post};
use pool_core::SharedPool;
use pool_stdio::{CommandSpec, JsonRpcConnection, JsonRpcConnector, Protocol, RpcError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(10);

async fn forward(State(pool): State<SharedPool<JsonRpcConnection>>, message: Bytes) -> Response {
    let child = match pool.acquire().await {
        Ok(child) => child,
        Err(error) => return refusal(StatusCode::SERVICE_UNAVAILABLE, &error),
    };
    // A client that hangs up drops this future: the child is told so, and goes on for the others.
    match child.forward(message).within(LIMIT).await {
        Ok(Some(reply)) => ([(header::CONTENT_TYPE, "application/json")], reply).into_response(),
        Ok(None) => StatusCode::ACCEPTED.into_response(),
        Err(error @ RpcError::BadRequest { .. }) => refusal(StatusCode::BAD_REQUEST, &error),
        Err(error @ RpcError::Timeout { .. }) => refusal(StatusCode::SERVICE_UNAVAILABLE, &error),
        Err(error) => refusal(StatusCode::BAD_GATEWAY, &error),
    }
}

fn refusal(status: StatusCode, error: &impl Display) -> Response {
    let later = (status == StatusCode::SERVICE_UNAVAILABLE).then_some([(header::RETRY_AFTER, "1")]);
    (status, later, error.to_string()).into_response()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Order: ready for the signals before there is anything to lose.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: ADDRESS COMMAND ARGS")?;
    let program = arguments.next().ok_or("usage: ADDRESS COMMAND ARGS")?;
    let server = CommandSpec::new(program).args(arguments);
    let us = json!({ "name": "axum_proxy", "version": "0" });
    let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": us });
    let connector = JsonRpcConnector::new(server, Protocol::Mcp)?.initialize(&hello)?;
    let children = connector.children();
    let pool = SharedPool::builder(connector).acquire_timeout(LIMIT);
    let pool = pool.name("mcp").build()?;
    pool.warm_up(1).await?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);

    let stop = CancellationToken::new();
    let app = Router::new().route("/", post(forward));
    let app = app.with_state(pool.clone());
    let server = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
    let ending = async {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        stop.cancel();
        tokio::time::sleep(LIMIT).await; // No client holds it up for longer.
    };
    tokio::select! { served = server.into_future() => served?, () = ending => {} }
    // What was begun is finished; who does not leave then is told to, and killed after a second.
    pool.close(LIMIT).await;
    let report = children.terminate_all(Duration::from_secs(1)).await;
    assert!(report.left.is_empty(), "{report:?}");
    Ok(())
}
