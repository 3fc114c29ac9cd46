//! How many sessions there may be, in all and of one principal.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::config::LimitSettings;
use crate::guard::Principal;

/// How many places are taken.
#[derive(Debug)]
pub(super) struct Places {
    taken: Mutex<Taken>,
    max: usize,
    per_principal_max: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Principal, usize>,
}

/// The right to one session. Dropping it gives it back.
pub(crate) struct Place {
    places: Arc<Places>,
    principal: Principal,
}

/// Why there can be no further session.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum NoPlace {
    #[error(
        "all {max} places of sessions are taken, and no session may end for a new one of yours (limits.sessions_max)"
    )]
    All { max: usize },
    #[error(
        "all {max} places of your sessions are taken, by sessions in use and by starts that go on (limits.sessions_per_principal_max)"
    )]
    Principal { max: usize },
}

impl Places {
    pub(super) fn new(limits: &LimitSettings) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            max: limits.sessions_max,
            per_principal_max: limits.sessions_per_principal_max,
        })
    }

    pub(super) fn take(self: &Arc<Self>, principal: &Principal) -> Result<Place, NoPlace> {
        let mut taken = self.lock();
        if taken.all >= self.max {
            return Err(NoPlace::All { max: self.max });
        }
        let own = taken.by.get(principal).copied().unwrap_or_default();
        if own >= self.per_principal_max {
            let max = self.per_principal_max;
            return Err(NoPlace::Principal { max });
        }
        taken.by.insert(principal.clone(), own + 1);
        taken.all += 1;
        Ok(Place {
            places: Arc::clone(self),
            principal: principal.clone(),
        })
    }

    /// How many sessions this principal has.
    pub(super) fn held(&self, principal: &Principal) -> usize {
        self.lock().by.get(principal).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(own) = taken.by.get_mut(&self.principal) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.principal);
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new(&LimitSettings {
            sessions_max: 2,
            sessions_per_principal_max: 1,
            ..LimitSettings::default()
        });
        let (one, all) = (Principal::of("one"), Principal::everybody());
        let held = places.take(&one).unwrap();
        assert_eq!(
            places.take(&one).unwrap_err(),
            NoPlace::Principal { max: 1 }
        );
        let other = places.take(&all).unwrap();
        assert_eq!(
            places.take(&Principal::of("two")).unwrap_err(),
            NoPlace::All { max: 2 }
        );
        drop(held);
        let again = places.take(&one).unwrap();
        drop((other, again));
        assert!(places.lock().by.is_empty());
        assert_eq!(places.lock().all, 0);
    }
}
