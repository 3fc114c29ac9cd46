//! The one task of a connection: it writes what is queued, reads, and sees the end.
//!
//! Every poll does a bounded amount of each, so none can starve the others: a child that floods us
//! is still written to, and one that does not read is still read from.
//!
//! # Batches
//!
//! While several calls are pending, the driver yields once before it writes, so that every task that
//! is ready to run can queue its request: the requests then leave in one write. A caller that is alone
//! writes directly (`Link::submit`).
//!
//! # Order of ends
//!
//! Everything that the child wrote before its end is routed first. The connection ends when the
//! child's stdout ends. If another process holds that open, it ends [`EXIT_WAIT`] after the child's
//! exit. A broken stdin fails only what was not written.
//!
//! A fault that an exit may explain is noted in the link at once, so that nothing more is written. Its callers are told
//! when the exit is there, when it is not expected any more, or when their time ends.

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use pool_core::BoxFuture;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::error::{ConnectionEnd, EndCause};
use super::limit::DURATION_MAX;
use super::link::{Link, Read};
use super::pipes::StdoutPipe;
use super::report::ChildFacts;
use super::router::Router;
use super::state::{Queued, WakeDriver};
use super::suspicion::{Excuse, Tick, Watchdog};
use super::writer::Flush;
use crate::launch::{EXIT_WAIT, wait_for_exit};
use crate::metrics::Meters;
use crate::process::Exit;

/// The task of a connection.
pub(super) struct Driver<R> {
    link: Arc<Link>,
    stdout: R,
    router: Router,
    facts: ChildFacts,
    /// Resolves when the child has exited. `None` if there is no process.
    exited: Option<BoxFuture<'static, Exit>>,
    meters: Arc<Meters>,
    /// What was read and is not yet a whole frame.
    bytes: BytesMut,
    has_yielded: bool,
    stall: Option<Stall>,
    /// Resolves when nothing is expected any more that explains what was seen.
    explained: Option<BoxFuture<'static, ()>>,
    /// Runs while a call is pending or the child is suspected.
    watch: Option<Watch>,
    has_closed_input: bool,
    has_exited: bool,
    counted_bytes: u64,
}

/// The child does not read.
struct Stall {
    deadline: Pin<Box<Sleep>>,
    /// How much was written when it began.
    written_total: u64,
}

/// Watches a child that may hang.
struct Watch {
    watchdog: Watchdog,
    timer: Pin<Box<Sleep>>,
    /// Whether the last tick knew of a suspicion.
    was_suspected: bool,
}

impl<R: StdoutPipe> Driver<R> {
    pub(super) fn new(
        stdout: R,
        router: Router,
        facts: ChildFacts,
        exited: Option<BoxFuture<'static, Exit>>,
    ) -> Self {
        Self {
            link: Arc::clone(&router.link),
            meters: Arc::clone(&router.meters),
            stdout,
            router,
            facts,
            exited,
            bytes: BytesMut::new(),
            has_yielded: false,
            stall: None,
            explained: None,
            watch: None,
            has_closed_input: false,
            has_exited: false,
            counted_bytes: 0,
        }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self) {
        let cause = poll_fn(|cx| self.poll(cx)).await;
        let cause = self.explain(cause).await;
        // The pipe is closed here, so that the child sees the end of its input.
        drop(self.link.close(self.end(cause)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EndCause> {
        if let Poll::Ready(cause) = self.poll_read(cx) {
            return Poll::Ready(cause);
        }
        // Order: after reading, which can start a handler, because a handler wakes us only once it was
        // polled. Before writing, because a finished handler has an answer to write.
        self.router.poll_answers(cx);
        let queued = self.link.look_at_queue(cx.waker(), WakeDriver::Yes);
        if self.poll_write(cx, queued).is_ready() {
            return Poll::Ready(EndCause::WriteStalled(self.link.settings.write_timeout));
        }
        if let Poll::Ready(cause) = self.poll_watch(cx, queued) {
            return Poll::Ready(cause);
        }
        self.poll_end(cx)
    }

    /// Writes what is queued. Ready if the child has not read for too long.
    fn poll_write(&mut self, cx: &mut Context<'_>, queued: Queued) -> Poll<()> {
        // After the exit another process can still hold stdin. A request that it does not get is surely not executed.
        if self.has_closed_input || self.has_exited {
            return Poll::Pending;
        }
        if queued.is_any && queued.are_calls_pending && !self.has_yielded {
            self.has_yielded = true;
            self.link.look_at_queue(cx.waker(), WakeDriver::No);
            let others = pin!(tokio::task::yield_now());
            if others.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.has_yielded = false;
        let flush = self.link.poll_flush(cx);
        let written_total = self.link.written_total();
        self.count_written(written_total);
        match flush {
            Poll::Ready(Flush::Complete) => {
                self.stall = None;
                Poll::Pending
            }
            Poll::Ready(Flush::Failed) => {
                // An exit or the end of stdout is a better explanation. Wait a moment for it.
                self.stall = None;
                self.has_closed_input = true;
                if !self.has_exited {
                    self.link.note_fault(self.end(EndCause::StdinClosed));
                    let facts = self.facts.clone();
                    // The exit itself is seen by `poll_end`.
                    let wait =
                        async move { wait_for_exit(pending::<()>(), || facts.is_leaving()).await };
                    self.explained = Some(Box::pin(wait));
                }
                Poll::Pending
            }
            Poll::Pending => self.poll_stall(cx, written_total),
        }
    }

    /// Ready if the child reads nothing, and has no request that it may be at work on.
    fn poll_stall(&mut self, cx: &mut Context<'_>, written_total: u64) -> Poll<()> {
        let limit = self.link.settings.write_timeout;
        let wait = limit.clamp(STALL_LOOK_MIN, DURATION_MAX);
        let stall = self.stall.get_or_insert_with(|| Stall {
            deadline: Box::pin(sleep(limit)),
            written_total,
        });
        if stall.written_total != written_total {
            stall.written_total = written_total;
            let until = Instant::now() + limit.min(DURATION_MAX);
            stall.deadline.as_mut().reset(until);
        }
        loop {
            ready!(stall.deadline.as_mut().poll(cx));
            let now = Instant::now();
            // Many programs read nothing while they work.
            let next = match self.link.excuse_of_written() {
                Excuse::None => return Poll::Ready(()),
                Excuse::Until(deadline) if deadline <= now => return Poll::Ready(()),
                Excuse::Until(deadline) => deadline.min(now + wait),
                Excuse::Always => now + wait,
            };
            stall.deadline.as_mut().reset(next);
        }
    }

    /// Watches a child that has work or is suspected. Ready when it hangs.
    fn poll_watch(&mut self, cx: &mut Context<'_>, queued: Queued) -> Poll<EndCause> {
        if self.watch.is_none() {
            if !queued.must_watch {
                return Poll::Pending;
            }
            let hang_after = self.link.settings.hang_after;
            let reads = self.link.state().reads();
            let watchdog = Watchdog::start(hang_after, reads, Instant::now());
            self.watch = Some(Watch {
                timer: Box::pin(sleep_until(watchdog.next())),
                watchdog,
                was_suspected: false,
            });
        }
        while let Some(watch) = &mut self.watch {
            let is_news = queued.is_suspected && !watch.was_suspected;
            if !is_news {
                ready!(watch.timer.as_mut().poll(cx));
            }
            let seen = self.link.state().observe();
            watch.was_suspected = seen.suspected_since.is_some() || is_news;
            let facts = &self.facts;
            match watch
                .watchdog
                .tick(Instant::now(), &seen, || facts.is_stopped())
            {
                Tick::Rest if self.link.state().end_watch() => self.watch = None,
                Tick::Rest => {
                    let next = watch.watchdog.next();
                    watch.timer.as_mut().reset(next);
                }
                Tick::Suspect => {
                    watch.was_suspected = true;
                    watch.timer.as_mut().reset(Instant::now());
                    self.link.suspect();
                }
                Tick::Ping(next) => {
                    watch.timer.as_mut().reset(next);
                    self.suspected();
                }
                Tick::Wait(next) => watch.timer.as_mut().reset(next),
                Tick::End => {
                    let silent_for = self.link.state().last_read().elapsed();
                    return Poll::Ready(EndCause::Hung(silent_for));
                }
            }
        }
        Poll::Pending
    }

    /// The child has become a suspect.
    fn suspected(&self) {
        let pid = self.link.settings.pid;
        let silent_for = self.link.state().last_read().elapsed();
        tracing::warn!(target: "pool_stdio", pid, ?silent_for, "a child is suspected to hang");
        self.link.ping();
    }

    /// Reads and routes. Ready at the end of stdout, or when what was read breaks the protocol.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<EndCause> {
        let mut is_awaited = false;
        for _ in 0..READS_PER_TURN {
            self.make_room();
            // A pipe that keeps messages apart returns one message for each read, and holds more. While
            // a call still waits, ask the system and not only the runtime.
            let there = is_awaited.then(|| self.stdout.read_now(&mut self.bytes));
            let outcome = match there {
                Some(Ok(count)) => Ok(count),
                Some(Err(_)) | None => match self.stdout.poll_read(cx, &mut self.bytes) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => return Poll::Pending,
                },
            };
            let count = outcome.unwrap_or(0);
            self.meters.read(count);
            let read = if count == 0 { Read::End } else { Read::Bytes };
            if let Err(cause) = self.router.route(&mut self.bytes, read) {
                return Poll::Ready(cause);
            }
            if read == Read::End {
                return Poll::Ready(EndCause::OutputClosed);
            }
            is_awaited = self.link.state().is_awaited();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn make_room(&mut self) {
        let bytes = &mut self.bytes;
        if bytes.is_empty() {
            // If nobody else holds a part of the buffer, start at its front again. A long frame that
            // starts there does not have to be moved later.
            let _is_there_now = bytes.try_reclaim(bytes.capacity() + 1);
        }
        // The codec makes room for a long frame, within its limit.
        if bytes.len() < READ_BYTES && bytes.capacity() - bytes.len() < SPARE_BYTES_MIN {
            bytes.reserve(READ_BYTES);
        }
    }

    /// Sees the exit, and what it explains.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<EndCause> {
        if !self.has_exited
            && let Some(exited) = &mut self.exited
            && exited.as_mut().poll(cx).is_ready()
        {
            self.has_exited = true;
            self.link.note_fault(self.end(EndCause::Exited));
            // The end of stdout usually follows, with the last replies before it.
            self.explained = Some(Box::pin(sleep(EXIT_WAIT)));
        }
        if let Some(explained) = &mut self.explained
            && explained.as_mut().poll(cx).is_ready()
        {
            self.explained = None;
            if self.has_exited {
                return Poll::Ready(EndCause::Exited);
            }
            self.link.close_input(self.end(EndCause::StdinClosed));
        }
        Poll::Pending
    }

    /// If stdout ended, the child has usually exited: waits a moment for its exit.
    async fn explain(&mut self, cause: EndCause) -> EndCause {
        let may_have_exited = matches!(cause, EndCause::OutputClosed | EndCause::Protocol(_));
        if may_have_exited
            && !self.has_exited
            && let Some(mut exited) = self.exited.take()
        {
            self.link.note_fault(self.end(cause.clone()));
            wait_for_exit(&mut exited, || self.facts.is_leaving()).await;
        }
        if matches!(cause, EndCause::OutputClosed) && self.facts.exit().is_some() {
            EndCause::Exited
        } else {
            cause
        }
    }
}

impl<R> Driver<R> {
    fn end(&self, cause: EndCause) -> ConnectionEnd {
        let report = self.facts.report(self.link.state().strays());
        ConnectionEnd { cause, report }
    }

    fn count_written(&mut self, total: u64) {
        if self.meters.is_recorded() {
            let new = total - self.counted_bytes;
            self.meters
                .written(usize::try_from(new).unwrap_or(usize::MAX));
            self.counted_bytes = total;
        }
    }
}

/// If the runtime drops the driver, all calls end.
impl<R> Drop for Driver<R> {
    fn drop(&mut self) {
        self.count_written(self.link.written_total());
        drop(self.link.close(self.end(EndCause::Closed)));
    }
}

/// A child that does not read because it works is looked at no more often.
const STALL_LOOK_MIN: Duration = Duration::from_secs(1);
/// After this many reads other tasks get their turn.
const READS_PER_TURN: usize = 16;
const READ_BYTES: usize = 16 * 1024;
/// With less room the buffer grows before the next read.
const SPARE_BYTES_MIN: usize = 2 * 1024;
