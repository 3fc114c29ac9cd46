//! That no child is left behind, however the program ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pool_stdio::Children;
use tokio::time::timeout;

/// The children of all connectors that were made.
#[derive(Debug, Clone, Default)]
pub(super) struct StartedChildren(Arc<Mutex<Vec<Children>>>);

impl StartedChildren {
    /// Adds those of one more connector.
    pub(super) fn add(&self, children: Children) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(children);
    }

    /// Kills all that live. Everything that could start another one has been dropped by now.
    pub(super) async fn end(&self) {
        let all = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for children in all {
            children.terminate_all(Duration::ZERO).await;
            // A child whose start was under way ends by itself. One that the system cannot kill must
            // not keep this program from ending.
            if timeout(END_WITHIN, children.emptied()).await.is_err() {
                break;
            }
        }
    }
}

const END_WITHIN: Duration = Duration::from_secs(2);
