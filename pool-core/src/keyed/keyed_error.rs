//! Why a key has no lease.

use std::sync::Arc;

use thiserror::Error;

use crate::error::{AcquireError, BuildError};

/// Why no connection of a key was lent.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum KeyedAcquireError {
    /// The key is new, and as many keys as there may be are in use: each has a lease, a waiter or a
    /// handle.
    #[error("no place for another key in `{pool}`: {limit} of {limit} keys are in use")]
    TooManyKeys {
        /// The name of the keyed pool.
        pool: Arc<str>,
        /// `max_keys`.
        limit: usize,
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
