//! A connector to an echo in memory whose connections serve many callers at once. It keeps every rule,
//! unless it is told which flaw to have.

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector,
    SharedConnector, async_trait,
};
use pool_testkit::conformance::Subject;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::timeout_at;

/// What is wrong with the connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SharedFlaw {
    None,
    /// An answer goes to whoever reads next.
    MixesAnswers,
    NotCleanAfterExchange,
    /// A dropped exchange takes the answers of all others along.
    CancelLosesAnswers,
    CheckFailsWhenBusy,
    CheckHangsWhenDead,
    CheckPassesDead,
}

/// What a connect does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Opens,
    Stalls,
    FailsForGood,
    FailsForNow,
}

/// Opens lines.
pub(crate) struct SharedLines {
    flaw: SharedFlaw,
    fate: Fate,
    open: Arc<Mutex<BTreeSet<u64>>>,
    next: AtomicU64,
}

/// What both ends of a line hold.
#[derive(Debug)]
struct Wire {
    alive: watch::Sender<bool>,
    /// Answers that were not read, by the number of their request.
    answers: Mutex<BTreeMap<u64, u64>>,
}

/// A line, open until it is dropped.
#[derive(Debug)]
pub(crate) struct SharedLine {
    flaw: SharedFlaw,
    id: u64,
    wire: Arc<Wire>,
    open: Arc<Mutex<BTreeSet<u64>>>,
    exchanges: AtomicU64,
}

/// An exchange in flight; dropped with its future.
struct InFlight<'a> {
    line: &'a SharedLine,
    is_done: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.is_done && self.line.flaw == SharedFlaw::CancelLosesAnswers {
            lock(&self.line.wire.answers).clear();
        }
    }
}

impl SharedLine {
    /// Sends a number and reads the one that comes back.
    async fn ask(&self, number: u64) -> Result<u64, BoxError> {
        if !*self.wire.alive.borrow() {
            return Err("the line is dead".into());
        }
        lock(&self.wire.answers).insert(number, number);
        let mut in_flight = InFlight {
            line: self,
            is_done: false,
        };
        yield_now().await;
        yield_now().await;
        let mut answers = lock(&self.wire.answers);
        let answer = match self.flaw {
            SharedFlaw::MixesAnswers => answers.pop_last().map(|(_, answer)| answer),
            _ => answers.remove(&number),
        };
        drop(answers);
        in_flight.is_done = true;
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        answer.ok_or_else(|| "the answer is lost".into())
    }
}

impl Drop for SharedLine {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.id);
    }
}

#[async_trait]
impl Connector for SharedLines {
    type Connection = SharedLine;

    async fn connect(&self, cx: &ConnectContext) -> Result<SharedLine, ConnectError> {
        match self.fate {
            Fate::Opens => {}
            Fate::Stalls => {
                let silence = timeout_at(cx.deadline, future::pending::<()>()).await;
                let elapsed = silence.expect_err("nothing ends it but the deadline");
                return Err(ConnectError::transient(elapsed));
            }
            Fate::FailsForGood => return Err(ConnectError::permanent("no such exchange")),
            Fate::FailsForNow => return Err(ConnectError::transient("busy")),
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(id);
        let line = SharedLine {
            flaw: self.flaw,
            id,
            wire: Arc::new(Wire {
                alive: watch::Sender::new(true),
                answers: Mutex::default(),
            }),
            open: Arc::clone(&self.open),
            exchanges: AtomicU64::new(0),
        };
        // The greeting.
        yield_now().await;
        Ok(line)
    }

    fn is_alive(&self, line: &SharedLine) -> bool {
        self.flaw == SharedFlaw::CheckPassesDead || *line.wire.alive.borrow()
    }

    fn died(&self, line: &SharedLine) -> Option<BoxFuture<'static, Option<BoxError>>> {
        let wire = Arc::clone(&line.wire);
        Some(Box::pin(async move {
            let mut alive = wire.alive.subscribe();
            let told = alive.wait_for(|alive| !alive).await.is_ok();
            assert!(told, "the wire outlives the wait");
            None
        }))
    }

    async fn check(&self, line: &mut SharedLine) -> Result<(), CheckError> {
        if *line.wire.alive.borrow() {
            Ok(())
        } else {
            Err(CheckError::new("the line is dead"))
        }
    }

    async fn close(&self, line: SharedLine, _reason: CloseReason) {
        yield_now().await;
        drop(line);
    }
}

#[async_trait]
impl SharedConnector for SharedLines {
    async fn check_shared(&self, line: &SharedLine) -> Result<(), CheckError> {
        let is_alive = *line.wire.alive.borrow();
        match self.flaw {
            SharedFlaw::CheckFailsWhenBusy if !lock(&line.wire.answers).is_empty() => {
                Err(CheckError::new("busy"))
            }
            SharedFlaw::CheckHangsWhenDead if !is_alive => future::pending().await,
            SharedFlaw::CheckPassesDead => Ok(()),
            _ if is_alive => Ok(()),
            _ => Err(CheckError::new("the line is dead")),
        }
    }

    fn is_clean_shared(&self, line: &SharedLine) -> bool {
        self.flaw != SharedFlaw::NotCleanAfterExchange
            || line.exchanges.load(Ordering::Relaxed) == 0
    }
}

/// A subject of such lines that says everything there is to say.
pub(crate) fn shared_subject(flaw: SharedFlaw) -> Subject<SharedLines> {
    let open = Arc::new(Mutex::new(BTreeSet::new()));
    let lines = |fate| SharedLines {
        flaw,
        fate,
        open: Arc::clone(&open),
        next: AtomicU64::new(0),
    };
    let subject = Subject::new(lines(Fate::Opens))
        .stalling(lines(Fate::Stalls))
        .failing_permanently(lines(Fate::FailsForGood))
        .failing_transiently(lines(Fate::FailsForNow))
        .exchange(async |line: &mut SharedLine, number| line.ask(number).await)
        .shared(async |line: &SharedLine, number| line.ask(number).await)
        .waive(
            pool_testkit::conformance::Rule::DirtIsSeen,
            "an answer goes to its own request, or nowhere",
        )
        .kill(|line: &SharedLine| {
            let wire = Arc::clone(&line.wire);
            async move {
                wire.alive.send_replace(false);
            }
        });
    subject.resources(move || lock(&open).clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
