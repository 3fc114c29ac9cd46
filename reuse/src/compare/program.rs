//! The order of steps: look at the command, let the ways race, show what came out.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use pool_stdio::StdioConnector;
use pool_stdio::codec::HeaderCodec;
use tokio::runtime;
use tokio::signal;

use super::arguments::Arguments;
use super::by_id::{self, NotById};
use super::framing::{Framing, MessageCodec, length_codec, line_codec};
use super::look;
use super::one_shot;
use super::problem::Problem;
use super::race::{self, Tally};
use super::show;
use super::task::Task;
use super::ways::{Multiplexed, Pooled, Spawned, Way};
use crate::measure::Measured;

/// What the ways showed.
#[derive(Debug)]
struct Comparison {
    tallies: Vec<Tally>,
    /// Why one child for all callers is not among them.
    not_by_id: Option<NotById>,
}

/// Runs the program with these arguments and writes its result to `out`.
///
/// # Errors
///
/// If this program itself fails: there is no runtime, or the picture cannot be written.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> Measured<ExitCode> {
    let task = match arguments.task()? {
        Ok(task) => task,
        Err(problem) => return Ok(tell(&problem, out)?),
    };
    writeln!(out, "{}\n", show::heading(&task))?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(async {
        let found = tokio::select! {
            // Order: an interrupt is heard before there is a child that it could leave behind.
            biased;
            _ = signal::ctrl_c() => None,
            found = find_out(&task) => Some(found),
        };
        task.started_children.end().await;
        found
    });
    match found {
        Some(Ok(comparison)) => show_comparison(&comparison, &task, arguments, out),
        Some(Err((problem, advice))) => {
            let code = tell(&problem, out)?;
            if let Some(advice) = advice {
                writeln!(out, "{advice}")?;
            }
            Ok(code)
        }
        None => Ok(ExitCode::from(INTERRUPTED)),
    }
}

fn tell(problem: &Problem, out: &mut impl Write) -> io::Result<ExitCode> {
    writeln!(out, "{problem}")?;
    Ok(problem.exit_code())
}

fn show_comparison(
    comparison: &Comparison,
    task: &Task,
    arguments: &Arguments,
    out: &mut impl Write,
) -> Measured<ExitCode> {
    let Comparison { tallies, not_by_id } = comparison;
    writeln!(out, "{}\n", show::table(tallies))?;
    if let Some(why) = not_by_id {
        writeln!(out, "multiplexed is left out: {why}\n")?;
    }
    if let Some(advice) = show::too_few(tallies, &task.limits) {
        writeln!(out, "{advice}")?;
        return Ok(ExitCode::from(TOO_FEW));
    }
    let chart = show::chart(tallies, task);
    writeln!(out, "{}\n\n{}", chart.unit, chart.terminal())?;
    write!(out, "{}", show::verdicts(tallies))?;
    chart.write_svg(&arguments.svg)?;
    writeln!(out, "\npicture: {}", arguments.svg.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The comparison, or why there is none, with advice where there is some.
async fn find_out(task: &Task) -> Result<Comparison, (Problem, Option<String>)> {
    match measure(task).await {
        Ok(comparison) => Ok(comparison),
        Err(problem @ (Problem::EndsAfterOne | Problem::AnswersAtEnd)) => {
            let advice = one_shot::advice(task).await;
            Err((problem, Some(advice)))
        }
        Err(problem) => Err((problem, None)),
    }
}

async fn measure(task: &Task) -> Result<Comparison, Problem> {
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
) -> Result<Comparison, Problem> {
    let connector = || {
        let connector = StdioConnector::with_codec(task.spec(), codec.clone())?;
        task.started_children.add(connector.children());
        Ok::<_, Problem>(connector)
    };
    let answer = look::look(&connector()?, task).await?;
    let by_id = by_id::try_it(task, &answer).await;
    let mut ways: Vec<Arc<dyn Way>> = vec![
        Arc::new(Spawned::new(connector()?, task)),
        Arc::new(
            Pooled::open(connector()?, task)
                .await
                .map_err(Problem::later)?,
        ),
    ];
    if by_id.is_ok() {
        ways.push(Arc::new(
            Multiplexed::open(task).await.map_err(Problem::later)?,
        ));
    }
    Ok(Comparison {
        tallies: race::run(&ways, task.limits)
            .await
            .map_err(Problem::later)?,
        not_by_id: by_id.err(),
    })
}

/// The exit code when a way answered too few requests for a rate.
const TOO_FEW: u8 = 8;
/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
