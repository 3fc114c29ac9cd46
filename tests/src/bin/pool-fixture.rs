//! The misbehaving child, as a program. See `pool_testkit::fixture`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pool_testkit::fixture::main()
}
