//! What both ends of a fake share: the scripts, the calls that wait, the connections and the counts.
//!
//! # Locking
//!
//! Each lock is held for one look at plain data, and none while another is taken. Closures of the test
//! run after the script was unlocked, so they can use the handle.

use std::collections::BTreeMap;
use std::future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::{CloseReason, ConnectContext, ConnectionId, Overweight, Vitals};
use tokio::sync::watch;

use crate::{Call, Query};

use super::fake_counts::FakeCounts;
use super::pending::{PendingCall, PendingQueue, Reply};
use super::record::FakeRecord;
use super::script::{Answer, CallSite, NextAnswer, QueryScript, Script};

#[derive(Debug)]
pub(super) struct FakeState {
    pub(super) scripts: [Mutex<Script>; Call::ALL.len()],
    pub(super) query_scripts: [Mutex<QueryScript>; Query::ALL.len()],
    pub(super) pending: [PendingQueue; Call::ALL.len()],
    pub(super) tells_deaths: AtomicBool,
    /// Connections that exist.
    pub(super) records: Mutex<BTreeMap<ConnectionId, Arc<FakeRecord>>>,
    pub(super) closes: Mutex<Vec<(ConnectionId, CloseReason)>>,
    pub(super) kills: Mutex<Vec<(ConnectionId, Overweight)>>,
    pub(super) counts: watch::Sender<FakeCounts>,
}

impl FakeState {
    pub(super) fn new() -> Self {
        Self {
            scripts: [const { Mutex::new(Script::new()) }; Call::ALL.len()],
            query_scripts: [const { Mutex::new(QueryScript::new()) }; Query::ALL.len()],
            pending: [const { PendingQueue::new() }; Call::ALL.len()],
            tells_deaths: AtomicBool::new(true),
            records: Mutex::new(BTreeMap::new()),
            closes: Mutex::new(Vec::new()),
            kills: Mutex::new(Vec::new()),
            counts: watch::Sender::new(FakeCounts::default()),
        }
    }

    pub(super) fn script(&self, call: Call) -> MutexGuard<'_, Script> {
        lock(&self.scripts[call.index()])
    }

    pub(super) fn query_script(&self, query: Query) -> MutexGuard<'_, QueryScript> {
        lock(&self.query_scripts[query.index()])
    }

    pub(super) const fn pending(&self, call: Call) -> &PendingQueue {
        &self.pending[call.index()]
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut FakeCounts)) {
        self.counts.send_modify(|counts| {
            change(counts);
            counts.note_peaks();
        });
    }

    /// Waits until it is decided how one call ends.
    pub(super) async fn reply(
        &self,
        call: Call,
        id: ConnectionId,
        context: Option<&ConnectContext>,
    ) -> Reply {
        let (number, next) = self.script(call).next();
        let answer = match next {
            NextAnswer::Answer(answer) => answer,
            NextAnswer::Ask(closure) => closure(&CallSite { call, number, id }),
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
            Answer::Manual => {
                let (pending, decided) = PendingCall::new(id, context.cloned());
                self.pending(call).push(pending);
                match decided.await {
                    Ok(reply) => reply,
                    Err(_dropped) => future::pending().await,
                }
            }
        }
    }

    /// Enters a new connection.
    pub(super) fn open(&self, id: ConnectionId) -> Arc<FakeRecord> {
        let record = Arc::new(FakeRecord::new(id));
        lock(&self.records).insert(id, Arc::clone(&record));
        record
    }

    /// Takes a dropped connection off the list, unless another one with its id took its place.
    pub(super) fn forget(&self, record: &Arc<FakeRecord>) {
        let mut records = lock(&self.records);
        if records
            .get(&record.id)
            .is_some_and(|listed| Arc::ptr_eq(listed, record))
        {
            records.remove(&record.id);
        }
    }
}

/// The vitals of a connection: what the test says that it weighs, and a kill that is its death.
pub(super) struct FakeVitals {
    pub(super) state: Arc<FakeState>,
    pub(super) record: Arc<FakeRecord>,
}

impl Vitals for FakeVitals {
    fn weight(&self) -> Option<u64> {
        Some(self.record.weight.load(Ordering::Acquire))
    }

    fn kill(&self, cause: &Overweight) {
        lock(&self.state.kills).push((self.record.id, *cause));
        self.record.kill();
    }
}

/// A call in flight. Dropping this counts how it ended.
pub(super) struct RunningCall {
    state: Arc<FakeState>,
    call: Call,
    end: Option<CallEnd>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum CallEnd {
    Succeeded,
    /// A connect succeeded. Its connection counts as alive in the same step, so that no count ever
    /// shows it twice or not at all.
    Opened,
    Failed,
}

impl RunningCall {
    pub(super) fn start(state: &Arc<FakeState>, call: Call) -> Self {
        state.count(|counts| counts.of_mut(call).started += 1);
        Self {
            state: Arc::clone(state),
            call,
            end: None,
        }
    }

    pub(super) fn end(mut self, end: CallEnd) {
        self.end = Some(end);
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        self.state.count(|counts| {
            let calls = counts.of_mut(self.call);
            match self.end {
                Some(CallEnd::Succeeded) => calls.succeeded += 1,
                Some(CallEnd::Opened) => {
                    calls.succeeded += 1;
                    counts.alive += 1;
                }
                Some(CallEnd::Failed) => calls.failed += 1,
                None if panicking => calls.panicked += 1,
                None => calls.aborted += 1,
            }
        });
    }
}

/// A future of `died` that exists.
pub(super) struct Watcher {
    state: Arc<FakeState>,
}

impl Watcher {
    pub(super) fn start(state: &Arc<FakeState>) -> Self {
        state.count(|counts| counts.watchers += 1);
        Self {
            state: Arc::clone(state),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.state.count(|counts| counts.watchers -= 1);
    }
}

/// Locks a mutex whose data stays whole even if a holder panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
