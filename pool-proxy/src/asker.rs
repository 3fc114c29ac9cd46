//! Who asks which server.

use std::sync::Arc;

use crate::app::App;
use crate::backend::Server;
use crate::guard::Principal;

/// A client that was let in.
pub(crate) struct Asker<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) server: Arc<Server>,
    pub(crate) principal: Principal,
}
