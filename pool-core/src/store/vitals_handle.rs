//! The vitals of a connection, as its record keeps them.

use std::fmt;
use std::sync::Arc;

use crate::vitals::Vitals;

/// The vitals of a connection. Whoever calls them holds a clone until the call has ended.
#[derive(Clone)]
pub(crate) struct VitalsHandle(Arc<HeldVitals>);

struct HeldVitals(Arc<dyn Vitals>);

impl VitalsHandle {
    pub(crate) fn new(vitals: Arc<dyn Vitals>) -> Self {
        Self(Arc::new(HeldVitals(vitals)))
    }

    pub(crate) fn get(&self) -> &dyn Vitals {
        &*self.0.0
    }

    /// A call has not ended. Asked of the handle in the connection's record.
    pub(crate) fn is_in_call(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl fmt::Debug for VitalsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VitalsHandle").finish_non_exhaustive()
    }
}
