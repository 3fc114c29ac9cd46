//! Which leases can make an exchange.

use bytes::Bytes;
use pool_core::{PooledConnection, SharedLease};

use super::admission::{Attempt, admit};
use super::client_exchange::Exchange;
use super::held::Held;
use super::terms::Terms;
use crate::rpc::connection::JsonRpcConnection;
use crate::rpc::error::RpcError;

/// A lease of a [`JsonRpcConnection`] that becomes an [`Exchange`]: a [`SharedLease`], or a
/// [`PooledConnection`] for one request. To keep one for a client, make it a
/// [`Session`](crate::Session).
///
/// [`Exchange`] has an example.
pub trait RpcLease: sealed::Sealed {
    /// Begins the exchange of a client's message: a request or a notification. A batch is
    /// [taken apart](crate::split_batch) first.
    ///
    /// # The handshake of a client
    ///
    /// A child is initialized once. If its connector [did that](crate::JsonRpcConnector::initialize), an
    /// `initialize` of a client is answered with the child's own result, which has the negotiated version,
    /// and the notification that follows it is not forwarded. Otherwise `initialize` is refused. A shared
    /// language server is not shut down by one of its clients: `shutdown` is answered here, and `exit` is
    /// not forwarded.
    ///
    /// # Errors
    ///
    /// [`BadRequest`](RpcError::BadRequest) if the message cannot be forwarded,
    /// [`FrameTooLarge`](RpcError::FrameTooLarge) if it is too long, [`IdInUse`](RpcError::IdInUse) if its
    /// [client](Terms::client) has this id in flight. Nothing was sent, and the lease is over.
    fn exchange(self, message: impl Into<Bytes>, terms: &Terms) -> Result<Exchange, RpcError>;
}

impl RpcLease for SharedLease<JsonRpcConnection> {
    fn exchange(self, message: impl Into<Bytes>, terms: &Terms) -> Result<Exchange, RpcError> {
        admit(
            Held::Shared(self),
            message.into(),
            terms,
            Attempt::default(),
        )
    }
}

impl RpcLease for PooledConnection<JsonRpcConnection> {
    fn exchange(self, message: impl Into<Bytes>, terms: &Terms) -> Result<Exchange, RpcError> {
        let held = Held::Exclusive(Box::new(self));
        admit(held, message.into(), terms, Attempt::default())
    }
}

impl sealed::Sealed for SharedLease<JsonRpcConnection> {}
impl sealed::Sealed for PooledConnection<JsonRpcConnection> {}

mod sealed {
    /// Only this crate implements it.
    #[expect(unnameable_types, reason = "that is what seals the trait")]
    pub trait Sealed {}
}
