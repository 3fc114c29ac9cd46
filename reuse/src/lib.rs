//! Is it worth reusing the processes of a command?
//!
//! `cargo run --release -p pool-reuse -- [OPTIONS] [-- COMMAND]` sends one request again and again,
//! in up to three ways, and prints how many requests per second each way serves.
//!
//! * `compare`: the program (Linux);
//! * `builtin`: the child it asks if no command is given (Linux);
//! * [`measure`]: clock, medians, tables and pictures, which `pool-benches` uses too.

#[cfg(target_os = "linux")]
pub mod builtin;
#[cfg(target_os = "linux")]
pub mod compare;
pub mod measure;
