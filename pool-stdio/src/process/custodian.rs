//! The thread that watches over every child: it sees exits, drains stderr from birth, and carries
//! every termination to its end.
//!
//! It blocks in `poll` alone, except that a blocking descriptor which a [`Handover`] brings can
//! block its writes. Of other people's code it runs the wakers of futures that wait for an exit or a
//! termination, and the drop of a line sink; a waker's panic is caught.
//!
//! [`Handover`]: crate::Handover
//!
//! # Invariants
//!
//! 1. Only this thread reaps, each child by name; it never waits for "any child". (The spawner reaps
//!    a child whose start failed half-way, which this thread never heard of.)
//! 2. A child is in its care before its handle exists, and until its termination is published.
//! 3. With no termination under way it sleeps until a child does something: no periodic wake-ups
//!    (where exits can only be seen by asking, one per [`ASK_GAP`]).
//! 4. A turn of the loop reads and writes each pipe at most once, so no child can keep the thread.
//!    The exception is the stderr of a child that has just exited: up to 1 MiB, as much as a pipe
//!    can hold.
//!
//! # Locking
//!
//! The mailbox's mutex is held for a push or a swap. Posting to it never blocks, so a handle can do
//! it in `Drop` on any thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::lock::lock;
use super::outcome::CountFailure;
use super::proc_scan::{ScanAnswer, ScanThread};
use super::record::{ChildId, PipeEnds};
use super::roster::RoundUp;
use super::sys::{self, Ready};
use super::terminate::Start;
use super::ward::{Source, Ward};

/// What the custodian can be told.
#[derive(Debug)]
pub(crate) enum Message {
    Adopt(Box<Ward>),
    Stop {
        child: ChildId,
        start: Start,
        pipes: PipeEnds,
    },
    Scanned(ScanAnswer),
    RoundUp(RoundUp),
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Custodian {
    /// At most a few messages per child.
    mailbox: Mutex<Vec<Message>>,
    /// A byte written here ends the thread's wait.
    waker: File,
}

impl Custodian {
    /// The one of this process, started on first use.
    pub(crate) fn get() -> io::Result<Arc<Self>> {
        static CUSTODIAN: Mutex<Option<Arc<Custodian>>> = Mutex::new(None);
        let mut custodian = lock(&CUSTODIAN);
        if let Some(custodian) = &*custodian {
            return Ok(Arc::clone(custodian));
        }
        let wake = sys::wake_pair()?;
        let started = Arc::new(Self {
            mailbox: Mutex::new(Vec::new()),
            waker: wake.waker,
        });
        let answers = Arc::clone(&started);
        let watch = Watch {
            custodian: Arc::clone(&started),
            woken: wake.woken,
            wards: BTreeMap::new(),
            round_ups: Vec::new(),
            scans: ScanThread::new(
                move |answer| answers.post(Message::Scanned(answer)),
                started.waker.as_raw_fd(),
            ),
        };
        thread::Builder::new()
            .name("stdio-custodian".into())
            .spawn(move || watch.run())?;
        Ok(Arc::clone(custodian.insert(started)))
    }

    pub(crate) fn post(&self, message: Message) {
        let was_empty = {
            let mut mailbox = lock(&self.mailbox);
            mailbox.push(message);
            mailbox.len() == 1
        };
        if was_empty {
            // If there is no room for the byte, others are there to end the wait.
            drop((&self.waker).write(&[1]));
        }
    }
}

/// The thread's own state.
struct Watch<A> {
    custodian: Arc<Custodian>,
    woken: File,
    wards: BTreeMap<ChildId, Ward>,
    round_ups: Vec<RoundUp>,
    scans: ScanThread<A>,
}

impl<A: Fn(ScanAnswer) + Clone + Send + 'static> Watch<A> {
    fn run(mut self) {
        sys::block_signals();
        let mut scratch = vec![0; SCRATCH_BYTES];
        loop {
            let ready = self.wait();
            let now = sys::clock_now();
            for (id, source) in ready {
                if let Some(ward) = self.wards.get_mut(&id) {
                    ward.serve(source, now, &mut scratch);
                }
            }
            self.take_messages(now, &mut scratch);
            for ward in self.wards.values_mut().filter(|ward| ward.must_be_asked()) {
                ward.look_at_root(&mut scratch);
            }
            self.advance(now);
            self.round_ups.retain(|round_up| !round_up.is_over(now));
        }
    }

    /// Waits until something is ready or due.
    fn wait(&mut self) -> Vec<(ChildId, Source)> {
        let now = sys::clock_now();
        let mut due: Option<Instant> = self.round_ups.iter().map(RoundUp::until).min();
        let mut interests = vec![(self.woken.as_fd(), Ready::ToRead)];
        let mut sources = Vec::new();
        for (id, ward) in &self.wards {
            for (source, fd, ready) in ward.interests() {
                interests.push((fd, ready));
                sources.push((*id, source));
            }
            let ask = ward.must_be_asked().then(|| now + ASK_GAP);
            due = [due, ward.due(), ask].into_iter().flatten().min();
        }
        let timeout = due.map(|due| due.saturating_duration_since(now));
        // A poll that the system refuses (for lack of memory) is repeated, after a while.
        let ready = sys::poll(&interests, timeout).unwrap_or_else(|_| {
            sys::pause(ASK_GAP);
            Vec::new()
        });
        let mut ready = ready.into_iter();
        if ready.next().is_some_and(|woken| woken.is_ready) {
            // Order: emptied before the mailbox is, or a message could lie there unread.
            drop(self.woken.read(&mut [0; 64]));
        }
        let ready = ready
            .zip(sources)
            .filter(|(readiness, _)| readiness.is_ready);
        ready.map(|(_, source)| source).collect()
    }

    fn take_messages(&mut self, now: Instant, scratch: &mut [u8]) {
        let messages = std::mem::take(&mut *lock(&self.custodian.mailbox));
        for message in messages {
            match message {
                Message::Adopt(ward) => drop(self.wards.insert(ward.record.id, *ward)),
                // A child that has ended needs no stopping: what was handed over is closed here.
                Message::Stop {
                    child,
                    start,
                    pipes,
                } => {
                    if let Some(ward) = self.wards.get_mut(&child) {
                        ward.stop(now, start, pipes, scratch);
                    }
                }
                Message::Scanned(answer) => {
                    if let Some(ward) = self.wards.get_mut(&answer.key.child) {
                        ward.scanned(now, answer);
                    }
                }
                Message::RoundUp(round_up) => self.round_ups.push(round_up),
            }
        }
    }

    /// Lets every ward do what its ladder orders now.
    fn advance(&mut self, now: Instant) {
        let mut ended = Vec::new();
        let mut wanted = Vec::new();
        for (id, ward) in &mut self.wards {
            loop {
                let ending = ward.advance(now, &mut wanted);
                if let Some(ending) = ending {
                    ended.push((*id, ending));
                }
                let refused: Vec<_> = wanted
                    .drain(..)
                    .filter_map(|request| self.scans.post(request).err())
                    .collect();
                if refused.is_empty() {
                    break;
                }
                for request in refused {
                    let failed = ScanAnswer::failed(request.key, CountFailure::Refused);
                    ward.scanned(now, failed);
                }
            }
        }
        for (id, ending) in ended {
            if let Some(ward) = self.wards.remove(&id) {
                ward.finish(ending);
            }
        }
    }
}

/// Where exits cannot be waited for, they are asked for this often.
const ASK_GAP: Duration = Duration::from_millis(10);
/// What is read from a pipe at once; as much as a pipe holds by default.
const SCRATCH_BYTES: usize = 64 * 1024;
