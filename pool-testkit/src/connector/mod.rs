//! A connector to nothing, whose every answer the test decides.
//!
//! [`pair`] makes two ends: a [`FakeConnector`] for the pool and a [`FakeHandle`] for the test.
//! By default every call succeeds at once. From there the test has two ways to take over, for
//! each method by itself:
//!
//! * **Scripted**: [`FakeHandle::queue`] answers the next calls, [`FakeHandle::set`] and
//!   [`FakeHandle::set_with`] all later ones.
//! * **Manual**: after [`FakeHandle::set_manual`] each call waits until the test takes it up with
//!   [`FakeHandle::next_connect`] or its sisters and completes it; a call that is taken up and
//!   dropped hangs.
//!
//! What really happened is in [`FakeHandle::counts`] and [`FakeHandle::closes`], and
//! [`FakeHandle::until`] waits for it without a sleep. One fake serves one pool: connections are
//! found by the id their pool gave them.
//!
//! # Locking
//!
//! Each of the fake's locks is held for one look at plain data. Closures of the test run after
//! the script was unlocked, so they may use the handle.

mod connection;
mod counts;
mod handle;
mod pending;
mod script;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::{
    BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, ConnectionId, Connector,
    SharedConnector, async_trait,
};
use tokio::sync::watch;

use crate::{Call, Query};

pub use connection::FakeConnection;
pub use counts::{CallCounts, FakeCounts};
pub use handle::FakeHandle;
pub use pending::{PendingClose, PendingConnect, PendingProbe};
pub use script::{Answer, CallSite, FakeError, Verdict};

use connection::Record;
use counts::{End, Running};
use pending::{Pendings, Reins, Reply};
use script::{Decision, Script, Verdicts};

/// A fake and the handle that controls it.
///
/// # Examples
///
/// ```
/// use pool_core::{CloseReason, ConnectContext, ConnectionId, Connector};
/// use pool_testkit::Call;
/// use pool_testkit::connector::pair;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (connector, fake) = pair();
/// fake.set_manual(Call::Connect);
/// let id = ConnectionId::from_u64(0);
/// let cx = ConnectContext::new(id, 1, tokio::time::Instant::now());
///
/// let test = async {
///     let connect = fake.next_connect().await;
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
    let shared = Arc::new(Shared::new());
    (
        FakeConnector {
            shared: Arc::clone(&shared),
        },
        FakeHandle::new(shared),
    )
}

/// The pool's end of a fake. See the [module](self) for how the test decides its answers.
///
/// # Examples
///
/// See [`pair`].
#[derive(Debug, Clone)]
pub struct FakeConnector {
    shared: Arc<Shared>,
}

impl FakeConnector {
    /// Another handle for the test.
    #[must_use]
    pub fn handle(&self) -> FakeHandle {
        FakeHandle::new(Arc::clone(&self.shared))
    }

    fn ask(&self, query: Query, conn: &FakeConnection, truth: bool) -> bool {
        let verdict = lock(&self.shared.verdicts)[query.index()].next();
        verdict.speak(query, conn.id(), truth)
    }

    async fn probe(&self, call: Call, conn: &FakeConnection) -> Result<(), CheckError> {
        let running = Running::start(&self.shared, call);
        let id = conn.id();
        let pendings = match call {
            Call::Reset => &self.shared.resets,
            Call::Connect | Call::Check | Call::Close => &self.shared.checks,
        };
        let hand_over = |reins| pendings.push(PendingProbe { call, id, reins });
        match self.shared.reply(call, id, hand_over).await {
            Reply::Ok => {
                running.end(End::Succeeded);
                Ok(())
            }
            Reply::Transient(message) | Reply::Permanent(message) => {
                running.end(End::Failed);
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
        let running = Running::start(&self.shared, call);
        let context = cx.clone();
        let hand_over = |reins| self.shared.connects.push(PendingConnect { context, reins });
        match self.shared.reply(call, cx.id, hand_over).await {
            Reply::Ok => {
                running.end(End::Opened);
                Ok(self.shared.create(cx.id))
            }
            Reply::Transient(message) => {
                running.end(End::Failed);
                Err(ConnectError::transient(FakeError { call, message }))
            }
            Reply::Permanent(message) => {
                running.end(End::Failed);
                Err(ConnectError::permanent(FakeError { call, message }))
            }
            Reply::Panic(message) => panic!("{message}"),
        }
    }

    fn is_alive(&self, conn: &FakeConnection) -> bool {
        self.ask(Query::IsAlive, conn, conn.is_alive())
    }

    fn is_clean(&self, conn: &FakeConnection) -> bool {
        self.ask(
            Query::IsClean,
            conn,
            !conn.record.dirty.load(Ordering::Acquire),
        )
    }

    fn needs_reset(&self, conn: &FakeConnection) -> bool {
        self.ask(
            Query::NeedsReset,
            conn,
            conn.record.needs_reset.load(Ordering::Acquire),
        )
    }

    fn died(&self, conn: &FakeConnection) -> Option<BoxFuture<'static, ()>> {
        if !self.shared.tells_deaths.load(Ordering::Acquire) {
            return None;
        }
        let watcher = Watcher::start(&self.shared);
        let record = Arc::clone(&conn.record);
        Some(Box::pin(async move {
            let _watcher = watcher;
            let told = record
                .death
                .subscribe()
                .wait_for(|dead| *dead)
                .await
                .is_ok();
            debug_assert!(told, "the record outlives the wait for it");
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
        let running = Running::start(&self.shared, call);
        let id = conn.id();
        lock(&self.shared.closes).push((id, reason));
        let hand_over = |reins| {
            self.shared
                .closings
                .push(PendingClose { id, reason, reins });
        };
        match self.shared.reply(call, id, hand_over).await {
            Reply::Ok | Reply::Transient(_) | Reply::Permanent(_) => {
                conn.closed = true;
                drop(conn);
                running.end(End::Succeeded);
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

/// What both ends of a fake share.
#[derive(Debug)]
struct Shared {
    scripts: Mutex<[Script; Call::ALL.len()]>,
    verdicts: Mutex<[Verdicts; Query::ALL.len()]>,
    tells_deaths: AtomicBool,
    panics_on_drop: AtomicBool,
    connects: Pendings<PendingConnect>,
    resets: Pendings<PendingProbe>,
    checks: Pendings<PendingProbe>,
    closings: Pendings<PendingClose>,
    serials: AtomicU64,
    /// Connections that are not dropped.
    records: Mutex<BTreeMap<ConnectionId, Arc<Record>>>,
    closes: Mutex<Vec<(ConnectionId, CloseReason)>>,
    counts: watch::Sender<FakeCounts>,
}

impl Shared {
    fn new() -> Self {
        Self {
            scripts: Mutex::new([const { Script::new() }; Call::ALL.len()]),
            verdicts: Mutex::new([const { Verdicts::new() }; Query::ALL.len()]),
            tells_deaths: AtomicBool::new(true),
            panics_on_drop: AtomicBool::new(false),
            connects: Pendings::new(),
            resets: Pendings::new(),
            checks: Pendings::new(),
            closings: Pendings::new(),
            serials: AtomicU64::new(0),
            records: Mutex::new(BTreeMap::new()),
            closes: Mutex::new(Vec::new()),
            counts: watch::Sender::new(FakeCounts::default()),
        }
    }

    fn count(&self, change: impl FnOnce(&mut FakeCounts)) {
        self.counts.send_modify(|counts| {
            change(counts);
            counts.note_peaks();
        });
    }

    /// Waits for the test's decision about one call.
    async fn reply(&self, call: Call, id: ConnectionId, hand_over: impl FnOnce(Reins)) -> Reply {
        let (number, decision) = lock(&self.scripts)[call.index()].next();
        let answer = match decision {
            Decision::Answer(answer) => answer,
            Decision::Ask(closure) => closure(&CallSite { call, number, id }),
            Decision::Manual => {
                let (reins, reply) = Reins::pair();
                hand_over(reins);
                return match reply.await {
                    Ok(reply) => reply,
                    Err(_dropped) => future::pending().await,
                };
            }
        };
        let message = || format!("{call} {number} of {id} was told so");
        match answer {
            Answer::Ok => Reply::Ok,
            Answer::Transient => Reply::Transient(message()),
            Answer::Permanent => Reply::Permanent(message()),
            Answer::Panic => Reply::Panic(message()),
            Answer::After(time) => {
                tokio::time::sleep(time).await;
                Reply::Ok
            }
            Answer::Never => future::pending().await,
        }
    }

    /// A new connection, which the caller has counted as alive.
    fn create(self: &Arc<Self>, id: ConnectionId) -> FakeConnection {
        let record = Arc::new(Record::new(id, self.panics_on_drop.load(Ordering::Acquire)));
        lock(&self.records).insert(id, Arc::clone(&record));
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        FakeConnection::new(serial, record, Arc::clone(self))
    }

    /// Takes a dropped connection off the list, unless another with its id took its place.
    fn forget(&self, record: &Arc<Record>) {
        let mut records = lock(&self.records);
        if records
            .get(&record.id)
            .is_some_and(|listed| Arc::ptr_eq(listed, record))
        {
            records.remove(&record.id);
        }
    }
}

/// A future of `died` that exists.
struct Watcher {
    shared: Arc<Shared>,
}

impl Watcher {
    fn start(shared: &Arc<Shared>) -> Self {
        shared.count(|counts| counts.watchers += 1);
        Self {
            shared: Arc::clone(shared),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.count(|counts| counts.watchers -= 1);
    }
}

/// Locks a mutex whose data stays whole even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
