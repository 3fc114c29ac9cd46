//! Room in the queue of a connection.

use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};

/// The right to queue one frame of a caller. Dropping it gives the right back.
#[derive(Debug)]
pub(super) enum Place<'a> {
    /// There was room at once.
    Found(SemaphorePermit<'a>),
    /// Somebody waited for it. It can be kept without a borrow of the connection.
    Awaited(OwnedSemaphorePermit),
}

impl Place<'_> {
    /// The frame is queued, and occupies the place until it is written or taken back.
    pub(super) fn occupy(self) {
        match self {
            Self::Found(place) => place.forget(),
            Self::Awaited(place) => place.forget(),
        }
    }
}
