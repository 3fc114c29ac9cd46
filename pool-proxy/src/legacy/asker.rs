//! Who asks which server.

use std::sync::Arc;

use hyper::HeaderMap;

use crate::app::App;
use crate::backend::Server;
use crate::guard::Principal;
use crate::sessions::InUse;

/// A client that was let in.
pub(crate) struct Asker<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) server: Arc<Server>,
    pub(crate) principal: Principal,
}

/// The session that a request names.
pub(super) enum Named {
    None,
    Unknown,
    Session(InUse),
}

impl Asker<'_> {
    pub(super) fn session(&self, headers: &HeaderMap) -> Named {
        let Some(id) = headers.get(SESSION_HEADER) else {
            return Named::None;
        };
        let found = id
            .to_str()
            .ok()
            .and_then(|id| self.app.sessions.find(id, &self.server, &self.principal));
        found.map_or(Named::Unknown, Named::Session)
    }
}

pub(super) const SESSION_HEADER: &str = "mcp-session-id";
