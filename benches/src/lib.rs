//! The pool beside its peers: the same work, on the same machine, in the same minute.
//!
//! Absolute times say more about the machine than about a pool, so nothing here is judged by them.
//! Every scenario runs all subjects in turn, round after round ([`rounds`]), and what is compared
//! is the ratio of the medians ([`stats`]). [`bars`] holds the ratios that the pool must keep.
//!
//! * [`subjects`]: one file for each pool, which says how it is configured;
//! * [`scenario`]: what is asked of them; [`load`], [`threads`], [`stampede`] and [`spike`] do it;
//! * [`report`]: the tables;
//! * `children`: what children as connections cost, and what reuse saves (Linux);
//! * `reuse`: what it saves for a command of the user's (Linux);
//! * `report`: all comparisons in one run, written down (Linux); [`plot`] draws the bars.
//!
//! `cargo run --release -p pool-benches --bin pools` prints all of pools, `--bin children` all of
//! children, `--bin rpc` what of it concerns JSON-RPC, `--bin reuse -- COMMAND` what reuse is worth for that command; `--bin
//! report` writes all of it down. `cargo bench -p pool-benches` gives Criterion's view of the two
//! scenarios that matter most.

pub mod bars;
#[cfg(target_os = "linux")]
pub mod children;
pub mod pools;
#[cfg(target_os = "linux")]
pub mod report;
