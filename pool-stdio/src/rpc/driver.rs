//! The one task of a connection: it writes what is queued, reads, routes, and sees the end.
//!
//! Every poll does a bounded amount of each, so none can starve the others: a child that floods us
//! is still written to, and one that does not read is still read from.
//!
//! # Batches
//!
//! While several calls are under way the driver lets everybody who is ready to run go first, once,
//! before it writes: their requests then leave in one write. Who is alone writes by itself
//! ([`Link::send`]).
//!
//! # Order of ends
//!
//! Whatever the child wrote before its end is routed first. The end of its stdout is the end of the
//! connection; its exit is, after [`EXIT_WAIT`], if somebody else holds its stdout open. A broken
//! stdin only ends what was not written.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::broadcast;
use tokio::time::{Instant, Sleep, sleep};

use super::error::{ConnectionEnd, EndCause, RpcReport};
use super::framing::{Frame, FrameDecoder, join, splice};
use super::link::Link;
use super::notifications::Notification;
use super::pending::FAR;
use super::protocol::Protocol;
use super::scan::{Elements, Envelope, MessageKind, own_number};
use super::server_request::{Responder, ServerRequest, unsendable};
use super::table::Reply;
use crate::codec::DecodeError;
use crate::metrics::Meters;
use crate::process::{ChildRecord, Exit, ExitWait, StderrTail, read_buf};

/// What becomes of a frame that is no JSON-RPC message.
///
/// # Examples
///
/// ```
/// use pool_stdio::StrayFrames;
///
/// assert_eq!(StrayFrames::default(), StrayFrames::Skip);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StrayFrames {
    /// It is skipped and counted, and the last few are kept. The default: servers write log lines
    /// to stdout.
    #[default]
    Skip,
    /// It ends the connection.
    Refuse,
}

/// Where a connection reads from.
pub(super) trait StdoutPipe: Send + 'static {
    /// Reads once, and says how much; zero at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// The same, if something is there, whatever the runtime believes.
    fn read_now(&mut self, _bytes: &mut BytesMut) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl StdoutPipe for Arc<Receiver> {
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            let room = bytes.capacity() - bytes.len();
            let mut emptied_by = None;
            let outcome = self.try_io(|| {
                let count = read_buf(self.as_fd(), bytes)?;
                if (1..room).contains(&count) {
                    // The pipe is empty now. The runtime is told so here, where what came later
                    // still counts, or another read would be needed to find that out.
                    emptied_by = Some(count);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(count)
            });
            match (outcome, emptied_by) {
                (_, Some(count)) => return Poll::Ready(Ok(count)),
                (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => {}
                (outcome, None) => return Poll::Ready(outcome),
            }
        }
    }

    fn read_now(&mut self, bytes: &mut BytesMut) -> io::Result<usize> {
        read_buf(self.as_fd(), bytes)
    }
}

/// What is known of the process behind the pipes, without holding it.
#[derive(Debug, Clone, Default)]
pub(super) struct ChildFacts {
    pub(super) record: Option<Arc<ChildRecord>>,
}

impl ChildFacts {
    pub(super) fn report(&self, link: &Link) -> Arc<RpcReport> {
        let record = self.record.as_deref();
        Arc::new(RpcReport {
            pid: record.map_or(0, |record| record.pid),
            exit: self.exit(),
            stderr: record.map_or_else(StderrTail::default, ChildRecord::stderr_tail),
            strays: link.strays(),
        })
    }

    fn exit(&self) -> Option<Exit> {
        self.record.as_ref().and_then(|record| record.exit.peek())
    }
}

/// The task of a connection.
pub(super) struct Driver<R> {
    pub(super) link: Arc<Link>,
    pub(super) stdout: R,
    pub(super) notices: broadcast::Sender<Notification>,
    pub(super) frames: FrameDecoder,
    pub(super) protocol: Protocol,
    pub(super) strays: StrayFrames,
    pub(super) responder: Responder,
    pub(super) facts: ChildFacts,
    pub(super) exited: Option<ExitWait>,
    pub(super) meters: Arc<Meters>,
    pub(super) desk: Desk,
}

/// What the driver has in hand.
#[derive(Default)]
pub(super) struct Desk {
    bytes: BytesMut,
    replies: Vec<(Option<u64>, Reply)>,
    wakers: Vec<Waker>,
    refused: Option<EndCause>,
    has_let_others_go_first: bool,
    /// Since when the child does not read, as a deadline, and how much it had by then.
    stalled: Option<(Pin<Box<Sleep>>, u64)>,
    /// Until when an exit may explain what has been seen.
    explained_by: Option<Pin<Box<Sleep>>>,
    has_closed_input: bool,
    has_exited: bool,
    counted_bytes: u64,
}

impl<R: StdoutPipe> Driver<R> {
    /// Serves the connection to its end.
    pub(super) async fn run(mut self) {
        let cause = poll_fn(|cx| self.poll(cx)).await;
        let cause = self.explain(cause).await;
        let report = self.facts.report(&self.link);
        // The pipe is closed here and now, so that the child sees the end of its input.
        drop(self.link.close(ConnectionEnd { cause, report }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EndCause> {
        if let Poll::Ready(cause) = self.poll_read(cx) {
            return Poll::Ready(cause);
        }
        // Order: after reading, which may have begun an answer, and before writing, which may
        // have one to write: who has not been polled since wakes nobody.
        while let Poll::Ready(answer) = self.responder.poll_answer(cx) {
            self.answer(answer);
        }
        if self.poll_write(cx).is_ready() {
            return Poll::Ready(EndCause::WriteStalled(self.link.settings.write_timeout));
        }
        self.poll_end(cx)
    }

    /// Writes what is queued. Ready if the child has not read for too long.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.desk.has_closed_input {
            return Poll::Pending;
        }
        let (is_queued, are_many) = self.link.look_at_queue(cx.waker(), true);
        if is_queued && are_many && !self.desk.has_let_others_go_first {
            self.desk.has_let_others_go_first = true;
            // Nobody needs to wake us meanwhile.
            self.link.look_at_queue(cx.waker(), false);
            let others = pin!(tokio::task::yield_now());
            if others.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.desk.has_let_others_go_first = false;
        let outcome = self.link.poll_flush(cx);
        let written = self.link.written_total();
        self.count_written(written);
        match outcome {
            Poll::Ready(true) => {
                self.desk.stalled = None;
                Poll::Pending
            }
            Poll::Ready(false) => {
                // An exit or the end of stdout says more, if it comes in a moment.
                self.desk.stalled = None;
                self.desk.has_closed_input = true;
                self.await_explanation();
                Poll::Pending
            }
            Poll::Pending => self.poll_stalled(cx, written),
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>, written: u64) -> Poll<()> {
        let limit = self.link.settings.write_timeout;
        let (deadline, since) = self
            .desk
            .stalled
            .get_or_insert_with(|| (Box::pin(sleep(limit)), written));
        if *since != written {
            *since = written;
            deadline.as_mut().reset(Instant::now() + limit.min(FAR));
        }
        deadline.as_mut().poll(cx)
    }

    /// Reads and routes. Ready at the end of stdout, or when it cannot be understood.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<EndCause> {
        let mut is_awaited = false;
        for _ in 0..READS_PER_TURN {
            let bytes = &mut self.desk.bytes;
            if bytes.is_empty() {
                // Back to its front, if nobody has a part of it: what begins there need not be moved
                // there when it turns out to be long.
                let _is_there_now = bytes.try_reclaim(bytes.capacity() + 1);
            }
            // For a long frame the codec makes room, within its limit.
            if bytes.len() < READ_BYTES && bytes.capacity() - bytes.len() < SPARE_BYTES_MIN {
                bytes.reserve(READ_BYTES);
            }
            // A pipe that keeps messages apart holds more than a read shows. While somebody still
            // waits the system is asked, and not the runtime alone.
            let there = is_awaited.then(|| self.stdout.read_now(bytes));
            let outcome = match there {
                Some(Ok(count)) => Ok(count),
                Some(Err(_)) | None => match self.stdout.poll_read(cx, bytes) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => return Poll::Pending,
                },
            };
            let count = outcome.unwrap_or(0);
            self.meters.read(count);
            let routed = self.route(count == 0);
            self.deliver(count == 0);
            if let Err(cause) = routed {
                return Poll::Ready(cause);
            }
            if count == 0 {
                return Poll::Ready(EndCause::OutputClosed);
            }
            is_awaited = self.link.is_awaited();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes all frames there are.
    fn route(&mut self, is_at_end: bool) -> Result<(), EndCause> {
        loop {
            match self.frames.next(&mut self.desk.bytes, is_at_end) {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.undecodable(&error)),
            }
            if let Some(cause) = self.desk.refused.take() {
                return Err(cause);
            }
        }
    }

    fn undecodable(&self, error: &DecodeError) -> EndCause {
        if matches!(
            error,
            DecodeError::LineTooLong { .. } | DecodeError::FrameTooLong { .. }
        ) {
            EndCause::FrameTooLarge(self.link.settings.frame_bytes_max)
        } else if matches!(error, DecodeError::TruncatedFrame { .. }) {
            EndCause::OutputClosed
        } else {
            EndCause::Protocol(error.to_string().into())
        }
    }

    fn take(&mut self, frame: Bytes) {
        match Elements::of(&frame) {
            Some(_) => self.take_batch(&frame),
            None => self.take_one(frame),
        }
    }

    /// Twice over it, once to see that it is whole: a list of what is in it might be larger than it.
    fn take_batch(&mut self, frame: &Bytes) {
        if !is_batch(frame) {
            return self.stray(frame);
        }
        let mut elements = Elements::of(frame);
        while let Some(Ok(Some(span))) = elements.as_mut().map(Elements::next) {
            self.take_one(frame.slice(span.range()));
            if self.desk.replies.len() == REPLIES_AT_ONCE {
                self.deliver(false);
            }
        }
    }

    fn take_one(&mut self, message: Bytes) {
        let envelope = match Envelope::of(&message) {
            Ok(envelope) if envelope.has_version => envelope,
            _ => return self.stray(&message),
        };
        match envelope.kind() {
            Ok(MessageKind::Reply) => {
                let id = envelope.id.and_then(|id| own_number(id.of(&message)));
                let reply = Reply::new(message, &envelope);
                self.desk.replies.push((id, reply));
            }
            Ok(MessageKind::Notification) => self.notice(message, &envelope),
            // As of a notification, a copy is kept.
            Ok(MessageKind::Request) => {
                match ServerRequest::new(Bytes::copy_from_slice(&message), &envelope) {
                    Some(request) => {
                        if let Some(answer) = self.responder.take(request) {
                            self.answer(answer);
                        }
                    }
                    None => self.stray(&message),
                }
            }
            Err(_) => self.stray(&message),
        }
    }

    fn notice(&mut self, message: Bytes, envelope: &Envelope) {
        if let Some(token) = self.protocol.progress_token(&message, envelope) {
            let heard = own_number(token.of(&message))
                .and_then(|number| self.link.progress(number))
                .is_some_and(|(progress, original)| {
                    let restored = join(&splice(&message, &[(token, original)]));
                    notification(restored).is_some_and(|one| progress.send(one))
                });
            if !heard {
                self.link.count_unheard();
            }
            return;
        }
        let has_listeners = self.notices.receiver_count() > 0;
        // It may be kept for long, and would keep all of the buffer it was read into.
        let kept = if has_listeners {
            Bytes::copy_from_slice(&message)
        } else {
            message.clone()
        };
        match Notification::new(kept, envelope) {
            // Nobody may have subscribed.
            Some(one) => drop(self.notices.send(one)),
            None => self.stray(&message),
        }
    }

    fn stray(&mut self, frame: &[u8]) {
        if frame.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.link.note_stray(frame);
        self.meters.strayed(1);
        if self.strays == StrayFrames::Refuse {
            self.desk.refused = Some(EndCause::Protocol("a frame that is no message".into()));
        }
    }

    fn answer(&self, message: Vec<u8>) {
        let settings = &self.link.settings;
        let frame = |text| Frame::of(settings.framing, settings.frame_bytes_max, text).ok();
        let id = Envelope::of(&message).ok().and_then(|found| found.id);
        let id = id.map(|span| span.of(&message).to_vec());
        // It may be too long, or of several lines. Who asked must not wait for ever, unless the id
        // alone is too long.
        match frame(message).or_else(|| frame(unsendable(&id?))) {
            Some(frame) => self.link.send_now(frame),
            None => self.link.count_unsent(),
        }
    }

    /// Hands out what was routed, of the last read or of an earlier one.
    fn deliver(&mut self, is_last: bool) {
        let desk = &mut self.desk;
        let unclaimed = self
            .link
            .settle(&mut desk.replies, &mut desk.wakers, is_last);
        self.meters.unclaimed(unclaimed);
        for waker in desk.wakers.drain(..) {
            waker.wake();
        }
    }

    /// Sees the exit, and what it explains.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<EndCause> {
        if !self.desk.has_exited
            && let Some(exited) = &mut self.exited
            && Pin::new(exited).poll(cx).is_ready()
        {
            self.desk.has_exited = true;
            self.await_explanation();
        }
        if let Some(until) = &mut self.desk.explained_by
            && until.as_mut().poll(cx).is_ready()
        {
            self.desk.explained_by = None;
            if self.desk.has_exited {
                return Poll::Ready(EndCause::Exited);
            }
            let report = self.facts.report(&self.link);
            let cause = EndCause::StdinClosed;
            self.link.close_input(ConnectionEnd { cause, report });
        }
        Poll::Pending
    }

    fn await_explanation(&mut self) {
        self.desk.explained_by = Some(Box::pin(sleep(EXIT_WAIT)));
    }

    /// The end of stdout is usually that of the child.
    async fn explain(&mut self, cause: EndCause) -> EndCause {
        let may_have_exited = matches!(cause, EndCause::OutputClosed | EndCause::Protocol(_));
        if may_have_exited && let Some(exited) = &mut self.exited {
            drop(tokio::time::timeout(EXIT_WAIT, exited).await);
        }
        if matches!(cause, EndCause::OutputClosed) && self.facts.exit().is_some() {
            EndCause::Exited
        } else {
            cause
        }
    }
}

impl<R> Driver<R> {
    fn count_written(&mut self, total: u64) {
        if self.meters.is_recorded() {
            let new = total - self.desk.counted_bytes;
            self.meters
                .written(usize::try_from(new).unwrap_or(usize::MAX));
            self.desk.counted_bytes = total;
        }
    }
}

/// A driver that is dropped with its runtime leaves nobody waiting.
impl<R> Drop for Driver<R> {
    fn drop(&mut self) {
        self.count_written(self.link.written_total());
        let report = self.facts.report(&self.link);
        let cause = EndCause::Closed;
        drop(self.link.close(ConnectionEnd { cause, report }));
    }
}

/// Whether something is in it, and it is JSON to its end.
fn is_batch(frame: &[u8]) -> bool {
    let mut elements = Elements::of(frame);
    let mut is_empty = true;
    loop {
        match elements.as_mut().map(Elements::next) {
            Some(Ok(Some(_))) => is_empty = false,
            Some(Ok(None)) => return !is_empty,
            Some(Err(_)) | None => return false,
        }
    }
}

fn notification(message: Bytes) -> Option<Notification> {
    let envelope = Envelope::of(&message).ok()?;
    Notification::new(message, &envelope)
}

/// A child's exit follows the end of its pipes within microseconds, unless it lives on.
const EXIT_WAIT: Duration = Duration::from_millis(50);
/// A longer batch is handed out in parts.
const REPLIES_AT_ONCE: usize = 1024;
/// Then others get their turn.
const READS_PER_TURN: usize = 16;
const READ_BYTES: usize = 16 * 1024;
/// With less room than this it is not worth to ask.
const SPARE_BYTES_MIN: usize = 2 * 1024;
