//! The vitals of a connection, as its record keeps them.

use std::fmt;
use std::sync::Arc;

use crate::vitals::Vitals;

/// The vitals of a connection.
#[derive(Clone)]
pub(crate) struct VitalsHandle(pub(crate) Arc<dyn Vitals>);

impl fmt::Debug for VitalsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VitalsHandle").finish_non_exhaustive()
    }
}
