//! The first look at a child: does it answer, does it answer twice, is it silent in between?

use std::time::Duration;

use bytes::Bytes;
use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_stdio::{OneShotConnector, StdioConnection, StdioConnector, Stop};
use tokio::time::{Instant, timeout};

use super::Task;
use super::finding::Finding;
use super::framing::MessageCodec;

/// Asks one child twice. Returns its second answer.
///
/// # Errors
///
/// What it is, if it cannot be reused.
pub(super) async fn look<C: MessageCodec>(
    connector: &StdioConnector<C>,
    task: &Task,
) -> Result<Bytes, Finding> {
    let opened = connector.connect(&context(task.patience)).await;
    let mut child = opened.map_err(|error| Finding::of_connect(&error))?;
    let outcome = ask_twice(&mut child, task).await;
    child.terminate(Stop::Force).await;
    match outcome {
        Err(finding @ (Finding::Silent | Finding::NoAnswer(_))) => {
            Err(at_its_end(task).await.unwrap_or(finding))
        }
        other => other,
    }
}

/// A child that has no reason to be opened but this one.
pub(super) fn context(patience: Duration) -> ConnectContext {
    ConnectContext::new(ConnectionId::from_u64(0), 1, Instant::now() + patience)
}

async fn ask_twice<C: MessageCodec>(
    child: &mut StdioConnection<C>,
    task: &Task,
) -> Result<Bytes, Finding> {
    listen(child, Finding::unasked).await?;
    let ask = async |child: &mut StdioConnection<C>| {
        let message = task.message.as_slice();
        let asked = child.request(message).within(task.patience).await;
        asked.map(Into::into).map_err(|error| Finding::of(&error))
    };
    ask(child).await?;
    // What ends now, or at the next request, has shown that it can answer one.
    let ended = |finding| {
        if matches!(finding, Finding::NoAnswer(_)) {
            Finding::EndsAfterOne
        } else {
            finding
        }
    };
    listen(child, Finding::talkative).await.map_err(ended)?;
    let answer = ask(child).await.map_err(ended)?;
    listen(child, Finding::talkative).await.map_err(ended)?;
    Ok(answer)
}

/// A child that nobody has asked is silent and lives on.
async fn listen<C: MessageCodec>(
    child: &mut StdioConnection<C>,
    otherwise: fn(&[u8]) -> Finding,
) -> Result<(), Finding> {
    match timeout(QUIET, child.recv()).await {
        Err(_) => Ok(()),
        Ok(Ok(message)) => Err(otherwise(&message.into())),
        Ok(Err(error)) => Err(Finding::of(&error)),
    }
}

/// A tool that waits for the end of its input is silent until then, and then it has an answer.
async fn at_its_end(task: &Task) -> Option<Finding> {
    let connector = OneShotConnector::new(task.spec()).ok()?;
    task.crew.add(connector.children());
    let mut child = connector.connect(&context(task.patience)).await.ok()?;
    let output = child.run(&task.framed).within(task.patience).await;
    drop(child);
    let output = output.ok()?;
    let has_answered = !output.stdout.is_empty() && output.exit.status()?.success();
    has_answered.then_some(Finding::AnswersAtEnd)
}

/// How long a child is listened to when it should be silent.
const QUIET: Duration = Duration::from_millis(200);
