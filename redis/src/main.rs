//! Three pools beside each other while a Redis server is killed and restarted, or stopped and continued.
//!
//! `cargo run --release -p pool-redis`

#![expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use std::process::ExitCode;
use std::time::Duration;

use pool_core::BoxError;
use pool_redis::pools::{Bb8, Deadpool, Ours, RedisPool};
use pool_redis::trial::{Failure, Report, run};

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let mut is_right = true;
    for failure in [Failure::Killed, Failure::Stopped] {
        let Some(ours) = play::<Ours>(failure).await? else {
            return Ok(ExitCode::SUCCESS);
        };
        play::<Deadpool>(failure).await?;
        play::<Bb8>(failure).await?;
        is_right &= meets_the_bars(&ours);
    }
    Ok(if is_right {
        ExitCode::SUCCESS
    } else {
        println!("a bar was missed");
        ExitCode::FAILURE
    })
}

async fn play<P: RedisPool>(failure: Failure) -> Result<Option<Report>, BoxError> {
    let report = run::<P>(failure).await?;
    if let Some(report) = &report {
        println!("{report}");
        for (text, count) in &report.texts {
            println!("    {count} x {text}");
        }
    }
    Ok(report)
}

/// All callers are served within a second after the server's return, and few connects were made before.
fn meets_the_bars(report: &Report) -> bool {
    let is_soon = report
        .all_served
        .is_some_and(|time| time <= Duration::from_secs(1));
    is_soon && report.connects <= 20
}
