//! Which pools a server has, by how its children are shared.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use pool_core::{Budget, BuildError, PoolStatus};
use pool_stdio::{Children, CommandError, JsonRpcConnector, Protocol, RpcLimits};
use thiserror::Error;
use tokio_util::task::TaskTracker;

use super::child_command::command;
use super::child_era::KnownEra;
use super::own_children::OwnChildren;
use super::shared_children::{Materials, SharedChildren};
use super::start_record::StartRecord;
use crate::config::{LimitSettings, ServerSettings, Sharing};
use crate::guard::Principal;
use crate::request_meters::RequestMeters;
use crate::wire::{Spoken, tool_name};

/// A server that speaks stdio, and its children.
pub(crate) struct Server {
    pub(crate) name: Arc<str>,
    pub(crate) settings: ServerSettings,
    pub(crate) pools: Pools,
    pub(crate) starts: Arc<StartRecord>,
    pub(crate) meters: Arc<RequestMeters>,
}

/// The children of a server.
pub(crate) enum Pools {
    /// They serve many clients, at once or one after the other.
    Shared(SharedChildren),
    /// Each serves one session, and ends with it.
    Session(Box<OwnChildren>),
}

/// What a principal holds and wants of a server's children.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    pub(crate) server: Arc<str>,
    pub(crate) principal: Principal,
    /// Its children, without those that are ending.
    pub(crate) held: usize,
    pub(crate) ending: usize,
    pub(crate) waiting: usize,
    /// The most that it may have of this server.
    pub(crate) max: usize,
}

/// Why a server cannot be served.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error("server `{name}`")]
    Command {
        name: Arc<str>,
        source: CommandError,
    },
    #[error("server `{name}`")]
    Pool { name: Arc<str>, source: BuildError },
}

impl Server {
    /// Checks the command, and starts nothing.
    pub(crate) fn new(
        name: &str,
        settings: &ServerSettings,
        (limits, principals): (&LimitSettings, usize),
        (budget, tasks): (&Budget, &TaskTracker),
    ) -> Result<Self, StartError> {
        let name: Arc<str> = name.into();
        let connector = || -> Result<_, StartError> {
            let spec = command(&name, settings, limits.children_max);
            let connector = JsonRpcConnector::new(spec, Protocol::Mcp);
            let connector = connector.map_err(|source| StartError::Command {
                name: Arc::clone(&name),
                source,
            })?;
            Ok(connector.limits(rpc_limits(settings)))
        };
        let starts = Arc::new(StartRecord::default());
        let (era, mut connectors) = (Arc::new(KnownEra::new(settings)), BTreeMap::new());
        for spoken in Spoken::ALL {
            let known = Arc::clone(&era);
            let connector = connector()?.handshake(move |child| {
                let known = Arc::clone(&known);
                Box::pin(async move { known.begin(&child, spoken).await })
            });
            connectors.insert(spoken, Arc::new(connector));
        }
        let materials = Materials {
            name: &name,
            settings,
            budget,
            tasks,
            starts: &starts,
            keys_max: principals,
            era: &era,
        };
        let shared = SharedChildren::new(connectors, &materials);
        let pools = match settings.sharing {
            Sharing::Session => {
                let of_sessions = connector()?;
                let own = |shared| OwnChildren::new(of_sessions, shared, limits, &materials);
                let own = shared.and_then(own);
                own.map(Box::new).map(Pools::Session)
            }
            Sharing::Shared | Sharing::Stateless | Sharing::Request => shared.map(Pools::Shared),
        };
        let pools = pools.map_err(|source| StartError::Pool {
            name: Arc::clone(&name),
            source,
        })?;
        Ok(Self {
            meters: Arc::new(RequestMeters::new(&name)),
            name,
            settings: settings.clone(),
            pools,
            starts,
        })
    }

    /// How long a request may take.
    pub(crate) fn time_limit(&self, method: &str, params: &[u8]) -> Duration {
        let limits = &self.settings.tool_timeouts;
        if limits.is_empty() || method != "tools/call" {
            return self.settings.request_timeout;
        }
        let limit = tool_name(params).and_then(|tool| limits.get(&tool));
        limit.map_or(self.settings.request_timeout, |limit| limit.0)
    }

    /// Whether none of its children can serve.
    pub(crate) fn has_no_child(&self) -> bool {
        let status = self.sessionless().status();
        let own = match &self.pools {
            Pools::Shared(_) => 0,
            // An idle one has answered nobody yet.
            Pools::Session(own) => self.own_status(own).leased,
        };
        status.idle + status.leased + own == 0
    }

    /// The sum of all pools.
    pub(crate) fn status(&self) -> PoolStatus {
        match &self.pools {
            Pools::Shared(shared) => shared.status(),
            Pools::Session(own) => sum(self.own_status(own), &own.sessionless.status()),
        }
    }

    /// Of the children of sessions. A child is lent before it has answered `initialize`; until then it counts as
    /// one that is being opened. A session whose child may not start yet waits.
    fn own_status(&self, own: &OwnChildren) -> PoolStatus {
        let mut status = own.pools.status().total;
        let unanswered = self.starts.unanswered().min(status.leased);
        status.leased -= unanswered;
        status.opening += unanswered;
        status.waiting += self.starts.waiting();
        status
    }

    /// Whether the server's own limits allow this principal another child of a session.
    pub(crate) fn has_room_for(&self, principal: &Principal) -> bool {
        let Pools::Session(own) = &self.pools else {
            return false;
        };
        let status = own.pools.status_of(principal);
        status.is_none_or(|status| status.size() < status.max_size)
    }

    /// The children that serve clients of revision 2026-07-28.
    pub(crate) fn sessionless(&self) -> &SharedChildren {
        match &self.pools {
            Pools::Shared(shared) => shared,
            Pools::Session(own) => &own.sessionless,
        }
    }

    /// Which principals wait for children, and what they hold. Of children that are shared those without any
    /// wait: the others are served, if slowly.
    pub(crate) fn demands(&self) -> Vec<Demand> {
        let shared = self.sessionless().principals().into_iter();
        let are_shared = self.sessionless().are_shared();
        let shared = shared.map(|key| (key, are_shared));
        let own = match &self.pools {
            Pools::Shared(_) => Vec::new(),
            Pools::Session(own) => own.pools.keys(),
        };
        let keys = own.into_iter().map(|key| (key, false)).chain(shared);
        let demands = keys.map(|((principal, status), is_shared)| {
            let ending = status.closing + status.returning;
            let held = status.size() - ending;
            Demand {
                server: Arc::clone(&self.name),
                principal,
                held,
                ending,
                waiting: match is_shared {
                    true => usize::from(status.waiting > 0 && held == 0),
                    false => status.waiting.saturating_sub(status.opening),
                },
                max: status.max_size,
            }
        });
        demands.collect()
    }

    /// Lets children end that are kept ready for nobody.
    pub(crate) fn sweep(&self) {
        self.sessionless().sweep();
    }

    /// Closes all pools, and then ends what is left, both within the limit.
    pub(crate) async fn close(&self, limit: Duration) {
        let (deadline, last_grace) = (limit * 3 / 4, limit / 4);
        let sessionless = self.sessionless();
        let mut children: Vec<&Children> = sessionless.children().iter().collect();
        match &self.pools {
            Pools::Shared(shared) => shared.close(deadline).await,
            Pools::Session(own) => {
                children.push(&own.children);
                join(own.pools.close(deadline), sessionless.close(deadline)).await;
            }
        }
        let ends = children.iter().map(|one| one.terminate_all(last_grace));
        for report in join_all(ends).await {
            if !report.left.is_empty() {
                tracing::error!(server = &*self.name, left = ?report.left, "children do not end");
            }
        }
    }
}

/// A request waits for its place among those that are to be written for as long as it may take.
fn rpc_limits(settings: &ServerSettings) -> RpcLimits {
    let of_tools = settings.tool_timeouts.values().map(|limit| limit.0);
    let longest = of_tools.fold(settings.request_timeout, Duration::max);
    let limits = RpcLimits::default();
    RpcLimits {
        enqueue_timeout: limits.enqueue_timeout.max(longest),
        ..limits
    }
}

/// Of two sets of pools.
fn sum(mut one: PoolStatus, other: &PoolStatus) -> PoolStatus {
    one.opening += other.opening;
    one.idle += other.idle;
    one.leased += other.leased;
    one.leases += other.leases;
    one.checking += other.checking;
    one.returning += other.returning;
    one.closing += other.closing;
    one.stuck += other.stuck;
    one.waiting += other.waiting;
    one.weight += other.weight;
    one
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_for_its_place_as_long_as_any_may_take() {
        for (settings, seconds) in [
            ("request_timeout = '5s'", 30),
            ("", 60),
            ("tool_timeouts = { report = '5m' }", 300),
        ] {
            let settings = format!("command = ['x']\n{settings}");
            let limits = rpc_limits(&toml::from_str(&settings).unwrap());
            assert_eq!(limits.enqueue_timeout, Duration::from_secs(seconds));
        }
    }
}
