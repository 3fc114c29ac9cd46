//! A program that starts children, for tests of what belongs to a whole process. See
//! `pool_tests::host`.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return pool_tests::host::main();
    #[cfg(not(target_os = "linux"))]
    ExitCode::FAILURE
}
