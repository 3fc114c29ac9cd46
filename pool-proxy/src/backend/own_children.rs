//! The pools whose children serve one session each: one for each principal.

use std::fmt;
use std::sync::Arc;

use pool_core::{BuildError, ConnectionPool, KeyedPool, Observer};
use pool_stdio::{Children, JsonRpcConnection, JsonRpcConnector};

use super::client_kinds::ClientKinds;
use super::shared_children::{Materials, SharedChildren};
use super::start_record::FailedStarts;
use crate::config::LimitSettings;
use crate::guard::Principal;

/// The children of a server, of which each serves one session.
pub(crate) struct OwnChildren {
    pub(crate) pools: KeyedPool<Principal, JsonRpcConnection>,
    pub(crate) kinds: ClientKinds,
    pub(super) children: Children,
    /// Those of clients of revision 2026-07-28, which has no sessions: its children keep nothing between two
    /// requests.
    pub(super) sessionless: SharedChildren,
}

impl OwnChildren {
    pub(super) fn new(
        connector: JsonRpcConnector,
        sessionless: SharedChildren,
        limits: &LimitSettings,
        materials: &Materials<'_>,
    ) -> Result<Self, BuildError> {
        let (settings, children_max) = (materials.settings.clone(), limits.children_max);
        let (children, kinds) = (connector.children(), ClientKinds::new(&settings));
        let connector = Arc::new(connector);
        let failed_starts: Arc<dyn Observer> = Arc::new(FailedStarts {
            server: Arc::clone(materials.name),
            starts: Arc::clone(materials.starts),
        });
        let pools = KeyedPool::builder(move |_: &Principal| {
            ConnectionPool::builder(Arc::clone(&connector))
                .max_size(settings.children_max.unwrap_or(children_max))
                .max_waiters(settings.waiters_max)
                .acquire_timeout(settings.wait_timeout)
                .connect_timeout(settings.start_timeout)
                // What a session did to its child stays in it; and it lasts as long as the session.
                .max_uses(1)
                .max_lifetime(None)
                .kill_weight(settings.memory_bytes_max)
                .lease_warn_after(None)
                .observer(Arc::clone(&failed_starts))
        })
        .name(Arc::clone(materials.name))
        .key_name({
            let server = Arc::clone(materials.name);
            move |principal: &Principal| format!("{server} {principal:?}")
        })
        .max_keys(materials.keys_max)
        .budget(materials.budget)
        .build()?;
        Ok(Self {
            pools,
            kinds,
            children,
            sessionless,
        })
    }
}

impl fmt::Debug for OwnChildren {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnChildren").finish_non_exhaustive()
    }
}
