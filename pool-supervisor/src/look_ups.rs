//! How many threads may ask the file system for programs.
//!
//! A mount that hangs keeps the thread of each look-up for as long as it hangs, and threads are bounded. So
//! those that ask for the same can take only a few of them, and the starts of other programs go on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The look-ups that are under way.
#[derive(Debug)]
pub(crate) struct LookUps {
    all: Arc<Semaphore>,
    /// Of those that ask for the same.
    same: RefCell<BTreeMap<String, Weak<Semaphore>>>,
}

/// Why a look-up has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookUpFailure {
    /// The file system does not answer.
    Hangs,
    /// It has not answered earlier ones that asked for the same.
    SameHang,
    /// It has not answered very many others.
    ManyHang,
}

impl LookUps {
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
            same: RefCell::default(),
        }
    }

    /// Runs a look-up on a thread. `subject` is what it asks for.
    ///
    /// # Errors
    ///
    /// It has no result within [`LOOK_UP_LIMIT`]. If it was begun it goes on, and counts until it ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        subject: String,
        look_up: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LookUpFailure> {
        let mut failure = LookUpFailure::SameHang;
        let same = self.same(subject);
        let run = async {
            let same = same.acquire_owned().await.ok()?;
            failure = LookUpFailure::ManyHang;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            failure = LookUpFailure::Hangs;
            let permits = (same, all);
            let look_up = move || {
                let found = look_up();
                drop(permits);
                found
            };
            spawn_blocking(look_up).await.ok()
        };
        let found = timeout(LOOK_UP_LIMIT, run).await;
        found.ok().flatten().ok_or(failure)
    }

    fn same(&self, subject: String) -> Arc<Semaphore> {
        let mut all = self.same.borrow_mut();
        if let Some(same) = all.get(&subject).and_then(Weak::upgrade) {
            return same;
        }
        all.retain(|_, same| same.strong_count() > 0);
        let same = Arc::new(Semaphore::new(SAME_LOOK_UPS_MAX));
        all.insert(subject, Arc::downgrade(&same));
        same
    }
}

/// For one look at a program and its directory.
pub(crate) const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);
/// Fewer than the runtime has threads for: 512.
pub(crate) const LOOK_UPS_MAX: usize = 256;
/// One takes some microseconds, so a few at a time are fast enough for a crowd.
pub(crate) const SAME_LOOK_UPS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::task::{Context, Waker};
    use std::thread;

    use tokio::runtime::Builder;
    use tokio::time::advance;

    use super::*;

    fn hang(released: &Receiver<()>) {
        let (Ok(()) | Err(_)) = released.recv();
    }

    async fn hang_and_start_others() -> Vec<LookUpFailure> {
        let look_ups = LookUps::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut hanging = Vec::new();
        let mut releases = Vec::new();
        for _ in 0..600 {
            let (release, released) = channel();
            let run = look_ups.run("hangs".to_owned(), move || hang(&released));
            let mut run = Box::pin(run);
            assert!(run.as_mut().poll(&mut cx).is_pending());
            hanging.push(run);
            releases.push(release);
        }
        advance(LOOK_UP_LIMIT).await;
        let mut failures = Vec::new();
        for run in hanging {
            failures.extend(run.await.err());
        }
        assert_eq!(look_ups.run("other".to_owned(), || 7).await, Ok(7));
        drop(releases);
        // It has answered at last.
        assert_eq!(look_ups.run("hangs".to_owned(), || 8).await, Ok(8));
        failures
    }

    #[test]
    fn a_file_system_that_hangs_delays_no_other_start() {
        let (sender, done) = channel();
        // On a thread of its own: a look-up without a thread fails this test, and does not hang it.
        thread::spawn(move || {
            let mut builder = Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().unwrap();
            let failures = runtime.block_on(hang_and_start_others());
            sender.send(failures).unwrap();
        });
        let failures = done.recv_timeout(Duration::from_secs(60)).unwrap();
        let (begun, waiting) = failures.split_at(SAME_LOOK_UPS_MAX);
        assert!(begun.iter().all(|one| *one == LookUpFailure::Hangs));
        assert!(waiting.iter().all(|one| *one == LookUpFailure::SameHang));
        assert_eq!(failures.len(), 600);
    }
}
