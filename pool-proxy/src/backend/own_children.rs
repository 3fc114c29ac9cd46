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
                // Of one that was spawned for a session that had ended by then.
                .idle_timeout(settings.idle_timeout)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use pool_core::Budget;
    use tokio::task::yield_now;
    use tokio::time::timeout;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::backend::{Pools, Server};
    use crate::config::ServerSettings;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_child_that_was_spawned_for_nobody_leaves_when_it_was_idle() {
        let settings = ServerSettings {
            idle_timeout: Duration::from_millis(10),
            ..ServerSettings::of_command(vec!["cat".to_owned()])
        };
        let budget = Budget::builder("children").build().unwrap();
        let (limits, tasks) = (LimitSettings::default(), TaskTracker::new());
        let server = Server::new("one", &settings, (&limits, 1), (&budget, &tasks)).unwrap();
        let Pools::Session(own) = &server.pools else {
            unreachable!("sessions are the default");
        };
        let principal = Principal::everybody();
        let status = || own.pools.status().total;
        let abandoned = async {
            // Until a start is seen to be under way when its session ends: it goes on for nobody.
            let mut is_under_way = false;
            while !is_under_way {
                let mut acquire = Box::pin(own.pools.acquire(&principal));
                if acquire.as_mut().now_or_never().is_some() {
                    // The one before had started by then, and ends now.
                    continue;
                }
                while status().opening + status().leased == 0 {
                    yield_now().await;
                }
                is_under_way = status().opening > 0;
            }
            while status().size() > 0 {
                yield_now().await;
            }
        };
        let limit = Duration::from_secs(30);
        timeout(limit, abandoned).await.expect("it stays");
    }
}
