//! What a session has, and when it is idle.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool_stdio::ClientIds;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::own_child::{LiveChild, OwnChild};
use super::places::Place;
use super::request_places::SessionRequests;
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
    pub(crate) kind: SessionKind,
    /// Of the stream that the client keeps open, and of requests.
    pub(crate) turns: Turns,
    /// When it is over, for streams that would outlive it.
    pub(crate) ended: CancellationToken,
    /// Those in flight.
    pub(crate) requests: SessionRequests,
    activity: Mutex<Activity>,
    /// Until it has ended.
    place: Mutex<Option<Place>>,
}

/// How a session is served.
#[derive(Debug)]
pub(crate) enum SessionKind {
    /// By children that serve others, too.
    Shared {
        key: Arc<KeyState>,
        ids: ClientIds,
        /// Of the promise that the client was given.
        generation: u64,
        subscriber: Subscriber,
    },
    /// By a child of its own, if it needs one.
    Own(OwnChild),
}

/// Requests and streams of a session.
#[derive(Debug)]
struct Activity {
    requests: usize,
    streams: usize,
    /// When the last of either ended.
    last: Instant,
    last_request: Instant,
    /// It has ended, and nothing more begins.
    is_over: bool,
}

/// A request or a stream of a session. The session is not idle as long as one exists.
pub(crate) struct InUse(pub(crate) Arc<ClientSession>, Use);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Request,
    /// It waits for what the child may say: no work is lost with it.
    Stream,
}

impl ClientSession {
    /// A session under this id, with the request that begins it.
    pub(super) fn begun(
        id: Arc<str>,
        (server, principal): (&Arc<Server>, &Principal),
        (version, kind): (String, SessionKind),
        place: Place,
    ) -> InUse {
        let session = Self {
            id,
            server: Arc::clone(server),
            principal: principal.clone(),
            version,
            kind,
            turns: Turns::new(),
            ended: CancellationToken::new(),
            requests: SessionRequests::default(),
            activity: Mutex::new(Activity {
                requests: 1,
                streams: 0,
                last: Instant::now(),
                last_request: Instant::now(),
                is_over: false,
            }),
            place: Mutex::new(Some(place)),
        };
        InUse(Arc::new(session), Use::Request)
    }

    /// It is over. Its place is free at once, though a request or a start can hold it for a while.
    pub(super) fn end(&self) {
        self.ended.cancel();
        let place = self
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(place);
    }

    /// Begins a request; `None` if the session has just ended.
    pub(super) fn begin(self: &Arc<Self>) -> Option<InUse> {
        let mut activity = self.lock();
        if activity.is_over {
            return None;
        }
        activity.requests += 1;
        Some(InUse(Arc::clone(self), Use::Request))
    }

    /// How long it has had no request, whatever streams it has; `None` if it has one.
    pub(super) fn without_request_for(&self, now: Instant) -> Option<Duration> {
        let activity = self.lock();
        let is_free = activity.requests == 0 && !activity.is_over;
        is_free.then(|| now.saturating_duration_since(activity.last_request))
    }

    /// The child of its own that it has now.
    pub(super) fn own_child(&self) -> Option<Arc<LiveChild>> {
        match &self.kind {
            SessionKind::Own(own) => own.live(),
            SessionKind::Shared { .. } => None,
        }
    }

    /// Takes its child, if the session goes on without one, and had no request for this long.
    pub(super) fn release_child(&self, now: Instant, idle: Duration) -> Option<Arc<LiveChild>> {
        let SessionKind::Own(own) = &self.kind else {
            return None;
        };
        let activity = self.lock();
        let idle_for = now.saturating_duration_since(activity.last_request);
        let is_idle = activity.requests == 0 && !activity.is_over && idle_for >= idle;
        // Order: no request begins, and finds the child, before it is taken.
        is_idle.then(|| own.release()).flatten()
    }

    /// Lets nothing more begin, unless a request is under way. Returns whether that is so.
    pub(super) fn close_if_free(&self) -> bool {
        let mut activity = self.lock();
        activity.is_over |= activity.requests == 0;
        activity.is_over
    }

    /// Lets nothing more begin, unless a request or a stream is under way. Returns whether that is so.
    pub(super) fn close_if_idle(&self) -> bool {
        let mut activity = self.lock();
        activity.is_over |= activity.is_idle();
        activity.is_over
    }

    /// How long it has had neither a request nor a stream; `None` if it has one.
    pub(super) fn idle_since(&self, now: Instant) -> Option<Duration> {
        let activity = self.lock();
        activity
            .is_idle()
            .then(|| now.saturating_duration_since(activity.last))
    }

    /// The same; zero if it has one.
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        self.idle_since(now).unwrap_or_default()
    }

    /// Whether its children are no longer what its client was promised.
    pub(super) fn is_outdated(&self) -> bool {
        match &self.kind {
            SessionKind::Shared {
                key, generation, ..
            } => key.promise.generation() != *generation,
            SessionKind::Own(_) => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Activity {
    const fn is_idle(&self) -> bool {
        self.requests + self.streams == 0
    }
}

impl InUse {
    /// The same use of a session, from now on as a stream.
    pub(crate) fn into_stream(mut self) -> Self {
        let mut activity = self.0.lock();
        if self.1 == Use::Request {
            activity.requests -= 1;
            activity.streams += 1;
            activity.last_request = Instant::now();
        }
        drop(activity);
        self.1 = Use::Stream;
        self
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut activity = self.0.lock();
        match self.1 {
            Use::Request => {
                activity.requests -= 1;
                activity.last_request = now;
            }
            Use::Stream => activity.streams -= 1,
        }
        activity.last = now;
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
