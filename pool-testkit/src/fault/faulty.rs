//! Carries out a fault plan around any connector.

use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector,
    SharedConnector, SuspicionSink, Vitals, async_trait,
};

use crate::{Call, Query};

use super::odds::FaultKind;
use super::plan::{CallFault, FaultPlan, QueryFault};
use super::switch::FaultSwitch;

/// Wraps a connector and injects the faults of a plan into its calls.
///
/// The connections are those of the wrapped connector. A close that goes wrong still closes the real
/// connection: before it panics, or after it has hung. An injected death resolves `died` while
/// `is_alive` still says yes, so a pool must believe `died`.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectContext, ConnectionId, Connector};
/// use pool_testkit::Call;
/// use pool_testkit::connector::pair;
/// use pool_testkit::fault::{FaultPlan, FaultyConnector, Odds};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let plan = FaultPlan::new(42).call_odds(Call::Connect, Odds::none().permanent(1000));
/// let faulty = FaultyConnector::new(pair().0, plan);
/// let switch = faulty.switch();
/// let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, tokio::time::Instant::now());
///
/// assert!(faulty.connect(&cx).await.is_err_and(|error| error.is_permanent()));
/// switch.turn_off();
/// assert!(faulty.connect(&cx).await.is_ok());
/// assert_eq!(switch.injected(), 1);
/// # }
/// ```
#[derive(Debug)]
pub struct FaultyConnector<C> {
    inner: C,
    plan: FaultPlan,
    calls: [AtomicU64; Call::ALL.len()],
    queries: [AtomicU64; Query::ALL.len()],
    connections: AtomicU64,
    switch: FaultSwitch,
}

impl<C> FaultyConnector<C> {
    /// Wraps a connector.
    #[must_use]
    pub fn new(inner: C, plan: FaultPlan) -> Self {
        Self {
            inner,
            plan,
            calls: Default::default(),
            queries: Default::default(),
            connections: AtomicU64::new(0),
            switch: FaultSwitch::new(),
        }
    }

    /// The switch that ends all faults, for the end of a test.
    #[must_use]
    pub fn switch(&self) -> FaultSwitch {
        self.switch.clone()
    }

    /// Draws the fault of the next call, waits for the end of its delay and its hang, and returns
    /// what is left to do.
    async fn begin(&self, call: Call) -> CallFault {
        let number = self.calls[call.index()].fetch_add(1, Ordering::Relaxed);
        let mut fault = self.plan.call(call, number);
        if self.switch.is_off() {
            fault.kind = FaultKind::None;
            return fault;
        }
        if fault.kind != FaultKind::None || !fault.delay.is_zero() {
            self.switch.note();
        }
        if !fault.delay.is_zero() {
            tokio::time::sleep(fault.delay).await;
        }
        if fault.kind == FaultKind::Hang {
            self.switch.off().await;
            fault.kind = FaultKind::None;
        }
        fault
    }

    async fn begin_probe(&self, call: Call) -> Result<(), CheckError> {
        match self.begin(call).await.kind {
            FaultKind::None | FaultKind::Hang => Ok(()),
            FaultKind::Transient | FaultKind::Permanent => Err(CheckError::new(message(call))),
            FaultKind::Panic => panic!("{}", message(call)),
        }
    }

    fn ask(&self, query: Query, real: impl FnOnce() -> bool, unfavourable: bool) -> bool {
        let number = self.queries[query.index()].fetch_add(1, Ordering::Relaxed);
        let fault = self.plan.query(query, number);
        if fault == QueryFault::None || self.switch.is_off() {
            return real();
        }
        self.switch.note();
        match fault {
            QueryFault::Panic => panic!("injected panic of {query}"),
            QueryFault::None | QueryFault::Unfavourable => unfavourable,
        }
    }
}

#[async_trait]
impl<C: Connector> Connector for FaultyConnector<C> {
    type Connection = C::Connection;

    async fn connect(&self, cx: &ConnectContext) -> Result<C::Connection, ConnectError> {
        let call = Call::Connect;
        let fault = self.begin(call).await;
        let real = match fault.kind {
            FaultKind::None | FaultKind::Hang => return self.inner.connect(cx).await,
            // The failure that follows drops the connection that was opened.
            _ if fault.after_success => Some(self.inner.connect(cx).await?),
            FaultKind::Transient | FaultKind::Permanent | FaultKind::Panic => None,
        };
        let error = match fault.kind {
            FaultKind::Panic => panic!("{}", message(call)),
            FaultKind::Permanent => ConnectError::permanent(message(call)),
            FaultKind::None | FaultKind::Transient | FaultKind::Hang => {
                ConnectError::transient(message(call))
            }
        };
        drop(real);
        Err(error)
    }

    fn is_alive(&self, conn: &C::Connection) -> bool {
        self.ask(Query::IsAlive, || self.inner.is_alive(conn), false)
    }

    fn is_clean(&self, conn: &C::Connection) -> bool {
        self.ask(Query::IsClean, || self.inner.is_clean(conn), false)
    }

    fn needs_reset(&self, conn: &C::Connection) -> bool {
        self.ask(Query::NeedsReset, || self.inner.needs_reset(conn), true)
    }

    fn died(&self, conn: &C::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        let real = self.inner.died(conn);
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        match self.plan.death(number) {
            Some(after) if !self.switch.is_off() => {
                Some(Box::pin(real_or_injected(real, self.switch.clone(), after)))
            }
            _ => real,
        }
    }

    fn watch_suspicion(&self, conn: &C::Connection, sink: SuspicionSink) {
        self.inner.watch_suspicion(conn, sink);
    }

    fn vitals(&self, conn: &C::Connection) -> Option<Arc<dyn Vitals>> {
        self.inner.vitals(conn)
    }

    async fn reset(&self, conn: &mut C::Connection) -> Result<(), CheckError> {
        self.begin_probe(Call::Reset).await?;
        self.inner.reset(conn).await
    }

    async fn check(&self, conn: &mut C::Connection) -> Result<(), CheckError> {
        self.begin_probe(Call::Check).await?;
        self.inner.check(conn).await
    }

    async fn close(&self, conn: C::Connection, reason: CloseReason) {
        let fault = self.begin(Call::Close).await;
        self.inner.close(conn, reason).await;
        assert!(fault.kind != FaultKind::Panic, "{}", message(Call::Close));
    }
}

#[async_trait]
impl<C: SharedConnector> SharedConnector for FaultyConnector<C> {
    async fn check_shared(&self, conn: &C::Connection) -> Result<(), CheckError> {
        self.begin_probe(Call::Check).await?;
        self.inner.check_shared(conn).await
    }

    fn is_clean_shared(&self, conn: &C::Connection) -> bool {
        self.ask(Query::IsClean, || self.inner.is_clean_shared(conn), false)
    }
}

/// Resolves with the real death or with the injected one, whichever comes first.
async fn real_or_injected(
    real: Option<BoxFuture<'static, Option<BoxError>>>,
    switch: FaultSwitch,
    after: Duration,
) -> Option<BoxError> {
    let mut real = real.unwrap_or_else(|| Box::pin(future::pending()));
    let mut injected: BoxFuture<'static, ()> = Box::pin(async move {
        tokio::time::sleep(after).await;
        if switch.is_off() {
            future::pending::<()>().await;
        }
        switch.note();
    });
    future::poll_fn(|cx| {
        if let Poll::Ready(reason) = real.as_mut().poll(cx) {
            return Poll::Ready(reason);
        }
        injected.as_mut().poll(cx).map(|()| None)
    })
    .await
}

fn message(call: Call) -> String {
    format!("injected fault of {call}")
}
