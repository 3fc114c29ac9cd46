//! The first look at a command: does it answer, does it answer twice, is it silent in between?

use std::time::Duration;

use bytes::Bytes;
use pool_core::{ConnectContext, ConnectionId, Connector};
use pool_stdio::{OneShotConnector, StdioConnection, StdioConnector, Stop};
use tokio::time::{Instant, timeout};

use super::framing::MessageCodec;
use super::problem::Problem;
use super::task::Task;

/// Asks one child twice. Returns its second answer.
///
/// # Errors
///
/// Why it cannot be reused.
pub(super) async fn look<C: MessageCodec>(
    connector: &StdioConnector<C>,
    task: &Task,
) -> Result<Bytes, Problem> {
    let opened = connector.connect(&context(task.patience)).await;
    let mut child = opened.map_err(|error| Problem::of_connect(&error))?;
    let outcome = ask_twice(&mut child, task).await;
    child.terminate(Stop::Force).await;
    match outcome {
        Err(problem @ (Problem::Silent | Problem::NoAnswer(_))) => {
            Err(at_its_end(task).await.unwrap_or(problem))
        }
        other => other,
    }
}

/// The context of a child that is opened outside a pool.
pub(super) fn context(patience: Duration) -> ConnectContext {
    ConnectContext::new(ConnectionId::from_u64(0), 1, Instant::now() + patience)
}

async fn ask_twice<C: MessageCodec>(
    child: &mut StdioConnection<C>,
    task: &Task,
) -> Result<Bytes, Problem> {
    listen(child, Problem::unasked).await?;
    let ask = async |child: &mut StdioConnection<C>| {
        let message = task.message.as_slice();
        let asked = child.request(message).within(task.patience).await;
        asked.map(Into::into).map_err(|error| Problem::of(&error))
    };
    ask(child).await?;
    // A child that ends now or at the next request has shown that it answers exactly one.
    let ended = |problem| {
        if matches!(problem, Problem::NoAnswer(_)) {
            Problem::EndsAfterOne
        } else {
            problem
        }
    };
    listen(child, Problem::talkative).await.map_err(ended)?;
    let answer = ask(child).await.map_err(ended)?;
    listen(child, Problem::talkative).await.map_err(ended)?;
    Ok(answer)
}

/// Waits a moment: a child without a request must be silent and live on.
async fn listen<C: MessageCodec>(
    child: &mut StdioConnection<C>,
    otherwise: fn(&[u8]) -> Problem,
) -> Result<(), Problem> {
    match timeout(QUIET, child.recv()).await {
        Err(_) => Ok(()),
        Ok(Ok(message)) => Err(otherwise(&message.into())),
        Ok(Err(error)) => Err(Problem::of(&error)),
    }
}

/// Whether it answers at the end of its input, as many command line tools do.
async fn at_its_end(task: &Task) -> Option<Problem> {
    let connector = OneShotConnector::new(task.spec()).ok()?;
    task.started_children.add(connector.children());
    let mut child = connector.connect(&context(task.patience)).await.ok()?;
    let output = child.run(&task.framed).within(task.patience).await;
    drop(child);
    let output = output.ok()?;
    let has_answered = !output.stdout.is_empty() && output.exit.status()?.success();
    has_answered.then_some(Problem::AnswersAtEnd)
}

/// How long to listen to a child that should be silent.
const QUIET: Duration = Duration::from_millis(200);
