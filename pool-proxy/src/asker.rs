//! The client that asks, and the server that it asks.

use std::sync::Arc;

use crate::app::App;
use crate::backend::Server;
use crate::guard::Principal;
use crate::sessions::{InUse, RequestPlace, TooMany};

/// A client that was let in.
pub(crate) struct Asker<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) server: Arc<Server>,
    pub(crate) principal: Principal,
}

impl Asker<'_> {
    /// The right to one more request in flight. One that is answered at once needs none: it holds nothing.
    pub(crate) fn request_place(&self, session: Option<&InUse>) -> Result<RequestPlace, TooMany> {
        let of_session = session.map(|session| &session.0.requests);
        let places = &self.app.request_places;
        places.request(&self.principal, of_session)
    }
}
