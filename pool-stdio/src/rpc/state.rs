//! Which calls are pending, which frames are queued, and why the connection is over. Has no lock of its
//! own, and wakes nobody.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use super::error::{ConnectionEnd, EndCause, Fate, RpcError};
use super::life_signs::LifeSigns;
use super::load::{Load, LoadEnd, Loads};
use super::note_queue::{NoteSink, Notes, Untaken};
use super::outbox::Outbox;
use super::reply::Reply;
use super::status::RpcStatus;
use super::suspicion::{Excuse, Observation, Suspicion};
use super::table::{CallId, GivenUp, NewCall, Table, UnclaimedReply, Withdrawn};
use crate::codec::Fragment;
use crate::metrics::UnclaimedCounts;

/// What changes while a connection is open.
pub(super) struct LinkState {
    table: Table,
    pub(super) queue: Outbox,
    /// The driver, once it runs.
    driver: Option<Waker>,
    /// Whether the driver must be woken to write.
    is_driver_asleep: bool,
    /// The cause that ends the connection or its input, while an exit is awaited that may explain it.
    fault: Option<ConnectionEnd>,
    /// Why nothing can be written any more.
    input_end: Option<Arc<ConnectionEnd>>,
    /// The call whose request was cut off by that.
    torn: Option<CallId>,
    /// Calls whose requests will never be written.
    unsent: BTreeSet<CallId>,
    /// Why nothing can be read any more.
    end: Option<Arc<ConnectionEnd>>,
    /// What was dropped; the rest of it is filled in when it is asked for.
    dropped: RpcStatus,
    strays: VecDeque<Fragment>,
    suspicion: Suspicion,
    /// Requests that were given up and count as load.
    loads: Loads,
    /// Loads that have ended, to be dropped outside of all locks.
    ended_loads: Vec<Load>,
    /// Whether the driver watches the child, or was told to.
    is_watched: bool,
    signs: Arc<LifeSigns>,
}

/// What belongs to a call besides its frame.
#[derive(Debug, Default)]
pub(super) struct CallDetails {
    pub(super) notes: Notes,
    /// Tokens of the caller, each with the number that was sent in its place.
    pub(super) tokens: Vec<(u64, Bytes)>,
    /// The call is a ping: the child does no work for it.
    pub(super) is_ping: bool,
    /// The call is `initialize`, which must not be cancelled.
    pub(super) is_initialize: bool,
    /// The waker of the task that awaits the reply, if it will poll for the reply only when woken.
    pub(super) waker: Option<Waker>,
    pub(super) deadline: Option<Instant>,
}

/// Why a call is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// Its deadline passed.
    Deadline,
    /// Its caller dropped it.
    Caller,
    /// The client cancelled it by its id. Its caller still waits.
    Client,
    /// A subscription, of which its caller did not take these notifications in time. It still waits.
    Overflow(Untaken),
}

/// What the driver finds to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queued {
    pub(super) is_any: bool,
    /// Whether several calls are pending, so that further requests are likely.
    pub(super) are_calls_pending: bool,
    /// Whether the child must be watched, because it has work or is suspected.
    pub(super) must_watch: bool,
    pub(super) is_suspected: bool,
}

/// Whether callers have to wake the driver when they queue a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WakeDriver {
    Yes,
    /// The driver will run anyway.
    No,
}

/// The tasks to wake after the end, once all locks are released.
#[must_use]
pub(super) struct Wakers {
    calls: Vec<Waker>,
    loads: Vec<Load>,
    driver: Option<Waker>,
}

impl Wakers {
    pub(super) fn wake(self) {
        drop(self.loads);
        for waker in self.calls.into_iter().chain(self.driver) {
            waker.wake();
        }
    }
}

impl LinkState {
    pub(super) fn new(now: Instant, signs: Arc<LifeSigns>) -> Self {
        Self {
            table: Table::new(Arc::clone(&signs)),
            queue: Outbox::default(),
            driver: None,
            is_driver_asleep: false,
            fault: None,
            input_end: None,
            torn: None,
            unsent: BTreeSet::new(),
            end: None,
            dropped: RpcStatus::default(),
            strays: VecDeque::new(),
            suspicion: Suspicion::new(now),
            loads: Loads::default(),
            ended_loads: Vec::new(),
            is_watched: false,
            signs,
        }
    }

    /// Whether calls can begin.
    pub(super) const fn is_open(&self) -> bool {
        self.fault.is_none() && self.end.is_none() && self.input_end.is_none()
    }

    /// Whether calls cannot begin any more, and the error for them may soon say more.
    pub(super) const fn has_only_fault(&self) -> bool {
        self.fault.is_some() && self.end.is_none() && self.input_end.is_none()
    }

    /// Whether nothing can be read any more.
    pub(super) const fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// The error of a call that begins after the end.
    pub(super) fn refusal(&self) -> RpcError {
        let end = self.end.as_ref().or(self.input_end.as_ref());
        match end.map(Arc::as_ref).or(self.fault.as_ref()) {
            Some(end) => end.error(Fate::NotSent),
            None => RpcError::Cancelled {
                fate: Fate::NotSent,
            },
        }
    }

    /// The error of a call of this fate whose time ends, if it is known why it has no reply. A closed stdin does not
    /// explain that for a request that was written: its reply can still come.
    pub(super) fn known_error(&self, fate: Fate) -> Option<RpcError> {
        let end = self.end.as_deref().or(self.fault.as_ref())?;
        let is_input_alone = matches!(end.cause, EndCause::StdinClosed);
        (!is_input_alone || fate == Fate::NotSent).then(|| end.error(fate))
    }

    pub(super) fn begin(&mut self, call: CallId, details: CallDetails) {
        let new = NewCall {
            notes: details.notes,
            waker: details.waker,
            deadline: details.deadline,
            is_ping: details.is_ping,
            is_initialize: details.is_initialize,
            reads_before: self.suspicion.reads(),
        };
        self.table.begin(call, new);
        for (token, original) in details.tokens {
            self.table.add_token(call, token, original);
        }
    }

    /// A call begins that will not be sent, and waits for its error.
    pub(super) fn begin_unsent(&mut self, call: CallId, details: CallDetails) {
        self.begin(call, details);
        self.unsent.insert(call);
    }

    pub(super) fn driver(&self) -> Option<Waker> {
        self.driver.clone()
    }

    /// The driver, if it must be woken. Only the first caller that asks has to.
    pub(super) fn driver_to_wake(&mut self) -> Option<Waker> {
        let driver = self.driver.as_ref().filter(|_| self.is_driver_asleep);
        self.is_driver_asleep = false;
        driver.cloned()
    }

    /// What there is to write. The waker becomes the driver's; the one that it replaces is returned, to
    /// be dropped outside of the lock.
    pub(super) fn look_at_queue(
        &mut self,
        waker: &Waker,
        wake: WakeDriver,
    ) -> (Queued, Option<Waker>) {
        self.is_driver_asleep = wake == WakeDriver::Yes;
        let replaced = match &self.driver {
            Some(known) if known.will_wake(waker) => None,
            Some(_) | None => self.driver.replace(waker.clone()),
        };
        let queued = Queued {
            is_any: !self.queue.is_empty(),
            are_calls_pending: self.table.pending() > 1,
            must_watch: self.is_watched || self.is_suspected(),
            is_suspected: self.is_suspected(),
        };
        (queued, replaced)
    }

    /// Resolves to the reply of a call, or to the reason why none can come any more. The sink must be
    /// dropped outside of all locks.
    pub(super) fn poll_call(
        &mut self,
        call: CallId,
        cx: &Context<'_>,
    ) -> Poll<(Result<Reply, RpcError>, Option<NoteSink>)> {
        if let Poll::Ready((outcome, sink)) = self.table.poll(call, cx) {
            return Poll::Ready((outcome.map_err(Withdrawn::error), sink));
        }
        let (end, fate) = match (&self.input_end, &self.end) {
            (Some(end), _) | (None, Some(end)) if self.unsent.remove(&call) => (end, Fate::NotSent),
            (Some(end), _) if self.torn == Some(call) => (end, Fate::MaybeExecuted),
            (_, Some(end)) => (end, Fate::MaybeExecuted),
            (_, None) => return Poll::Pending,
        };
        let error = end.error(fate);
        let given_up = self.table.abandon(call, Fate::NotSent);
        Poll::Ready((Err(error), given_up.sink))
    }

    /// Gives a call up. `is_taken_back` says whether its request was removed from where it waited, and
    /// `next` is the number of the next call.
    pub(super) fn give_up(
        &mut self,
        call: CallId,
        why: GiveUp,
        is_taken_back: bool,
        next: CallId,
    ) -> (Fate, GivenUp) {
        let fate = if self.unsent.remove(&call) || is_taken_back {
            Fate::NotSent
        } else {
            Fate::MaybeExecuted
        };
        let given_up = match why {
            GiveUp::Deadline | GiveUp::Caller => self.table.abandon(call, fate),
            GiveUp::Client => self.table.withdraw(call, Withdrawn::ByClient(fate)),
            GiveUp::Overflow(untaken) => self.table.withdraw(call, Withdrawn::Overflow(untaken)),
        };
        if given_up.is_owed {
            if !given_up.is_ping {
                self.suspicion.note_given_up();
            }
            if why == GiveUp::Deadline {
                let reads_before = given_up.reads_before;
                self.suspicion
                    .note_missed_deadline(reads_before, Instant::now(), next);
            }
        }
        (fate, given_up)
    }

    /// Whether the child can be told to cancel a call that goes on to its reply.
    pub(super) fn can_cancel(&self, call: CallId) -> bool {
        self.table.can_cancel(call)
    }

    /// The child is told to cancel a call that goes on to its reply.
    pub(super) fn note_cancelled(&mut self, call: CallId) {
        self.table.note_cancelled(call);
    }

    /// Hands replies to their calls. The wakers of these calls are added to `wakers`. Numbers below
    /// `issued` have been used. Returns how many replies belong to no call.
    pub(super) fn deliver(
        &mut self,
        replies: &mut Vec<(Option<u64>, Reply)>,
        issued: u64,
        wakers: &mut Vec<Waker>,
    ) -> UnclaimedCounts {
        let mut unclaimed = UnclaimedCounts::default();
        for (id, reply) in replies.drain(..) {
            let outcome = match id {
                Some(id) => self.table.accept_reply(id, reply, issued),
                None => Err(UnclaimedReply::Unknown),
            };
            if let Some(id) = id
                && !self.loads.is_empty()
            {
                self.ended_loads.extend(self.loads.note_reply(id));
            }
            match outcome {
                Ok(waker) => wakers.extend(waker),
                Err(UnclaimedReply::Late) => unclaimed.late += 1,
                Err(UnclaimedReply::Duplicate) => unclaimed.duplicate += 1,
                Err(UnclaimedReply::Unknown) => unclaimed.unknown += 1,
            }
        }
        self.dropped.late += unclaimed.late;
        self.dropped.duplicate += unclaimed.duplicate;
        self.dropped.unknown += unclaimed.unknown;
        unclaimed
    }

    /// From now on a request that was given up counts as load, unless the child is done with it. `next` is
    /// the number of the next call; `reply` says whether the child owes a reply.
    pub(super) fn begin_load(
        &mut self,
        call: CallId,
        next: CallId,
        is_answered: bool,
    ) -> Option<LoadEnd> {
        if self.end.is_some() || !self.table.is_abandoned(call) {
            return None;
        }
        let ends_with = if is_answered { CallId::MAX } else { next };
        Some(self.loads.begin(call, ends_with))
    }

    /// Loads that have ended, to be dropped outside of all locks.
    pub(super) fn take_ended_loads(&mut self) -> Vec<Load> {
        std::mem::take(&mut self.ended_loads)
    }

    /// Whether the child should be pinged, so that its answer ends what counts as load. Not while a ping is unanswered,
    /// or each request that is given up would cause another one.
    pub(super) fn wants_ping(&self) -> bool {
        self.loads.wants_answer() && !self.table.is_pinged() && self.is_open()
    }

    /// Something was read.
    pub(super) fn note_read(&mut self) {
        let now = Instant::now();
        self.suspicion.note_read(now);
        self.signs.note_read(now);
    }

    /// The end of the child's stdout was read.
    pub(super) fn note_output_end(&self) {
        self.signs.note_lost();
    }

    /// The receiver of a call's progress, and the caller's token, by the token that we sent.
    pub(super) fn progress(&self, token: u64) -> Option<(NoteSink, Bytes)> {
        let (sink, original) = self.table.progress(token)?;
        Some((sink.clone(), original.clone()))
    }

    /// The receiver of what is said of a call by its number, and the id that the client gave it.
    pub(super) fn notes(&self, call: CallId) -> Option<(NoteSink, Option<Bytes>)> {
        let notes = self.table.notes(call)?;
        Some((notes.sink.clone()?, notes.client_id.clone()))
    }

    /// The number that was sent in place of this token of a call.
    pub(super) fn token_of(&self, call: CallId, original: &[u8]) -> Option<u64> {
        self.table.token_of(call, original)
    }

    /// Whether the child may end a call by a cancel.
    pub(super) fn is_subscription(&self, call: CallId) -> bool {
        self.table.is_open_subscription(call)
    }

    /// The child has cancelled a call. Its caller must be woken outside of all locks.
    pub(super) fn end_by_child(&mut self, call: CallId) -> GivenUp {
        self.table.withdraw(call, Withdrawn::ByChild)
    }

    /// Counts a note that belongs to no call that listens.
    pub(super) const fn count_unheard(&mut self) {
        self.dropped.unheard += 1;
    }

    /// Counts a message of the connection's own that could not be sent.
    pub(super) const fn count_unsent(&mut self) {
        self.dropped.unsent += 1;
    }

    /// Counts a frame that is not a message, and keeps its beginning.
    pub(super) fn note_stray(&mut self, frame: &[u8]) {
        self.dropped.strays += 1;
        if self.strays.len() == STRAYS_KEPT {
            self.strays.pop_front();
        }
        self.strays.push_back(Fragment::first_of(frame));
    }

    /// Calls cannot begin any more. This says more than a fault that was noted before.
    pub(super) fn note_fault(&mut self, fault: ConnectionEnd) {
        self.signs.note_lost();
        self.fault = Some(fault);
    }

    /// Nothing can be written any more. `unwritten` is what was not.
    pub(super) fn end_input(&mut self, end: ConnectionEnd, unwritten: &Outbox) -> Wakers {
        self.input_end.get_or_insert_with(|| Arc::new(end));
        self.stop(unwritten)
    }

    /// Nothing can be written or read any more. `unwritten` is what was not written.
    pub(super) fn end(&mut self, end: ConnectionEnd, unwritten: &Outbox) -> Wakers {
        self.end.get_or_insert_with(|| Arc::new(end));
        let ended = self.loads.end_all();
        self.ended_loads.extend(ended);
        self.stop(unwritten)
    }

    fn stop(&mut self, unwritten: &Outbox) -> Wakers {
        self.signs.note_lost();
        self.unsent.extend(unwritten.whole());
        self.torn = self.torn.or(unwritten.torn());
        Wakers {
            calls: self.table.take_wakers(),
            loads: self.take_ended_loads(),
            driver: self.driver.take(),
        }
    }

    /// What is under way, and what was dropped.
    pub(super) fn status(&self) -> RpcStatus {
        RpcStatus {
            pending: self.pending(),
            silent_for: Instant::now() - self.last_read(),
            ..self.dropped
        }
    }

    #[cfg(test)]
    pub(super) fn loads(&self) -> usize {
        self.loads.len()
    }

    pub(super) fn strays(&self) -> Vec<Fragment> {
        self.strays.iter().cloned().collect()
    }

    /// How many calls are not over.
    pub(super) fn pending(&self) -> usize {
        self.table.pending()
    }

    /// Whether no call is pending, and none was given up that the child may still work on.
    pub(super) fn owes_nothing(&self) -> bool {
        self.table.pending() == 0 && self.table.abandoned() == 0
    }

    /// Whether a call waits for its reply.
    pub(super) const fn is_awaited(&self) -> bool {
        self.table.is_awaited()
    }

    /// Returns whether the driver must be woken to watch the child, and notes that it will be.
    pub(super) const fn start_watch(&mut self) -> bool {
        !std::mem::replace(&mut self.is_watched, true)
    }

    /// Ends the watch, unless there is work again.
    pub(super) fn end_watch(&mut self) -> bool {
        self.is_watched = self.table.is_awaited_soon() || self.is_suspected();
        !self.is_watched
    }

    /// Whether the child may be working: a call is pending, or was given up since the last read.
    pub(super) fn may_be_working(&self) -> bool {
        self.suspicion.has_given_up() || self.table.has_work()
    }

    pub(super) const fn is_suspected(&self) -> bool {
        self.suspicion.suspected().is_some()
    }

    /// Whether the child is suspected, and how often that has changed.
    pub(super) const fn suspicion_change(&self) -> (bool, u64) {
        (self.is_suspected(), self.suspicion.changes())
    }

    /// The child is suspected from now on. `next` is the number of the next call.
    pub(super) fn suspect(&mut self, next: CallId) {
        self.suspicion.suspect(Instant::now(), next);
    }

    /// Notes that a ping was sent that nobody awaits.
    pub(super) fn note_unawaited_ping(&mut self, ping: CallId) {
        self.table.note_unawaited_ping(ping);
    }

    pub(super) const fn reads(&self) -> u64 {
        self.suspicion.reads()
    }

    /// What the watchdog needs to know.
    pub(super) fn observe(&self) -> Observation {
        let suspected = self.suspicion.suspected();
        Observation {
            reads: self.suspicion.reads(),
            has_work: self.table.has_work(),
            suspected_since: suspected.map(|suspected| suspected.since),
            excuse: suspected.map_or(Excuse::None, |suspected| {
                self.table.excuse(|call| call < suspected.first_later_call)
            }),
        }
    }

    /// How long calls other than these and those in the queue excuse a child that does not read.
    pub(super) fn excuse_of_written(&self, unwritten: impl Iterator<Item = CallId>) -> Excuse {
        let unwritten: BTreeSet<CallId> = unwritten.chain(self.queue.calls()).collect();
        self.table.excuse(|call| !unwritten.contains(&call))
    }

    /// When something was read last, or the connection was opened.
    pub(super) const fn last_read(&self) -> Instant {
        self.suspicion.last_read()
    }
}

/// Beginnings of frames that were not messages.
const STRAYS_KEPT: usize = 8;
