//! A connector to an echo in memory that keeps every rule, unless it is told which flaw to have.

use std::collections::{BTreeSet, VecDeque};
use std::future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector,
    Overweight, Vitals, async_trait,
};
use pool_testkit::conformance::Subject;
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout_at};

/// What is wrong with a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    NewOnesAreNotClean,
    SharesOneLine,
    CancelledConnectStaysOpen,
    IgnoresDeadline,
    MissesDeadlineByOneSecond,
    MissesDeadlineByNineSeconds,
    CallsDeadlinePermanent,
    CallsPermanentTransient,
    CallsTransientPermanent,
    SeesNoDeath,
    BlocksInQuery,
    PanicsInQuery,
    TellsOneOfManyWatchers,
    TellsDeathAtOnce,
    NeverCleanAgain,
    ForgetsCancelled,
    SeesNoDirt,
    ResetsNothing,
    ChecksNever,
    ChecksForEver,
    KillsNothing,
    ClosesForEver,
    ClosesLater,
    DropsNothing,
    NeverLentTwice,
    FailsAfterDeath,
    LeavesTasks,
    LeavesTasksWhenEvicted,
}

/// What a connect comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Opens,
    Stalls,
    FailsForGood,
    FailsForNow,
}

/// Opens lines to an echo.
pub(crate) struct Lines {
    flaw: Flaw,
    fate: Fate,
    exchange: Arc<Exchange>,
}

/// The far end of all lines of a connector.
#[derive(Default)]
struct Exchange {
    open: Mutex<BTreeSet<u64>>,
    next: AtomicU64,
    shared: Mutex<Option<Arc<Wire>>>,
    has_seen_death: AtomicBool,
}

/// What both ends of a line hold.
struct Wire {
    number: u64,
    alive: watch::Sender<bool>,
    /// Notified once at the death: only one of several waiters sees it.
    rung: Notify,
    unread: Mutex<VecDeque<u64>>,
}

/// A line, open until it is dropped.
pub(crate) struct Line {
    flaw: Flaw,
    wire: Arc<Wire>,
    /// Requests whose answers were not read.
    open_requests: usize,
    uses: usize,
    entry: Entry,
}

/// The line's entry in the list of open ones.
struct Entry {
    exchange: Arc<Exchange>,
    number: u64,
    is_kept: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.is_kept {
            lock(&self.exchange.open).remove(&self.number);
        }
    }
}

impl Wire {
    fn is_alive(&self) -> bool {
        *self.alive.borrow()
    }

    fn kill(&self) {
        self.alive.send_replace(false);
        self.rung.notify_one();
    }
}

impl Line {
    /// Sends a number and reads the one that comes back.
    async fn ask(&mut self, number: u64) -> Result<u64, BoxError> {
        self.send(number)?;
        let forgetful = (self.flaw == Flaw::ForgetsCancelled).then_some(());
        let before = self.open_requests;
        if forgetful.is_some() {
            // The mark is gone while the answer is outstanding.
            self.open_requests = 0;
        }
        yield_now().await;
        self.open_requests = before;
        let answer = lock(&self.wire.unread).pop_front();
        let answer = answer.filter(|_| self.wire.is_alive());
        self.open_requests -= usize::from(self.flaw != Flaw::NeverCleanAgain);
        self.uses += 1;
        answer.ok_or_else(|| "the line is dead".into())
    }

    fn send(&mut self, number: u64) -> Result<(), BoxError> {
        if !self.wire.is_alive() {
            return Err("the line is dead".into());
        }
        self.open_requests += 1;
        lock(&self.wire.unread).push_back(number);
        Ok(())
    }
}

impl Lines {
    fn new(flaw: Flaw, fate: Fate, exchange: &Arc<Exchange>) -> Self {
        let exchange = Arc::clone(exchange);
        Self {
            flaw,
            fate,
            exchange,
        }
    }

    fn wire(&self, number: u64) -> Arc<Wire> {
        let wire = || {
            Arc::new(Wire {
                number,
                alive: watch::Sender::new(true),
                rung: Notify::new(),
                unread: Mutex::default(),
            })
        };
        if self.flaw != Flaw::SharesOneLine {
            return wire();
        }
        Arc::clone(lock(&self.exchange.shared).get_or_insert_with(wire))
    }
}

#[async_trait]
impl Connector for Lines {
    type Connection = Line;

    async fn connect(&self, cx: &ConnectContext) -> Result<Line, ConnectError> {
        let flaw = self.flaw;
        match self.fate {
            Fate::Opens => {}
            Fate::Stalls if flaw == Flaw::IgnoresDeadline => future::pending().await,
            Fate::Stalls => {
                let late = match flaw {
                    Flaw::MissesDeadlineByOneSecond => Duration::from_secs(1),
                    Flaw::MissesDeadlineByNineSeconds => Duration::from_secs(9),
                    _ => Duration::ZERO,
                };
                let end = cx.deadline + late;
                let silence = timeout_at(end, future::pending::<()>()).await;
                let elapsed = silence.expect_err("nothing ends it but the deadline");
                return Err(match flaw {
                    Flaw::CallsDeadlinePermanent => ConnectError::permanent(elapsed),
                    _ => ConnectError::transient(elapsed),
                });
            }
            Fate::FailsForGood if flaw != Flaw::CallsPermanentTransient => {
                return Err(ConnectError::permanent("no such exchange"));
            }
            Fate::FailsForNow if flaw == Flaw::CallsTransientPermanent => {
                return Err(ConnectError::permanent("busy"));
            }
            Fate::FailsForGood | Fate::FailsForNow => {
                return Err(ConnectError::transient("busy"));
            }
        }
        if flaw == Flaw::FailsAfterDeath && self.exchange.has_seen_death.load(Ordering::Relaxed) {
            return Err(ConnectError::transient("the exchange remembers a death"));
        }
        let wire = self.wire(self.exchange.next.fetch_add(1, Ordering::Relaxed));
        let number = wire.number;
        lock(&self.exchange.open).insert(number);
        let mut entry = Entry {
            exchange: Arc::clone(&self.exchange),
            number,
            is_kept: flaw == Flaw::CancelledConnectStaysOpen,
        };
        // The greeting.
        yield_now().await;
        yield_now().await;
        entry.is_kept = flaw == Flaw::DropsNothing;
        Ok(Line {
            flaw,
            wire,
            open_requests: 0,
            uses: 0,
            entry,
        })
    }

    fn is_alive(&self, line: &Line) -> bool {
        match self.flaw {
            Flaw::BlocksInQuery => block(),
            Flaw::PanicsInQuery => assert!(
                tokio::runtime::Handle::try_current().is_ok(),
                "asked without a runtime"
            ),
            _ => {}
        }
        self.flaw == Flaw::SeesNoDeath || line.wire.is_alive()
    }

    fn is_clean(&self, line: &Line) -> bool {
        match self.flaw {
            Flaw::NewOnesAreNotClean => line.uses > 0,
            Flaw::NeverCleanAgain => line.open_requests == 0,
            _ => true,
        }
    }

    fn needs_reset(&self, line: &Line) -> bool {
        match self.flaw {
            Flaw::SeesNoDirt => false,
            Flaw::NeverLentTwice => line.open_requests > 0 || line.uses == 1,
            _ => line.open_requests > 0,
        }
    }

    fn died(&self, line: &Line) -> Option<BoxFuture<'static, Option<BoxError>>> {
        let wire = Arc::clone(&line.wire);
        let flaw = self.flaw;
        Some(Box::pin(async move {
            match flaw {
                Flaw::TellsDeathAtOnce => {}
                Flaw::TellsOneOfManyWatchers => wire.rung.notified().await,
                _ => {
                    let told = wire
                        .alive
                        .subscribe()
                        .wait_for(|alive| !alive)
                        .await
                        .is_ok();
                    assert!(told, "the wire outlives the wait");
                }
            }
            None
        }))
    }

    fn vitals(&self, _: &Self::Connection) -> Option<Arc<dyn Vitals>> {
        (self.flaw == Flaw::KillsNothing).then(|| Arc::new(Immortal) as Arc<dyn Vitals>)
    }

    async fn reset(&self, line: &mut Line) -> Result<(), CheckError> {
        if !line.wire.is_alive() {
            return Err(CheckError::new("the line is dead"));
        }
        if self.flaw == Flaw::NeverLentTwice && line.uses == 1 {
            return Err(CheckError::new("used up"));
        }
        line.open_requests = 0;
        if self.flaw != Flaw::ResetsNothing {
            lock(&line.wire.unread).clear();
        }
        Ok(())
    }

    async fn check(&self, line: &mut Line) -> Result<(), CheckError> {
        match self.flaw {
            Flaw::ChecksNever => Err(CheckError::new("never good enough")),
            Flaw::ChecksForEver if !line.wire.is_alive() => future::pending().await,
            _ if line.wire.is_alive() => Ok(()),
            _ => Err(CheckError::new("the line is dead")),
        }
    }

    async fn close(&self, mut line: Line, reason: CloseReason) {
        // The farewell.
        yield_now().await;
        if !line.wire.is_alive() && reason == CloseReason::Died {
            self.exchange.has_seen_death.store(true, Ordering::Relaxed);
        }
        line.entry.is_kept = false;
        match self.flaw {
            Flaw::ClosesForEver if reason == CloseReason::Shrunk => future::pending().await,
            Flaw::ClosesLater => spawn(async move {
                sleep(Duration::from_secs(1)).await;
                drop(line);
            }),
            Flaw::LeavesTasks => spawn(future::pending()),
            Flaw::LeavesTasksWhenEvicted if reason == CloseReason::Evicted => {
                spawn(future::pending());
            }
            _ => {}
        }
    }
}

/// Vitals whose kill does nothing.
struct Immortal;

impl Vitals for Immortal {
    fn weight(&self) -> Option<u64> {
        None
    }

    fn kill(&self, _: &Overweight) {}
}

/// A subject of such lines that says everything there is to say.
pub(crate) fn subject(flaw: Flaw) -> Subject<Lines> {
    let exchange = Arc::new(Exchange::default());
    let lines = |fate| Lines::new(flaw, fate, &exchange);
    let subject = Subject::new(lines(Fate::Opens))
        .stalling(lines(Fate::Stalls))
        .failing_permanently(lines(Fate::FailsForGood))
        .failing_transiently(lines(Fate::FailsForNow))
        .exchange(async |line: &mut Line, number| line.ask(number).await)
        .dirty(async |line: &mut Line| line.send(0))
        .kill(|line: &Line| {
            let wire = Arc::clone(&line.wire);
            async move { wire.kill() }
        });
    subject.resources(move || lock(&exchange.open).clone())
}

#[expect(clippy::disallowed_methods, reason = "these tasks belong to no pool")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

#[expect(clippy::disallowed_methods, reason = "blocking is the flaw")]
fn block() {
    std::thread::sleep(Duration::from_millis(1));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
