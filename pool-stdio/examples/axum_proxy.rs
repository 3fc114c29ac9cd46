//! HTTP in front, MCP servers behind: what a client posts goes to a child, and its reply comes back.
//! On Ctrl-C or SIGTERM no more is accepted, what was begun is finished, and the children leave.
//!
//! ```text
//! cargo run -p pool-stdio --example axum_proxy -- 127.0.0.1:8080 mcp-server-time
//! curl -d '{"jsonrpc":"2.0","id":"mine","method":"tools/list"}' http://127.0.0.1:8080
//! ```

#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use std::{error::Error, io, time::Duration};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Bytes, extract::State, routing::post};
use pool_core::SharedPool;
use pool_stdio::{ClientIds, CommandSpec, JsonRpcConnector, OnDrop, Protocol};
use pool_stdio::{Retry, RetryError, RpcError, Terms};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(10);
const NO_BATCH: &str = "a batch; MCP has none since 2025-06-18, so post each message by itself\n";

async fn serve(State(retry): State<Retry>, headers: HeaderMap, message: Bytes) -> Response {
    if message.trim_ascii_start().starts_with(b"[") {
        return (StatusCode::BAD_REQUEST, NO_BATCH).into_response();
    }
    // A client that hangs up drops this future. Since 2026 that is a cancel, and the child is told so.
    let version = headers.get("mcp-protocol-version");
    let is_modern = version.is_some_and(|version| version.as_bytes() >= b"2026".as_slice());
    let on_drop = if is_modern {
        OnDrop::Cancel
    } else {
        OnDrop::Detach
    };
    // Without sessions nobody knows whose request a cancel names. It is accepted, and has no effect.
    let nobody = ClientIds::new();
    let terms = Terms::new().within(LIMIT).on_drop(on_drop).client(&nobody);
    let mut exchange = retry.exchange(message, &terms);
    match exchange.reply().await {
        Ok(Some(reply)) => ([(header::CONTENT_TYPE, "application/json")], reply).into_response(),
        Ok(None) => StatusCode::ACCEPTED.into_response(),
        Err(error) => {
            let status = status(&error);
            let is_busy = status == StatusCode::SERVICE_UNAVAILABLE;
            let later = is_busy.then_some([(header::RETRY_AFTER, "1")]);
            (status, later, error.to_string()).into_response()
        }
    }
}

fn status(error: &RetryError) -> StatusCode {
    match error {
        RetryError::NoChild(_) | RetryError::NoChildInTime { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        RetryError::Failed(RpcError::BadRequest { .. }) => StatusCode::BAD_REQUEST,
        RetryError::Failed(RpcError::Timeout { .. })
        | RetryError::OutcomeUnknown {
            error: RpcError::Timeout { .. },
            ..
        } => StatusCode::GATEWAY_TIMEOUT,
        RetryError::Failed(_) | RetryError::OutcomeUnknown { .. } | _ => StatusCode::BAD_GATEWAY,
    }
}

/// Ends at the first Ctrl-C or SIGTERM after this call.
#[cfg(unix)]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    })
}

/// Ends at the first Ctrl-C after this call.
#[cfg(windows)]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move { _ = interrupt.recv().await })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Order: ready for the signals before there is anything to lose.
    let told_to_end = told_to_end()?;
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

    // To list something twice does no harm.
    let retry = Retry::new(pool.clone()).repeat_if(|method, _| method.ends_with("/list"));
    let stop = CancellationToken::new();
    let app = Router::new().route("/", post(serve)).with_state(retry);
    let server = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
    let ending = async {
        told_to_end.await;
        stop.cancel();
        tokio::time::sleep(LIMIT).await; // No client holds it up for longer.
    };
    tokio::select! { served = server.into_future() => served?, () = ending => {} }
    // What was begun is finished. A child that does not leave then is told to, and killed after a second.
    pool.close(LIMIT).await;
    let report = children.terminate_all(Duration::from_secs(1)).await;
    assert!(report.left.is_empty(), "{report:?}");
    Ok(())
}
