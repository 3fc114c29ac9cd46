//! Runs all comparisons and writes them to a page.

#![cfg_attr(
    not(target_os = "linux"),
    expect(
        clippy::print_stderr,
        reason = "so that nobody takes silence for success"
    )
)]

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("report measures on Linux only");
    std::process::ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn main() -> pool_reuse::measure::Measured<std::process::ExitCode> {
    use clap::Parser;
    use pool_benches::{children, report};

    if let Some(played) = children::act_if_asked() {
        return Ok(played?);
    }
    report::run(&report::Options::parse(), &mut std::io::stdout().lock())
}
