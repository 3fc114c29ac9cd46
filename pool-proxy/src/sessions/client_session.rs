//! What a session has, and when it is idle.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool_stdio::{ClientIds, Session};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::places::Place;
use super::turns::Turns;
use crate::backend::{KeyState, Server, Subscriber};
use crate::guard::Principal;

/// A session of a client.
pub(crate) struct ClientSession {
    pub(crate) id: Arc<str>,
    pub(crate) server: Arc<Server>,
    pub(crate) principal: Principal,
    /// The version that was negotiated.
    pub(crate) version: String,
    pub(crate) kind: Kind,
    /// Of the stream that the client keeps open, and of requests.
    pub(crate) turns: Turns,
    /// When it is over, for streams that would outlive it.
    pub(crate) ended: CancellationToken,
    activity: Mutex<Activity>,
    _place: Place,
}

/// How a session is served.
#[derive(Debug)]
pub(crate) enum Kind {
    /// By children that serve others, too.
    Shared {
        key: Arc<KeyState>,
        ids: ClientIds,
        /// Of the promise that the client was given.
        generation: u64,
        subscriber: Subscriber,
    },
    /// By a child of its own.
    Own(Session),
}

/// Requests and streams of a session.
#[derive(Debug)]
struct Activity {
    open: usize,
    last: Instant,
}

/// A request or a stream of a session. The session is not idle as long as one exists.
pub(crate) struct InUse(pub(crate) Arc<ClientSession>);

impl ClientSession {
    /// A session under this id.
    pub(super) fn new(
        id: Arc<str>,
        (server, principal): (&Arc<Server>, &Principal),
        (version, kind): (String, Kind),
        place: Place,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            server: Arc::clone(server),
            principal: principal.clone(),
            version,
            kind,
            turns: Turns::new(),
            ended: CancellationToken::new(),
            activity: Mutex::new(Activity {
                open: 0,
                last: Instant::now(),
            }),
            _place: place,
        })
    }

    pub(super) fn begin(self: &Arc<Self>) -> InUse {
        self.lock().open += 1;
        InUse(Arc::clone(self))
    }

    /// How long it has had neither a request nor a stream.
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        let activity = self.lock();
        match activity.open {
            0 => now.saturating_duration_since(activity.last),
            _ => Duration::ZERO,
        }
    }

    /// Whether its children are no longer what its client was promised.
    pub(super) fn is_outdated(&self) -> bool {
        match &self.kind {
            Kind::Shared {
                key, generation, ..
            } => key.promise.generation() != *generation,
            Kind::Own(_) => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut activity = self.0.lock();
        activity.open -= 1;
        if activity.open == 0 {
            activity.last = Instant::now();
        }
    }
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the id: whoever has it is the client.
        f.debug_struct("ClientSession")
            .field("server", &self.server.name)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InUse").field(&self.0).finish()
    }
}
