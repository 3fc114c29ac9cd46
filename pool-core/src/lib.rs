#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod acquire;
mod budget;
mod config;
mod connect;
mod connector;
mod connector_arc;
mod connector_fn;
mod deliveries;
mod engine;
mod error;
mod event;
mod foreign;
mod handle;
mod id;
mod inbox;
mod keyed;
mod lease;
mod maintenance;
#[cfg(all(test, not(loom)))]
mod naive_models;
mod pool;
mod shared_pool;
mod shutdown;
mod slot;
mod status;
mod store;
mod sync;
mod telemetry;
mod time;
mod vitals;
mod wait;
#[cfg(not(loom))] // loom's `Arc` has no weak references
mod weak;
mod weigh;
mod weight_reader;

pub use acquire::Acquire;
pub use async_trait::async_trait;
pub use budget::{Budget, BudgetBuilder, BudgetMember, BudgetStatus, BudgetUsage};
pub use config::{Builder, SharedBuilder};
pub use connector::{BoxFuture, ConnectContext, Connector, SuspicionSink};
pub use connector_fn::{ConnectorFn, connector_fn};
pub use error::{
    AcquireContext, AcquireError, AcquirePhase, BoxError, BuildError, CheckError, ConnectError,
    ConnectInFlight, Fault, ResizeError, TryAcquireError, WarmUpError,
};
pub use event::{Event, EventKind, Observer};
pub use id::{CloseReason, ConnectionId, WaiterId};
pub use keyed::{
    KeyHandle, KeyedAcquireError, KeyedBuilder, KeyedPool, KeyedSharedPool, KeyedStatus,
    SharedKeyHandle,
};
pub use lease::PooledConnection;
pub use pool::ConnectionPool;
pub use shared_pool::{SharedConnector, SharedLease, SharedPool};
pub use status::{CloseReport, ConnectionStats, EvictionReport, LastWeighing, PoolStatus};
pub use store::{Exclusive, IdleOrder, Multiplexed, TargetLeases};
pub use vitals::{Overweight, Vitals};
#[cfg(not(loom))]
pub use weak::WeakPool;
