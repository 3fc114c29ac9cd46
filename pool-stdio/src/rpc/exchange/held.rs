//! How an exchange holds its connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pool_core::{PooledConnection, SharedLease};

use crate::rpc::client::Client;
use crate::rpc::connection::JsonRpcConnection;
use crate::rpc::session_queue::SessionQueue;

/// What an exchange holds until its end.
pub(super) enum Held {
    Shared(SharedLease<JsonRpcConnection>),
    /// Boxed, because the lease contains the connection.
    Exclusive(Box<PooledConnection<JsonRpcConnection>>),
    Session(Arc<SessionLease>),
    /// A connection in memory, which belongs to no pool.
    #[cfg(test)]
    Bare(Client),
}

/// A connection that is held for one client. Its last exchange may outlive the session.
pub(super) struct SessionLease {
    pub(super) lease: PooledConnection<JsonRpcConnection>,
    pub(super) queue: Arc<SessionQueue>,
    has_initialized: AtomicBool,
}

impl SessionLease {
    pub(super) const fn new(
        lease: PooledConnection<JsonRpcConnection>,
        queue: Arc<SessionQueue>,
    ) -> Self {
        Self {
            lease,
            queue,
            has_initialized: AtomicBool::new(false),
        }
    }

    /// The client initializes the child. Returns whether it is the first time.
    pub(super) fn initializes(&self) -> bool {
        !self.has_initialized.swap(true, Ordering::Relaxed)
    }
}

impl Held {
    pub(super) fn connection(&self) -> Option<&JsonRpcConnection> {
        match self {
            Self::Shared(lease) => Some(lease),
            Self::Exclusive(lease) => Some(lease),
            Self::Session(session) => Some(&session.lease),
            #[cfg(test)]
            Self::Bare(_) => None,
        }
    }

    pub(super) fn session(&self) -> Option<&SessionLease> {
        match self {
            Self::Session(session) => Some(session),
            Self::Shared(_) | Self::Exclusive(_) => None,
            #[cfg(test)]
            Self::Bare(_) => None,
        }
    }
}

impl AsRef<Client> for Held {
    fn as_ref(&self) -> &Client {
        match self {
            Self::Shared(lease) => lease.client(),
            Self::Exclusive(lease) => lease.client(),
            Self::Session(session) => session.lease.client(),
            #[cfg(test)]
            Self::Bare(client) => client,
        }
    }
}

impl fmt::Debug for SessionLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLease")
            .field("connection", &*self.lease)
            .finish_non_exhaustive()
    }
}
