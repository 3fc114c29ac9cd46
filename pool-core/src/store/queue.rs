//! The queue of waiters: which is served next, and what it finds when it wakes.
//!
//! # Deadlines
//!
//! A waiter with a short timeout brings its deadline. One with a long timeout does not read a clock:
//! the first sweep after it joined makes its deadline. So that deadline is late by at most the time
//! until that sweep, and never early. The same sweep puts the waiter into the [`Wheel`]; most waiters
//! are served before it.
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
use crate::store::wheel::Wheel;
use crate::time::{Time, nanos};

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
    pub(crate) deadline: Deadline,
    /// Where `acquire` was called.
    pub(crate) site: &'static Location<'static>,
}

/// When a wait ends without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    At(Time),
    /// So long after the next sweep.
    AfterSweep(Duration),
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
    site: &'static Location<'static>,
    /// In nanoseconds: the deadline, or the timeout if it has none yet.
    nanos: u64,
    state: EntryState<S>,
    /// Neighbours while queued; `next` also links the free entries.
    previous: u32,
    next: u32,
    has_deadline: bool,
    /// It is in the wheel.
    is_timed: bool,
}

#[derive(Debug)]
enum EntryState<S> {
    Free,
    Queued(Waker),
    Done(WaitEnd<S>),
}

/// A table of this size is never freed.
const KEPT_MAX: usize = 1024;
const NONE: u32 = u32::MAX;
const STALE: &str = "a waiter's key does not outlive the waiter";

#[derive(Debug)]
pub(crate) struct WaitQueue<S> {
    table: Vec<WaiterEntry<S>>,
    free: u32,
    head: u32,
    tail: u32,
    len: usize,
    /// Entries that are not free.
    used: usize,
    /// The last of those that entered again. They are in front of all others, in the order of their
    /// numbers.
    again_tail: u32,
    /// Waiters from this number on have not seen a sweep.
    swept_up_to: WaiterId,
    wheel: Wheel,
}

/// What a waiter finds when it is polled.
#[derive(Debug)]
pub(crate) enum Found<S> {
    /// Its wait has ended. The deadline is for another wait, if what it was served proves dead.
    Done(WaitEnd<S>, Deadline),
    Waiting,
    /// Still queued, but polled with another waker, which must be handed in.
    Moved,
}

impl<S> WaiterEntry<S> {
    fn set_deadline(&mut self, deadline: Deadline) {
        (self.nanos, self.has_deadline) = match deadline {
            Deadline::At(time) => (time.as_nanos(), true),
            Deadline::AfterSweep(timeout) => (nanos(timeout), false),
        };
    }

    const fn deadline(&self) -> Deadline {
        match self.has_deadline {
            true => Deadline::At(Time::from_nanos(self.nanos)),
            false => Deadline::AfterSweep(Duration::from_nanos(self.nanos)),
        }
    }
}

impl<S> WaitQueue<S> {
    pub(crate) fn new() -> Self {
        const {
            assert!(size_of::<WaiterEntry<Box<()>>>() == 64, "one cache line");
        }
        Self {
            table: Vec::new(),
            free: NONE,
            head: NONE,
            tail: NONE,
            len: 0,
            used: 0,
            again_tail: NONE,
            swept_up_to: WaiterId(0),
            wheel: Wheel::default(),
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

    /// The memory it holds.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn bytes(&self) -> usize {
        self.table.capacity() * size_of::<WaiterEntry<S>>() + self.wheel.bytes()
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

    /// Enters before all that entered with [`push_back`](Self::push_back): for a caller that drew a
    /// connection which proved dead, since its turn had come. It needs a deadline.
    ///
    /// Walks past callers of the same kind with a higher number only, so callers that enter in the
    /// order of their numbers walk past none.
    pub(crate) fn push_again(
        &mut self,
        id: WaiterId,
        waker: Waker,
        request: WaitRequest,
    ) -> WaiterKey {
        let place = self.insert(id, waker, request);
        let mut before = self.again_tail;
        while let Some(entry) = self
            .table
            .get(before as usize)
            .filter(|entry| entry.id > id)
        {
            before = entry.previous;
        }
        let after = match self.table.get(before as usize) {
            Some(entry) => entry.next,
            None => self.head,
        };
        self.link(before, place);
        self.link(place, after);
        if before == self.again_tail {
            self.again_tail = place;
        }
        self.start_timer(place);
        WaiterKey(place, id)
    }

    /// Serves the oldest waiter, if there is one; the waker must be woken after unlocking.
    pub(crate) fn serve_first(
        &mut self,
        end: impl FnOnce(WaiterId, &'static Location<'static>) -> WaitEnd<S>,
    ) -> Option<Waker> {
        let head = self.head;
        (head != NONE).then(|| self.finish(head, end))
    }

    /// Makes the deadlines of the waiters that came since the last sweep, and returns the places of
    /// those whose deadline has come, for [`end`](Self::end). The next waiter has number `next`.
    pub(crate) fn sweep(&mut self, now: Time, next: WaiterId) -> Vec<u32> {
        let mut place = self.tail;
        while place != self.again_tail {
            let entry = &mut self.table[place as usize];
            if entry.id < self.swept_up_to {
                break;
            }
            if let Deadline::AfterSweep(timeout) = entry.deadline() {
                entry.set_deadline(Deadline::At(now.after(timeout)));
            }
            let previous = entry.previous;
            self.start_timer(place);
            place = previous;
        }
        self.swept_up_to = next;
        let expired = self.wheel.expire(now);
        for place in &expired {
            self.table[*place as usize].is_timed = false;
        }
        expired
    }

    /// Frees memory after a crowd: if most of the table is free, and its end as well.
    pub(crate) fn shrink(&mut self) {
        let len = self.table.len();
        if len <= KEPT_MAX || self.used > len / 4 {
            return;
        }
        let is_free = |entry: &&WaiterEntry<S>| matches!(entry.state, EntryState::Free);
        let kept = len - self.table.iter().rev().take_while(is_free).count();
        if kept > len / 2 {
            return;
        }
        self.table.truncate(kept);
        self.table.shrink_to_fit();
        self.wheel.shrink(kept);
        self.free = NONE;
        for place in (0..kept).rev() {
            if matches!(self.table[place].state, EntryState::Free) {
                self.table[place].next = self.free;
                self.free = u32::try_from(place).expect("places are numbered in 32 bits");
            }
        }
    }

    /// When the next sweep for deadlines is due.
    pub(crate) fn next_sweep(&self) -> Time {
        self.wheel.next()
    }

    /// Ends the wait of the waiter at `place`; the waker must be woken after unlocking.
    pub(crate) fn end(&mut self, place: u32, end: impl FnOnce(WaiterId) -> WaitEnd<S>) -> Waker {
        self.finish(place, |waiter, _| end(waiter))
    }

    fn start_timer(&mut self, place: u32) {
        let entry = &mut self.table[place as usize];
        debug_assert!(
            entry.has_deadline,
            "invariant broken: a timer without an end"
        );
        entry.is_timed = true;
        self.wheel.insert(place, Time::from_nanos(entry.nanos));
    }

    /// Looks at a waiter; takes it out if its wait has ended.
    pub(crate) fn poll(&mut self, key: WaiterKey, waker: &Waker) -> Found<S> {
        match &self.table[key.0 as usize].state {
            EntryState::Queued(present) if present.will_wake(waker) => Found::Waiting,
            EntryState::Queued(_) => Found::Moved,
            EntryState::Done(_) => {
                let deadline = self.table[key.0 as usize].deadline();
                Found::Done(self.take(key.0).expect(STALE), deadline)
            }
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
        end: impl FnOnce(WaiterId, &'static Location<'static>) -> WaitEnd<S>,
    ) -> Waker {
        self.unlink(place);
        let entry = &mut self.table[place as usize];
        let done = EntryState::Done(end(entry.id, entry.site));
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
        self.used += 1;
        if self.free == NONE {
            return self.add(id, waker, request);
        }
        let free = self.free;
        let entry = &mut self.table[free as usize];
        self.free = entry.next;
        // Field by field: building an entry and copying it costs more than all the rest.
        entry.id = id;
        entry.site = request.site;
        entry.set_deadline(request.deadline);
        entry.state = EntryState::Queued(waker);
        free
    }

    #[cold]
    fn add(&mut self, id: WaiterId, waker: Waker, request: WaitRequest) -> u32 {
        let mut entry = WaiterEntry {
            id,
            site: request.site,
            nanos: 0,
            state: EntryState::Queued(waker),
            previous: NONE,
            next: NONE,
            has_deadline: false,
            is_timed: false,
        };
        entry.set_deadline(request.deadline);
        self.table.push(entry);
        u32::try_from(self.table.len() - 1).expect("max_waiters is below u32::MAX")
    }

    fn release(&mut self, place: u32) {
        self.used -= 1;
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
        let entry = &mut self.table[place as usize];
        let (previous, next) = (entry.previous, entry.next);
        if std::mem::take(&mut entry.is_timed) {
            self.wheel.remove(place);
        }
        if place == self.again_tail {
            self.again_tail = previous;
        }
        self.link(previous, next);
    }
}
