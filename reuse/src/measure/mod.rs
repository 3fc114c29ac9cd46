//! What every measuring program of this workspace needs: a clock, medians, tables and pictures.

pub mod clock;
pub mod plot;
pub mod progress;
pub mod stats;
pub mod table;

/// What was measured, or why it could not be.
pub type Measured<T> = Result<T, pool_core::BoxError>;
