//! A connector to a server behind a Unix socket, in a pool and under the rules of
//! `pool_testkit::conformance`. No task reads: `is_alive` and `check` see a death when they are called.
//!
//! Run with `cargo run -p pool-testkit --example unix_echo`, test with
//! `cargo test -p pool-testkit --example unix_echo`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

#[cfg(unix)]
mod echo;
#[cfg(unix)]
#[path = "echo/unix.rs"]
mod unix;

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    unix::main()
}

#[cfg(not(unix))]
fn main() {
    println!("there are no Unix sockets here");
}
