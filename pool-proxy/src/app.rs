//! The state that all connections share: servers, sessions, limits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use pool_core::{Budget, BuildError};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Server, StartError, StartSlots};
use crate::config::{HttpSettings, LimitSettings, Settings};
use crate::guard::{AllowedNames, Tokens};
use crate::sessions::{RequestPlaces, Table};

/// The proxy.
pub(crate) struct App {
    pub(crate) servers: BTreeMap<String, Arc<Server>>,
    pub(crate) names: AllowedNames,
    pub(crate) tokens: Tokens,
    pub(crate) sessions: Table,
    pub(crate) request_places: RequestPlaces,
    budget: Budget,
    pub(crate) start_slots: StartSlots,
    pub(crate) http: HttpSettings,
    pub(crate) limits: LimitSettings,
    /// Whether only programs of this machine reach it.
    pub(crate) is_local: bool,
    pub(crate) metrics: PrometheusHandle,
    /// Tasks that end with what they serve.
    pub(crate) tasks: TaskTracker,
    /// When no more is accepted.
    pub(crate) stop: CancellationToken,
}

/// Why the proxy does not start.
#[derive(Debug, Error)]
pub(crate) enum AppError {
    #[error(transparent)]
    Server(#[from] StartError),
    #[error(
        "limits.children_max, limits.starts_max and limits.memory_bytes_max make no budget for children"
    )]
    Budget(#[from] BuildError),
}

impl App {
    /// Checks all servers, and starts nothing. Needs a runtime.
    pub(crate) fn new(
        settings: &Settings,
        metrics: PrometheusHandle,
    ) -> Result<Arc<Self>, AppError> {
        let limits = &settings.limits;
        let budget = Budget::builder("children")
            .max_connections(limits.children_max)
            .max_connecting(limits.starts_max)
            .max_weight(limits.memory_bytes_max)
            .build()?;
        let tasks = TaskTracker::new();
        let principals = settings.tokens.len().max(1);
        let mut servers = BTreeMap::new();
        for (name, server) in &settings.servers {
            let server = Server::new(name, server, (limits, principals), (&budget, &tasks))?;
            servers.insert(name.clone(), Arc::new(server));
        }
        Ok(Arc::new(Self {
            servers,
            names: AllowedNames::new(&settings.http),
            tokens: Tokens::new(&settings.tokens),
            sessions: Table::new(limits),
            request_places: RequestPlaces::new(limits),
            budget,
            start_slots: StartSlots::new(limits.starts_max),
            http: settings.http.clone(),
            limits: limits.clone(),
            is_local: settings.listen.ip().is_loopback(),
            metrics,
            tasks,
            stop: CancellationToken::new(),
        }))
    }

    /// Ends idle sessions, if others wait for their children.
    pub(crate) fn make_room(&self) {
        let demands: Vec<_> = self
            .servers
            .values()
            .flat_map(|server| server.demands())
            .collect();
        if demands.iter().any(|demand| demand.waiting > 0) {
            self.sessions.make_room(&demands, !self.has_room());
        }
    }

    /// Whether the limits of all servers allow another child.
    pub(crate) fn has_room(&self) -> bool {
        let status = self.budget.status();
        let is_too_heavy = status.max_weight.is_some_and(|max| status.weight >= max);
        status.used < status.limit && !is_too_heavy
    }

    /// The server under this path.
    pub(crate) fn server_at(&self, path: &str) -> Option<&Arc<Server>> {
        if path == "/mcp" {
            let mut servers = self.servers.values();
            return servers.next().filter(|_| servers.next().is_none());
        }
        let name = path.strip_prefix("/servers/")?.strip_suffix("/mcp")?;
        self.servers.get(name)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}
