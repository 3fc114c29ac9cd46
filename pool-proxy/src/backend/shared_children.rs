//! The pools whose children belong to no session: one for each key.
//!
//! Keys are bounded by the configuration: a principal for each token, and four revisions. So the state of a
//! key is kept for good; its children are not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pool_core::{Budget, KeyedAcquireError, PoolStatus};
use pool_stdio::{ChildCaller, Children, JsonRpcConnector};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::child_connector::{ChildConnector, Generations};
use super::child_era::{EraError, KnownEra};
use super::key_pools::{Bounds, KeyPools};
use super::key_state::{KeyFacts, KeyState};
use super::start_record::{FailedStarts, StartRecord};
use crate::config::{ServerSettings, Sharing};
use crate::guard::Principal;
use crate::wire::Spoken;

/// What children must have in common to serve a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ChildKey {
    principal: Principal,
    spoken: Spoken,
}

/// The children of a server that are shared.
pub(crate) struct SharedChildren {
    pools: KeyPools<ChildKey>,
    known: Arc<KnownFacts>,
    tasks: TaskTracker,
    keys: Mutex<HashMap<ChildKey, Arc<KeyState>>>,
    children: Vec<Children>,
    settings: Arc<ServerSettings>,
    era: Arc<KnownEra>,
}

type KnownFacts = Mutex<HashMap<ChildKey, KeyFacts>>;

/// What the pools of a server are made with.
pub(super) struct Materials<'m> {
    pub(super) name: &'m Arc<str>,
    pub(super) settings: &'m ServerSettings,
    pub(super) budget: &'m Budget,
    pub(super) tasks: &'m TaskTracker,
    pub(super) starts: &'m Arc<StartRecord>,
    pub(super) keys_max: usize,
    pub(super) era: &'m Arc<KnownEra>,
}

impl SharedChildren {
    /// `connectors`: one for each of what clients speak.
    pub(super) fn new(
        connectors: BTreeMap<Spoken, Arc<JsonRpcConnector>>,
        materials: &Materials<'_>,
    ) -> Result<Self, pool_core::BuildError> {
        let all = Arc::new(KnownFacts::default());
        let children = connectors
            .values()
            .map(|connector| connector.children())
            .collect();
        let (known, server) = (Arc::clone(&all), Arc::clone(materials.name));
        let all_settings = Arc::new(materials.settings.clone());
        let (settings, tasks) = (Arc::clone(&all_settings), materials.tasks.clone());
        let starts = Arc::clone(materials.starts);
        let connector = move |key: &ChildKey| ChildConnector {
            inner: Arc::clone(&connectors[&key.spoken]),
            facts: facts_of(&known, key, &settings),
            limit: settings.request_timeout,
            server: Arc::clone(&server),
            starts: Arc::clone(&starts),
            tasks: tasks.clone(),
            generations: Generations::default(),
        };
        let bounds = Bounds {
            name: materials.name,
            key_name: |key: &ChildKey| format!("{:?} {}", key.principal, key.spoken.name()),
            keys_max: materials.keys_max * Spoken::ALL.len(),
            budget: materials.budget,
            observer: Arc::new(FailedStarts {
                server: Arc::clone(materials.name),
                starts: Arc::clone(materials.starts),
            }),
        };
        let pools = KeyPools::new(materials.settings, connector, &bounds)?;
        Ok(Self {
            pools,
            known: all,
            tasks: materials.tasks.clone(),
            keys: Mutex::default(),
            children,
            settings: all_settings,
            era: Arc::clone(materials.era),
        })
    }

    /// Why clients of revision 2026-07-28 cannot be served, if that is known.
    pub(crate) fn refusal(&self) -> Option<EraError> {
        self.era.refusal()
    }

    /// Whether a child of the server that refused to initialize speaks revision 2026-07-28.
    pub(crate) async fn is_modern(&self, child: &ChildCaller, limit: Duration) -> bool {
        self.era.is_modern(child, limit).await
    }

    /// The key of a principal's requests.
    pub(crate) fn key(
        &self,
        principal: &Principal,
        spoken: Spoken,
    ) -> Result<Arc<KeyState>, KeyedAcquireError> {
        let principal = match self.settings.sharing {
            Sharing::Stateless => Principal::everybody(),
            Sharing::Session | Sharing::Shared | Sharing::Request => principal.clone(),
        };
        let key = ChildKey { principal, spoken };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = keys.get(&key) {
            return Ok(Arc::clone(state));
        }
        let facts = facts_of(&self.known, &key, &self.settings);
        let way = self.pools.way(&key, &facts.may_repeat())?;
        let state = Arc::new(KeyState::new(facts, way, &self.tasks));
        keys.insert(key, Arc::clone(&state));
        Ok(state)
    }

    /// The pool of each key, with the principal of the key.
    pub(super) fn principals(&self) -> Vec<(Principal, PoolStatus)> {
        let keys = self.pools.keys().into_iter();
        keys.map(|(key, status)| (key.principal, status)).collect()
    }

    /// The sum of all pools.
    pub(crate) fn status(&self) -> PoolStatus {
        self.pools.status()
    }

    pub(super) async fn close(&self, deadline: Duration) {
        self.pools.close(deadline).await;
    }

    /// Whether a caller that waits is served by a child that others have, if slowly.
    pub(super) const fn are_shared(&self) -> bool {
        self.pools.are_shared()
    }

    /// Lets children end that are kept ready for nobody.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys.values() {
            key.sweep(now);
        }
    }

    pub(super) fn children(&self) -> &[Children] {
        &self.children
    }
}

fn facts_of(known: &KnownFacts, key: &ChildKey, settings: &ServerSettings) -> KeyFacts {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let facts = known.entry(key.clone());
    facts.or_insert_with(|| KeyFacts::new(settings)).clone()
}
