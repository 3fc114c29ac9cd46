//! Each case with rmcp's client over its child process transport.

use std::panic;
use std::time::Duration;

use pool_reuse::measure::{Measured, Stopwatch};
use process_wrap::tokio::{CommandWrap, ProcessGroup};
use rmcp::RoleClient;
use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest};
use rmcp::service::{PeerRequestOptions, RunningService, ServiceExt};
use rmcp::transport::TokioChildProcess;
use serde_json::{Map, Value};
use tokio::time::{sleep, timeout};

use super::case::Case;
use super::observation::{Mark, Observation, seconds};
use super::servers::Misbehaviour;
use super::with_pool_stdio::{CLOSE_LIMIT, SETTLING};

type Client = RunningService<RoleClient, ()>;

/// Plays the case.
pub(super) async fn observe(case: Case) -> Measured<Observation> {
    let mark = Mark::new();
    let what = match case {
        Case::CloseWhileWriting => close_while_writing(&mark).await?,
        Case::CloseWithAProcess => {
            close(connect(Misbehaviour::LeavesAProcess, &mark).await?).await?
        }
        Case::CloseWithAGroup => {
            let mut command = CommandWrap::from(Misbehaviour::LeavesAProcess.command(&mark));
            command.wrap(ProcessGroup::leader());
            close(().serve(TokioChildProcess::new(command)?).await?).await?
        }
        Case::DropWithoutRuntime => drop_without_runtime(&mark)?,
        Case::StdoutClosed => stdout_closed(&mark).await?,
        Case::LastLine => last_line(&mark).await?,
        Case::Timeout => time_out(&mark).await?,
    };
    sleep(SETTLING).await;
    Ok(Observation::new(what, &mark))
}

async fn connect(misbehaviour: Misbehaviour, mark: &Mark) -> Measured<Client> {
    let transport = TokioChildProcess::new(misbehaviour.command(mark))?;
    Ok(().serve(transport).await?)
}

async fn close_while_writing(mark: &Mark) -> Measured<String> {
    let client = connect(Misbehaviour::NeverReads, mark).await?;
    // Long enough for the pipe to be full.
    drop(timeout(SETTLING, client.call_tool(megabyte())).await);
    let watch = Stopwatch::start();
    Ok(match timeout(CLOSE_LIMIT, client.cancel()).await {
        Ok(_) => format!("closed after {}", seconds(watch.elapsed())),
        Err(_) => format!("not closed after {}", seconds(CLOSE_LIMIT)),
    })
}

async fn close(client: Client) -> Measured<String> {
    let watch = Stopwatch::start();
    client.cancel().await?;
    Ok(format!("closed after {}", seconds(watch.elapsed())))
}

/// The transport itself is dropped: a client that was not started yet, or that failed to start.
fn drop_without_runtime(mark: &Mark) -> Measured<String> {
    let transport = TokioChildProcess::new(Misbehaviour::NeverReads.command(mark))?;
    let hook = panic::take_hook();
    // A panic is what is looked for: it must not print a backtrace.
    panic::set_hook(Box::new(|_| {}));
    let dropped = std::thread::spawn(move || drop(transport)).join();
    panic::set_hook(hook);
    Ok(match dropped {
        Ok(()) => "no panic".to_owned(),
        Err(_) => "panic".to_owned(),
    })
}

async fn stdout_closed(mark: &Mark) -> Measured<String> {
    let client = connect(Misbehaviour::ClosesStdout, mark).await?;
    let watch = Stopwatch::start();
    let called = client.list_tools(None).await;
    let after = seconds(watch.elapsed());
    Ok(match called {
        Ok(_) => format!("answered after {after}"),
        Err(_) => format!("fails after {after}"),
    })
}

async fn last_line(mark: &Mark) -> Measured<String> {
    let client = connect(Misbehaviour::AnswersWithoutNewline, mark).await?;
    let called = timeout(CLOSE_LIMIT, client.list_tools(None)).await;
    Ok(match called {
        Ok(Ok(_)) => "taken as an answer".to_owned(),
        Ok(Err(error)) => format!("refused: {error}"),
        Err(_) => format!("neither after {}", seconds(CLOSE_LIMIT)),
    })
}

async fn time_out(mark: &Mark) -> Measured<String> {
    let client = connect(Misbehaviour::NeverReads, mark).await?;
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(megabyte()));
    let options = PeerRequestOptions::with_timeout(Duration::from_secs(1));
    let watch = Stopwatch::start();
    let asked = async {
        let handle = client.send_cancellable_request(request, options).await?;
        handle.await_response().await
    };
    let answer = timeout(CLOSE_LIMIT, asked).await;
    let after = seconds(watch.elapsed());
    Ok(match answer {
        Ok(_) => format!("back after {after}"),
        Err(_) => format!("not back after {after}"),
    })
}

fn megabyte() -> CallToolRequestParams {
    let text = Value::String("x".repeat(1 << 20));
    let arguments = Map::from_iter([("text".to_owned(), text)]);
    CallToolRequestParams::new("answer").with_arguments(arguments)
}
