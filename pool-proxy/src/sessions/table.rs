//! Which session an id names.
//!
//! An id is a secret of 128 random bits. It names a session only to the principal that began it, under the
//! path of its server: to anybody else there is no such session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::client_session::{ClientSession, InUse, Kind};
use super::places::{NoPlace, Place, Places};
use crate::backend::Server;
use crate::config::LimitSettings;
use crate::guard::Principal;

/// All sessions.
#[derive(Debug)]
pub(crate) struct Table {
    sessions: Mutex<HashMap<Arc<str>, Arc<ClientSession>>>,
    places: Arc<Places>,
}

impl Table {
    pub(crate) fn new(limits: &LimitSettings) -> Self {
        Self {
            sessions: Mutex::default(),
            places: Places::new(limits),
        }
    }

    /// The right to one more session. Taken before a child is started for it.
    pub(crate) fn place(&self, principal: &Principal) -> Result<Place, NoPlace> {
        self.places.take(principal)
    }

    /// Begins a session under a new id.
    pub(crate) fn begin(
        &self,
        owner: (&Arc<Server>, &Principal),
        served: (String, Kind),
        place: Place,
    ) -> Result<InUse, getrandom::Error> {
        let id: Arc<str> = new_id()?.into();
        let session = ClientSession::new(Arc::clone(&id), owner, served, place);
        let in_use = session.begin();
        let replaced = self.lock().insert(id, session);
        debug_assert!(
            replaced.is_none(),
            "invariant broken: two sessions have one id"
        );
        Ok(in_use)
    }

    /// The session that this id names to this principal.
    pub(crate) fn find(
        &self,
        id: &str,
        server: &Arc<Server>,
        principal: &Principal,
    ) -> Option<InUse> {
        let session = Arc::clone(self.lock().get(id)?);
        if !Arc::ptr_eq(&session.server, server) || session.principal != *principal {
            return None;
        }
        if session.is_outdated() {
            self.end(&session);
            return None;
        }
        Some(session.begin())
    }

    /// Ends a session. Requests in flight go on to their replies.
    pub(crate) fn end(&self, session: &ClientSession) {
        let ended = self.lock().remove(&session.id);
        session.ended.cancel();
        // Order: outside of the lock, since it may give a child back.
        drop(ended);
    }

    /// Ends the sessions that were idle for too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut ended = Vec::new();
        self.lock().retain(|_, session| {
            let is_idle = session.idle_for(now) >= session.server.settings.session_idle_timeout;
            if is_idle {
                ended.push(Arc::clone(session));
            }
            !is_idle
        });
        for session in ended {
            session.ended.cancel();
            tracing::info!(
                server = &*session.server.name,
                principal = session.principal.name(),
                "session ended: idle"
            );
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Ends all sessions.
    pub(crate) fn clear(&self) {
        let ended = std::mem::take(&mut *self.lock());
        for session in ended.values() {
            session.ended.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<ClientSession>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_id() -> Result<String, getrandom::Error> {
    let number = (u128::from(getrandom::u64()?) << 64) | u128::from(getrandom::u64()?);
    Ok(format!("{number:032x}"))
}
