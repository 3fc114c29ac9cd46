//! What a proxy can ask of an exchange.

use std::time::Duration;

use super::client_ids::ClientIds;

/// How an exchange runs. Made once, used for many.
///
/// # Examples
///
/// ```
/// use pool_stdio::{ClientIds, OnDrop, Terms};
/// use std::time::Duration;
///
/// // A client whose disconnect is no cancel, as in MCP before 2026.
/// let client = ClientIds::new();
/// let terms = Terms::new().within(Duration::from_secs(60)).on_drop(OnDrop::Detach).client(&client);
/// # drop(terms);
/// ```
#[derive(Debug, Clone)]
pub struct Terms {
    pub(super) limit: Option<Duration>,
    pub(super) on_drop: OnDrop,
    pub(super) notes_max: usize,
    pub(super) client: Option<ClientIds>,
}

/// What happens to a request when its [`Exchange`](crate::Exchange) is dropped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnDrop {
    /// The child is told to cancel, and the lease ends.
    #[default]
    Cancel,
    /// The request runs on to its reply or its deadline. Until then it keeps its lease, so it counts as
    /// load, and its id stays in flight. A subscription is cancelled all the same, because it never
    /// ends by itself, and so is a request that was not sent yet.
    ///
    /// Without a [deadline](Terms::within) it can run as long as the child lives.
    Detach,
}

impl Terms {
    /// No deadline, cancel on drop, 64 notes, and no client.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            limit: None,
            on_drop: OnDrop::Cancel,
            notes_max: NOTES_DEFAULT,
            client: None,
        }
    }

    /// Ends the exchange with [`Timeout`](crate::RpcError::Timeout) after this time, counted from the
    /// first poll. The child is told to cancel.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// What a drop does. Default: [`OnDrop::Cancel`].
    #[must_use]
    pub const fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.on_drop = on_drop;
        self
    }

    /// How many notes are kept until [`next`](crate::Exchange::next) takes them, at least one. Default:
    /// 64. When more come, the oldest progress notification is dropped, and the next one
    /// [says so](crate::Notification::missed); a subscription ends with
    /// [`SubscriptionOverflow`](crate::RpcError::SubscriptionOverflow). The same happens beyond
    /// [`notification_bytes_max`](crate::RpcLimits::notification_bytes_max).
    #[must_use]
    pub const fn notes_max(mut self, notes: usize) -> Self {
        self.notes_max = notes;
        self
    }

    /// The request is one of this client: its id must not be in flight there, and the client can
    /// [cancel](ClientIds::cancel) it. Default: the request stands alone, as in a stateless protocol.
    /// In a [`Session`](crate::Session) the session's client counts.
    #[must_use]
    pub fn client(mut self, client: &ClientIds) -> Self {
        self.client = Some(client.clone());
        self
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self::new()
    }
}

const NOTES_DEFAULT: usize = 64;
