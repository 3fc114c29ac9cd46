//! One run of everything that is compared, written down: what `--bin report` does.
//!
//! | file | what it decides |
//! |---|---|
//! | `run` | what is measured, in which order, with which progress |
//! | `judged` | whether a figure meets its bar, and what is put down to noise |
//! | `setting` | where it was measured: machine, versions, configurations |
//! | `history` | what an earlier run had measured |
//! | `page` | the page, its tables and pictures |

mod history;
mod judged;
mod page;
mod run;
mod setting;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::children::{Effort, Measured};
use history::Record;
use pool_reuse::measure::clock::Stopwatch;
use setting::Setting;

/// Runs all comparisons and writes a report with tables, pictures, and each bar as met or missed.
///
/// Exits with 1 if a figure misses its bar by more than the margin for noise that the report
/// states, or if something could not be measured.
#[derive(Debug, Parser)]
pub struct Options {
    /// What has a bar, in fewer rounds: under two minutes
    #[arg(long)]
    quick: bool,
    /// Where the report and its pictures go
    #[arg(long, value_name = "FOLDER", default_value = "target/report")]
    folder: PathBuf,
    /// Where each run adds a line, to be compared with by later runs [default: in the folder]
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

impl Options {
    const fn effort(&self) -> Effort {
        if self.quick {
            Effort::Quick
        } else {
            Effort::Full
        }
    }
}

/// The whole of the program, but for its command line. Tells `out` the bars and where the report is.
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
    let record = Record::new(options.effort(), &setting, &findings.judged);
    let before = history::last_like(&history, &record);
    let page = page::Page {
        setting: &setting,
        findings: &findings,
        before: before.as_ref(),
        effort: options.effort(),
        took: watch.elapsed(),
    };
    let path = options.folder.join("report.md");
    fs::write(&path, page.write(&options.folder)?)?;
    // Order: after the look at what was there before.
    history::append(&history, &record)?;
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
