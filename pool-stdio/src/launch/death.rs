//! How a pool is told that a child has died, and why.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use pool_core::{BoxError, BoxFuture};
use tokio::time::Instant;

use super::exit_wait::wait_for_exit;
use crate::error::{ChildReport, Stage, StdioError};
use crate::process::Child;

/// Resolves when the child has exited or its stdout has ended, with or without traffic. The reason
/// holds the exit and the end of stderr.
pub(crate) fn died(
    child: &Child,
    requested_at: Instant,
    stdout_ended: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, Option<BoxError>> {
    let (mut exited, record) = (child.exited(), child.record());
    Box::pin(async move {
        let mut stdout_ended = pin!(stdout_ended);
        let has_exited = poll_fn(|cx| {
            if Pin::new(&mut exited).poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            stdout_ended.as_mut().poll(cx).map(|()| false)
        })
        .await;
        if !has_exited {
            // The exit is seen a moment after the end of stdout.
            wait_for_exit(exited, || record.is_leaving()).await;
        }
        let report = ChildReport::of_record(&record, Stage::InPool, Some(requested_at));
        let reason = if report.exit.is_some() {
            StdioError::Exited { report }
        } else {
            StdioError::OutputClosed { report }
        };
        Some(reason.into())
    })
}
