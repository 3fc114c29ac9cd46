//! What can be said on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use pool_stdio::CommandSpec;

use super::Task;
use super::by_id::id_of_request;
use super::crew::Crew;
use super::finding::Finding;
use super::framing::{Framing, message};
use super::race::Contest;
use crate::builtin::BuiltIn;
use crate::builtin::server::Wire;
use crate::measure::Measured;

/// Is it worth to reuse the processes of a command? Starts it for each request, pools it, and if it
/// answers JSON-RPC by id, lets all callers share one.
///
/// Without COMMAND, a built-in child is asked that answers JSON-RPC requests, or echoes anything else.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    /// The most requests to each way [default: as many as the time allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// How many callers ask at once
    #[arg(long, value_name = "C", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// How many children the pool may have [default: one for each caller]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u16).range(1..=1024))]
    size: Option<u16>,
    /// Where a message ends
    #[arg(long, value_enum, default_value_t = Framing::Lines)]
    framing: Framing,
    /// What is asked: a file that holds it, or the text itself
    #[arg(long, value_name = "FILE|TEXT", default_value = PING)]
    request: String,
    /// How long one answer may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = seconds)]
    patience: f64,
    /// How long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 8.0, value_parser = seconds)]
    seconds: f64,
    /// Where the picture goes
    #[arg(long, value_name = "FILE", default_value = "target/report/reuse.svg")]
    pub(super) svg: PathBuf,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Arguments {
    /// What is to be done; or, inside, why the request cannot be asked.
    pub(super) fn task(&self) -> Measured<Result<Task, Finding>> {
        let message = message(&self.request)
            .map_err(|error| format!("--request {}: {error}", self.request))?;
        let framed = match self.framing.frame(&message) {
            Ok(framed) => framed,
            Err(error) => return Ok(Err(Finding::BadRequest(error.to_string()))),
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
            contest: Contest {
                requests_max: self.requests.unwrap_or(u64::MAX),
                concurrency,
                time: Duration::from_secs_f64(self.seconds),
            },
            size: self.size.map_or(concurrency, usize::from),
            crew: Crew::default(),
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

/// The same program for all ways, and one that can answer what is asked.
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

/// What servers that speak JSON-RPC understand, and an echo repeats.
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

const EXIT_CODES: &str = "\
Exit codes:
  0  compared
  2  the command line or the request is not understood
  3  the command cannot be started
  4  the command cannot be reused: it ends after one request, or answers at the end of its input
  5  the command gives no answer
  6  the command prints nothing
  7  the command writes something that is no answer";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_the_command_with_its_own_options() {
        let line = [
            "reuse",
            "--concurrency",
            "2",
            "--",
            "server",
            "--requests",
            "x",
        ];
        let task = Arguments::parse_from(line).task().unwrap().unwrap();
        assert_eq!(task.name, "server --requests x");
        assert_eq!((task.contest.concurrency, task.size), (2, 2));
    }

    #[test]
    fn a_time_is_a_number_that_ends() {
        for wrong in ["0", "inf", "soon"] {
            assert!(Arguments::try_parse_from(["reuse", "--seconds", wrong]).is_err());
        }
    }
}
