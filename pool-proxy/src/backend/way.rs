//! The way to the children of one key.
//!
//! Children that are shared serve many requests each. With `sharing = "request"` a child serves one, and further ones
//! are kept ready as long as the key is in use. A key that was not used for long lets go of its pool, whose children
//! end.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pool_core::{KeyHandle, KeyedAcquireError, SharedKeyHandle};
use pool_stdio::{JsonRpcConnection, Retry, Retrying, RpcPool, Terms};
use tokio::time::Instant;

/// The way to the children of one key.
#[derive(Debug)]
pub(super) enum Way {
    /// They serve many requests each.
    Shared {
        handle: SharedKeyHandle<JsonRpcConnection>,
        retry: Retry,
    },
    /// Each serves one request.
    Fresh(Fresh),
}

/// The way to children of which each serves one request.
pub(super) struct Fresh {
    enter: Box<EnterPool>,
    may_repeat: Arc<MayRepeat>,
    entered: Mutex<Option<Entered>>,
    idle_timeout: Duration,
}

/// Makes the pool of the key, if it has none.
type EnterPool = dyn Fn() -> Result<KeyHandle<JsonRpcConnection>, KeyedAcquireError> + Send + Sync;
/// Whether a request does no harm when it is executed twice, by its method and its params.
pub(super) type MayRepeat = dyn Fn(&str, &[u8]) -> bool + Send + Sync;

/// The pool of the key. As long as this exists, children are kept ready.
struct Entered {
    handle: KeyHandle<JsonRpcConnection>,
    retry: Retry,
    last_used: Instant,
}

impl Way {
    pub(super) fn shared(
        handle: SharedKeyHandle<JsonRpcConnection>,
        may_repeat: &Arc<MayRepeat>,
    ) -> Self {
        let retry = retry(handle.clone(), may_repeat);
        Self::Shared { handle, retry }
    }

    pub(super) fn fresh(
        enter: Box<EnterPool>,
        may_repeat: &Arc<MayRepeat>,
        idle_timeout: Duration,
    ) -> Self {
        Self::Fresh(Fresh {
            enter,
            may_repeat: Arc::clone(may_repeat),
            entered: Mutex::default(),
            idle_timeout,
        })
    }

    /// Begins the exchange of a client's message.
    pub(super) fn exchange(
        &self,
        message: Bytes,
        terms: &Terms,
    ) -> Result<Retrying, KeyedAcquireError> {
        match self {
            Self::Shared { retry, .. } => Ok(retry.exchange(message, terms)),
            Self::Fresh(fresh) => {
                let (_, retry) = fresh.enter()?;
                Ok(retry.exchange(message, terms))
            }
        }
    }

    /// Waits until a child has started.
    pub(super) async fn start(&self) -> Result<(), KeyedAcquireError> {
        match self {
            Self::Shared { handle, .. } => drop(handle.acquire().await?),
            Self::Fresh(fresh) => {
                let (handle, _) = fresh.enter()?;
                drop(handle.acquire().await?);
            }
        }
        Ok(())
    }

    /// Whether a child is being started.
    pub(super) fn is_starting(&self) -> bool {
        let status = match self {
            Self::Shared { handle, .. } => Some(handle.status()),
            Self::Fresh(fresh) => fresh.lock().as_ref().map(|entered| entered.handle.status()),
        };
        status.is_some_and(|status| status.opening > 0)
    }

    /// Lets go of a pool that was not used for long.
    pub(super) fn sweep(&self, now: Instant) {
        if let Self::Fresh(fresh) = self {
            fresh.leave_if_idle(now);
        }
    }
}

impl Fresh {
    fn enter(&self) -> Result<(KeyHandle<JsonRpcConnection>, Retry), KeyedAcquireError> {
        let mut entered = self.lock();
        let entered = match &mut *entered {
            Some(entered) => entered,
            none => {
                let handle = (self.enter)()?;
                let retry = retry(handle.clone(), &self.may_repeat);
                none.insert(Entered {
                    handle,
                    retry,
                    last_used: Instant::now(),
                })
            }
        };
        entered.last_used = Instant::now();
        Ok((entered.handle.clone(), entered.retry.clone()))
    }

    /// A request that is under way has a handle of its own.
    fn leave_if_idle(&self, now: Instant) {
        let is_idle = |entered: &mut Entered| {
            now.saturating_duration_since(entered.last_used) >= self.idle_timeout
        };
        let left = self.lock().take_if(is_idle);
        // Order: outside of the lock, since it can end the pool.
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Entered>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn retry(pool: impl Into<RpcPool>, may_repeat: &Arc<MayRepeat>) -> Retry {
    let may_repeat = Arc::clone(may_repeat);
    Retry::new(pool).repeat_if(move |method, params| may_repeat(method, params))
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh")
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}
