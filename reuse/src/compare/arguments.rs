//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use pool_stdio::CommandSpec;

use super::by_id::id_of_request;
use super::framing::{Framing, message};
use super::problem::Problem;
use super::race::RaceLimits;
use super::started::StartedChildren;
use super::task::Task;
use crate::builtin::BuiltIn;
use crate::builtin::Wire;
use crate::measure::Measured;

/// Is it worth reusing the processes of a command? Starts one for each request, pools them, and lets all
/// callers share one if it answers JSON-RPC requests by their ids. Prints how many requests per second
/// each way serves.
///
/// Without COMMAND, a built-in child answers: a JSON-RPC server, or an echo if the request is not JSON-RPC.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    /// The most requests for each way [default: as many as the time allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// How many callers send requests at once
    #[arg(long, value_name = "C", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// The most children in the pool [default: one for each caller]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u16).range(1..=1024))]
    size: Option<u16>,
    /// Where a message ends
    #[arg(long, value_enum, default_value_t = Framing::Lines)]
    framing: Framing,
    /// The request: a file that holds it, or the text itself
    #[arg(long, value_name = "FILE|TEXT", default_value = PING)]
    request: String,
    /// How long to wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = seconds)]
    patience: f64,
    /// How long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 8.0, value_parser = seconds)]
    seconds: f64,
    /// The file for the picture
    #[arg(long, value_name = "FILE", default_value = "target/report/reuse.svg")]
    pub(super) svg: PathBuf,
    /// The command and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

impl Arguments {
    /// The task; or, inside, why the request cannot be sent.
    pub(super) fn task(&self) -> Measured<Result<Task, Problem>> {
        let message = message(&self.request)
            .map_err(|error| format!("--request {}: {error}", self.request))?;
        let framed = match self.framing.frame(&message) {
            Ok(framed) => framed,
            Err(error) => return Ok(Err(Problem::BadRequest(error.to_string()))),
        };
        let (spec, name) = self.what_to_start(&message)?;
        let concurrency = usize::from(self.concurrency);
        Ok(Ok(Task {
            spec,
            name,
            framing: self.framing,
            message,
            framed,
            patience: Duration::from_secs_f64(self.patience),
            limits: RaceLimits {
                requests_max: self.requests.unwrap_or(u64::MAX),
                concurrency,
                time: Duration::from_secs_f64(self.seconds),
            },
            size: self.size.map_or(concurrency, usize::from),
            started_children: StartedChildren::default(),
        }))
    }

    fn what_to_start(&self, message: &[u8]) -> Measured<(CommandSpec, String)> {
        let Some((program, args)) = self.command.split_first() else {
            return built_in(self.framing, message);
        };
        let words: Vec<_> = self
            .command
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        let spec = CommandSpec::new(program).args(args.to_vec());
        Ok((spec, words.join(" ")))
    }
}

/// The built-in child that can answer this message.
fn built_in(framing: Framing, message: &[u8]) -> Measured<(CommandSpec, String)> {
    let wire = match framing {
        Framing::Lines => Some(Wire::Lines),
        Framing::ContentLength => Some(Wire::ContentLength),
        Framing::Length => None,
    };
    let wire = wire.filter(|_| id_of_request(message).is_some());
    let (child, name) = match wire {
        Some(wire) => (BuiltIn::Server(wire), "the built-in server"),
        None => (BuiltIn::Echo, "the built-in echo"),
    };
    Ok((child.spec()?, name.to_owned()))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.1 to 3600 is needed".to_owned()),
    }
}

/// A request that every JSON-RPC server understands.
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

const EXIT_CODES: &str = "\
Exit codes:
  0  the ways were compared
  2  the command line or the request is wrong
  3  the command cannot be started
  4  the command cannot be reused: it ends after one request, or answers at the end of its input
  5  the command gives no answer
  6  the command prints nothing
  7  the command writes something that is not an answer
  8  there were too few answers for a comparison";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_command_keeps_its_own_options_with_and_without_two_dashes() {
        for dashes in [&["--"][..], &[]] {
            let options = ["reuse", "--concurrency", "2"].iter();
            let command = ["server", "--requests", "x"];
            let line = options.chain(dashes).chain(&command);
            let task = Arguments::parse_from(line).task().unwrap().unwrap();
            assert_eq!(task.name, "server --requests x");
            assert_eq!((task.limits.concurrency, task.size), (2, 2));
        }
    }

    #[test]
    fn a_time_is_a_number_that_ends() {
        for wrong in ["0", "inf", "soon"] {
            assert!(Arguments::try_parse_from(["reuse", "--seconds", wrong]).is_err());
        }
    }
}
