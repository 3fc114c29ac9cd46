//! The fixture of `pool_testkit` as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    pool_testkit::fixture::main()
}
