//! Why a key has no lease.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::error::{AcquireError, BuildError};

/// Why no connection of a key was lent.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum KeyedAcquireError {
    /// The key is new, and as many keys as there may be are in use: each has a lease, a waiter or a
    /// handle. Or as many keys were dropped, and still have connections that are being closed. Several new keys that
    /// look for an unused one at the same time can miss one, so one of them can be refused beside it.
    #[error("no place for another key in `{pool}`: {keys} of {limit} keys are in use{}", Closing(*closing))]
    TooManyKeys {
        /// The name of the keyed pool.
        pool: Arc<str>,
        /// The keys that have a place.
        keys: usize,
        /// `max_keys`.
        limit: usize,
        /// Dropped keys whose connections are being closed.
        closing: usize,
    },
    /// The key is new, and its pool could not be built with the settings of the function.
    #[error("the settings of key `{key}` are not valid")]
    NotBuilt {
        /// The key's name.
        key: Arc<str>,
        /// What is wrong with them.
        #[source]
        error: BuildError,
    },
    /// The keyed pool is closed.
    #[error("keyed pool `{pool}` is closed")]
    Closed {
        /// Its name.
        pool: Arc<str>,
    },
    /// The pool of the key lent nothing.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
}

/// ", 2 dropped keys are being closed"; nothing if there are none.
struct Closing(usize);

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(", 1 dropped key is being closed"),
            count => write!(f, ", {count} dropped keys are being closed"),
        }
    }
}
