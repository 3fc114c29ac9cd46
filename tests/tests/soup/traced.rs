//! A connector that shows when the pool has dropped it.

use std::sync::{Arc, Weak};

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector,
    SharedConnector, SuspicionSink, async_trait,
};

/// Passes every call on. [`TracedConnector::new`] also returns a reference that is dead once this is
/// dropped.
#[derive(Debug)]
pub(crate) struct TracedConnector<C> {
    inner: C,
    _life: Arc<()>,
}

impl<C> TracedConnector<C> {
    pub(crate) fn new(inner: C) -> (Self, Weak<()>) {
        let life = Arc::new(());
        let end = Arc::downgrade(&life);
        (Self { inner, _life: life }, end)
    }
}

#[async_trait]
impl<C: Connector> Connector for TracedConnector<C> {
    type Connection = C::Connection;

    async fn connect(&self, cx: &ConnectContext) -> Result<C::Connection, ConnectError> {
        self.inner.connect(cx).await
    }

    fn is_alive(&self, conn: &C::Connection) -> bool {
        self.inner.is_alive(conn)
    }

    fn is_clean(&self, conn: &C::Connection) -> bool {
        self.inner.is_clean(conn)
    }

    fn needs_reset(&self, conn: &C::Connection) -> bool {
        self.inner.needs_reset(conn)
    }

    fn died(&self, conn: &C::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        self.inner.died(conn)
    }

    fn watch_suspicion(&self, conn: &C::Connection, sink: SuspicionSink) {
        self.inner.watch_suspicion(conn, sink);
    }

    async fn reset(&self, conn: &mut C::Connection) -> Result<(), CheckError> {
        self.inner.reset(conn).await
    }

    async fn check(&self, conn: &mut C::Connection) -> Result<(), CheckError> {
        self.inner.check(conn).await
    }

    async fn close(&self, conn: C::Connection, reason: CloseReason) {
        self.inner.close(conn, reason).await;
    }
}

#[async_trait]
impl<C: SharedConnector> SharedConnector for TracedConnector<C> {
    async fn check_shared(&self, conn: &C::Connection) -> Result<(), CheckError> {
        self.inner.check_shared(conn).await
    }

    fn is_clean_shared(&self, conn: &C::Connection) -> bool {
        self.inner.is_clean_shared(conn)
    }
}
