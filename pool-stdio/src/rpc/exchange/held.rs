//! How an exchange holds its connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pool_core::{PooledConnection, SharedLease};

use crate::rpc::client::Client;
use crate::rpc::connection::JsonRpcConnection;
use crate::rpc::error::RpcError;
use crate::rpc::reply::Reply;
use crate::rpc::session_queue::SessionQueue;
use crate::rpc::table::CallId;

/// What an exchange holds until its end.
pub(super) enum Held {
    Shared(SharedLease<JsonRpcConnection>),
    /// Boxed, because the lease contains the connection.
    Exclusive(Box<PooledConnection<JsonRpcConnection>>),
    Session(Arc<SessionLease>),
    /// A connection whose lease is over. In tests, one in memory that belongs to no pool.
    Bare(Client),
}

/// A connection that is held for one client. Its last exchange may outlive the session.
pub(super) struct SessionLease {
    pub(super) lease: PooledConnection<JsonRpcConnection>,
    pub(super) queue: Arc<SessionQueue>,
    is_initialized: AtomicBool,
}

/// The right of a session's client to initialize the child. It is given back when this is dropped, unless
/// it was used up.
#[derive(Debug)]
pub(super) struct Initializing {
    session: Arc<SessionLease>,
    is_used: bool,
}

impl Initializing {
    /// The request is queued.
    pub(super) const fn note_sent(&mut self) {
        self.is_used = true;
    }

    /// The child has initialized itself, or nobody can tell, or it has not.
    pub(super) fn end(mut self, outcome: &Result<Reply, RpcError>) {
        self.is_used = match outcome {
            Ok(reply) => reply.answer().is_ok(),
            Err(error) => !error.is_retry_safe(),
        };
    }
}

impl Drop for Initializing {
    fn drop(&mut self) {
        if !self.is_used {
            self.session.is_initialized.store(false, Ordering::Relaxed);
        }
    }
}

impl SessionLease {
    pub(super) const fn new(
        lease: PooledConnection<JsonRpcConnection>,
        queue: Arc<SessionQueue>,
    ) -> Self {
        Self {
            lease,
            queue,
            is_initialized: AtomicBool::new(false),
        }
    }
}

impl Held {
    /// The client of a session wants to initialize the child, which is possible once.
    pub(super) fn initialize(&self) -> Result<Option<Initializing>, RpcError> {
        let Self::Session(session) = self else {
            return Ok(None);
        };
        if session.is_initialized.swap(true, Ordering::Relaxed) {
            let reason = INITIALIZED_TWICE.to_owned();
            return Err(RpcError::BadRequest { reason });
        }
        Ok(Some(Initializing {
            session: Arc::clone(session),
            is_used: false,
        }))
    }

    pub(super) fn connection(&self) -> Option<&JsonRpcConnection> {
        match self {
            Self::Shared(lease) => Some(lease),
            Self::Exclusive(lease) => Some(lease),
            Self::Session(session) => Some(&session.lease),
            Self::Bare(_) => None,
        }
    }

    /// Ends the lease. If the request was given up, a shared child may still work on it, and then it counts
    /// as load until it is done. An exclusive one is closed, and nobody else has the child of a session.
    pub(super) fn end(&mut self, call: CallId) {
        let client: &Client = self.as_ref();
        let ended = Self::Bare(client.clone());
        if let Self::Shared(lease) = std::mem::replace(self, ended) {
            let link = Arc::clone(&lease.client().link);
            link.keep_load(call, lease);
        }
    }

    pub(super) fn session(&self) -> Option<&SessionLease> {
        match self {
            Self::Session(session) => Some(session),
            Self::Shared(_) | Self::Exclusive(_) | Self::Bare(_) => None,
        }
    }
}

impl AsRef<Client> for Held {
    fn as_ref(&self) -> &Client {
        match self {
            Self::Shared(lease) => lease.client(),
            Self::Exclusive(lease) => lease.client(),
            Self::Session(session) => session.lease.client(),
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

const INITIALIZED_TWICE: &str = "initialize: the session's child was initialized before";
