//! Each case with `pool-stdio`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_reuse::measure::{Measured, Stopwatch};
use pool_stdio::{JsonRpcConnection, JsonRpcConnector, Protocol, Stop};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::case::Case;
use super::observation::{Mark, Observation, seconds};
use super::servers::Misbehaviour;

/// Plays the case.
pub(super) async fn observe(case: Case) -> Measured<Observation> {
    let mark = Mark::new();
    let what = match case {
        Case::CloseWhileWriting => close_while_writing(&mark).await?,
        Case::CloseWithAProcess | Case::CloseWithAGroup => close(&mark).await?,
        Case::DropWithoutRuntime => drop_without_runtime(&mark).await?,
        Case::StdoutClosed => stdout_closed(&mark).await?,
        Case::LastLine => last_line(&mark).await?,
        Case::Timeout => time_out(&mark).await?,
    };
    sleep(SETTLING).await;
    Ok(Observation::new(what, &mark))
}

async fn connect(misbehaviour: Misbehaviour, mark: &Mark) -> Measured<JsonRpcConnection> {
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "benches", "version": "0" },
    });
    let connector = JsonRpcConnector::new(misbehaviour.spec(mark), Protocol::Mcp)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, deadline);
    Ok(connector.initialize(&params)?.connect(&cx).await?)
}

async fn close_while_writing(mark: &Mark) -> Measured<String> {
    let child = Arc::new(connect(Misbehaviour::NeverReads, mark).await?);
    let writer = Arc::clone(&child);
    let pending = async move {
        drop(writer.forward(megabyte()).await);
    };
    // Long enough for the pipe to be full.
    drop(timeout(SETTLING, pending).await);
    let child = Arc::into_inner(child).ok_or("the request was given up")?;
    let watch = Stopwatch::start();
    Ok(
        match timeout(CLOSE_LIMIT, child.terminate(Stop::Orderly)).await {
            Ok(_) => format!("closed after {}", seconds(watch.elapsed())),
            Err(_) => format!("not closed after {}", seconds(CLOSE_LIMIT)),
        },
    )
}

async fn close(mark: &Mark) -> Measured<String> {
    let child = connect(Misbehaviour::LeavesAProcess, mark).await?;
    let watch = Stopwatch::start();
    child.terminate(Stop::Orderly).await;
    Ok(format!("closed after {}", seconds(watch.elapsed())))
}

async fn drop_without_runtime(mark: &Mark) -> Measured<String> {
    let child = connect(Misbehaviour::NeverReads, mark).await?;
    let dropped = std::thread::spawn(move || drop(child)).join();
    Ok(match dropped {
        Ok(()) => "no panic".to_owned(),
        Err(_) => "panic".to_owned(),
    })
}

async fn stdout_closed(mark: &Mark) -> Measured<String> {
    let child = connect(Misbehaviour::ClosesStdout, mark).await?;
    let watch = Stopwatch::start();
    let called = child.call::<Value>("tools/list", &json!({})).await;
    let after = seconds(watch.elapsed());
    drop(child);
    Ok(match called {
        Ok(_) => format!("answered after {after}"),
        Err(_) => format!("fails after {after}"),
    })
}

async fn last_line(mark: &Mark) -> Measured<String> {
    let child = connect(Misbehaviour::AnswersWithoutNewline, mark).await?;
    let called = child.call::<Value>("tools/list", &json!({})).await;
    child.terminate(Stop::Orderly).await;
    Ok(match called {
        Ok(_) => "taken as an answer".to_owned(),
        Err(error) => format!("refused: {error}"),
    })
}

async fn time_out(mark: &Mark) -> Measured<String> {
    let child = connect(Misbehaviour::NeverReads, mark).await?;
    let watch = Stopwatch::start();
    let asked = child.forward(megabyte()).within(Duration::from_secs(1));
    let answer = timeout(CLOSE_LIMIT, asked.into_future()).await;
    let after = seconds(watch.elapsed());
    drop(child);
    Ok(match answer {
        Ok(_) => format!("back after {after}"),
        Err(_) => format!("not back after {after}"),
    })
}

fn megabyte() -> Bytes {
    let params = json!({ "name": "answer", "arguments": { "text": "x".repeat(1 << 20) } });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    request.to_string().into()
}

/// How long a close can take before it counts as one that does not return.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(8);
/// How long after a call living processes are counted.
pub(super) const SETTLING: Duration = Duration::from_secs(1);
