//! How many requests may be in flight at a time: of one session, and of one principal.
//!
//! A request counts until it has its reply, its deadline, or its cancel; also when its client has gone, which in the eras
//! with sessions is no cancel. One that is answered at once, such as a ping or a list that was kept, does not count: it
//! holds nothing. Streams that wait for news are no requests in flight, but `subscriptions/listen`
//! has a limit of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::config::LimitSettings;
use crate::guard::Principal;

/// What is in flight of each principal.
#[derive(Debug)]
pub(crate) struct RequestPlaces {
    requests: PrincipalCounts,
    listens: PrincipalCounts,
    per_session_max: usize,
}

/// What is in flight of one session.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionRequests(Arc<AtomicUsize>);

/// The right to one request in flight. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct RequestPlace {
    _of_principal: Counted,
    of_session: Option<SessionRequests>,
}

/// Why a request is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum TooMany {
    #[error(
        "this session has {max} requests in flight, and no more are allowed (limits.requests_per_session_max)"
    )]
    OfSession { max: usize },
    #[error(
        "you have {max} requests in flight, and no more are allowed (limits.requests_per_principal_max)"
    )]
    OfPrincipal { max: usize },
    #[error(
        "you have {max} subscriptions/listen open, and no more are allowed (limits.listens_per_principal_max)"
    )]
    Listens { max: usize },
}

impl RequestPlaces {
    pub(crate) fn new(limits: &LimitSettings) -> Self {
        Self {
            requests: PrincipalCounts::new(limits.requests_per_principal_max),
            listens: PrincipalCounts::new(limits.listens_per_principal_max),
            per_session_max: limits.requests_per_session_max,
        }
    }

    /// The right to one more request of a principal, in its session if it has one.
    pub(crate) fn request(
        &self,
        principal: &Principal,
        session: Option<&SessionRequests>,
    ) -> Result<RequestPlace, TooMany> {
        let of_principal = self.requests.take(principal);
        let of_principal = of_principal.map_err(|max| TooMany::OfPrincipal { max })?;
        if let Some(SessionRequests(count)) = session {
            let max = self.per_session_max;
            let take = |count| (count < max).then_some(count + 1);
            let taken = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            taken.map_err(|_| TooMany::OfSession { max })?;
        }
        Ok(RequestPlace {
            _of_principal: of_principal,
            of_session: session.cloned(),
        })
    }

    /// The right to one more `subscriptions/listen` of a principal.
    pub(crate) fn listen(&self, principal: &Principal) -> Result<RequestPlace, TooMany> {
        let of_principal = self.listens.take(principal);
        Ok(RequestPlace {
            _of_principal: of_principal.map_err(|max| TooMany::Listens { max })?,
            of_session: None,
        })
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        if let Some(SessionRequests(count)) = &self.of_session {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A count for each principal that has one.
#[derive(Debug)]
struct PrincipalCounts {
    counts: Arc<Mutex<HashMap<Principal, usize>>>,
    max: usize,
}

/// One of a principal's. Dropping it takes it away.
struct Counted {
    counts: Arc<Mutex<HashMap<Principal, usize>>>,
    principal: Principal,
}

impl PrincipalCounts {
    fn new(max: usize) -> Self {
        Self {
            counts: Arc::default(),
            max,
        }
    }

    /// One more, or the most that there may be.
    fn take(&self, principal: &Principal) -> Result<Counted, usize> {
        let mut counts = lock(&self.counts);
        let count = counts.entry(principal.clone()).or_default();
        if *count >= self.max {
            return Err(self.max);
        }
        *count += 1;
        Ok(Counted {
            counts: Arc::clone(&self.counts),
            principal: principal.clone(),
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Not removed at zero: there are no more principals than tokens, and most have a next request.
        if let Some(count) = lock(&self.counts).get_mut(&self.principal) {
            *count -= 1;
        }
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.principal).finish()
    }
}

fn lock(counts: &Mutex<HashMap<Principal, usize>>) -> MutexGuard<'_, HashMap<Principal, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_of_a_session_and_of_a_principal_and_is_given_back_to_both() {
        let places = RequestPlaces::new(&LimitSettings {
            requests_per_session_max: 2,
            requests_per_principal_max: 3,
            listens_per_principal_max: 1,
            ..LimitSettings::default()
        });
        let (me, other) = (Principal::of("me"), Principal::of("other"));
        let (one, two) = (SessionRequests::default(), SessionRequests::default());
        let of_session = places.request(&me, Some(&one)).unwrap();
        let and_another = places.request(&me, Some(&one)).unwrap();
        let refused = places.request(&me, Some(&one)).unwrap_err();
        assert_eq!(refused, TooMany::OfSession { max: 2 });
        // What was refused holds nothing.
        let third = places.request(&me, Some(&two)).unwrap();
        let refused = places.request(&me, None).unwrap_err();
        assert_eq!(refused, TooMany::OfPrincipal { max: 3 });
        let of_other = places.request(&other, None).unwrap();
        drop(of_session);
        let again = places.request(&me, Some(&one)).unwrap();
        let listens = places.listen(&me).unwrap();
        let refused = places.listen(&me).unwrap_err();
        assert_eq!(refused, TooMany::Listens { max: 1 });
        drop((and_another, third, of_other, again, listens));
        drop(places.listen(&me).unwrap());
        assert_eq!(one.0.load(Ordering::Relaxed), 0);
        assert!(
            lock(&places.requests.counts)
                .values()
                .all(|count| *count == 0)
        );
    }
}
