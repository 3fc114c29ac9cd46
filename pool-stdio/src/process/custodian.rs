//! The thread that watches over every child: it sees exits, drains stderr from birth, and carries
//! every termination to its end.
//!
//! It blocks only while it waits for the next event, whatever descriptors a user hands over. It runs
//! no code of a user's: wakers and drops are left to the notifier, lines to their own thread.
//!
//! # Invariants
//!
//! 1. Only this thread reaps, each child by name; it never waits for "any child". (A spawner reaps a
//!    child whose start failed half-way, which this thread never heard of.)
//! 2. A child is in its care before its handle exists, and until its termination is published.
//! 3. With no termination under way it sleeps until a child does something: no periodic wake-ups
//!    (while something can be seen only by asking, one per [`ASK_GAP`]).
//! 4. What an event of one child costs does not depend on how many others there are.
//! 5. A turn of the loop reads about 512 KiB of output and 1 MiB more for each root that has
//!    just exited. Messages and exits come first. The next turn goes on with the output of the
//!    children that this one did not come to, so that no child can keep the thread.
//!
//! # Locking
//!
//! The mailbox's mutex is held for a push or a swap. Posting to it never blocks, so a handle can do
//! it in `Drop` on any thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::time::{Duration, Instant};

use super::lock::lock;
use super::outcome::CountFailure;
use super::proc_scan::{ScanAnswer, ScanRequest, ScanThread};
use super::record::{ChildId, PipeEnds};
use super::roster::RoundUp;
use super::sys::{self, Life, PollWaker, Poller, Root, WatchedExit};
use super::terminate::{Ending, Start};
use super::turns::Turns;
use super::ward::{NewChild, Ward};
use super::watched::{Source, Token};
use super::{guardian, notifier, service};

/// What the custodian can be told.
#[derive(Debug)]
pub(crate) enum Message {
    Adopt(Box<NewChild>),
    Stop {
        child: ChildId,
        start: Start,
        pipes: PipeEnds,
    },
    Scanned(ScanAnswer),
    RoundUp(RoundUp),
    Alarm(Alarm),
    /// A guardian was started.
    Guard(Arc<Root>),
}

/// Something of this crate that is to be done at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alarm {
    pub(crate) at: Instant,
    /// Does it, and returns when again.
    pub(crate) ring: fn(Instant) -> Option<Instant>,
    pub(crate) kind: AlarmKind,
}

/// What it is for. There is at most one of each kind: the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AlarmKind {
    StalledStarts,
    /// Another one is to be started.
    Guardian,
    /// It is to be told what did not fit into its pipe.
    GuardianPipe,
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Custodian {
    /// At most a few messages per child.
    mailbox: Mutex<Vec<Message>>,
    waker: PollWaker,
}

impl Custodian {
    /// The one of this process, started on first use.
    pub(crate) fn get() -> io::Result<Arc<Self>> {
        static CUSTODIAN: Mutex<Option<Arc<Custodian>>> = Mutex::new(None);
        let mut custodian = lock(&CUSTODIAN);
        if let Some(custodian) = &*custodian {
            return Ok(Arc::clone(custodian));
        }
        notifier::prepare()?;
        let poller = Arc::new(Poller::new()?);
        let started = Arc::new(Self {
            mailbox: Mutex::new(Vec::new()),
            waker: PollWaker::new(&poller, WAKER_TOKEN)?,
        });
        let answers = Arc::clone(&started);
        let mut watch = Watch {
            custodian: Arc::clone(&started),
            poller,
            wards: BTreeMap::new(),
            dues: BTreeSet::new(),
            asked: BTreeSet::new(),
            unreaped: Vec::new(),
            round_ups: Vec::new(),
            guards: BTreeMap::new(),
            alarms: BTreeMap::new(),
            scans: ScanThread::new(
                move |answer| answers.post(Message::Scanned(answer)),
                started.waker.kept(),
            ),
            turns: Turns::default(),
            scratch: vec![0; SCRATCH_BYTES],
        };
        service::start("stdio-custodian", move || watch.run())?;
        Ok(Arc::clone(custodian.insert(started)))
    }

    pub(crate) fn post(&self, message: Message) {
        let was_empty = {
            let mut mailbox = lock(&self.mailbox);
            mailbox.push(message);
            mailbox.len() == 1
        };
        if was_empty {
            self.waker.wake();
        }
    }
}

impl Wake for Custodian {
    /// Makes it look whether the sets that are terminated are empty.
    fn wake(self: Arc<Self>) {
        self.waker.wake();
    }
}

/// A guardian that is watched.
struct Guard {
    root: Arc<Root>,
    /// `None` if its exit must be asked for. Then that is done when something else happens.
    watch: Option<WatchedExit>,
}

/// The thread's own state.
struct Watch<A> {
    custodian: Arc<Custodian>,
    poller: Arc<Poller>,
    wards: BTreeMap<ChildId, Ward>,
    /// When each ladder wants to go on.
    dues: BTreeSet<(Instant, ChildId)>,
    /// Those of which something can be seen only by asking.
    asked: BTreeSet<ChildId>,
    /// Roots whose end is published, but whose status a tracer still has.
    unreaped: Vec<Arc<Root>>,
    round_ups: Vec<RoundUp>,
    /// The guardian, and those that are on their way out.
    guards: BTreeMap<ChildId, Guard>,
    alarms: BTreeMap<AlarmKind, Alarm>,
    scans: ScanThread<A>,
    turns: Turns,
    scratch: Vec<u8>,
}

impl<A: Fn(ScanAnswer) + Clone + Send + 'static> Watch<A> {
    fn run(&mut self) {
        sys::block_signals();
        let mut ready = Vec::new();
        loop {
            self.wait(&mut ready);
            let now = sys::clock_now();
            let mut touched = self.take_messages(now, ready.contains(&WAKER_TOKEN));
            touched.extend(self.serve(now, &ready));
            touched.extend(self.ask(now));
            touched.extend(self.take_dues(now));
            self.advance(now, touched);
            self.round_ups.retain(|round_up| !round_up.is_over(now));
            self.ring(now);
        }
    }

    /// Waits until something is ready or due.
    fn wait(&mut self, ready: &mut Vec<u64>) {
        let now = sys::clock_now();
        let next_due = self.dues.first().map(|(due, _)| *due);
        let next_round_up = self.round_ups.iter().map(RoundUp::until).min();
        let next_ask = if !self.asked.is_empty() {
            Some(now + ASK_GAP)
        } else if !self.unreaped.is_empty() {
            Some(now + REAP_GAP)
        } else {
            None
        };
        let next_alarm = self.alarms.values().map(|alarm| alarm.at).min();
        let next = [next_due, next_round_up, next_ask, next_alarm];
        let next = next.into_iter().flatten().min();
        let timeout = next.map(|next| next.saturating_duration_since(now));
        if self.poller.wait(timeout, ready).is_err() {
            // It is refused for lack of memory. After a while there may be some.
            sys::pause(ASK_GAP);
        }
        notifier::wake(self.poller.take_wakers());
    }

    /// Returns whose ladders may go on.
    fn take_messages(&mut self, now: Instant, was_woken: bool) -> BTreeSet<ChildId> {
        if was_woken {
            // Order: reset before the mailbox is emptied, or a message could lie there unread.
            self.custodian.waker.reset();
        }
        let messages = std::mem::take(&mut *lock(&self.custodian.mailbox));
        let mut touched = BTreeSet::new();
        for message in messages {
            match message {
                Message::Adopt(child) => {
                    let ward = Ward::adopt(*child, &self.poller);
                    touched.insert(ward.id());
                    self.wards.insert(ward.id(), ward);
                }
                // A child that has ended needs no stopping: what was handed over is closed here.
                Message::Stop {
                    child,
                    start,
                    pipes,
                } => {
                    if let Some(ward) = self.wards.get_mut(&child) {
                        ward.stop(now, start, pipes, &mut self.scratch);
                        touched.insert(child);
                    }
                }
                Message::Scanned(answer) => {
                    let child = answer.key.child;
                    if let Some(ward) = self.wards.get_mut(&child) {
                        take_answer(ward, now, answer, &mut self.scans);
                        touched.insert(child);
                    }
                }
                Message::RoundUp(round_up) => self.round_ups.push(round_up),
                Message::Guard(root) => {
                    let last = self.guards.last_key_value().map(|(id, _)| id.0);
                    let id = ChildId(last.map_or(FIRST_GUARD, |last| last + 1));
                    let token = Token {
                        source: Source::Exit,
                        child: id,
                    };
                    let watch = WatchedExit::new(&root, &self.poller, token.to_number());
                    self.guards.insert(id, Guard { root, watch });
                }
                Message::Alarm(alarm) => {
                    let known = self.alarms.entry(alarm.kind).or_insert(alarm);
                    known.at = known.at.min(alarm.at);
                }
            }
        }
        touched
    }

    fn serve(&mut self, now: Instant, ready: &[u64]) -> BTreeSet<ChildId> {
        let ready = ready.iter().filter(|number| **number != WAKER_TOKEN);
        let (guards, tokens): (Vec<Token>, Vec<Token>) = ready
            .map(|number| Token::of_number(*number))
            .partition(|token| token.child.0 >= FIRST_GUARD);
        if !guards.is_empty() {
            self.look_at_guards(|guard| guard.watch.is_some());
        }
        let mut touched = BTreeSet::new();
        let Self {
            turns,
            wards,
            scratch,
            ..
        } = self;
        turns.take(tokens, |Token { source, child }| {
            let Some(ward) = wards.get_mut(&child) else {
                return 0;
            };
            touched.insert(child);
            ward.serve(source, now, scratch)
        });
        touched
    }

    fn ask(&mut self, now: Instant) -> BTreeSet<ChildId> {
        self.look_at_guards(|guard| guard.watch.is_none());
        self.unreaped
            .retain(|root| !matches!(root.reap(), Ok(Life::Over(_))));
        for child in &self.asked {
            if let Some(ward) = self.wards.get_mut(child) {
                ward.ask(now, &mut self.scratch);
            }
        }
        self.asked.clone()
    }

    /// Reaps those that have exited.
    fn look_at_guards(&mut self, which: impl Fn(&Guard) -> bool) {
        self.guards.retain(|_, guard| {
            if !which(guard) {
                return true;
            }
            let Ok(Life::Over(exit)) = guard.root.reap() else {
                return true;
            };
            guardian::exited(&guard.root, exit);
            false
        });
    }

    fn take_dues(&mut self, now: Instant) -> BTreeSet<ChildId> {
        let mut touched = BTreeSet::new();
        while let Some(first) = self.dues.first().copied().filter(|(due, _)| *due <= now) {
            self.dues.remove(&first);
            touched.insert(first.1);
        }
        touched
    }

    fn ring(&mut self, now: Instant) {
        self.alarms.retain(|_, alarm| {
            if alarm.at <= now {
                match (alarm.ring)(now) {
                    Some(at) => alarm.at = at,
                    None => return false,
                }
            }
            true
        });
    }

    /// Lets wards do what their ladders order now.
    fn advance(&mut self, now: Instant, touched: BTreeSet<ChildId>) {
        for child in touched {
            let Some(ward) = self.wards.get_mut(&child) else {
                continue;
            };
            self.dues.remove(&(ward.due().unwrap_or(now), child));
            let ending = advance_one(ward, now, &mut self.scans);
            if ward.must_be_asked() && ending.is_none() {
                self.asked.insert(child);
            } else {
                self.asked.remove(&child);
            }
            let Some(ending) = ending else {
                self.dues.extend(ward.due().map(|due| (due, child)));
                continue;
            };
            if let Some(ward) = self.wards.remove(&child) {
                self.unreaped.extend(ward.finish(ending));
            }
        }
    }
}

/// Has the scans made that the ward wants.
fn advance_one<A: Fn(ScanAnswer) + Clone + Send + 'static>(
    ward: &mut Ward,
    now: Instant,
    scans: &mut ScanThread<A>,
) -> Option<Ending> {
    let mut wanted: Vec<ScanRequest> = Vec::new();
    loop {
        let ending = ward.advance(now, &mut wanted);
        let refused: Vec<_> = wanted
            .drain(..)
            .filter_map(|request| scans.post(request).err())
            .collect();
        if ending.is_some() || refused.is_empty() {
            return ending;
        }
        for request in refused {
            refuse(ward, now, &request);
        }
    }
}

/// Gives the ward an answer, and has the scan made that it wants then.
fn take_answer<A: Fn(ScanAnswer) + Clone + Send + 'static>(
    ward: &mut Ward,
    now: Instant,
    answer: ScanAnswer,
    scans: &mut ScanThread<A>,
) {
    let next = ward.scanned(now, answer);
    if let Some(Err(request)) = next.map(|request| scans.post(request)) {
        refuse(ward, now, &request);
    }
}

fn refuse(ward: &mut Ward, now: Instant, request: &ScanRequest) {
    let failed = ScanAnswer::failed(request.key, CountFailure::Refused);
    // After a failure it wants no other.
    drop(ward.scanned(now, failed));
}

/// Where something can be seen only by asking, it is asked for this often.
const ASK_GAP: Duration = Duration::from_millis(10);
/// A root whose status a tracer has is tried this often.
const REAP_GAP: Duration = Duration::from_millis(500);
/// What is read from a pipe at once; as much as a pipe holds by default.
const SCRATCH_BYTES: usize = 64 * 1024;
/// No child has this number, nor those after it.
const FIRST_GUARD: u64 = u64::MAX >> 3;
/// No child has this number.
const WAKER_TOKEN: u64 = u64::MAX;
