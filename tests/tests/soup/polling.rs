//! Futures that are polled by hand, and dropped before they are done.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

/// Polls a future this often, waiting for its wake-up before each further poll. If it has not completed
/// then, drops it: right after the last poll, or after the next wake-up. Waits no longer than `patience`.
pub(crate) async fn poll_some<F: Future>(
    future: F,
    polls: u32,
    until_woken: bool,
    patience: Duration,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    let some = poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 && !until_woken => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    timeout(patience, some).await.ok().flatten()
}

/// Polls each acquire once and takes out the leases of those that are ready.
pub(crate) async fn poll_once_each<F, L, E>(acquires: &mut Vec<F>) -> Vec<L>
where
    F: Future<Output = Result<L, E>> + Unpin,
{
    poll_fn(|cx| {
        let mut leases = Vec::new();
        acquires.retain_mut(|acquire| match Pin::new(acquire).poll(cx) {
            Poll::Ready(result) => {
                leases.extend(result);
                false
            }
            Poll::Pending => true,
        });
        Poll::Ready(leases)
    })
    .await
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}
