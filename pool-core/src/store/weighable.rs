//! What a store hands out to be weighed, and what comes back.

use crate::id::ConnectionId;
use crate::status::LastWeighing;
use crate::store::slots::SlotKey;
use crate::store::vitals_handle::VitalsHandle;

/// A connection that is to be weighed.
#[derive(Debug)]
pub(crate) struct Weighable {
    pub(crate) key: SlotKey,
    pub(crate) id: ConnectionId,
    pub(crate) vitals: VitalsHandle,
}

/// What came of weighing a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightReading {
    pub(crate) key: SlotKey,
    pub(crate) id: ConnectionId,
    pub(crate) weight: Weight,
}

/// A weight, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Measured(u64),
    /// It could not be measured.
    Unknown,
    /// It was not there in time.
    Late,
}

impl Weight {
    pub(crate) const fn told(self) -> LastWeighing {
        match self {
            Self::Measured(_) => LastWeighing::Measured,
            Self::Unknown => LastWeighing::Unknown,
            Self::Late => LastWeighing::Late,
        }
    }
}
