//! What the callers and the driver of one connection share: pending calls, queued frames, the writer.
//! `own_frames` is what the connection sends by itself, `suspect` what a pool is told of the child,
//! `held_child` what a session needs.
//!
//! # Locking
//!
//! Two mutexes, neither held across an await: `writer` around one non-blocking write, `state` for a
//! few instructions and the copy of a small frame. Order: `writer` before `state`. Callers and tasks
//! are woken outside of both, and handlers run outside of both. The only foreign code that runs inside
//! is the clone of a caller's waker, and the drop of a `Bytes` that a caller forwarded.
//!
//! # Invariants
//!
//! 1. A frame is queued, in the outbox, or written. It occupies a place of one of two limits, and
//!    gives it back exactly once: when it is written or taken back. After the end of the connection
//!    there are no places.
//! 2. A request whose fate is [`NotSent`](Fate::NotSent) was whole in the queue or the outbox when it
//!    was removed for good.
//! 3. After the end of the connection no call begins, and every waiting caller was woken.

mod held_child;
mod own_frames;
mod suspect;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pool_core::{ConnectionId, SuspicionSink};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::error::{ConnectionEnd, Fate, RpcError};
use super::framing::{Frame, Framing};
use super::life_signs::LifeSigns;
use super::limit::Limit;
use super::newsfeed::{Newsfeed, WeakNewsfeed};
use super::note_limits::NoteLimits;
use super::notification::Origin;
use super::notifications::Notifications;
use super::outbox::{FrameBudget, FreedFrames, Outbox};
use super::pipes::StdinPipe;
use super::place::Place;
use super::protocol::Cancel;
use super::reply::Reply;
use super::report::ChildFacts;
use super::session_queue::SessionQueue;
use super::state::{CallDetails, GiveUp, LinkState, Queued, WakeDriver, Wakers};
use super::suspicion::Excuse;
use super::table::CallId;
use super::tokens::Tokens;
use super::writer::{Flush, Writer};
use crate::metrics::UnclaimedCounts;
use crate::process::{Once, lock};

/// The settings of one connection.
#[derive(Debug, Clone)]
pub(super) struct LinkSettings {
    /// The child's process id; 0 if there is no process.
    pub(super) pid: u32,
    pub(super) facts: ChildFacts,
    pub(super) connection_id: ConnectionId,
    pub(super) framing: Framing,
    pub(super) frame_bytes_max: usize,
    pub(super) cancel: Cancel,
    /// The request that a healthy child answers at once.
    pub(super) ping: Option<&'static str>,
    pub(super) queue_max: usize,
    pub(super) enqueue_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) hang_after: Duration,
    pub(super) notes: NoteLimits,
}

/// The shared part of a connection.
pub(super) struct Link {
    pub(super) settings: LinkSettings,
    numbers: AtomicU64,
    pub(super) tokens: Tokens,
    /// Places for frames of callers.
    caller_places: Arc<Semaphore>,
    /// Places for cancel notifications and answers.
    own_places: Semaphore,
    writer: Mutex<Writer>,
    state: Mutex<LinkState>,
    /// Of the state, without its lock.
    pub(super) signs: Arc<LifeSigns>,
    /// The driver owns the sender, so all subscriptions end with the driver.
    notifications: WeakNewsfeed,
    /// Set when the connection is over.
    pub(super) over: Arc<Once<()>>,
    /// The session that the child is held for.
    session: Mutex<Option<Arc<SessionQueue>>>,
    /// Whether a session's client may have left something of its own in the child.
    is_personal: AtomicBool,
    /// The runtime that the connection was opened on.
    pub(super) runtime: Option<Handle>,
    /// The pool that wants to know whether the child is suspected to hang. Emptied at the end, because
    /// it keeps the pool alive.
    suspicion_sink: Mutex<Option<Arc<SuspicionSink>>>,
    /// In the place of the protocol's ping.
    own_ping: OnceLock<OwnPing>,
}

/// A request that the child answers at once, as whoever begins it says.
#[derive(Debug)]
pub(super) struct OwnPing {
    pub(super) method: String,
    pub(super) params: Box<RawValue>,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Bytes,
    End,
}

impl LinkSettings {
    /// Where the messages of this child come from.
    pub(super) const fn origin(&self) -> Origin {
        Origin {
            connection_id: self.connection_id,
            pid: self.pid,
        }
    }
}

impl Link {
    /// A link, and the sender of notifications for its driver.
    pub(super) fn new(settings: LinkSettings, pipe: Box<dyn StdinPipe>) -> (Arc<Self>, Newsfeed) {
        let notifications = Newsfeed::new(settings.notes);
        let places = settings.queue_max.clamp(1, Semaphore::MAX_PERMITS);
        let now = Instant::now();
        let signs = Arc::new(LifeSigns::new(now));
        let link = Arc::new(Self {
            state: Mutex::new(LinkState::new(now, Arc::clone(&signs))),
            signs,
            numbers: AtomicU64::new(0),
            tokens: Tokens::new(),
            caller_places: Arc::new(Semaphore::new(places)),
            own_places: Semaphore::new(OWN_FRAMES_MAX),
            settings,
            writer: Mutex::new(Writer::new(pipe)),
            notifications: notifications.downgrade(),
            over: Once::new(),
            session: Mutex::new(None),
            is_personal: AtomicBool::new(false),
            runtime: Handle::try_current().ok(),
            suspicion_sink: Mutex::new(None),
            own_ping: OnceLock::new(),
        });
        (link, notifications)
    }

    /// Notifications from now on to the end of the connection.
    pub(super) fn subscribe(&self) -> Notifications {
        let receiver = match self.notifications.upgrade() {
            Some(notifications) => notifications.subscribe(),
            // The connection is over: the receiver sees the end at once.
            None => Newsfeed::new(self.settings.notes).subscribe(),
        };
        Notifications::new(receiver)
    }

    /// A new number, for a call or a token.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A place in the queue, if one is free and nobody waits for it.
    pub(super) fn try_place(&self) -> Option<Place<'_>> {
        self.caller_places.try_acquire().ok().map(Place::Found)
    }

    /// Waits for a place in the queue, for no longer than the call may take. Nothing was sent yet.
    pub(super) async fn wait_for_place(
        self: Arc<Self>,
        limit: Option<Limit>,
    ) -> Result<Place<'static>, RpcError> {
        let mut first = Limit::starting_now(self.settings.enqueue_timeout);
        if let Some(limit) = limit
            && limit.until < first.until
        {
            first = limit;
        }
        let place = Arc::clone(&self.caller_places).acquire_owned();
        match timeout_at(first.until, place).await {
            Ok(Ok(place)) => Ok(Place::Awaited(place)),
            Ok(Err(_)) => Err(lock(&self.state).refusal()),
            Err(_) => Err(self.timed_out(first, Fate::NotSent)),
        }
    }

    /// Sends a message that has no reply, as soon as there is a place for its frame.
    pub(super) async fn send(
        self: Arc<Self>,
        frame: Frame,
        limit: Option<Limit>,
    ) -> Result<(), RpcError> {
        self.send_if(frame, limit, || Ok(())).await
    }

    /// The same, if there is still reason to once it has its place.
    pub(super) async fn send_if(
        self: Arc<Self>,
        frame: Frame,
        limit: Option<Limit>,
        is_wanted: impl FnOnce() -> Result<(), RpcError>,
    ) -> Result<(), RpcError> {
        let place = match self.try_place() {
            Some(place) => place,
            None => Arc::clone(&self).wait_for_place(limit).await?,
        };
        is_wanted()?;
        self.submit(place, frame, None)
    }

    /// Begins a call.
    pub(super) fn begin(
        &self,
        place: Place<'_>,
        call: CallId,
        frame: Frame,
        details: CallDetails,
    ) -> Result<(), RpcError> {
        self.submit(place, frame, Some((call, details)))
    }

    fn submit(
        &self,
        place: Place<'_>,
        mut frame: Frame,
        begun: Option<(CallId, CallDetails)>,
    ) -> Result<(), RpcError> {
        let mut state = lock(&self.state);
        if !state.is_open() {
            return match begun {
                // Its error is not complete yet.
                Some((call, details)) if state.has_only_fault() => {
                    state.begin_unsent(call, details);
                    Ok(())
                }
                Some(_) | None => Err(state.refusal()),
            };
        }
        // The queued frame occupies the place from here on.
        place.occupy();
        let call = begun.as_ref().map(|(call, _)| *call);
        state.queue.push(call, FrameBudget::Callers, &mut frame);
        if let Some((call, details)) = begun {
            state.begin(call, details);
        }
        let (queued, pending) = (state.queue.len(), state.pending());
        let is_alone = queued == 1 && pending <= 1;
        // The child works on one half of many requests while callers make the other half.
        let is_half = queued >= HALF_MIN && queued >= pending / 2;
        let writes = is_alone || is_half;
        let must_watch = call.is_some() && state.start_watch();
        let driver = if writes || must_watch {
            state.driver()
        } else {
            state.driver_to_wake()
        };
        drop(state);
        if let Some(driver) = driver {
            let is_written = writes && self.write_now(&driver);
            if must_watch || !is_written {
                driver.wake();
            }
        }
        Ok(())
    }

    /// Spares a caller the switch to the driver's task. Returns whether everything is written.
    ///
    /// The pipe is polled with the waker of the driver: when the pipe has room again the driver is
    /// woken, so nothing depends on this caller.
    fn write_now(&self, driver: &Waker) -> bool {
        let Ok(mut writer) = self.writer.try_lock() else {
            return false;
        };
        let mut freed = FreedFrames::default();
        let flush = self.flush(&mut writer, &mut Context::from_waker(driver), &mut freed);
        drop(writer);
        self.give_back(freed);
        flush == Poll::Ready(Flush::Complete)
    }

    /// Writes what is queued.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Flush> {
        let mut freed = FreedFrames::default();
        let mut writer = lock(&self.writer);
        let flush = self.flush(&mut writer, cx, &mut freed);
        drop(writer);
        // Order: after unlocking, because it wakes callers that wait for a place.
        self.give_back(freed);
        flush
    }

    fn flush(
        &self,
        writer: &mut Writer,
        cx: &mut Context<'_>,
        freed: &mut FreedFrames,
    ) -> Poll<Flush> {
        let refill = |outbox: &mut Outbox| std::mem::swap(outbox, &mut lock(&self.state).queue);
        writer.poll_flush(cx, refill, freed)
    }

    fn give_back(&self, freed: FreedFrames) {
        self.own_places.add_permits(freed.ours);
        if freed.callers > 0 {
            self.caller_places.add_permits(freed.callers);
        }
    }

    /// How many bytes the system took.
    pub(super) fn written_total(&self) -> u64 {
        lock(&self.writer).written_total()
    }

    /// How long a child that does not read may still be at work on what was written to it.
    pub(super) fn excuse_of_written(&self) -> Excuse {
        let writer = lock(&self.writer);
        lock(&self.state).excuse_of_written(writer.unwritten_calls())
    }

    /// What there is to write. The waker becomes the driver's.
    pub(super) fn look_at_queue(&self, waker: &Waker, wake: WakeDriver) -> Queued {
        let (queued, replaced) = lock(&self.state).look_at_queue(waker, wake);
        drop(replaced);
        queued
    }

    /// Resolves to the reply of a call, or to the reason why none can come any more.
    pub(super) fn poll_call(
        &self,
        call: CallId,
        cx: &Context<'_>,
    ) -> Poll<Result<Reply, RpcError>> {
        let (outcome, sink) = ready!(lock(&self.state).poll_call(call, cx));
        drop(sink);
        Poll::Ready(outcome)
    }

    /// Gives a call up. Its request is taken back if possible, otherwise the child is told to cancel.
    pub(super) fn abandon(&self, call: CallId, why: GiveUp) -> Fate {
        let mut writer = lock(&self.writer);
        let mut state = lock(&self.state);
        let in_queue = state.queue.take_back(call);
        let taken_back = in_queue.or_else(|| writer.take_back(call));
        let next = self.numbers.load(Ordering::Relaxed);
        let was_suspected = state.is_suspected();
        let (fate, given_up) = state.give_up(call, why, taken_back.is_some(), next);
        let cancel = given_up.wants_cancel.then(|| self.cancel_frame(call));
        let cancel = cancel.flatten();
        let is_told = cancel.is_some_and(|mut frame| self.push_now(&mut state, &mut frame));
        let mut driver = is_told.then(|| state.driver_to_wake()).flatten();
        let is_new_suspect = !was_suspected && state.is_suspected();
        if is_new_suspect {
            // The driver pings the child, and ends it in time.
            driver = state.driver();
        }
        drop((state, writer));
        let waker = given_up.waker;
        drop(given_up.sink);
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(frame) = taken_back {
            let mut freed = FreedFrames::default();
            freed.add(frame.budget);
            self.give_back(freed);
        }
        if let Some(driver) = driver {
            driver.wake();
        }
        if is_new_suspect {
            self.publish_suspicion();
        }
        fate
    }

    /// The child has cancelled a call.
    pub(super) fn end_by_child(&self, call: CallId) {
        let ended = lock(&self.state).end_by_child(call);
        if let Some(waker) = ended.waker {
            waker.wake();
        }
    }

    /// Hands replies to their calls. The wakers of these calls are added to `wakers`, to be woken by
    /// the driver. Returns how many replies belong to no call.
    pub(super) fn deliver(
        &self,
        replies: &mut Vec<(Option<u64>, Reply)>,
        wakers: &mut Vec<Waker>,
        read: Read,
    ) -> UnclaimedCounts {
        let issued = self.numbers.load(Ordering::Relaxed);
        let mut state = lock(&self.state);
        let was_suspected = state.is_suspected();
        match read {
            Read::Bytes => state.note_read(),
            Read::End => state.note_output_end(),
        }
        let unclaimed = state.deliver(replies, issued, wakers);
        let ended_loads = state.take_ended_loads();
        // The answer to a ping ends what was given up before that ping, and not what was since.
        let wants_ping = self.wants_ping(&state);
        drop(state);
        drop(ended_loads);
        if wants_ping {
            self.ping();
        }
        if was_suspected {
            self.publish_suspicion();
        }
        unclaimed
    }

    /// From now on no call begins, and the driver writes nothing. The cause is known, and an exit may explain it in a
    /// moment.
    pub(super) fn note_fault(&self, fault: ConnectionEnd) {
        lock(&self.state).note_fault(fault);
    }

    /// Nothing can be written any more. Replies can still come to what was written.
    pub(super) fn close_input(&self, end: ConnectionEnd) {
        drop(self.stop(|state, unwritten| state.end_input(end, unwritten)));
    }

    /// The connection is over, unless it was before. Returns the pipe, and the accepted frames that
    /// should still be written to it.
    pub(super) fn close(&self, end: ConnectionEnd) -> Option<(Vec<u8>, Box<dyn StdinPipe>)> {
        let (pipe, unwritten) = self.stop(|state, unwritten| state.end(end, unwritten));
        let sink = lock(&self.suspicion_sink).take();
        drop(sink);
        if let Some(session) = self.session() {
            session.close();
        }
        self.over.set(());
        pipe.map(|pipe| (unwritten.rest(), pipe))
    }

    fn stop(
        &self,
        end: impl FnOnce(&mut LinkState, &Outbox) -> Wakers,
    ) -> (Option<Box<dyn StdinPipe>>, Outbox) {
        let mut writer = lock(&self.writer);
        let mut state = lock(&self.state);
        let (pipe, mut unwritten) = writer.close();
        unwritten.append(std::mem::take(&mut state.queue));
        let wakers = end(&mut state, &unwritten);
        self.caller_places.close();
        drop((state, writer));
        wakers.wake();
        (pipe, unwritten)
    }

    /// The error of a call that reached this limit. If a fault is known that ends the call, it is that.
    pub(super) fn timed_out(&self, limit: Limit, fate: Fate) -> RpcError {
        let state = lock(&self.state);
        if let Some(error) = state.known_error(fate) {
            return error;
        }
        let strays = state.strays();
        drop(state);
        limit.error(self.settings.facts.report(strays), fate)
    }

    /// What is known now. The guard must not be kept: every caller and the driver need it.
    pub(super) fn state(&self) -> MutexGuard<'_, LinkState> {
        lock(&self.state)
    }

    #[cfg(test)]
    pub(super) fn free_places(&self) -> usize {
        self.caller_places.available_permits()
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("settings", &self.settings)
            .field("pending", &self.state().pending())
            .finish_non_exhaustive()
    }
}

/// Fewer queued frames are not worth a write of their own.
const HALF_MIN: usize = 32;
/// Cancel notifications and answers to the child that may be queued.
const OWN_FRAMES_MAX: usize = 1024;
