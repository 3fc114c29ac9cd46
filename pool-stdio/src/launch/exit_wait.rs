//! How long an error waits for the exit that may explain it.
//!
//! A child that exits closes its pipes first, and its exit is published microseconds later. On a busy
//! machine that can take long, although the system shows all the while that the child is about to exit.
//! Such a child is waited for; one that lives on is not.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// Waits a moment for an exit, and for longer if `is_leaving` then says that it is under way.
pub(crate) async fn wait_for_exit(exited: impl Future, is_leaving: impl FnOnce() -> bool) {
    let mut exited = pin!(exited);
    if timeout(EXIT_WAIT, exited.as_mut()).await.is_err() && is_leaving() {
        drop(timeout(LEAVING_WAIT, exited).await);
    }
}

/// The exit of a child follows the end of its pipes within microseconds, unless it lives on.
pub(crate) const EXIT_WAIT: Duration = Duration::from_millis(50);
/// The exit of a child that is leaving is only late. The limit is for one that the system cannot end.
pub(crate) const LEAVING_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    async fn waited(exited: impl Future, is_leaving: bool) -> Duration {
        let begun = Instant::now();
        wait_for_exit(exited, || is_leaving).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_lives_on_is_not_waited_for() {
        assert_eq!(waited(pending::<()>(), false).await, EXIT_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_exit_that_is_under_way_is_waited_for() {
        let late = Duration::from_millis(800);
        assert_eq!(waited(sleep(late), true).await, late);
        let longest = EXIT_WAIT + LEAVING_WAIT;
        assert_eq!(waited(pending::<()>(), true).await, longest);
    }

    #[tokio::test(start_paused = true)]
    async fn an_exit_at_once_needs_no_look() {
        let looks = || panic!("the exit is known");
        wait_for_exit(std::future::ready(()), looks).await;
    }
}
