//! A child that one caller at a time speaks to.

use std::fmt;
use std::sync::Arc;

use pool_core::{BoxError, BoxFuture, ConnectionId, Vitals};
use tokio::time::Instant;
use tokio_util::codec::Encoder;

use super::account::ReplyLength;
use super::exchange::ExclusiveExchange;
use super::request::Request;
use super::settings::ExchangeSettings;
use super::wire::Wire;
use crate::codec::{Codec, LineCodec};
use crate::error::{ChildReport, StdioError};
use crate::launch::{ChildStdio, LaunchedChild, died, vitals};
use crate::metrics::ChildMeter;
use crate::process::{Child, ExitWait, Liveness, Stop, Termination};

/// A child process that answers one request at a time, over its stdin and stdout.
///
/// Opened by a [`StdioConnector`](crate::StdioConnector), usually for a pool. The codec `C` says
/// what a frame is; by default it is a line.
///
/// Dropping it kills the child with its [scope](crate::KillScope) and reaps it in the background,
/// on any thread, with or without a runtime. [`terminate`](Self::terminate) lets it end by itself.
///
/// # When a connection is dirty
///
/// From before the first byte of a message can leave until its whole reply was read, the connection
/// is [dirty](Self::is_dirty), and a pool does not lend it again. So a request may be cancelled
/// anywhere: no later caller gets its reply.
///
/// What a whole reply is, the caller says with each [`request`](Self::request): one frame, or all
/// frames [until](Request::until) a last one. A connector can be told it once for all callers, with
/// [`replies_until`](crate::StdioConnector::replies_until). A request of several messages is made
/// as one, with [`and`](Request::and).
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
/// use pool_stdio::{CommandSpec, StdioConnector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ConnectionPool::builder(StdioConnector::new(CommandSpec::new("cat"))?).build()?;
/// let mut child = pool.acquire().await?;
/// let reply = child.request("hello").await?;
/// assert_eq!(reply.bytes, "hello");
/// assert!(!child.is_dirty());
/// # Ok(())
/// # }
/// ```
pub struct StdioConnection<C: Codec = LineCodec> {
    exchange: ExclusiveExchange<C>,
    id: ConnectionId,
    requested_at: Instant,
    meter: ChildMeter,
}

impl<C: Codec> StdioConnection<C> {
    /// With a child that is in its handshake.
    pub(super) fn new(launched: LaunchedChild, codec: C, settings: ExchangeSettings<C>) -> Self {
        let LaunchedChild {
            child,
            stdin,
            stdout,
            id,
            requested_at,
            meter,
        } = launched;
        let stdio = ChildStdio::new(stdin, stdout, meter.meters());
        let wire = Wire::new(stdio, codec, meter.meters());
        Self {
            exchange: ExclusiveExchange::new(child, requested_at, wire, settings, meter.meters()),
            id,
            requested_at,
            meter,
        }
    }

    /// Sends a request and receives its reply: one frame, or what
    /// [`until`](Request::until) says.
    ///
    /// Give it a [time limit](Request::within): without one it waits as long as the child lives and
    /// neither answers nor closes its stdout.
    ///
    /// # Errors
    ///
    /// Before anything is written: [`Unanswered`](StdioError::Unanswered) if the reply to an earlier
    /// request is still to come, [`Broken`](StdioError::Broken) after a failure,
    /// [`StrayOutput`](StdioError::StrayOutput) if the child has written unasked,
    /// [`Encode`](StdioError::Encode) if the codec refuses the message.
    ///
    /// After that: [`TimedOut`](StdioError::TimedOut); [`Exited`](StdioError::Exited),
    /// [`OutputClosed`](StdioError::OutputClosed) or [`InputClosed`](StdioError::InputClosed) if the
    /// child did that before its reply was whole; [`Decode`](StdioError::Decode) if what it wrote is
    /// no frame; [`ReplyTooLong`](StdioError::ReplyTooLong) if many frames exceed the limit;
    /// [`Write`](StdioError::Write) or [`Read`](StdioError::Read) if the system refuses, as it does
    /// when the runtime has gone.
    ///
    /// # Cancel safety
    ///
    /// The message is encoded at once, and nothing is written before the future is polled. Dropping
    /// the future after that leaves the connection dirty: a part of the request may have been
    /// written, and its reply may come. A pool then replaces the child. Frames that were read of
    /// the reply are lost.
    pub fn request<M>(&mut self, message: M) -> Request<'_, C>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        Request::new(&mut self.exchange).and(message)
    }

    /// Sends a message without waiting for its reply, which is received with [`recv`](Self::recv).
    ///
    /// Several may be sent before the first reply is received. What the child writes meanwhile is
    /// read, so that a full pipe does not keep it from reading.
    ///
    /// The connection is dirty until the reply was received as a whole: up to the last frame that
    /// the connector [knows](crate::StdioConnector::replies_until), or, if it was told none, up to
    /// the one that [`until`](Request::until) says. A frame alone is then not known to be the reply.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), except [`Unanswered`](StdioError::Unanswered).
    ///
    /// # Cancel safety
    ///
    /// If writing has begun, the rest of the message is written by the next call that sends or
    /// receives; a [`request`](Self::request) is refused until then. If the future was not polled,
    /// or was still waiting for an earlier message to be written, the message is not sent at all.
    pub async fn send<M>(&mut self, message: M) -> Result<(), StdioError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        self.exchange
            .send(message, Some(ReplyLength::Unknown))
            .await
    }

    /// Sends a message that has no reply of its own.
    ///
    /// The connection is dirty until the reply to a later message was received: only that tells that
    /// the child does not wait for the rest of a request that began with this one.
    ///
    /// A child that answers it all the same would be one answer behind from then on, also for the next caller. Send
    /// such a message with [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn notify<M>(&mut self, message: M) -> Result<(), StdioError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        self.exchange.send(message, None).await
    }

    /// Receives a frame: a part of a reply, or something the child writes unasked. With
    /// [`until`](Request::until), all frames up to a last one, such as a greeting.
    ///
    /// The two cannot be told apart: while a reply is awaited, any frame counts as a part of it. For
    /// a child that writes unasked in between, use a protocol with ids.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), except those before anything is written.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost of a single frame: the next call goes on where this one was. With
    /// [`until`](Request::until) the frames read so far are lost, and the connection is dirty.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::ConnectionPool;
    /// # use pool_stdio::{CommandSpec, StdioConnector};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ConnectionPool::builder(StdioConnector::new(CommandSpec::new("cat"))?).build()?;
    /// let mut child = pool.acquire().await?;
    /// child.send("one").await?;
    /// child.send("two").await?;
    /// assert_eq!(child.recv().await?.bytes, "one");
    /// assert_eq!(child.recv().until(|line| line.bytes == "two").await?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv(&mut self) -> Request<'_, C> {
        Request::new(&mut self.exchange)
    }

    /// Whether a message was or may be written whose whole reply was not read, or a failure has left
    /// the connection unusable.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.exchange.is_dirty()
    }

    /// Whether it can still answer, as far as can be seen without waiting: it has not exited, has
    /// not closed its stdout, and has not written unasked if that is not
    /// [allowed](crate::StdioConnector::discard_stray_output). Costs one system call.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.exchange.liveness() {
            Liveness::Quiet => true,
            Liveness::HasOutput => self.exchange.allows_output(),
            Liveness::Eof | Liveness::Exited => false,
        }
    }

    /// The child itself: its process id, how it exited, what it wrote to stderr, signals. Its pipes are
    /// taken.
    #[must_use]
    pub const fn process(&self) -> &Child {
        self.exchange.child()
    }

    /// Ends the child with all of its [scope](crate::KillScope), and reports how it ended. For a
    /// connection that belongs to no pool.
    ///
    /// # Cancel safety
    ///
    /// The end has begun when this returns, and goes on if the future is dropped.
    pub fn terminate(self, stop: Stop) -> impl Future<Output = Termination> + Send + 'static
    where
        C: 'static,
    {
        let Self {
            exchange, meter, ..
        } = self;
        let terminating = exchange.terminate(stop);
        async move {
            let termination = terminating.await;
            termination.tell_if_unasked(meter.connector());
            meter.end(&termination);
            termination
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.exchange.is_clean()
    }

    pub(super) fn can_settle(&self) -> bool {
        self.exchange.can_settle()
    }

    pub(super) async fn settle(&mut self) -> Result<(), StdioError> {
        self.exchange.settle().await
    }

    /// As [`is_alive`](Self::is_alive), for a pool, which asks when a lease is returned and again
    /// before the next one begins. A reply that was just read is sign enough the first time: that
    /// saves a twentieth of a request. A child that dies in between is found the second time, or by
    /// the task that waits for its death.
    pub(super) fn gives_sign_of_life(&self) -> bool {
        if self.exchange.take_just_answered() {
            return true;
        }
        match self.exchange.liveness() {
            Liveness::HasOutput if !self.exchange.allows_output() => {
                // Counted here, since a pool that is told of it does not ask again.
                self.meter.meters().strayed(1);
                false
            }
            Liveness::Quiet | Liveness::HasOutput => true,
            Liveness::Eof | Liveness::Exited => false,
        }
    }

    pub(super) fn vitals(&self) -> Option<Arc<dyn Vitals>> {
        vitals(self.exchange.child())
    }

    /// Resolves when the child has exited or closed its stdout, to the reason.
    pub(super) fn died(&self) -> BoxFuture<'static, Option<BoxError>> {
        let ended = self.exchange.stdout_ended();
        died(self.exchange.child(), self.requested_at, ended)
    }

    pub(super) fn exited(&self) -> ExitWait {
        self.exchange.child().exit_wait()
    }

    pub(super) fn report(&self) -> Box<ChildReport> {
        self.exchange.report()
    }

    pub(super) fn has_strays(&self) -> bool {
        self.exchange.has_strays()
    }

    pub(super) const fn end_handshake(&mut self) {
        self.exchange.end_handshake();
    }

    /// Counts the lines of stderr, which only the child's handle knows.
    pub(super) fn count_stderr_lines(&self) {
        self.meter
            .wrote_lines(self.process().stderr_tail().lines_total);
    }
}

impl<C: Codec> fmt::Debug for StdioConnection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioConnection")
            .field("id", &self.id)
            .field("pid", &self.exchange.child().pid())
            .finish_non_exhaustive()
    }
}
