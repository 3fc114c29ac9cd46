//! A tool that reads all its input, answers and exits, started before it is needed. This program
//! starts itself as the tool, so it needs no other.
//!
//! Run with `cargo run --release -p pool-stdio --example one_shot`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::print_stderr, reason = "so does its child")]

use std::error::Error;
use std::io::{self, Read};
use std::process::ExitCode;
use std::time::Duration;

use pool_stdio::{CommandSpec, OneShotConnector};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if std::env::args().any(|argument| argument == "--count") {
        return Ok(count()?);
    }
    use_pool()?;
    Ok(ExitCode::SUCCESS)
}

/// The tool: counts words. Nothing to count is a failure.
fn count() -> io::Result<ExitCode> {
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    let words = input.split_whitespace().count();
    println!("{words}");
    if words == 0 {
        eprintln!("nothing to count");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

#[tokio::main(flavor = "current_thread")]
async fn use_pool() -> Result<(), Box<dyn Error>> {
    let tool = CommandSpec::new(std::env::current_exe()?).arg("--count");
    // Two are always waiting for their input.
    let pool = OneShotConnector::new(tool)?
        .pool()
        .max_size(4)
        .min_idle(2)
        .build()?;

    for input in ["one two three", "", "four five"] {
        let mut child = pool.acquire().await?;
        let output = child.run(input).within(Duration::from_secs(5)).await?;
        println!(
            "pid {}: {:?}, {}, stderr {:?}",
            child.process().pid(),
            output.stdout,
            output.exit,
            output.stderr.text
        );
    }
    pool.close(Duration::from_secs(10)).await;
    Ok(())
}
