//! Asks the user's own command in two or three ways, started for each request, pooled, and one for
//! all callers, and tells the difference. Exits with 0 if it could, else with a code that `--help` explains.

#![cfg_attr(
    not(target_os = "linux"),
    expect(
        clippy::print_stderr,
        reason = "so that nobody takes silence for success"
    )
)]

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("reuse measures on Linux only");
    std::process::ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn main() -> pool_benches::children::Outcome<std::process::ExitCode> {
    use clap::Parser;
    use pool_benches::{children, reuse};

    if let Some(played) = children::act_if_asked() {
        return Ok(played?);
    }
    reuse::run(&reuse::Arguments::parse(), &mut std::io::stdout().lock())
}
