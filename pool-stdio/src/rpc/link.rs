//! What callers and the driver of one connection share: pending calls, the queue, the way out.
//!
//! # Locking
//!
//! Two mutexes, neither ever held across an await: `writer` around one non-blocking write, `state`
//! for a few instructions, and the copy of a small frame. Order: `writer` before `state`. Callers and
//! tasks are woken outside both, and handlers run there. What runs inside of a caller's own is the
//! clone of its waker, and the drop of a `Bytes` it has forwarded.
//!
//! # Invariants
//!
//! 1. A frame is in the queue, in the outbox, or written. It has a place in one of two rooms, and
//!    gives it back exactly once: when it is written or taken back. When the connection is over
//!    there is no room any more.
//! 2. What is said to be [not sent](Fate::NotSent) was whole in the queue or the outbox when it was
//!    taken out of there for good.
//! 3. After the connection went down nobody begins a call, and everybody who waited was woken.

mod questions;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast};
use tokio::time::timeout_at;

use super::counts::RpcCounts;
use super::error::{ConnectionEnd, Fate, RpcError};
use super::framing::{Frame, Framing};
use super::notifications::{Notices, Notification, Progress};
use super::outbox::{FrameBudget, FreedFrames, Outbox};
use super::pending::{Limit, PendingCall};
use super::protocol::Cancel;
use super::silence::Silence;
use super::table::{CallId, Reply, Table, UnclaimedReply};
use super::writer::{StdinPipe, Writer};
use crate::codec::Fragment;
use crate::process::{Once, lock};

/// What a connection is told about itself.
#[derive(Debug, Clone)]
pub(super) struct LinkSettings {
    /// The child's, or 0.
    pub(super) pid: u32,
    pub(super) framing: Framing,
    pub(super) frame_bytes_max: usize,
    pub(super) cancel: Cancel,
    pub(super) queue_max: usize,
    pub(super) enqueue_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) notices_max: usize,
}

/// The shared part of a connection.
pub(super) struct Link {
    pub(super) settings: LinkSettings,
    numbers: AtomicU64,
    /// Places for what callers send.
    pub(super) room: Semaphore,
    /// Places for what we send of our own accord.
    pub(super) own_room: Semaphore,
    pub(super) writer: Mutex<Writer>,
    pub(super) state: Mutex<State>,
    /// The sender is the driver's, so that the end of it is the end of all subscriptions.
    notices: broadcast::WeakSender<Notification>,
    /// Set when the connection is over.
    pub(super) over: Arc<Once<()>>,
}

pub(super) struct State {
    table: Table,
    pub(super) queue: Outbox,
    /// Of the driver, once it runs.
    driver: Option<Waker>,
    /// Whether it waits to be woken by who has something to write.
    is_asleep: bool,
    /// Nothing can be written any more.
    input: Option<Arc<ConnectionEnd>>,
    /// The call whose request was cut off by that.
    torn: Option<CallId>,
    /// Calls whose requests will never be written.
    unsent: BTreeSet<CallId>,
    /// Nothing can come any more.
    down: Option<Arc<ConnectionEnd>>,
    counts: RpcCounts,
    strays: VecDeque<Fragment>,
    silence: Silence,
    /// The end of the child's output was read.
    has_ended: bool,
}

/// What a call is besides its frame.
#[derive(Debug, Default)]
pub(super) struct CallDetails {
    pub(super) progress: Option<Progress>,
    /// Numbers that stand for tokens of the caller.
    pub(super) tokens: Vec<(u64, Bytes)>,
    /// It only asks for a sign of life.
    pub(super) is_ping: bool,
}

impl Link {
    /// A link, and where the driver sends notifications to.
    pub(super) fn new(
        settings: LinkSettings,
        pipe: Box<dyn StdinPipe>,
    ) -> (Arc<Self>, broadcast::Sender<Notification>) {
        let (notices, _) = broadcast::channel(settings.notices_max.max(1));
        let link = Arc::new(Self {
            numbers: AtomicU64::new(0),
            room: Semaphore::new(settings.queue_max.clamp(1, Semaphore::MAX_PERMITS)),
            own_room: Semaphore::new(OWN_FRAMES_MAX),
            settings,
            writer: Mutex::new(Writer::new(pipe)),
            state: Mutex::new(State {
                table: Table::default(),
                queue: Outbox::default(),
                driver: None,
                is_asleep: false,
                input: None,
                torn: None,
                unsent: BTreeSet::new(),
                down: None,
                counts: RpcCounts::default(),
                strays: VecDeque::new(),
                silence: Silence::new(),
                has_ended: false,
            }),
            notices: notices.downgrade(),
            over: Once::new(),
        });
        (link, notices)
    }

    /// Notifications from now on to the end of the connection.
    pub(super) fn subscribe(&self) -> Notices {
        let receiver = match self.notices.upgrade() {
            Some(notices) => notices.subscribe(),
            // Nobody is left to send any.
            None => broadcast::channel(1).1,
        };
        Notices::new(receiver)
    }

    /// A number that nobody had before, for a call or a token.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins a call in this place. The waker, if any, is that of who is going to await the call
    /// next, with nothing else awaited in between.
    pub(super) fn begin(
        &self,
        place: SemaphorePermit<'_>,
        call: CallId,
        frame: Frame,
        details: CallDetails,
        waker: Option<Waker>,
    ) -> Result<PendingCall<'_>, RpcError> {
        let is_awaited = waker.is_some();
        self.submit(place, frame, Some((call, details, waker)))?;
        Ok(PendingCall::new(self, call, is_awaited))
    }

    /// Sends a message that has no answer, as soon as there is room for its frame.
    pub(super) async fn send(&self, frame: Frame, limit: Option<Limit>) -> Result<(), RpcError> {
        let place = self.place(limit).await?;
        self.submit(place, frame, None)
    }

    /// FrameBudget for a frame of a caller, as soon as there is some.
    pub(super) async fn place(
        &self,
        limit: Option<Limit>,
    ) -> Result<SemaphorePermit<'_>, RpcError> {
        match self.room.try_acquire() {
            Ok(place) => Ok(place),
            // Boxed, since it is rare, and every call would be larger by it.
            Err(_) => Box::pin(self.wait_for_place(limit)).await,
        }
    }

    /// Waits for no longer than the call may take. Nothing was sent until then.
    async fn wait_for_place(&self, limit: Option<Limit>) -> Result<SemaphorePermit<'_>, RpcError> {
        let mut first = Limit::of(self.settings.enqueue_timeout);
        if let Some(limit) = limit
            && limit.until < first.until
        {
            first = limit;
        }
        match timeout_at(first.until, self.room.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(self.refusal(&lock(&self.state))),
            Err(_) => Err(first.error(self.settings.pid, Fate::NotSent)),
        }
    }

    /// What is said to who comes too late.
    fn refusal(&self, state: &State) -> RpcError {
        match state.down.as_ref().or(state.input.as_ref()) {
            Some(down) => down.error(Fate::NotSent),
            None => RpcError::Cancelled {
                fate: Fate::NotSent,
            },
        }
    }

    fn submit(
        &self,
        place: SemaphorePermit<'_>,
        mut frame: Frame,
        begun: Option<(CallId, CallDetails, Option<Waker>)>,
    ) -> Result<(), RpcError> {
        let mut state = lock(&self.state);
        if state.down.is_some() || state.input.is_some() {
            return Err(self.refusal(&state));
        }
        // It lives on in the frame.
        place.forget();
        let call = begun.as_ref().map(|(call, ..)| *call);
        state.queue.push(call, FrameBudget::Callers, &mut frame);
        if let Some((call, details, waker)) = begun {
            state.table.begin(call, details.progress, waker);
            for (token, original) in details.tokens {
                state.table.add_token(call, token, original);
            }
            if details.is_ping {
                state.table.note_ping(call);
            }
        }
        let (queued, pending) = (state.queue.len(), state.table.pending());
        let is_alone = queued == 1 && pending <= 1;
        // The child works on one half of many calls while the other half is being made.
        let is_half = queued >= HALF_MIN && queued >= pending / 2;
        let writes = is_alone || is_half;
        let driver = if writes {
            state.driver.clone()
        } else {
            state.driver_to_wake()
        };
        drop(state);
        if let Some(driver) = driver
            && !(writes && self.write_now(&driver))
        {
            driver.wake();
        }
        Ok(())
    }

    /// Whether something waits to be written, and whether several calls are under way. Who has
    /// something to write later wakes this task.
    pub(super) fn look_at_queue(&self, waker: &Waker, wake_me: bool) -> (bool, bool) {
        let mut state = lock(&self.state);
        state.is_asleep = wake_me;
        let replaced = match &state.driver {
            Some(known) if known.will_wake(waker) => None,
            Some(_) | None => state.driver.replace(waker.clone()),
        };
        let seen = (!state.queue.is_empty(), state.table.pending() > 1);
        drop(state);
        drop(replaced);
        seen
    }

    /// Sends a message of our own accord, without waiting: if there is no room for it, it is not
    /// sent, and counted.
    pub(super) fn send_now(&self, mut frame: Frame) {
        let driver = {
            let mut state = lock(&self.state);
            self.push_now(&mut state, &mut frame)
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn push_now(&self, state: &mut State, frame: &mut Frame) -> Option<Waker> {
        if state.down.is_some() || state.input.is_some() {
            return None;
        }
        let Ok(permit) = self.own_room.try_acquire() else {
            state.counts.unsent += 1;
            return None;
        };
        // It lives on in the frame.
        permit.forget();
        state.queue.push(None, FrameBudget::Ours, frame);
        state.driver_to_wake()
    }

    pub(super) fn poll_call(
        &self,
        call: CallId,
        cx: &Context<'_>,
    ) -> Poll<Result<Reply, RpcError>> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if let Poll::Ready((reply, progress)) = state.table.poll(call, cx) {
            drop(guard);
            drop(progress);
            return Poll::Ready(Ok(reply));
        }
        let (cause, fate) = match (&state.input, &state.down) {
            (Some(cause), _) | (None, Some(cause)) if state.unsent.remove(&call) => {
                (cause, Fate::NotSent)
            }
            (Some(cause), _) if state.torn == Some(call) => (cause, Fate::MaybeExecuted),
            (_, Some(cause)) => (cause, Fate::MaybeExecuted),
            (_, None) => return Poll::Pending,
        };
        let error = cause.error(fate);
        let (_, progress) = state.table.abandon(call, false);
        drop(guard);
        drop(progress);
        Poll::Ready(Err(error))
    }

    /// Gives a call up, takes its request back if it can, and has the child told otherwise.
    pub(super) fn abandon(&self, call: CallId) -> Fate {
        let mut writer = lock(&self.writer);
        let mut state = lock(&self.state);
        let in_queue = state.queue.take_back(call);
        let taken_back = in_queue.or_else(|| writer.outbox.take_back(call));
        let was_unsent = state.unsent.remove(&call) || taken_back.is_some();
        let mut driver = None;
        let is_ping = state.table.is_ping(call);
        let (is_owed, progress) = state.table.abandon(call, !was_unsent);
        if is_owed {
            state.silence.gave_up(is_ping);
            if let Some(mut frame) = self.cancel_frame(call) {
                driver = self.push_now(&mut state, &mut frame);
            }
        }
        drop((state, writer));
        drop(progress);
        if let Some(frame) = taken_back {
            let mut freed = FreedFrames::default();
            freed.add(frame.room);
            self.give_back(freed);
        }
        if let Some(driver) = driver {
            driver.wake();
        }
        if was_unsent {
            Fate::NotSent
        } else {
            Fate::MaybeExecuted
        }
    }

    fn cancel_frame(&self, call: CallId) -> Option<Frame> {
        let message = self.settings.cancel.message(call)?;
        let LinkSettings {
            framing,
            frame_bytes_max,
            ..
        } = self.settings;
        Frame::of(framing, frame_bytes_max, message.into_bytes()).ok()
    }

    /// Hands replies to their calls, leaving their wakers to be woken. Says how many met nobody,
    /// because they were late, duplicate or unknown.
    pub(super) fn settle(
        &self,
        replies: &mut Vec<(Option<u64>, Reply)>,
        wakers: &mut Vec<Waker>,
        is_last: bool,
    ) -> [u64; 3] {
        let mut unclaimed = [0; 3];
        let issued = self.numbers.load(Ordering::Relaxed);
        let mut state = lock(&self.state);
        if is_last {
            // Nothing was said by that.
            state.has_ended = true;
        } else {
            state.silence.end();
        }
        for (id, reply) in replies.drain(..) {
            let outcome = match id {
                Some(id) => state.table.settle(id, reply, issued),
                None => Err(UnclaimedReply::Unknown),
            };
            match outcome {
                Ok(waker) => wakers.extend(waker),
                Err(UnclaimedReply::Late) => unclaimed[0] += 1,
                Err(UnclaimedReply::Duplicate) => unclaimed[1] += 1,
                Err(UnclaimedReply::Unknown) => unclaimed[2] += 1,
            }
        }
        let [late, duplicate, unknown] = unclaimed;
        state.counts.late += late;
        state.counts.duplicate += duplicate;
        state.counts.unknown += unknown;
        unclaimed
    }

    /// Whom a progress token concerns, and what it was before.
    pub(super) fn progress(&self, token: u64) -> Option<(Progress, Bytes)> {
        let state = lock(&self.state);
        let (progress, original) = state.table.progress(token)?;
        Some((progress.clone(), original.clone()))
    }

    pub(super) fn count_unheard(&self) {
        lock(&self.state).counts.unheard += 1;
    }

    pub(super) fn count_unsent(&self) {
        lock(&self.state).counts.unsent += 1;
    }

    /// Keeps how a frame begins that is no message.
    pub(super) fn note_stray(&self, frame: &[u8]) {
        let mut state = lock(&self.state);
        state.counts.strays += 1;
        if state.strays.len() == STRAYS_KEPT {
            state.strays.pop_front();
        }
        state.strays.push_back(Fragment::first_of(frame));
    }

    /// Nothing can be written any more. Replies may still come to what was written.
    pub(super) fn close_input(&self, cause: ConnectionEnd) {
        let mut writer = lock(&self.writer);
        writer.pipe = None;
        self.stop(writer, Arc::new(cause), false);
    }

    /// The connection is over, unless it was before. What was accepted and should still be written
    /// is returned, with the pipe.
    pub(super) fn close(&self, cause: ConnectionEnd) -> Option<(Vec<u8>, Box<dyn StdinPipe>)> {
        let mut writer = lock(&self.writer);
        let queued = std::mem::take(&mut lock(&self.state).queue);
        writer.outbox.append(queued);
        let rest = writer.outbox.rest();
        let pipe = writer.pipe.take();
        self.stop(writer, Arc::new(cause), true);
        self.over.set(());
        pipe.map(|pipe| (rest, pipe))
    }

    fn stop(&self, mut writer: MutexGuard<'_, Writer>, cause: Arc<ConnectionEnd>, is_down: bool) {
        let mut state = lock(&self.state);
        let queue = std::mem::take(&mut state.queue);
        let unsent = writer.outbox.whole().chain(queue.whole());
        state.unsent.extend(unsent);
        if state.torn.is_none() {
            state.torn = writer.outbox.torn();
        }
        let frames = std::mem::take(&mut writer.outbox);
        let place = if is_down {
            &mut state.down
        } else {
            &mut state.input
        };
        if place.is_none() {
            *place = Some(cause);
        }
        self.room.close();
        let wakers = state.table.take_wakers();
        let driver = state.driver.take();
        drop((state, writer));
        drop((queue, frames));
        for waker in wakers.into_iter().chain(driver) {
            waker.wake();
        }
    }
}

impl State {
    /// The driver, if it has to be woken; only the first who asks has to.
    fn driver_to_wake(&mut self) -> Option<Waker> {
        let driver = self.driver.as_ref().filter(|_| self.is_asleep);
        self.is_asleep = false;
        driver.cloned()
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("settings", &self.settings)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// Less than that is not worth a write of its own.
const HALF_MIN: usize = 32;
/// Cancel notifications and answers to the child that may wait to be written.
const OWN_FRAMES_MAX: usize = 1024;
/// FrameDecoder that were no message.
const STRAYS_KEPT: usize = 8;
