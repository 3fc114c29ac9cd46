//! That no child is left, however the program ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pool_stdio::Children;
use tokio::time::timeout;

/// The children of all connectors that were made.
#[derive(Debug, Clone, Default)]
pub(super) struct Crew(Arc<Mutex<Vec<Children>>>);

impl Crew {
    /// Remembers those of one more connector.
    pub(super) fn add(&self, children: Children) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(children);
    }

    /// Kills what lives. Nobody may start any more: whoever could has been dropped.
    pub(super) async fn end(&self) {
        let all = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for children in all {
            children.terminate_all(Duration::ZERO).await;
            // One that was just being started when its starter was dropped ends by itself. A child
            // that the system cannot kill must not keep this program.
            if timeout(END_WITHIN, children.emptied()).await.is_err() {
                break;
            }
        }
    }
}

const END_WITHIN: Duration = Duration::from_secs(2);
