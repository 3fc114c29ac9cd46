//! What can go wrong, one type per operation, each with what is needed to act on it.
//!
//! A cause is in `source()`, never in `Display` as well. The types that several waiters receive
//! are cheap to clone.

mod cause;
mod operation;
mod refusal;

pub use cause::{BoxError, CheckError, ConnectError, Fault};
pub use operation::{BuildError, ResizeError, WarmUpError};
pub use refusal::{AcquireContext, AcquireError, AcquirePhase, ConnectInFlight, TryAcquireError};
