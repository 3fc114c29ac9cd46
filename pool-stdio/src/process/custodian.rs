//! The thread that watches over every child: it sees exits, drains stderr from birth, and carries
//! every termination to its end. It never blocks but in `poll`, and runs no code of others.
//!
//! # Invariants
//!
//! 1. Only this thread reaps, each child by name; it never waits for "any child".
//! 2. A child is in its care before its handle exists, and until its termination is published.
//! 3. With no termination under way it sleeps until a child does something: no periodic wake-ups
//!    (where exits can only be seen by asking, one per [`ASK_GAP`]).
//! 4. A turn of the loop reads and writes each pipe at most once, so no child can keep the thread.
//!
//! # Locking
//!
//! The mailbox's mutex is held for a push or a swap. Posting to it never blocks, so a handle may do
//! it in `Drop` on any thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::children::RoundUp;
use crate::process::once::lock;
use crate::process::proc_scan::{Sweep, Sweeper};
use crate::process::sys::{self, Ready};
use crate::process::terminate::{Others, Start};
use crate::process::ward::{Pipes, Source, Ward};

/// The number of a child, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WardId(pub(crate) u64);

/// What the custodian can be told.
#[derive(Debug)]
pub(crate) enum Message {
    Adopt(Box<Ward>),
    Stop {
        ward: WardId,
        start: Start,
        pipes: Pipes,
    },
    Seen {
        ward: WardId,
        ticket: u64,
        others: Others,
    },
    RoundUp(RoundUp),
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Custodian {
    /// At most a few messages per child.
    mailbox: Mutex<Vec<Message>>,
    bell: File,
}

impl Custodian {
    /// The one of this process, started when it is first wanted.
    pub(crate) fn get() -> io::Result<Arc<Self>> {
        static CUSTODIAN: Mutex<Option<Arc<Custodian>>> = Mutex::new(None);
        let mut custodian = lock(&CUSTODIAN);
        if let Some(custodian) = &*custodian {
            return Ok(Arc::clone(custodian));
        }
        let (bell, door) = sys::doorbell()?;
        let started = Arc::new(Self {
            mailbox: Mutex::new(Vec::new()),
            bell,
        });
        let crew = Crew {
            custodian: Arc::clone(&started),
            sweeper: Sweeper::default(),
        };
        let watch = Watch {
            crew,
            door,
            wards: BTreeMap::new(),
            round_ups: Vec::new(),
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
            // A full bell is a rung bell.
            drop((&self.bell).write(&[1]));
        }
    }
}

/// What a ward needs of the others.
#[derive(Debug)]
pub(crate) struct Crew {
    custodian: Arc<Custodian>,
    sweeper: Sweeper,
}

impl Crew {
    pub(crate) fn sweep(&self, sweep: Sweep) -> bool {
        self.sweeper.post(&self.custodian, sweep)
    }
}

/// The thread's own state.
struct Watch {
    crew: Crew,
    door: File,
    wards: BTreeMap<WardId, Ward>,
    round_ups: Vec<RoundUp>,
}

impl Watch {
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
            self.climb(now);
            self.round_ups.retain(|round_up| !round_up.is_over(now));
        }
    }

    /// Waits until something is ready or due.
    fn wait(&mut self) -> Vec<(WardId, Source)> {
        let now = sys::clock_now();
        let mut due: Option<Instant> = self.round_ups.iter().map(RoundUp::until).min();
        let mut interests = vec![(self.door.as_fd(), Ready::ToRead)];
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
        if ready.next().is_some_and(|door| door.is_ready) {
            // Order: emptied before the mailbox is, or a message could lie there unheard.
            drop(self.door.read(&mut [0; 64]));
        }
        let ready = ready
            .zip(sources)
            .filter(|(readiness, _)| readiness.is_ready);
        ready.map(|(_, source)| source).collect()
    }

    fn take_messages(&mut self, now: Instant, scratch: &mut [u8]) {
        let messages = std::mem::take(&mut *lock(&self.crew.custodian.mailbox));
        for message in messages {
            match message {
                Message::Adopt(ward) => drop(self.wards.insert(ward.record.id, *ward)),
                // A child that has ended needs no stopping: what was handed over is closed here.
                Message::Stop { ward, start, pipes } => {
                    if let Some(ward) = self.wards.get_mut(&ward) {
                        ward.stop(now, start, pipes, scratch);
                    }
                }
                Message::Seen {
                    ward,
                    ticket,
                    others,
                } => {
                    if let Some(ward) = self.wards.get_mut(&ward) {
                        ward.seen(now, ticket, others);
                    }
                }
                Message::RoundUp(round_up) => self.round_ups.push(round_up),
            }
        }
    }

    fn climb(&mut self, now: Instant) {
        let crew = &self.crew;
        let ended: Vec<_> = self
            .wards
            .iter_mut()
            .filter_map(|(id, ward)| ward.climb(now, crew).map(|ending| (*id, ending)))
            .collect();
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
