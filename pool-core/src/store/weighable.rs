//! What a store hands out to be weighed, and what comes back.

use crate::id::ConnectionId;
use crate::store::slots::SlotKey;
use crate::store::vitals_handle::VitalsHandle;

/// A connection that is to be weighed.
#[derive(Debug)]
pub(crate) struct Weighable {
    pub(crate) key: SlotKey,
    pub(crate) id: ConnectionId,
    pub(crate) vitals: VitalsHandle,
}

/// What a connection weighed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightReading {
    pub(crate) key: SlotKey,
    pub(crate) id: ConnectionId,
    pub(crate) weight: u64,
}
