//! What a pool can measure and end of a child, whoever has the connection.

use std::sync::Arc;

use pool_core::{Overweight, Vitals};

use crate::process::{Child, ChildRemote};

/// The vitals of a child: its memory, and the kill of its scope.
pub(crate) fn vitals(child: &Child) -> Option<Arc<dyn Vitals>> {
    let remote = child.remote();
    Some(Arc::new(ChildVitals { remote }))
}

struct ChildVitals {
    remote: ChildRemote,
}

impl Vitals for ChildVitals {
    fn weight(&self) -> Option<u64> {
        self.remote.resident_bytes()
    }

    fn kill(&self, cause: &Overweight) {
        self.remote.kill(cause.to_string());
    }
}
