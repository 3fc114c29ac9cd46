//! The three pools, with defaults but for their size.

mod bb8_redis;
mod deadpool_redis;
mod ours;

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;

use pool_core::BoxError;

pub use bb8_redis::Bb8;
pub use deadpool_redis::Deadpool;
pub use ours::Ours;

/// A pool of connections to a Redis server.
pub trait RedisPool: Clone + Send + Sync + 'static {
    /// Its name in the report.
    const NAME: &'static str;

    /// A pool of up to this many connections to the server at this address.
    ///
    /// # Errors
    ///
    /// If the pool cannot be built.
    fn build(
        address: SocketAddr,
        max_size: u32,
    ) -> impl Future<Output = Result<Self, BoxError>> + Send;

    /// Acquires a connection and increments a number.
    ///
    /// # Errors
    ///
    /// If there is no connection, or it fails.
    fn increment(&self) -> impl Future<Output = Result<i64, CallError>> + Send;

    /// How many connects began so far.
    fn connects(&self) -> u64;
}

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// The pool had no connection.
    Acquire(BoxError),
    /// It had one, and the command failed.
    Command(BoxError),
}

impl CallError {
    pub(crate) fn acquire(error: impl Into<BoxError>) -> Self {
        Self::Acquire(error.into())
    }

    pub(crate) fn command(error: impl Into<BoxError>) -> Self {
        Self::Command(error.into())
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acquire(_) => "no connection",
            Self::Command(_) => "the command failed",
        })
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Acquire(error) | Self::Command(error) => Some(&**error),
        }
    }
}

/// The key of the number.
const KEY: &str = "calls";
