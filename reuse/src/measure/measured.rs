//! A result that any failure can take the place of.

/// What was measured, or why it could not be.
pub type Measured<T> = Result<T, pool_core::BoxError>;
