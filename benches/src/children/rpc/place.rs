//! A place: on which cores and runtime clients and child run, and what the figures must be there.

use pool_reuse::measure::Measured;
use tokio::runtime::{self, Runtime};

use crate::bars::Bar;
use crate::children::cores::Cores;

/// Where clients and child run, and what the figures must be there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) cores: Cores,
    /// Of the median call of one caller, beside rmcp's.
    pub(super) one_caller: Option<Bar>,
    /// Of the requests per second of 64 callers, beside rmcp's.
    pub(super) crowd: Bar,
    /// Of a forwarded megabyte, beside bare pipes.
    pub(super) forward: Bar,
}

pub(super) fn one_thread() -> Measured<Runtime> {
    let mut builder = runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

pub(super) fn two_workers() -> Measured<Runtime> {
    let mut builder = runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}
