//! That the child is held for one client, and what becomes of its questions when that client goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Link;
use crate::process::lock;
use crate::rpc::reply::{ErrorObject, SERVER_ERROR, reply_text};
use crate::rpc::session_queue::SessionQueue;

impl Link {
    /// From now on the child is held for one client.
    pub(in crate::rpc) fn begin_session(&self, queue: Arc<SessionQueue>) {
        self.set_personal(true);
        *lock(&self.session) = Some(Arc::clone(&queue));
        // Order: the end of the connection is noted before it takes the session.
        if lock(&self.state).is_over() {
            queue.close();
        }
    }

    /// Whether a session's client may have left something of its own in the child.
    pub(in crate::rpc) fn is_personal(&self) -> bool {
        self.is_personal.load(Ordering::Relaxed)
    }

    pub(in crate::rpc) fn set_personal(&self, is_personal: bool) {
        self.is_personal.store(is_personal, Ordering::Relaxed);
    }

    /// The client has gone. Its child's questions are answered with an error.
    pub(in crate::rpc) fn end_session(&self, queue: &SessionQueue) {
        let ended = lock(&self.session).take();
        drop(ended);
        let error = ErrorObject::new(SERVER_ERROR, "the client has gone");
        for id in queue.close() {
            self.send_text(reply_text(&id, Err(&error)));
        }
    }

    /// The session that the child is held for.
    pub(in crate::rpc) fn session(&self) -> Option<Arc<SessionQueue>> {
        lock(&self.session).clone()
    }
}
