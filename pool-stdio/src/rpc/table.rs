//! Which calls are pending, and which reply belongs to which call. A plain data structure: it has no
//! lock and no clock, and wakes nobody.
//!
//! # Invariants
//!
//! 1. A number is used once, for a call or for a progress token of one.
//! 2. A call is answered at most once. Every further reply to its number is counted and dropped.
//! 3. A call that was given up leaves a tombstone, so that its late reply is recognised. There are at
//!    most [`TOMBSTONES_MAX`]. A late reply without a tombstone counts as a duplicate, and is dropped
//!    too.
//! 4. A token lives exactly as long as its call.
//! 5. A call that was withdrawn stays until its caller has learned it, and is not answered any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use super::error::{Fate, RpcError};
use super::life_signs::LifeSigns;
use super::note_queue::{NoteSink, Notes, Untaken};
use super::reply::Reply;
use super::suspicion::Excuse;

pub(super) use super::call_id::CallId;

/// Why a reply belongs to no pending call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnclaimedReply {
    /// The call had been given up.
    Late,
    /// The call had been answered.
    Duplicate,
    /// There never was such a call.
    Unknown,
}

/// What is left of a call that was given up.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct GivenUp {
    /// Whether its reply can still come.
    pub(super) is_owed: bool,
    /// Whether the child is to be told.
    pub(super) wants_cancel: bool,
    pub(super) is_ping: bool,
    /// How many reads had happened when it began.
    pub(super) reads_before: u64,
    /// To be dropped outside of all locks: that wakes its receiver.
    pub(super) sink: Option<NoteSink>,
    /// The task that awaits a call which was withdrawn, to be woken outside of all locks.
    pub(super) waker: Option<Waker>,
}

/// Why a call ends without a reply while its caller still waits for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Withdrawn {
    /// The client cancelled it by its id.
    ByClient(Fate),
    /// The child cancelled it.
    ByChild,
    /// It is a subscription, and these of its notifications were not taken in time.
    Overflow(Untaken),
}

impl Withdrawn {
    /// What its caller is told.
    pub(super) const fn error(self) -> RpcError {
        match self {
            Self::ByClient(fate) => RpcError::ClientCancelled { fate },
            Self::ByChild => RpcError::ServerCancelled,
            Self::Overflow(Untaken { notes, bytes }) => {
                RpcError::SubscriptionOverflow { notes, bytes }
            }
        }
    }
}

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Table {
    calls: HashMap<CallId, CallEntry, BuildHasherDefault<NumberHasher>>,
    tokens: BTreeMap<u64, Token>,
    tombstones: BTreeSet<CallId>,
    /// Pings that nobody awaits, and that were not answered.
    unawaited_pings: BTreeSet<CallId>,
    /// The latest of such pings that was answered.
    last_answered_ping: Option<CallId>,
    /// Calls without a reply.
    unanswered: usize,
    /// Where that number can be seen without a lock.
    signs: Arc<LifeSigns>,
}

/// A call that begins.
#[derive(Debug, Default)]
pub(super) struct NewCall {
    pub(super) notes: Notes,
    /// Of the task that awaits the call, if it polls for the reply only when it is woken.
    pub(super) waker: Option<Waker>,
    pub(super) deadline: Option<Instant>,
    /// The child does no work for it.
    pub(super) is_ping: bool,
    /// It must not be cancelled.
    pub(super) is_initialize: bool,
    /// How many reads had happened.
    pub(super) reads_before: u64,
}

#[derive(Debug)]
struct CallEntry {
    waker: Option<Waker>,
    outcome: Option<Result<Reply, Withdrawn>>,
    notes: Notes,
    tokens: Vec<u64>,
    deadline: Option<Instant>,
    is_ping: bool,
    /// Whether the child can be told to cancel it: it was not, and it may be.
    can_cancel: bool,
    reads_before: u64,
}

/// A number that we sent as a progress token.
#[derive(Debug)]
struct Token {
    call: CallId,
    /// The caller's token that it replaces.
    original: Bytes,
}

impl Table {
    pub(super) fn new(signs: Arc<LifeSigns>) -> Self {
        Self {
            calls: HashMap::default(),
            tokens: BTreeMap::new(),
            tombstones: BTreeSet::new(),
            unawaited_pings: BTreeSet::new(),
            last_answered_ping: None,
            unanswered: 0,
            signs,
        }
    }

    /// Begins a call under a new number.
    pub(super) fn begin(&mut self, id: CallId, call: NewCall) {
        let call = CallEntry {
            waker: call.waker,
            outcome: None,
            notes: call.notes,
            tokens: Vec::new(),
            deadline: call.deadline,
            is_ping: call.is_ping,
            can_cancel: !call.is_initialize,
            reads_before: call.reads_before,
        };
        self.set_unanswered(self.unanswered + 1);
        let earlier = self.calls.insert(id, call);
        debug_assert!(earlier.is_none(), "invariant broken: call {id} began twice");
    }

    /// Notes that `token` was sent in place of a token of the caller. It is known until the call is over.
    pub(super) fn add_token(&mut self, call: CallId, token: u64, original: Bytes) {
        if let Some(entry) = self.calls.get_mut(&call) {
            entry.tokens.push(token);
            self.tokens.insert(token, Token { call, original });
        }
    }

    /// Notes that a ping was sent that nobody awaits.
    pub(super) fn note_unawaited_ping(&mut self, id: CallId) {
        self.unawaited_pings.insert(id);
        if self.unawaited_pings.len() > UNAWAITED_PINGS_MAX {
            self.unawaited_pings.pop_first();
        }
    }

    /// Whether a call waits for its reply that the child works on: neither a ping nor a subscription. A
    /// subscription is pending as long as its client wants it, so it says nothing of a child that is silent.
    pub(super) fn has_work(&self) -> bool {
        self.unanswered > 0 && self.working_calls().next().is_some()
    }

    fn working_calls(&self) -> impl Iterator<Item = (CallId, &CallEntry)> {
        let calls = self.calls.iter().map(|(id, call)| (*id, call));
        calls.filter(|(_, call)| {
            call.outcome.is_none() && !call.is_ping && !call.notes.is_subscription
        })
    }

    /// How long those of the calls that count excuse a silent child.
    pub(super) fn excuse(&self, counts: impl Fn(CallId) -> bool) -> Excuse {
        let mut excuse = Excuse::None;
        for (id, call) in self.working_calls() {
            if !counts(id) {
                continue;
            }
            let Some(deadline) = call.deadline else {
                return Excuse::Always;
            };
            excuse = match excuse {
                Excuse::Until(other) => Excuse::Until(other.max(deadline)),
                Excuse::None | Excuse::Always => Excuse::Until(deadline),
            };
        }
        excuse
    }

    /// Takes a reply. Numbers below `issued` have been used. The returned waker must be woken outside
    /// of all locks.
    pub(super) fn accept_reply(
        &mut self,
        id: CallId,
        reply: Reply,
        issued: u64,
    ) -> Result<Option<Waker>, UnclaimedReply> {
        match self.calls.get_mut(&id) {
            Some(call) if call.outcome.is_none() => {
                call.outcome = Some(Ok(reply));
                let waker = call.waker.take();
                self.set_unanswered(self.unanswered - 1);
                Ok(waker)
            }
            Some(_) if self.tombstones.remove(&id) => Err(UnclaimedReply::Late),
            Some(_) => Err(UnclaimedReply::Duplicate),
            None if self.unawaited_pings.remove(&id) => {
                // Earlier ones stay known, because a child can answer in any order.
                self.last_answered_ping = self.last_answered_ping.max(Some(id));
                Ok(None)
            }
            None if self.tombstones.remove(&id) => Err(UnclaimedReply::Late),
            None if id < issued => Err(UnclaimedReply::Duplicate),
            None => Err(UnclaimedReply::Unknown),
        }
    }

    /// Resolves to the reply, which ends the call. The returned sink must be dropped outside of all
    /// locks: that wakes its receiver.
    pub(super) fn poll(
        &mut self,
        id: CallId,
        cx: &Context<'_>,
    ) -> Poll<(Result<Reply, Withdrawn>, Option<NoteSink>)> {
        let Some(call) = self.calls.get_mut(&id) else {
            return Poll::Pending;
        };
        if let Some(outcome) = call.outcome.take() {
            let sink = self.end(id).and_then(|call| call.notes.sink);
            return Poll::Ready((outcome, sink));
        }
        if !call
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            call.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Gives a call up. `fate` says whether its request can have reached the child.
    pub(super) fn abandon(&mut self, id: CallId, fate: Fate) -> GivenUp {
        let Some(call) = self.end(id) else {
            return GivenUp::default();
        };
        let is_unanswered = call.outcome.is_none();
        self.set_unanswered(self.unanswered - usize::from(is_unanswered));
        let is_owed = fate == Fate::MaybeExecuted && is_unanswered;
        if is_owed {
            self.leave_tombstone(id);
        }
        GivenUp {
            is_owed,
            wants_cancel: is_owed && call.can_cancel,
            is_ping: call.is_ping,
            reads_before: call.reads_before,
            sink: call.notes.sink,
            waker: None,
        }
    }

    /// Ends a call without a reply. Its caller learns why when it polls.
    pub(super) fn withdraw(&mut self, id: CallId, why: Withdrawn) -> GivenUp {
        let call = self.calls.get_mut(&id);
        let Some(call) = call.filter(|call| call.outcome.is_none()) else {
            return GivenUp::default();
        };
        call.outcome = Some(Err(why));
        let waker = call.waker.take();
        let (is_ping, reads_before) = (call.is_ping, call.reads_before);
        let can_cancel = call.can_cancel;
        self.set_unanswered(self.unanswered - 1);
        // A child that cancelled a call itself sends no reply.
        let is_owed = match why {
            Withdrawn::ByClient(fate) => fate == Fate::MaybeExecuted,
            Withdrawn::ByChild => false,
            Withdrawn::Overflow(_) => true,
        };
        if is_owed {
            self.leave_tombstone(id);
        }
        GivenUp {
            is_owed,
            wants_cancel: is_owed && can_cancel,
            is_ping,
            reads_before,
            sink: None,
            waker,
        }
    }

    /// Whether the child can be told to cancel a call that goes on to its reply.
    pub(super) fn can_cancel(&self, id: CallId) -> bool {
        let call = self.calls.get(&id);
        call.is_some_and(|call| call.outcome.is_none() && call.can_cancel)
    }

    /// The child is told to cancel a call that goes on to its reply.
    pub(super) fn note_cancelled(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.can_cancel = false;
        }
    }

    /// Leaves a tombstone, so that the late reply is recognised.
    fn leave_tombstone(&mut self, id: CallId) {
        self.tombstones.insert(id);
        if self.tombstones.len() > TOMBSTONES_MAX {
            self.tombstones.pop_first();
        }
    }

    fn set_unanswered(&mut self, calls: usize) {
        self.unanswered = calls;
        self.signs.note_unanswered(calls);
    }

    fn end(&mut self, id: CallId) -> Option<CallEntry> {
        let call = self.calls.remove(&id)?;
        for token in &call.tokens {
            self.tokens.remove(token);
        }
        Some(call)
    }

    /// Looks a call up by the progress token that we sent to the child. Returns the receiver of its
    /// progress, and the caller's own token.
    pub(super) fn progress(&self, token: u64) -> Option<(&NoteSink, &Bytes)> {
        let token = self.tokens.get(&token)?;
        let sink = self.pending_call(token.call)?.notes.sink.as_ref()?;
        Some((sink, &token.original))
    }

    /// Looks a call up by its number. Returns the receiver of its notes, with the id that the client gave
    /// it.
    pub(super) fn notes(&self, call: CallId) -> Option<&Notes> {
        Some(&self.pending_call(call)?.notes)
    }

    /// Whether a call is a subscription that has no reply yet.
    pub(super) fn is_open_subscription(&self, id: CallId) -> bool {
        let call = self.calls.get(&id);
        call.is_some_and(|call| call.outcome.is_none() && call.notes.is_subscription)
    }

    /// A call that was not withdrawn.
    fn pending_call(&self, id: CallId) -> Option<&CallEntry> {
        let call = self.calls.get(&id);
        call.filter(|call| !matches!(call.outcome, Some(Err(_))))
    }

    /// The number that we sent in place of this token of one of these calls.
    pub(super) fn token_of(&self, call: CallId, original: &[u8]) -> Option<u64> {
        let tokens = &self.calls.get(&call)?.tokens;
        let is_it = |number: &&u64| {
            let token = self.tokens.get(number);
            token.is_some_and(|token| token.original == original)
        };
        tokens.iter().find(is_it).copied()
    }

    /// The wakers of all calls, to be woken because the connection is over.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let calls = self.calls.values_mut();
        calls.filter_map(|call| call.waker.take()).collect()
    }

    /// Whether a call waits for its reply.
    pub(super) const fn is_awaited(&self) -> bool {
        self.unanswered > 0
    }

    /// Whether a call waits that is no subscription.
    pub(super) fn is_awaited_soon(&self) -> bool {
        let mut calls = self.calls.values();
        self.is_awaited() && calls.any(|call| call.outcome.is_none() && !call.notes.is_subscription)
    }

    /// Whether a call was given up that the child may still work on.
    pub(super) fn is_abandoned(&self, id: CallId) -> bool {
        self.tombstones.contains(&id)
    }

    /// Whether a ping was sent that nobody awaits, and neither it nor a later one was answered. A child that has left
    /// one out may never answer it.
    pub(super) fn is_pinged(&self) -> bool {
        self.unawaited_pings.last() > self.last_answered_ping.as_ref()
    }

    /// How many calls are not over.
    pub(super) fn pending(&self) -> usize {
        self.calls.len()
    }

    /// How many calls were given up that the child may still work on.
    pub(super) fn abandoned(&self) -> usize {
        self.tombstones.len()
    }
}

/// Hashes numbers that we count up ourselves. Nobody else can choose them, so they need no defence
/// against chosen collisions.
#[derive(Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(GOLDEN).rotate_left(26);
    }
}

/// 2⁶⁴ divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// More would only distinguish more of the very late replies from duplicates.
pub(super) const TOMBSTONES_MAX: usize = 1024;

/// A child that never answers a ping is sent one for each suspicion. An answer to one that was sent before the last of
/// these counts as a duplicate.
const UNAWAITED_PINGS_MAX: usize = 16;

#[cfg(test)]
mod tests;
