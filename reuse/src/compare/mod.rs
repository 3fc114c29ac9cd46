//! Whether reuse is worth it for a command of the user's: started for each request, beside
//! pooled, and beside one for all callers if it answers by id.
//!
//! | file | what it decides |
//! |---|---|
//! | `arguments` | what can be said on the command line |
//! | `framing` | where a message ends |
//! | `crew` | that no child is left |
//! | `look` | whether the child can be reused at all |
//! | `by_id` | whether one child can serve all callers at once |
//! | `finding` | what is said of one that cannot |
//! | `ways` | the ways to get a request answered that are compared |
//! | `multiplexed` | the way for children that answer by id |
//! | `race` | how much is asked of each, in turns |
//! | `one_shot` | what starting ahead saves where reuse is impossible |
//! | `show` | the table and the bars |
//!
//! A further way to be compared is one more implementation of `Way`, listed in `compare`.

mod arguments;
mod by_id;
mod crew;
mod finding;
mod framing;
mod look;
mod multiplexed;
mod one_shot;
mod race;
mod show;
mod ways;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pool_stdio::codec::HeaderCodec;
use pool_stdio::{CommandSpec, StdioConnector};
use tokio::runtime;
use tokio::signal;

pub use arguments::Arguments;
use by_id::NotById;
use crew::Crew;
use finding::Finding;
use framing::{Framing, MessageCodec, length_codec, line_codec};
use multiplexed::Multiplexed;
use race::{Contest, Tally};
use ways::{Pooled, Spawned, Way};

use crate::measure::Measured;

/// What is asked of which command.
#[derive(Debug, Clone)]
struct Task {
    spec: CommandSpec,
    /// The command as it is to be named.
    name: String,
    framing: Framing,
    message: Vec<u8>,
    /// The message with its frame.
    framed: Vec<u8>,
    /// How long one request may take.
    patience: Duration,
    contest: Contest,
    size: usize,
    crew: Crew,
}

/// What the ways showed.
#[derive(Debug)]
struct Comparison {
    tallies: Vec<Tally>,
    /// Why one child for all callers is not among them.
    not_by_id: Option<NotById>,
}

impl Task {
    fn spec(&self) -> CommandSpec {
        self.spec.clone()
    }
}

/// The whole of the program, but for its command line.
///
/// # Errors
///
/// If this program itself cannot do its part: no runtime, no place for the picture.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> Measured<ExitCode> {
    let task = match arguments.task()? {
        Ok(task) => task,
        Err(finding) => return Ok(tell(&finding, out)?),
    };
    writeln!(out, "{}\n", show::heading(&task))?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let outcome = tokio::select! {
            // Order: an interrupt is heard before there is a child that it could leave behind.
            biased;
            _ = signal::ctrl_c() => None,
            outcome = find_out(&task) => Some(outcome),
        };
        task.crew.end().await;
        outcome
    });
    match outcome {
        Some(Ok(comparison)) => {
            write!(out, "{}", show::outcome(&comparison))?;
            show::picture(&comparison.tallies, &task, &arguments.svg)?;
            writeln!(out, "\npicture: {}", arguments.svg.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Err((finding, advice))) => {
            let code = tell(&finding, out)?;
            if let Some(advice) = advice {
                writeln!(out, "{advice}")?;
            }
            Ok(code)
        }
        None => Ok(ExitCode::from(INTERRUPTED)),
    }
}

fn tell(finding: &Finding, out: &mut impl Write) -> io::Result<ExitCode> {
    writeln!(out, "{finding}")?;
    Ok(finding.exit_code())
}

/// The comparison, or why there is none, with advice where there is some.
async fn find_out(task: &Task) -> Result<Comparison, (Finding, Option<String>)> {
    match measure(task).await {
        Ok(comparison) => Ok(comparison),
        Err(finding @ (Finding::EndsAfterOne | Finding::AnswersAtEnd)) => {
            let advice = one_shot::advice(task).await;
            Err((finding, Some(advice)))
        }
        Err(finding) => Err((finding, None)),
    }
}

async fn measure(task: &Task) -> Result<Comparison, Finding> {
    match task.framing {
        Framing::Lines => compare(task, line_codec).await,
        Framing::ContentLength => compare(task, HeaderCodec::new).await,
        Framing::Length => compare(task, length_codec).await,
    }
}

/// Looks whether the command can be reused, then lets the ways race.
async fn compare<C: MessageCodec>(
    task: &Task,
    codec: impl Fn() -> C + Send + Sync + Clone + 'static,
) -> Result<Comparison, Finding> {
    let connector = || {
        let connector = StdioConnector::with_codec(task.spec(), codec.clone())?;
        task.crew.add(connector.children());
        Ok::<_, Finding>(connector)
    };
    let answer = look::look(&connector()?, task).await?;
    let by_id = by_id::try_it(task, &answer).await;
    let mut ways: Vec<Arc<dyn Way>> = vec![
        Arc::new(Spawned::new(connector()?, task)),
        Arc::new(
            Pooled::open(connector()?, task)
                .await
                .map_err(Finding::later)?,
        ),
    ];
    if by_id.is_ok() {
        ways.push(Arc::new(
            Multiplexed::open(task).await.map_err(Finding::later)?,
        ));
    }
    Ok(Comparison {
        tallies: race::run(&ways, task.contest)
            .await
            .map_err(Finding::later)?,
        not_by_id: by_id.err(),
    })
}

/// What a shell says of a program that was ended by Ctrl-C.
const INTERRUPTED: u8 = 130;
