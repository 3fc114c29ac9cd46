//! Prints how the pool compares with its peers, and whether it meets its bars.

#![expect(clippy::print_stdout, reason = "this program prints a report")]
#![expect(
    clippy::print_stderr,
    reason = "progress does not belong to the report"
)]

use std::process::ExitCode;

use clap::Parser;
use pool_benches::figure::{self, Figure};
use pool_benches::pools::{self, Scenario, all_scenarios};
use pool_reuse::measure::Progress;
use pool_reuse::measure::Stopwatch;

/// Compares connection pools in interleaved rounds, by the ratios of medians.
#[derive(Debug, Parser)]
struct Arguments {
    /// Half of the operations and, unless `--rounds` says otherwise, 3 rounds
    #[arg(long)]
    quick: bool,
    /// How often each subject is measured [default: 9]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Only scenarios whose name contains NAME
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

impl Arguments {
    fn rounds(&self) -> usize {
        self.rounds.map_or(
            if self.quick {
                QUICK_ROUNDS
            } else {
                FULL_ROUNDS
            },
            usize::from,
        )
    }

    fn chosen(&self) -> Vec<Scenario> {
        let divisor = if self.quick { QUICK_DIVISOR } else { 1 };
        all_scenarios()
            .into_iter()
            .filter(|one| {
                self.only
                    .as_ref()
                    .is_none_or(|name| one.name.contains(name))
            })
            .map(|one| one.shortened(divisor))
            .collect()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen = arguments.chosen();
    if chosen.is_empty() {
        let names: Vec<&str> = all_scenarios().iter().map(|one| one.name).collect();
        eprintln!(
            "no scenario has that in its name; there are: {}",
            names.join(", ")
        );
        return ExitCode::FAILURE;
    }
    let rounds = arguments.rounds();
    println!("# Pools side by side: medians of {rounds} interleaved rounds\n");
    let figures: Vec<Figure> = chosen.iter().flat_map(|one| compare(one, rounds)).collect();
    if !figures.is_empty() {
        println!("## Bars\n\n{}", figure::table(&figures));
    }
    ExitCode::SUCCESS
}

/// Runs one scenario and prints its table. Returns its judged figures.
fn compare(scenario: &Scenario, rounds: usize) -> Vec<Figure> {
    let progress = Progress::new(rounds);
    let watch = Stopwatch::start();
    let answers = scenario.run(&(scenario.subjects)(), rounds, |round, contender| {
        progress.show(round, &format!("{}: {}", scenario.name, contender.name));
    });
    progress.clear();
    eprintln!("{}: {:.1} s", scenario.name, watch.elapsed().as_secs_f64());
    println!(
        "## {}\n\n{}\n\n{}\n",
        scenario.name,
        scenario.about,
        pools::table(&answers)
    );
    pools::figures(scenario.name, &answers.standings())
}

const FULL_ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 3;
const QUICK_DIVISOR: usize = 2;
