//! An exit that the custodian waits for by a descriptor.

use std::sync::Arc;

use super::unix::Ready;
use super::{Poller, Root};

/// The exit of a root that the custodian waits for, until this is dropped.
#[derive(Debug)]
pub(crate) struct WatchedExit {
    root: Arc<Root>,
    poller: Arc<Poller>,
}

impl WatchedExit {
    /// `None` if it must be asked for.
    pub(crate) fn new(root: &Arc<Root>, poller: &Arc<Poller>, token: u64) -> Option<Self> {
        poller.add(root.exit_fd()?, token, Ready::ToRead).ok()?;
        Some(Self {
            root: Arc::clone(root),
            poller: Arc::clone(poller),
        })
    }
}

impl Drop for WatchedExit {
    fn drop(&mut self) {
        if let Some(fd) = self.root.exit_fd() {
            self.poller.remove(fd);
        }
    }
}
