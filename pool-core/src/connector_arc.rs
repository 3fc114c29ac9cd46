//! A connector behind an [`Arc`]: the pool uses it, and so does whoever has another reference.

use std::sync::Arc;

use async_trait::async_trait;

use crate::connector::{BoxFuture, ConnectContext, Connector, SuspicionSink};
use crate::error::{BoxError, CheckError, ConnectError};
use crate::id::CloseReason;
use crate::shared_pool::SharedConnector;
use crate::vitals::Vitals;

#[async_trait]
impl<C: Connector + ?Sized> Connector for Arc<C> {
    type Connection = C::Connection;

    async fn connect(&self, cx: &ConnectContext) -> Result<Self::Connection, ConnectError> {
        (**self).connect(cx).await
    }

    fn is_alive(&self, conn: &Self::Connection) -> bool {
        (**self).is_alive(conn)
    }

    fn is_clean(&self, conn: &Self::Connection) -> bool {
        (**self).is_clean(conn)
    }

    fn needs_reset(&self, conn: &Self::Connection) -> bool {
        (**self).needs_reset(conn)
    }

    fn died(&self, conn: &Self::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        (**self).died(conn)
    }

    fn watch_suspicion(&self, conn: &Self::Connection, sink: SuspicionSink) {
        (**self).watch_suspicion(conn, sink);
    }

    fn vitals(&self, conn: &Self::Connection) -> Option<Arc<dyn Vitals>> {
        (**self).vitals(conn)
    }

    async fn reset(&self, conn: &mut Self::Connection) -> Result<(), CheckError> {
        (**self).reset(conn).await
    }

    async fn check(&self, conn: &mut Self::Connection) -> Result<(), CheckError> {
        (**self).check(conn).await
    }

    async fn close(&self, conn: Self::Connection, reason: CloseReason) {
        (**self).close(conn, reason).await;
    }
}

#[async_trait]
impl<C: SharedConnector + ?Sized> SharedConnector for Arc<C> {
    async fn check_shared(&self, conn: &Self::Connection) -> Result<(), CheckError> {
        (**self).check_shared(conn).await
    }

    fn is_clean_shared(&self, conn: &Self::Connection) -> bool {
        (**self).is_clean_shared(conn)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;
    use crate::id::ConnectionId;

    /// Notes which of its methods are called.
    #[derive(Default)]
    struct Noting(Mutex<Vec<&'static str>>);

    impl Noting {
        fn note(&self, call: &'static str) {
            self.0.lock().expect("no test panics under it").push(call);
        }
    }

    #[async_trait]
    impl Connector for Noting {
        type Connection = ();

        async fn connect(&self, _: &ConnectContext) -> Result<(), ConnectError> {
            self.note("connect");
            Ok(())
        }

        fn is_alive(&self, (): &()) -> bool {
            self.note("is_alive");
            false
        }

        fn is_clean(&self, (): &()) -> bool {
            self.note("is_clean");
            false
        }

        fn needs_reset(&self, (): &()) -> bool {
            self.note("needs_reset");
            true
        }

        fn died(&self, (): &()) -> Option<BoxFuture<'static, Option<BoxError>>> {
            self.note("died");
            Some(Box::pin(async { None }))
        }

        fn watch_suspicion(&self, (): &(), _: SuspicionSink) {
            self.note("watch_suspicion");
        }

        fn vitals(&self, (): &()) -> Option<Arc<dyn Vitals>> {
            self.note("vitals");
            None
        }

        async fn reset(&self, (): &mut ()) -> Result<(), CheckError> {
            self.note("reset");
            Err(CheckError::new("noted"))
        }

        async fn check(&self, (): &mut ()) -> Result<(), CheckError> {
            self.note("check");
            Err(CheckError::new("noted"))
        }

        async fn close(&self, (): (), _: CloseReason) {
            self.note("close");
        }
    }

    #[async_trait]
    impl SharedConnector for Noting {
        async fn check_shared(&self, (): &()) -> Result<(), CheckError> {
            self.note("check_shared");
            Err(CheckError::new("noted"))
        }

        fn is_clean_shared(&self, (): &()) -> bool {
            self.note("is_clean_shared");
            true
        }
    }

    #[tokio::test]
    async fn every_call_reaches_the_connector_behind_the_arc() {
        let noting = Arc::new(Noting::default());
        let arc = Arc::clone(&noting);
        let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, Instant::now());
        assert!(Connector::connect(&arc, &cx).await.is_ok());
        assert!(!Connector::is_alive(&arc, &()));
        assert!(!Connector::is_clean(&arc, &()));
        assert!(Connector::needs_reset(&arc, &()));
        assert!(Connector::died(&arc, &()).is_some());
        Connector::watch_suspicion(&arc, &(), SuspicionSink::new(|_| {}));
        assert!(Connector::vitals(&arc, &()).is_none());
        assert!(Connector::reset(&arc, &mut ()).await.is_err());
        assert!(Connector::check(&arc, &mut ()).await.is_err());
        assert!(SharedConnector::check_shared(&arc, &()).await.is_err());
        assert!(SharedConnector::is_clean_shared(&arc, &()));
        Connector::close(&arc, (), CloseReason::Idle).await;
        let calls = noting.0.lock().expect("no test panics under it").clone();
        assert_eq!(
            calls,
            [
                "connect",
                "is_alive",
                "is_clean",
                "needs_reset",
                "died",
                "watch_suspicion",
                "vitals",
                "reset",
                "check",
                "check_shared",
                "is_clean_shared",
                "close"
            ]
        );
    }
}
