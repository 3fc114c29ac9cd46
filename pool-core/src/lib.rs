//! A generic asynchronous connection pool: bounded, fair, cancel-safe, observable, fast.

mod connector;
mod error;
mod event;
mod status;

pub use async_trait::async_trait;
pub use connector::{BoxFuture, CloseReason, ConnectContext, ConnectionId, Connector};
pub use error::{
    AcquireContext, AcquireError, AcquirePhase, BoxError, BuildError, CheckError, ConnectError,
    Fault, ResizeError, TryAcquireError, WarmUpError,
};
pub use event::{Event, EventKind, Observer, WaiterId};
pub use status::{CloseReport, ConnectionStats, PoolStatus};
