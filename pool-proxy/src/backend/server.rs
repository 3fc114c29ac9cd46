//! Which pools a server has, by how its children are shared.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pool_core::{Budget, BuildError, PoolStatus};
use pool_stdio::{CommandError, JsonRpcConnector, Protocol};
use serde_json::json;
use thiserror::Error;
use tokio_util::task::TaskTracker;

use super::child_command::command;
use super::own_children::OwnChildren;
use super::shared_children::{Materials, SharedChildren};
use super::start_record::StartRecord;
use crate::config::{LimitSettings, ServerSettings, Sharing};
use crate::guard::Principal;
use crate::wire::{Revision, tool_name};

/// A server that speaks stdio, and its children.
pub(crate) struct Server {
    pub(crate) name: Arc<str>,
    pub(crate) settings: ServerSettings,
    pub(crate) pools: Pools,
    pub(crate) starts: Arc<StartRecord>,
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
    #[error("server `{name}`")]
    Params {
        name: Arc<str>,
        source: serde_json::Error,
    },
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
        let connector = || {
            let spec = command(&name, settings, limits.children_max);
            JsonRpcConnector::new(spec, Protocol::Mcp).map_err(|source| StartError::Command {
                name: Arc::clone(&name),
                source,
            })
        };
        let starts = Arc::new(StartRecord::default());
        let pools = match settings.sharing {
            Sharing::Session => {
                let bounds = (&name, budget, principals);
                let own = OwnChildren::new(connector()?, (settings, limits), bounds);
                own.map(Box::new).map(Pools::Session)
            }
            Sharing::Shared | Sharing::Stateless | Sharing::Request => {
                let mut connectors = BTreeMap::new();
                for revision in Revision::ALL {
                    let connector = connector()?.initialize(&hello_params(revision));
                    let connector = connector.map_err(|source| StartError::Params {
                        name: Arc::clone(&name),
                        source,
                    })?;
                    connectors.insert(revision, Arc::new(connector));
                }
                let materials = Materials {
                    name: &name,
                    settings,
                    budget,
                    tasks,
                    starts: &starts,
                    keys_max: principals,
                };
                SharedChildren::new(connectors, &materials).map(Pools::Shared)
            }
        };
        let pools = pools.map_err(|source| StartError::Pool {
            name: Arc::clone(&name),
            source,
        })?;
        Ok(Self {
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
        let status = self.status();
        status.idle + status.leased == 0
    }

    /// The sum of all pools.
    pub(crate) fn status(&self) -> PoolStatus {
        match &self.pools {
            Pools::Shared(shared) => shared.status(),
            Pools::Session(own) => own.pools.status().total,
        }
    }

    /// Which principals wait for children, and what they hold. Of children that are shared those without any
    /// wait: the others are served, if slowly.
    pub(crate) fn demands(&self) -> Vec<Demand> {
        let (keys, is_shared) = match &self.pools {
            Pools::Shared(shared) => (shared.principals(), shared.are_shared()),
            Pools::Session(own) => (own.pools.keys(), false),
        };
        let demands = keys.into_iter().map(|(principal, status)| {
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
        match &self.pools {
            Pools::Shared(shared) => shared.sweep(),
            Pools::Session(_) => {}
        }
    }

    /// Closes all pools, and then ends what is left, both within the limit.
    pub(crate) async fn close(&self, limit: Duration) {
        let (deadline, last_grace) = (limit * 3 / 4, limit / 4);
        let children = match &self.pools {
            Pools::Shared(shared) => {
                shared.close(deadline).await;
                shared.children()
            }
            Pools::Session(own) => {
                own.pools.close(deadline).await;
                std::slice::from_ref(&own.children)
            }
        };
        let ends = children.iter().map(|one| one.terminate_all(last_grace));
        for report in join_all(ends).await {
            if !report.left.is_empty() {
                tracing::error!(server = &*self.name, left = ?report.left, "children do not end");
            }
        }
    }
}

/// Clients share the child, so it is told of no capability of any of them.
fn hello_params(revision: Revision) -> serde_json::Value {
    json!({
        "protocolVersion": revision.name(),
        "capabilities": {},
        "clientInfo": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
    })
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
