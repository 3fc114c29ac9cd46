//! The queue of waiters: which is served next, and what it finds when it wakes.
//!
//! # Invariants
//!
//! A waiter is either linked into the queue with its waker, or unlinked with the end of its wait. It
//! stays in the table until its future has taken that end or was dropped.

use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::error::AcquireContext;
use crate::id::WaiterId;
use crate::time::Time;

/// The index of a waiter in the table, valid until the waiter is removed, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaiterKey(u32, WaiterId);

impl WaiterKey {
    pub(crate) const fn id(self) -> WaiterId {
        self.1
    }
}

/// What a waiter asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitRequest {
    pub(crate) deadline: Time,
    pub(crate) clock: DeadlineClock,
    /// Where `acquire` was called.
    pub(crate) site: &'static Location<'static>,
}

/// How a deadline was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadlineClock {
    Exact,
    Coarse,
}

/// How a wait ends.
#[derive(Debug)]
pub(crate) enum WaitEnd<S> {
    Served(S),
    Refused(Refusal, Arc<AcquireContext>),
}

/// Why no connection is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TimedOut,
    Overloaded { limit: usize },
    Closed,
    Unavailable { retry_after: Duration },
}

// Order: one cache line each, since two cores take turns at them.
#[derive(Debug)]
#[repr(align(64))]
struct WaiterEntry<S> {
    id: WaiterId,
    request: WaitRequest,
    state: EntryState<S>,
    /// Neighbours while queued; `next` also links the free entries.
    previous: u32,
    next: u32,
}

#[derive(Debug)]
enum EntryState<S> {
    Free,
    Queued(Waker),
    Done(WaitEnd<S>),
}

const NONE: u32 = u32::MAX;
const STALE: &str = "a waiter's key does not outlive the waiter";

#[derive(Debug)]
pub(crate) struct WaitQueue<S> {
    table: Vec<WaiterEntry<S>>,
    free: u32,
    head: u32,
    tail: u32,
    len: usize,
}

/// What a waiter finds when it is polled.
#[derive(Debug)]
pub(crate) enum Found<S> {
    Done(WaitEnd<S>),
    Waiting,
    /// Still queued, but polled with another waker, which must be handed in.
    Moved,
}

impl<S> WaitQueue<S> {
    pub(crate) const fn new() -> Self {
        Self {
            table: Vec::new(),
            free: NONE,
            head: NONE,
            tail: NONE,
            len: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All queued waiters, the next to be served first.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn order(&self) -> Vec<WaiterId> {
        let entry = |place: u32| self.table.get(place as usize);
        let queued = std::iter::successors(entry(self.head), |waiter| entry(waiter.next));
        queued.map(|waiter| waiter.id).collect()
    }

    pub(crate) fn push_back(
        &mut self,
        id: WaiterId,
        waker: Waker,
        request: WaitRequest,
    ) -> WaiterKey {
        let place = self.insert(id, waker, request);
        let tail = self.tail;
        self.link(tail, place);
        self.link(place, NONE);
        WaiterKey(place, id)
    }

    /// Enters at the head: for a caller whose connection proved dead before it had queued.
    pub(crate) fn push_front(
        &mut self,
        id: WaiterId,
        waker: Waker,
        request: WaitRequest,
    ) -> WaiterKey {
        let place = self.insert(id, waker, request);
        let head = self.head;
        self.link(place, head);
        self.link(NONE, place);
        WaiterKey(place, id)
    }

    /// Enters at the place of its number: for a waiter that was served a connection which proved dead.
    /// Walks past earlier waiters only, which must be such waiters as well.
    pub(crate) fn push_again(
        &mut self,
        id: WaiterId,
        waker: Waker,
        request: WaitRequest,
    ) -> WaiterKey {
        let place = self.insert(id, waker, request);
        let (mut before, mut after) = (NONE, self.head);
        while let Some(entry) = self.table.get(after as usize).filter(|entry| entry.id < id) {
            (before, after) = (after, entry.next);
        }
        self.link(before, place);
        self.link(place, after);
        WaiterKey(place, id)
    }

    /// Serves the oldest waiter, if there is one; the waker must be woken after unlocking.
    pub(crate) fn serve_first(
        &mut self,
        outcome: impl FnOnce(WaiterId, &WaitRequest) -> WaitEnd<S>,
    ) -> Option<Waker> {
        let head = self.head;
        (head != NONE).then(|| self.finish(head, outcome))
    }

    /// Puts coarse deadlines off by `lag`, ends the wait of every waiter whose deadline has come, and
    /// returns the earliest deadline of the others. It looks at all of them, which takes some 20 µs
    /// with 10 000 waiters, at most once a millisecond.
    pub(crate) fn expire(
        &mut self,
        now: Time,
        lag: Duration,
        mut outcome: impl FnMut(WaiterId) -> WaitEnd<S>,
        mut wake: impl FnMut(Waker),
    ) -> Time {
        let mut earliest = Time::NEVER;
        let mut place = self.head;
        while place != NONE {
            let WaiterEntry { request, next, .. } = &mut self.table[place as usize];
            let next = *next;
            if request.clock == DeadlineClock::Coarse {
                request.deadline = request.deadline.after(lag);
            }
            if request.deadline <= now {
                wake(self.finish(place, |waiter, _| outcome(waiter)));
            } else {
                earliest = earliest.min(request.deadline);
            }
            place = next;
        }
        earliest
    }

    /// Looks at a waiter; takes it out if its wait has ended.
    pub(crate) fn poll(&mut self, key: WaiterKey, waker: &Waker) -> Found<S> {
        match &self.table[key.0 as usize].state {
            EntryState::Queued(present) if present.will_wake(waker) => Found::Waiting,
            EntryState::Queued(_) => Found::Moved,
            EntryState::Done(_) => Found::Done(self.take(key.0).expect(STALE)),
            EntryState::Free => unreachable!("{STALE}"),
        }
    }

    /// Replaces the waker of a waiter that is still queued. Returns the waker to drop after
    /// unlocking: the old one, or `Err` with the new one if the wait has ended.
    pub(crate) fn replace_waker(&mut self, key: WaiterKey, waker: Waker) -> Result<Waker, Waker> {
        match &mut self.table[key.0 as usize].state {
            EntryState::Queued(present) => Ok(std::mem::replace(present, waker)),
            EntryState::Done(_) | EntryState::Free => Err(waker),
        }
    }

    /// Removes a waiter whose future was dropped: `Err` with its waker if it still waited, otherwise
    /// the end of its wait.
    pub(crate) fn remove(&mut self, key: WaiterKey) -> Result<WaitEnd<S>, (WaiterId, Waker)> {
        let entry = &mut self.table[key.0 as usize];
        let id = entry.id;
        match std::mem::replace(&mut entry.state, EntryState::Free) {
            EntryState::Queued(waker) => {
                self.unlink(key.0);
                self.release(key.0);
                Err((id, waker))
            }
            EntryState::Done(outcome) => {
                self.release(key.0);
                Ok(outcome)
            }
            EntryState::Free => unreachable!("{STALE}"),
        }
    }

    fn take(&mut self, place: u32) -> Option<WaitEnd<S>> {
        let entry = &mut self.table[place as usize];
        let EntryState::Done(outcome) = std::mem::replace(&mut entry.state, EntryState::Free)
        else {
            return None;
        };
        self.release(place);
        Some(outcome)
    }

    fn finish(
        &mut self,
        place: u32,
        outcome: impl FnOnce(WaiterId, &WaitRequest) -> WaitEnd<S>,
    ) -> Waker {
        self.unlink(place);
        let entry = &mut self.table[place as usize];
        let done = EntryState::Done(outcome(entry.id, &entry.request));
        match std::mem::replace(&mut entry.state, done) {
            EntryState::Queued(waker) => waker,
            EntryState::Done(_) | EntryState::Free => {
                unreachable!("only queued waiters are linked")
            }
        }
    }

    /// Takes a free place, not linked to others yet.
    #[inline]
    fn insert(&mut self, id: WaiterId, waker: Waker, request: WaitRequest) -> u32 {
        self.len += 1;
        if self.free == NONE {
            return self.add(WaiterEntry {
                id,
                request,
                state: EntryState::Queued(waker),
                previous: NONE,
                next: NONE,
            });
        }
        let free = self.free;
        let entry = &mut self.table[free as usize];
        self.free = entry.next;
        // Field by field: building an entry and copying it costs more than all the rest.
        entry.id = id;
        entry.request.deadline = request.deadline;
        entry.request.clock = request.clock;
        entry.request.site = request.site;
        entry.state = EntryState::Queued(waker);
        free
    }

    #[cold]
    fn add(&mut self, entry: WaiterEntry<S>) -> u32 {
        self.table.push(entry);
        u32::try_from(self.table.len() - 1).expect("max_waiters is below u32::MAX")
    }

    fn release(&mut self, place: u32) {
        self.table[place as usize].next = self.free;
        self.free = place;
    }

    /// Makes two places neighbours; `NONE` stands for the end of the queue.
    fn link(&mut self, first: u32, second: u32) {
        match self.table.get_mut(first as usize) {
            Some(entry) => entry.next = second,
            None => self.head = second,
        }
        match self.table.get_mut(second as usize) {
            Some(entry) => entry.previous = first,
            None => self.tail = first,
        }
    }

    fn unlink(&mut self, place: u32) {
        self.len -= 1;
        let WaiterEntry { previous, next, .. } = self.table[place as usize];
        self.link(previous, next);
    }
}
