//! What all clones of a pool share, and the operations that both kinds of pool have.
//!
//! # Invariants
//!
//! The last [`Handle`] closes the pool by its own `Drop`; no count is ever compared. Maintenance and
//! leases hold an [`Engine`], never a `Handle`, so they keep no pool open.

use std::fmt;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Handle as Runtime, RuntimeFlavor};
use tokio::time::sleep_until;

use crate::connect;
use crate::engine::{Engine, Lends, attach_to_budget};
use crate::error::{ResizeError, WarmUpError};
use crate::foreign;
use crate::inbox::Receiver;
use crate::maintenance::{Maintenance, PoolErrand};
use crate::shutdown;
use crate::status::{CloseReport, ConnectionStats, EvictionReport, PoolStatus};
use crate::store::Errand;
use crate::sync::{Arc, Permits};
use crate::time::Time;

/// The largest pool: slots and waiters are numbered in 32 bits.
pub(crate) const MAX_SIZE: usize = {
    let numbered = u32::MAX as usize - 1;
    if numbered < Permits::MAX {
        numbered
    } else {
        Permits::MAX
    }
};

/// What all clones of a pool share. Nothing else holds it.
pub(crate) struct Handle<T: Send + 'static, L: Lends<T>> {
    pub(crate) engine: Arc<Engine<T, L>>,
    /// Runs the tasks of the pool; a model has none.
    runtime: Option<Runtime>,
}

impl<T: Send + 'static, L: Lends<T>> Handle<T, L> {
    /// Starts a pool on `runtime`. Panics if that has no timer.
    pub(crate) fn start(
        runtime: &Runtime,
        engine: Arc<Engine<T, L>>,
        receiver: Receiver<PoolErrand<T, L>>,
    ) -> Self {
        // Here and not in the task: without a timer this panics, and the caller should see it. Before the
        // budget knows the pool.
        let timer = {
            let _entered = runtime.enter();
            sleep_until(engine.clock.instant(Time::NEVER))
        };
        attach_to_budget(&engine);
        let maintenance = Maintenance::new(Arc::clone(&engine), receiver);
        drop(runtime.spawn(maintenance.run(timer)));
        let runtime = Some(runtime.clone());
        Self { engine, runtime }
    }

    /// For a model of the end of a pool.
    #[cfg(all(test, loom))]
    pub(crate) const fn without_runtime(engine: Arc<Engine<T, L>>) -> Self {
        let runtime = None;
        Self { engine, runtime }
    }

    pub(crate) async fn warm_up(&self, connections: usize) -> Result<(), WarmUpError> {
        shutdown::warm_up(&self.engine, connections).await
    }

    pub(crate) fn status(&self) -> PoolStatus {
        self.engine.lock().status()
    }

    pub(crate) fn resize(&self, max_size: usize) -> Result<(), ResizeError> {
        let limit = MAX_SIZE - self.engine.lock().max_surge();
        if max_size > limit {
            return Err(ResizeError::TooLarge { max_size, limit });
        }
        match self.engine.resize(max_size) {
            true => Ok(()),
            false => Err(ResizeError::Closed),
        }
    }

    pub(crate) fn evict_all(&self) -> usize {
        self.engine.evict(|_| true)
    }

    pub(crate) async fn evict_all_within(&self, time: Duration) -> EvictionReport {
        shutdown::evict_within(&self.engine, time).await
    }

    pub(crate) fn retain(&self, mut keep: impl FnMut(&ConnectionStats) -> bool) -> usize {
        let now = self.engine.clock.now();
        let mut all = self.engine.lock().all_stats(now);
        all.sort_unstable_by_key(|stats| stats.id);
        let rejected: Vec<_> = all
            .iter()
            .filter(|stats| !keep(stats))
            .map(|stats| stats.id)
            .collect();
        self.engine.evict(|id| rejected.binary_search(&id).is_ok())
    }

    pub(crate) async fn close(&self, deadline: Duration) -> CloseReport {
        shutdown::close(&self.engine, self.runtime.as_ref(), deadline).await
    }

    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let store = self.engine.lock();
        let (pool, status) = (StdArc::clone(store.name()), store.status());
        drop(store);
        f.debug_struct(name)
            .field("name", &pool)
            .field("status", &status)
            .finish()
    }
}

impl<T: Send + 'static, L: Lends<T>> Handle<T, L> {
    /// Begins the closes that a runtime would begin when somebody next polls it, and leaves the rest to it.
    fn begin_closes(&self, runtime: &Runtime) {
        let _entered = runtime.enter();
        let is_close = |errand: &PoolErrand<T, L>| matches!(errand, Errand::Close(..));
        for errand in self.engine.inbox.take_if(is_close) {
            let Errand::Close(open, reason) = errand else {
                continue;
            };
            let mut closing = Box::pin(connect::close(open, reason));
            let mut context = Context::from_waker(Waker::noop());
            match foreign::catch("close", || closing.as_mut().poll(&mut context)) {
                // Its task polls it again, with a waker of its own.
                Ok(Poll::Pending) => drop(runtime.spawn(closing)),
                Ok(Poll::Ready(())) => {}
                Err(fault) => foreign::log(&fault),
            }
        }
    }
}

impl<T: Send + 'static, L: Lends<T>> Drop for Handle<T, L> {
    fn drop(&mut self) {
        self.engine.close();
        if let Some(runtime) = &self.runtime
            && runtime.runtime_flavor() == RuntimeFlavor::CurrentThread
        {
            // Nobody may ever poll it again. A runtime cannot be entered by a thread that is about to end.
            if let Err(fault) = foreign::catch("close", || self.begin_closes(runtime)) {
                foreign::log(&fault);
            }
        }
    }
}
