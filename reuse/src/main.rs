//! Sends the same request to a command in up to three ways and prints the difference: a process
//! started for each request, a pool, and one process for all callers. The exit code is 0 after a
//! comparison; `--help` explains the others.

#![cfg_attr(
    not(target_os = "linux"),
    expect(
        clippy::print_stderr,
        reason = "so that nobody takes silence for success"
    )
)]

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("pool-reuse measures on Linux only");
    std::process::ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn main() -> pool_reuse::measure::Measured<std::process::ExitCode> {
    use clap::Parser;
    use pool_reuse::{builtin, compare};

    if let Some(played) = builtin::act_if_asked() {
        return Ok(played?);
    }
    compare::run(&compare::Arguments::parse(), &mut std::io::stdout().lock())
}
