//! The pool beside its peers, and children as connections: measured on the same machine in the same
//! minute.
//!
//! Absolute times say more about the machine than about a pool, so nothing is judged by them. All
//! subjects take turns, round after round, and what is judged is the ratio of their medians.
//!
//! * [`pools`]: this pool beside other pools;
//! * `children`: what children as connections cost, and what outlives them (Linux);
//! * `report`: all comparisons in one run, written to a page (Linux);
//! * [`bars`]: what the judged figures must be; [`known_misses`]: which of them are missed today;
//! * [`figure`]: a figure beside its bar.
//!
//! `cargo run --release -p pool-benches --bin pools` prints all about pools, `--bin children` all about
//! children, `--bin rpc` what concerns JSON-RPC, and `--bin report` writes everything to a page.
//! `cargo bench -p pool-benches` gives Criterion's view of the two scenarios that matter most.

pub mod bars;
#[cfg(target_os = "linux")]
pub mod children;
pub mod effort;
pub mod figure;
pub mod known_misses;
pub mod pools;
#[cfg(target_os = "linux")]
pub mod report;
