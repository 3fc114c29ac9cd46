//! What children of one session each have said, kept for clients that introduce themselves alike.
//!
//! A child of a session is told what its client says in `initialize`, so it may say something else to another
//! client. Therefore a kind of client is a principal and the whole of its params.
//!
//! # Invariants
//!
//! * What was said to one principal is told to no other.
//! * A principal has [`KINDS_MAX`] kinds at most, whatever its clients say. A further one takes the place of the one
//!   that was not asked for longest.
//! * A list is kept only of a child that its client has left nothing in: others may list what their client may see.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_stdio::Notifications;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::list_cache::ListCache;
use crate::config::ServerSettings;
use crate::guard::Principal;

/// The kinds of clients of a server.
pub(crate) struct ClientKinds {
    known: Mutex<HashMap<Principal, KindsOfOne>>,
    settings: ServerSettings,
}

/// The kinds of one principal. The one that was asked for latest is at the end.
type KindsOfOne = Vec<(ParamsHash, Arc<ClientKind>)>;
type ParamsHash = [u8; 32];

/// What children have said to one kind of client.
#[derive(Debug)]
pub(crate) struct ClientKind {
    pub(crate) lists: ListCache,
    greeting: Mutex<Option<Arc<Greeting>>>,
    greeting_bytes_max: usize,
    /// A child has asked its client something before the first request, such as for its roots.
    asks_at_once: AtomicBool,
}

/// What a child has answered to `initialize`.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) result: Box<RawValue>,
    pub(crate) version: String,
    capabilities: Value,
}

impl ClientKinds {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self {
            known: Mutex::default(),
            settings: settings.clone(),
        }
    }

    /// The kind of a client, by the params of its `initialize`. `None` if they are no object.
    pub(crate) fn of(&self, principal: &Principal, params: &[u8]) -> Option<Arc<ClientKind>> {
        let hash = hash(params)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds = known.entry(principal.clone()).or_default();
        let place = kinds.iter().position(|(other, _)| *other == hash);
        let kind = match place {
            Some(place) => kinds.remove(place).1,
            None => Arc::new(ClientKind::new(&self.settings)),
        };
        if kinds.len() >= KINDS_MAX {
            kinds.remove(0);
        }
        kinds.push((hash, Arc::clone(&kind)));
        Some(kind)
    }
}

/// Stands for all params but `_meta`, which belongs to the request.
fn hash(params: &[u8]) -> Option<ParamsHash> {
    let mut params: Map<String, Value> = serde_json::from_slice(params).ok()?;
    params.remove("_meta");
    let text = serde_json::to_vec(&params).ok()?;
    Some(Sha256::digest(text).into())
}

impl ClientKind {
    fn new(settings: &ServerSettings) -> Self {
        Self {
            lists: ListCache::new(settings),
            greeting: Mutex::default(),
            greeting_bytes_max: settings.lists_bytes_max,
            asks_at_once: AtomicBool::new(false),
        }
    }

    /// What the latest child has answered.
    pub(crate) fn greeting(&self) -> Option<Arc<Greeting>> {
        self.lock().clone()
    }

    /// What a session can begin with that has no child yet.
    pub(crate) fn promise(&self) -> Option<Arc<Greeting>> {
        let needs_child = self.asks_at_once.load(Ordering::Relaxed);
        self.greeting().filter(|_| !needs_child)
    }

    /// A child has answered so.
    pub(crate) fn greeted(&self, greeting: &Arc<Greeting>) {
        let is_short = greeting.result.get().len() <= self.greeting_bytes_max;
        // Order: whoever finds the new greeting does not find the lists of before.
        self.lists.started(&greeting.result);
        *self.lock() = is_short.then(|| Arc::clone(greeting));
    }

    /// A child with this greeting has ended.
    pub(crate) fn left(&self, greeting: &Greeting) {
        self.lists.ended(&greeting.result);
    }

    /// A child asks its client something, which no request is the cause of. Its client must be there from the
    /// begin: otherwise its first request would be there before its answer.
    pub(crate) fn note_question(&self) {
        self.asks_at_once.store(true, Ordering::Relaxed);
    }

    /// Forgets the lists that a child says have changed, as long as it lives.
    pub(crate) async fn heed(&self, mut news: Notifications) {
        while let Some(one) = news.recv().await {
            if one.missed > 0 {
                self.lists.missed();
            }
            if one.method.ends_with("/list_changed") {
                self.lists.changed(&one.method);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Greeting>>> {
        self.greeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Greeting {
    /// What is in a reply to `initialize`; `None` if it refuses.
    pub(crate) fn of(reply: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Reply {
            result: Option<Box<RawValue>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Promised {
            protocol_version: String,
            #[serde(default)]
            capabilities: Value,
        }
        let reply = serde_json::from_slice::<Reply>(reply).ok()?;
        let result = reply.result?;
        let promised = serde_json::from_str::<Promised>(result.get()).ok()?;
        Some(Self {
            version: promised.protocol_version,
            capabilities: promised.capabilities,
            result,
        })
    }

    /// Whether a client to whom this was promised may be served by a child that has said the other.
    pub(crate) fn is_kept_by(&self, other: &Self) -> bool {
        self.version == other.version && self.capabilities == other.capabilities
    }
}

impl fmt::Debug for ClientKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKinds").finish_non_exhaustive()
    }
}

/// Of one principal: more programs than one uses at a time.
const KINDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds() -> ClientKinds {
        ClientKinds::new(&ServerSettings::of_command(vec!["cat".to_owned()]))
    }

    fn greeting(capabilities: &str) -> Arc<Greeting> {
        let result = format!(r#"{{"protocolVersion":"1","capabilities":{capabilities}}}"#);
        Arc::new(Greeting::of(format!(r#"{{"result":{result}}}"#).as_bytes()).unwrap())
    }

    #[test]
    fn clients_are_of_one_kind_if_they_say_the_same_and_have_one_principal() {
        let kinds = kinds();
        let (one, other) = (Principal::of("one"), Principal::of("other"));
        let kind = kinds
            .of(&one, br#"{"capabilities":{},"protocolVersion":"1"}"#)
            .unwrap();
        let is_it = |principal, params: &str| {
            Arc::ptr_eq(&kind, &kinds.of(principal, params.as_bytes()).unwrap())
        };
        assert!(is_it(
            &one,
            r#"{"protocolVersion":"1","_meta":{"x":1},"capabilities":{}}"#
        ));
        assert!(!is_it(
            &one,
            r#"{"protocolVersion":"1","capabilities":{"roots":{}}}"#
        ));
        assert!(!is_it(
            &other,
            r#"{"protocolVersion":"1","capabilities":{}}"#
        ));
        assert!(kinds.of(&one, b"[]").is_none());
    }

    #[test]
    fn a_principal_has_a_bounded_number_of_kinds_and_keeps_those_it_uses() {
        let kinds = kinds();
        let me = Principal::everybody();
        let of = |number: usize| {
            let params = format!(r#"{{"number":{number}}}"#);
            kinds.of(&me, params.as_bytes()).unwrap()
        };
        let (used, unused) = (of(0), of(1));
        for number in 2..=KINDS_MAX {
            of(number);
            of(0);
        }
        assert!(Arc::ptr_eq(&used, &of(0)));
        assert!(!Arc::ptr_eq(&unused, &of(1)));
        assert_eq!(kinds.known.lock().unwrap()[&me].len(), KINDS_MAX);
    }

    #[test]
    fn a_promise_is_kept_by_equal_capabilities_and_made_only_if_no_child_asks_at_once() {
        let kind = kinds().of(&Principal::everybody(), b"{}").unwrap();
        assert!(kind.promise().is_none());
        let first = greeting(r#"{"tools":{}}"#);
        kind.greeted(&first);
        assert!(
            kind.promise()
                .unwrap()
                .is_kept_by(&greeting(r#"{ "tools" : { } }"#))
        );
        assert!(!first.is_kept_by(&greeting(r#"{"tools":{},"logging":{}}"#)));
        kind.note_question();
        assert!(kind.promise().is_none());
        assert!(kind.greeting().is_some());
    }

    #[test]
    fn a_greeting_that_is_too_long_is_not_kept() {
        let kind = kinds().of(&Principal::everybody(), b"{}").unwrap();
        let long = "x".repeat(kind.greeting_bytes_max);
        kind.greeted(&greeting(&format!(r#"{{"x":"{long}"}}"#)));
        assert!(kind.promise().is_none());
    }
}
