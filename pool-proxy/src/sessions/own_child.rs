//! The child of a session that has one of its own: whether there is one, and when it may leave.
//!
//! A session can begin without a child, and be without one again, as long as its client has left nothing in a child:
//! what it has seen, any child of its kind says. From the first request on that a child may remember, the child
//! lasts as long as the session, and the session no longer than the child.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use pool_stdio::{ServerMessage, Session};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::waiting::WaitingRequests;
use crate::backend::{ClientKind, Greeting, Listed};

/// The child of a session, which need not be there.
pub(crate) struct OwnChild {
    kind: Option<Arc<ClientKind>>,
    /// The `initialize` of the client; `None` if it is too long to be kept.
    introduction: Option<Bytes>,
    promised: Arc<Greeting>,
    live: watch::Sender<Option<Arc<LiveChild>>>,
    /// What waits until it has started.
    pub(crate) waiting: Arc<WaitingRequests>,
    /// Held by whoever starts the child.
    starting: Arc<Mutex<()>>,
    /// The client was initialized without a child, so each child is told that it is.
    is_told_here: AtomicBool,
}

/// A child that serves a session.
pub(crate) struct LiveChild {
    session: Session,
    greeting: Arc<Greeting>,
    kind: Option<Arc<ClientKind>>,
    /// Its client may have left something in it.
    is_personal: AtomicBool,
}

impl OwnChild {
    /// Of a client that was promised what earlier children have said.
    pub(crate) fn promised(
        kind: Arc<ClientKind>,
        promised: Arc<Greeting>,
        introduction: Bytes,
    ) -> Self {
        Self {
            kind: Some(kind),
            introduction: Some(introduction),
            promised,
            live: watch::Sender::new(None),
            waiting: Arc::default(),
            starting: Arc::default(),
            is_told_here: AtomicBool::new(true),
        }
    }

    /// Of a client that the child itself has answered.
    pub(crate) fn started(child: Arc<LiveChild>, introduction: Option<Bytes>) -> Self {
        Self {
            kind: child.kind.clone(),
            introduction,
            promised: Arc::clone(&child.greeting),
            live: watch::Sender::new(Some(child)),
            waiting: Arc::default(),
            starting: Arc::default(),
            is_told_here: AtomicBool::new(false),
        }
    }

    /// The child, if there is one now.
    pub(crate) fn live(&self) -> Option<Arc<LiveChild>> {
        self.live.borrow().clone()
    }

    /// Sees children come and go.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<LiveChild>>> {
        self.live.subscribe()
    }

    /// The right to start the child.
    ///
    /// # Cancel safety
    ///
    /// Only the place in the queue is lost.
    pub(crate) async fn turn_to_start(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.starting).lock_owned().await
    }

    /// What a new child is told of the client.
    pub(crate) fn introduction(&self) -> Option<Bytes> {
        self.introduction.clone()
    }

    pub(crate) fn kind(&self) -> Option<&Arc<ClientKind>> {
        self.kind.as_ref()
    }

    /// Whether a child with this greeting may serve the client.
    pub(crate) fn may_have(&self, greeting: &Greeting) -> bool {
        self.promised.is_kept_by(greeting)
    }

    /// Whether the proxy tells children that the client is initialized.
    pub(crate) fn is_told_here(&self) -> bool {
        self.is_told_here.load(Ordering::Relaxed)
    }

    /// The session has this child from now on.
    pub(crate) fn put(&self, child: Arc<LiveChild>) {
        self.live.send_replace(Some(child));
    }

    /// Whether this is the child of the session.
    pub(crate) fn has(&self, child: &std::sync::Weak<LiveChild>) -> bool {
        let live = self.live.borrow();
        live.as_ref()
            .is_some_and(|live| std::ptr::eq(Arc::as_ptr(live), child.as_ptr()))
    }

    /// Takes the child out of the session, if the client has left nothing in it and another one can take its place.
    /// The caller must see to it that no request of the session is under way.
    pub(super) fn release(&self) -> Option<Arc<LiveChild>> {
        let can_return = self.kind.is_some() && self.introduction.is_some();
        let is_free = |child: &Arc<LiveChild>| can_return && !child.is_personal();
        if !self.live.borrow().as_ref().is_some_and(is_free) {
            return None;
        }
        self.is_told_here.store(true, Ordering::Relaxed);
        self.live.send_replace(None)
    }

    /// What is kept of the list that a request is for, if the client has no child to ask. Nothing is, if the latest
    /// children promise something else.
    pub(crate) fn kept_list(&self, method: &str, params: &[u8]) -> Option<Listed> {
        let kind = self.kind.as_ref()?;
        let latest = kind.greeting()?;
        self.promised
            .is_kept_by(&latest)
            .then(|| kind.lists.find(method, params))
    }
}

impl LiveChild {
    pub(crate) fn new(
        session: Session,
        greeting: Arc<Greeting>,
        kind: Option<Arc<ClientKind>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            greeting,
            kind,
            is_personal: AtomicBool::new(false),
        })
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn kind(&self) -> Option<&Arc<ClientKind>> {
        self.kind.as_ref()
    }

    /// Its client leaves something in it.
    pub(crate) fn note_personal(&self) {
        self.is_personal.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_personal(&self) -> bool {
        self.is_personal.load(Ordering::Relaxed)
    }

    /// The next message of the child that names no request.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&self) -> Option<Bytes> {
        let message = self.session.next().await?;
        if matches!(message, ServerMessage::Request(_))
            && !self.is_personal.swap(true, Ordering::Relaxed)
            && let Some(kind) = &self.kind
        {
            kind.note_question();
        }
        Some(message.message().clone())
    }
}

impl Drop for LiveChild {
    fn drop(&mut self) {
        if let Some(kind) = &self.kind {
            kind.left(&self.greeting);
        }
    }
}

impl fmt::Debug for OwnChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnChild")
            .field("live", &self.live.borrow().is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LiveChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveChild")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
