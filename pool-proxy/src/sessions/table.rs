//! Which session an id names.
//!
//! An id is a secret of 128 random bits. It names a session only to the principal that began it, under the
//! path of its server: to anybody else there is no such session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::client_session::{ClientSession, InUse, SessionKind};
use super::own_child::LiveChild;
use super::places::{NoPlace, Place, Places};
use super::room::{Idle, choose};
use crate::backend::{Demand, Server};
use crate::config::LimitSettings;
use crate::guard::Principal;

/// All sessions.
#[derive(Debug)]
pub(crate) struct Table {
    sessions: Mutex<HashMap<Arc<str>, Arc<ClientSession>>>,
    /// Children that were taken from sessions for others. A stream or a reply can keep one for a while.
    leaving: Mutex<Vec<Weak<LiveChild>>>,
    places: Arc<Places>,
    /// See `limits.session_idle_min`.
    idle_min: Duration,
}

impl Table {
    pub(crate) fn new(limits: &LimitSettings) -> Self {
        Self {
            sessions: Mutex::default(),
            leaving: Mutex::default(),
            places: Places::new(limits),
            idle_min: limits.session_idle_min,
        }
    }

    /// The right to one more session. Taken before a child is started for it. At a limit, an idle session ends
    /// for it; if there is none, it is refused.
    pub(crate) fn place(&self, principal: &Principal) -> Result<Place, NoPlace> {
        loop {
            let no_place = match self.places.take(principal) {
                Ok(place) => return Ok(place),
                Err(no_place) => no_place,
            };
            let ends = self.longest_idle(principal, &no_place).ok_or(no_place)?;
            if ends.close_if_idle() {
                self.end(&ends);
                tracing::info!(
                    server = &*ends.server.name,
                    principal = ends.principal.name(),
                    "session ended: there were too many, and it was idle for longest"
                );
            }
        }
    }

    /// The session that ends for a new one of this principal: its own, or at the limit of all sessions one of a
    /// principal that holds more. Of the principal that holds most, the one that was idle for longest.
    fn longest_idle(&self, asker: &Principal, no_place: &NoPlace) -> Option<Arc<ClientSession>> {
        let now = Instant::now();
        let of_all = matches!(no_place, NoPlace::All { .. });
        let own = self.places.held(asker);
        let sessions = self.lock();
        let idle = sessions.values().filter_map(|session| {
            let held = self.places.held(&session.principal);
            let may_end = session.principal == *asker || (of_all && held > own);
            let idle = session.idle_since(now).filter(|_| may_end)?;
            Some(((held, idle), session))
        });
        let (_, longest) = idle.max_by_key(|(rank, _)| *rank)?;
        Some(Arc::clone(longest))
    }

    /// Begins a session under a new id.
    pub(crate) fn begin(
        &self,
        owner: (&Arc<Server>, &Principal),
        served: (String, SessionKind),
        place: Place,
    ) -> Result<InUse, getrandom::Error> {
        let id: Arc<str> = new_id()?.into();
        let in_use = ClientSession::begun(Arc::clone(&id), owner, served, place);
        let replaced = self.lock().insert(id, Arc::clone(&in_use.0));
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
        session.begin()
    }

    /// Ends idle sessions whose children others wait for; one whose child is as it was goes on without it. `is_full`:
    /// no further child may be started at all.
    pub(crate) fn make_room(&self, demands: &[Demand], is_full: bool) {
        let now = Instant::now();
        let sessions: Vec<_> = self.lock().values().map(Arc::clone).collect();
        let own = sessions
            .into_iter()
            .filter(|session| session.own_child().is_some());
        let idle = own.filter_map(|session| {
            Some(Idle {
                server: Arc::clone(&session.server.name),
                principal: session.principal.clone(),
                idle: session.without_request_for(now)?,
                session,
            })
        });
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|child| child.strong_count() > 0);
        let chosen = choose(
            demands,
            is_full,
            leaving.len(),
            (idle.collect(), self.idle_min),
        );
        for session in &chosen {
            leaving.extend(self.take_child(session, now));
        }
    }

    /// Takes the child of a session for another one.
    fn take_child(&self, session: &ClientSession, now: Instant) -> Option<Weak<LiveChild>> {
        if let Some(child) = session.release_child(now, Duration::ZERO) {
            return Some(Arc::downgrade(&child));
        }
        let child = session.own_child()?;
        if !session.close_if_free() {
            return None;
        }
        self.end(session);
        tracing::info!(
            server = &*session.server.name,
            principal = session.principal.name(),
            "session ended: its child is needed by another client"
        );
        Some(Arc::downgrade(&child))
    }

    /// Ends a session. Requests in flight go on to their replies.
    pub(crate) fn end(&self, session: &ClientSession) {
        let ended = self.lock().remove(&session.id);
        session.end();
        // Order: outside of the lock, since it may give a child back.
        drop(ended);
    }

    /// Ends the sessions that were idle for too long, or whose children are not what they were promised, and the
    /// children that idle sessions can do without.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let sessions: Vec<_> = self.lock().values().map(Arc::clone).collect();
        for session in sessions {
            let idle = session.server.settings.idle_timeout;
            drop(session.release_child(now, idle));
        }
        let mut ended = Vec::new();
        self.lock().retain(|_, session| {
            let is_idle = session.idle_for(now) >= session.server.settings.session_idle_timeout;
            // Its client finds out by the end of its stream, or by its next request.
            let is_outdated = session.is_outdated();
            if is_idle || is_outdated {
                ended.push((
                    Arc::clone(session),
                    if is_outdated { "outdated" } else { "idle" },
                ));
            }
            !is_idle && !is_outdated
        });
        for (session, why) in ended {
            session.end();
            tracing::info!(
                server = &*session.server.name,
                principal = session.principal.name(),
                "session ended: {why}"
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
            session.end();
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pool_core::Budget;
    use tokio::time::advance;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::backend::{Greeting, Pools};
    use crate::config::ServerSettings;
    use crate::sessions::OwnChild;

    #[tokio::test(start_paused = true)]
    async fn one_session_ends_for_a_place_though_the_start_of_its_child_still_holds_it() {
        let limits = LimitSettings {
            sessions_max: 2,
            ..LimitSettings::default()
        };
        let (budget, tasks) = (
            Budget::builder("children").build().unwrap(),
            TaskTracker::new(),
        );
        let settings = ServerSettings::of_command(vec!["cat".to_owned()]);
        let server = Server::new("one", &settings, (&limits, 1), (&budget, &tasks)).unwrap();
        let (server, table) = (Arc::new(server), Table::new(&limits));
        let principal = Principal::everybody();
        let begin = || {
            let Pools::Session(own) = &server.pools else {
                unreachable!("sessions are the default");
            };
            let kind = own.kinds.of(&principal, b"{}").unwrap();
            let greeting = Greeting::of(br#"{"result":{"protocolVersion":"1"}}"#).unwrap();
            let child = OwnChild::promised(kind, Arc::new(greeting), Bytes::new());
            let place = table.place(&principal).unwrap();
            let served = ("1".to_owned(), SessionKind::Own(child));
            table.begin((&server, &principal), served, place).unwrap()
        };
        let first = begin();
        let held_by_its_start = Arc::clone(&first.0);
        drop(first);
        advance(Duration::from_secs(1)).await;
        let second = Arc::clone(&begin().0.id);
        let third = begin();
        assert!(held_by_its_start.ended.is_cancelled());
        assert!(table.find(&second, &server, &principal).is_some());
        assert_eq!(table.len(), 2);
        drop((third, held_by_its_start));
    }
}
