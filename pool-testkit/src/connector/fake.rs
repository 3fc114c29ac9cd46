//! The pool's end of a fake.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector,
    SharedConnector, SuspicionSink, Vitals, async_trait,
};

use crate::{Call, Query};

use super::connection::FakeConnection;
use super::handle::FakeHandle;
use super::pending::Reply;
use super::script::FakeError;
use super::state::{CallEnd, FakeState, FakeVitals, RunningCall, Watcher, lock};

/// A fake and the handle that controls it.
///
/// # Examples
///
/// ```
/// use pool_core::{CloseReason, ConnectContext, ConnectionId, Connector};
/// use pool_testkit::Call;
/// use pool_testkit::connector::{Answer, pair};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (connector, fake) = pair();
/// fake.set(Call::Connect, Answer::Manual);
/// let id = ConnectionId::from_u64(0);
/// let cx = ConnectContext::new(id, 1, tokio::time::Instant::now());
///
/// let test = async {
///     let connect = fake.next(Call::Connect).await;
///     assert_eq!(fake.counts().connect.running(), 1);
///     connect.succeed();
/// };
/// let (conn, ()) = tokio::join!(connector.connect(&cx), test);
/// let conn = conn.expect("the test let it succeed");
///
/// connector.close(conn, CloseReason::Idle).await;
/// assert_eq!(fake.closes(), [(id, CloseReason::Idle)]);
/// assert_eq!(fake.counts().alive, 0);
/// # }
/// ```
#[must_use]
pub fn pair() -> (FakeConnector, FakeHandle) {
    let state = Arc::new(FakeState::new());
    (
        FakeConnector {
            state: Arc::clone(&state),
        },
        FakeHandle::new(state),
    )
}

/// The pool's end of a fake, made by [`pair`]. The test decides its answers by the [`FakeHandle`].
#[derive(Debug, Clone)]
pub struct FakeConnector {
    state: Arc<FakeState>,
}

impl FakeConnector {
    fn ask(&self, query: Query, conn: &FakeConnection, truth: bool) -> bool {
        let answer = self.state.query_script(query).next();
        answer.given(query, conn.id(), truth)
    }

    /// A reset or a check.
    async fn probe(&self, call: Call, conn: &FakeConnection) -> Result<(), CheckError> {
        let running = RunningCall::start(&self.state, call);
        match self.state.reply(call, conn.id(), None).await {
            Reply::Ok => {
                running.end(CallEnd::Succeeded);
                Ok(())
            }
            Reply::Transient(message) | Reply::Permanent(message) => {
                running.end(CallEnd::Failed);
                Err(CheckError::new(FakeError { call, message }))
            }
            Reply::Panic(message) => panic!("{message}"),
        }
    }
}

#[async_trait]
impl Connector for FakeConnector {
    type Connection = FakeConnection;

    async fn connect(&self, cx: &ConnectContext) -> Result<FakeConnection, ConnectError> {
        let call = Call::Connect;
        let running = RunningCall::start(&self.state, call);
        match self.state.reply(call, cx.id, Some(cx)).await {
            Reply::Ok => {
                running.end(CallEnd::Opened);
                Ok(FakeConnection::open(&self.state, cx.id))
            }
            Reply::Transient(message) => {
                running.end(CallEnd::Failed);
                Err(ConnectError::transient(FakeError { call, message }))
            }
            Reply::Permanent(message) => {
                running.end(CallEnd::Failed);
                Err(ConnectError::permanent(FakeError { call, message }))
            }
            Reply::Panic(message) => panic!("{message}"),
        }
    }

    fn is_alive(&self, conn: &FakeConnection) -> bool {
        self.ask(Query::IsAlive, conn, conn.is_alive())
    }

    fn is_clean(&self, conn: &FakeConnection) -> bool {
        let is_dirty = conn.record.dirty.load(Ordering::Acquire);
        self.ask(Query::IsClean, conn, !is_dirty)
    }

    fn needs_reset(&self, conn: &FakeConnection) -> bool {
        let needs_reset = conn.record.needs_reset.load(Ordering::Acquire);
        self.ask(Query::NeedsReset, conn, needs_reset)
    }

    fn died(&self, conn: &FakeConnection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        if !self.state.tells_deaths.load(Ordering::Acquire) {
            return None;
        }
        let watcher = Watcher::start(&self.state);
        let record = Arc::clone(&conn.record);
        Some(Box::pin(async move {
            let _watcher = watcher;
            let mut death = record.death.subscribe();
            let told = death.wait_for(|dead| *dead).await.is_ok();
            debug_assert!(told, "the record outlives the wait for it");
            None
        }))
    }

    fn watch_suspicion(&self, conn: &FakeConnection, sink: SuspicionSink) {
        // It is called once for each connection.
        drop(conn.record.suspicion.set(sink));
    }

    fn vitals(&self, conn: &FakeConnection) -> Option<Arc<dyn Vitals>> {
        Some(Arc::new(FakeVitals {
            state: Arc::clone(&self.state),
            record: Arc::clone(&conn.record),
        }))
    }

    async fn reset(&self, conn: &mut FakeConnection) -> Result<(), CheckError> {
        self.probe(Call::Reset, conn).await?;
        conn.record.needs_reset.store(false, Ordering::Release);
        Ok(())
    }

    async fn check(&self, conn: &mut FakeConnection) -> Result<(), CheckError> {
        self.probe(Call::Check, conn).await
    }

    async fn close(&self, mut conn: FakeConnection, reason: CloseReason) {
        let call = Call::Close;
        let running = RunningCall::start(&self.state, call);
        lock(&self.state.closes).push((conn.id(), reason));
        match self.state.reply(call, conn.id(), None).await {
            Reply::Ok | Reply::Transient(_) | Reply::Permanent(_) => {
                conn.closed = true;
                drop(conn);
                running.end(CallEnd::Succeeded);
            }
            Reply::Panic(message) => panic!("{message}"),
        }
    }
}

/// A check of a shared connection is answered as [`Call::Check`].
#[async_trait]
impl SharedConnector for FakeConnector {
    async fn check_shared(&self, conn: &FakeConnection) -> Result<(), CheckError> {
        self.probe(Call::Check, conn).await
    }
}
