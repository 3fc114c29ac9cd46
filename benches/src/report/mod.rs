//! One run of all comparisons, written to a page: the program `report`.
//!
//! | file | what it decides |
//! |---|---|
//! | `run` | what is measured, in which order, with which progress |
//! | `setting` | where it was measured: machine, versions, configurations |
//! | `history` | what earlier runs measured |
//! | `page` | the page, its tables and pictures |

mod history;
mod page;
mod run;
mod setting;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::effort::Effort;
use history::PastRun;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use setting::Setting;

/// Runs all comparisons and writes a report with tables, pictures, and each bar as met or missed.
///
/// Exits with 1 if a figure misses its bar by more than noise explains and the miss is not listed in
/// `known_misses.rs`, or if something could not be measured.
#[derive(Debug, Parser)]
pub struct Options {
    /// Only what has a bar, in fewer rounds
    #[arg(long)]
    quick: bool,
    /// Where to write the report and its pictures
    #[arg(long, value_name = "FOLDER", default_value = "target/report")]
    folder: PathBuf,
    /// The file to which each run adds a line for later runs to compare with [default: in the folder]
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

impl Options {
    const fn effort(&self) -> Effort {
        Effort::quick_if(self.quick)
    }
}

/// Runs the program: prints the bars and the place of the report to `out`.
///
/// # Errors
///
/// If the report or its history cannot be written.
pub fn run(options: &Options, out: &mut impl Write) -> Measured<ExitCode> {
    fs::create_dir_all(&options.folder)?;
    let history = options
        .history
        .clone()
        .unwrap_or_else(|| options.folder.join("history.jsonl"));
    let watch = Stopwatch::start();
    let setting = Setting::now();
    let findings = run::all(options.effort());
    let this = PastRun::new(options.effort(), &setting, &findings.figures);
    let before = history::last_like(&history, &this);
    let page = page::Page {
        setting: &setting,
        findings: &findings,
        before: before.as_ref(),
        effort: options.effort(),
        took: watch.elapsed(),
    };
    let path = options.folder.join("report.md");
    fs::write(&path, page.write(&options.folder)?)?;
    // Order: the earlier runs are read before this one is added.
    history::append(&history, &this)?;
    writeln!(out, "{}", page.bars())?;
    writeln!(out, "report: {}", shown(&path))?;
    let failures = findings.failures();
    for failure in &failures {
        writeln!(out, "FAIL: {failure}")?;
    }
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
