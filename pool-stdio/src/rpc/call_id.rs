//! How the calls of one connection are numbered.

/// The number of a call on its connection.
pub(super) type CallId = u64;
