//! The connector.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pool_core::{CheckError, ConnectContext, ConnectError, Connector, async_trait};
use tokio::time::timeout_at;

use crate::connection::RedisConnection;

/// Connects to a Redis server.
#[derive(Debug)]
pub struct RedisConnector {
    address: SocketAddr,
    connects: Arc<AtomicU64>,
}

impl RedisConnector {
    /// A connector for the server at this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connects: Arc::default(),
        }
    }

    /// How many connects began.
    #[must_use]
    pub fn connects(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.connects)
    }
}

#[async_trait]
impl Connector for RedisConnector {
    type Connection = RedisConnection;

    async fn connect(&self, cx: &ConnectContext) -> Result<RedisConnection, ConnectError> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        let connecting = RedisConnection::connect(self.address);
        match timeout_at(cx.deadline, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) if is_permanent(&error) => Err(ConnectError::permanent(error)),
            // Refused, among others: the server may be restarting.
            Ok(Err(error)) => Err(ConnectError::transient(error)),
            Err(elapsed) => Err(ConnectError::transient(elapsed)),
        }
    }

    fn is_alive(&self, connection: &RedisConnection) -> bool {
        connection.is_alive()
    }

    fn is_clean(&self, connection: &RedisConnection) -> bool {
        !connection.is_busy()
    }

    async fn check(&self, connection: &mut RedisConnection) -> Result<(), CheckError> {
        connection.ping().await.map_err(CheckError::new)
    }
}

/// Whether only a person can change it.
fn is_permanent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
