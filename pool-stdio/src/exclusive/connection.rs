//! One request at a time to one child.
//!
//! Everything is polled by the caller's own task: no other task is woken on the way of a request.
//! Writing and reading are polled together, so a child that stops reading because nobody reads what
//! it writes cannot stop us.
//!
//! # Invariants
//!
//! 1. A connection is dirty from before the first byte of a request can leave until its whole reply
//!    was read; a request that is cancelled or times out leaves it so.
//! 2. A request is refused while an earlier one is unanswered: the next frame would be taken for
//!    its reply.
//! 3. Nothing that had arrived before a request was written is taken for its reply.
//! 4. An error for which [`StdioError::is_retry_safe`] holds means that no byte of the request was
//!    written, and none will be.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pool_core::{BoxError, ConnectionId};
use tokio::time::{Instant, timeout};
use tokio_util::codec::Encoder;

use super::exchange::Account;
use super::stray::StrayPolicy;
use super::wire::{Failure, Pipes, Wire};
use crate::codec::Codec;
use crate::codec::LineCodec;
use crate::error::{ChildReport, Stage, StdioError};
use crate::metrics::{Live, Meters};
use crate::process::{Child, ExitWait};

/// A child process that answers one request at a time, over its stdin and stdout.
///
/// Opened by a [`StdioConnector`](crate::StdioConnector), usually for a pool. A frame is what the
/// codec `C` says it is; by default a line.
///
/// Dropping it kills the child with its [scope](crate::KillScope) and reaps it in the background,
/// on any thread, with or without a runtime. [`terminate`](Self::terminate) can be polite.
///
/// # What is dirty
///
/// From before the first byte of a request can leave until its whole reply was read the connection
/// is [dirty](Self::is_dirty), and a pool does not lend it again. So it does not matter where a
/// request is cancelled: its late reply meets nobody.
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
pub struct StdioConnection<C = LineCodec> {
    pub(super) child: Child,
    pub(super) wire: Wire<C>,
    pub(super) exited: ExitWait,
    pub(super) account: Account,
    pub(super) settings: Settings,
    pub(super) is_in_handshake: bool,
    /// It has been seen to have exited.
    pub(super) has_exited: bool,
    /// A reply was read, and nobody has asked for a sign of life since.
    pub(super) has_just_answered: AtomicBool,
    /// When somebody first wanted it.
    pub(super) wanted: Instant,
    pub(super) id: ConnectionId,
    pub(super) live: Live,
}

/// What the connections of one connector have in common.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) strays: StrayPolicy,
    pub(crate) reply_bytes_max: usize,
    pub(crate) meters: Arc<Meters>,
}

/// What a connection is born with.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) child: Child,
    pub(crate) id: ConnectionId,
    pub(crate) wanted: Instant,
    pub(crate) settings: Settings,
}

impl<C: Codec> StdioConnection<C> {
    pub(crate) fn open(birth: Birth, codec: C) -> Result<Self, StdioError> {
        let Birth {
            mut child,
            id,
            wanted,
            settings,
        } = birth;
        let live = Live::new(Arc::clone(&settings.meters), Instant::now() - wanted);
        let pipes = match Pipes::register(&mut child, Arc::clone(&settings.meters)) {
            Ok(pipes) => pipes,
            Err(source) => {
                let report = ChildReport::of(&child, Stage::Handshake, Some(wanted));
                return Err(StdioError::Register { source, report });
            }
        };
        Ok(Self {
            exited: child.exit_wait(),
            child,
            wire: Wire::new(pipes, codec),
            account: Account::default(),
            settings,
            is_in_handshake: false,
            has_exited: false,
            has_just_answered: AtomicBool::new(false),
            wanted,
            id,
            live,
        })
    }

    /// Sends a request and receives its reply, which is one frame.
    ///
    /// Waits as long as the child lives and does neither answer nor close its stdout: usually
    /// [`request_within`](Self::request_within) is what is wanted.
    ///
    /// # Errors
    ///
    /// Before anything is written: [`Unanswered`](StdioError::Unanswered) if the reply to an earlier
    /// request is still to come, [`Broken`](StdioError::Broken) after a failure,
    /// [`StrayOutput`](StdioError::StrayOutput) if the child has spoken unasked,
    /// [`Encode`](StdioError::Encode) if the codec refuses the message.
    ///
    /// After that: [`Exited`](StdioError::Exited), [`OutputClosed`](StdioError::OutputClosed) and
    /// [`InputClosed`](StdioError::InputClosed) if the child did that before its reply was whole,
    /// [`Decode`](StdioError::Decode) if what it wrote is no frame, [`Write`](StdioError::Write) and
    /// [`Read`](StdioError::Read) if the system refuses, as when the runtime has gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connection dirty, if it was polled: a part of the request
    /// may have been written, and its reply may come. A pool then replaces the child.
    pub async fn request<M>(&mut self, message: M) -> Result<C::Item, StdioError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        let outcome = match self.begin(message) {
            Ok(()) => poll_fn(|cx| self.poll_exchange(cx)).await,
            Err(failure) => Err(failure),
        };
        let frame = match outcome {
            Ok(frame) => frame,
            Err(failure) => Box::pin(self.recover(failure)).await?.0,
        };
        self.reply_received();
        Ok(frame)
    }

    /// The same, within a time.
    ///
    /// It holds even if the child never reads and the pipe to it is full.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), and [`TimedOut`](StdioError::TimedOut).
    ///
    /// # Cancel safety
    ///
    /// As [`request`](Self::request); a timeout has the same consequence as dropping the future.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::ConnectionPool;
    /// # use pool_stdio::{CommandSpec, StdioConnector, StdioError};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // It never answers.
    /// let connector = StdioConnector::new(CommandSpec::new("sleep").arg("60"))?;
    /// let pool = ConnectionPool::builder(connector).build()?;
    /// let mut child = pool.acquire().await?;
    /// let limit = Duration::from_millis(20);
    /// let error = child.request_within("hello?", limit).await.unwrap_err();
    /// assert!(matches!(error, StdioError::TimedOut { .. }));
    /// assert!(child.is_dirty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request_within<M>(
        &mut self,
        message: M,
        limit: Duration,
    ) -> Result<C::Item, StdioError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        match timeout(limit, self.request(message)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.timed_out(limit)),
        }
    }

    /// Sends a request and receives its reply, which ends with the first frame that `until` is true
    /// for.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), and [`ReplyTooLong`](StdioError::ReplyTooLong).
    ///
    /// # Cancel safety
    ///
    /// As [`request`](Self::request). The frames read so far are lost.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::ConnectionPool;
    /// # use pool_stdio::{CommandSpec, StdioConnector};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let echo = StdioConnector::new(CommandSpec::new("sed").args(["-u", "a\\\nok"]))?;
    /// let pool = ConnectionPool::builder(echo).build()?;
    /// let mut child = pool.acquire().await?;
    /// let reply = child.request_until("status", |line| line.bytes == "ok").await?;
    /// assert_eq!(reply.len(), 2);
    /// assert_eq!(reply[0].bytes, "status");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request_until<M>(
        &mut self,
        message: M,
        until: impl FnMut(&C::Item) -> bool + Send,
    ) -> Result<Vec<C::Item>, StdioError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        match self.begin(message) {
            Ok(()) => {
                let frames = self.frames_until(until).await?;
                self.reply_received();
                Ok(frames)
            }
            Err(failure) => Err(Box::pin(self.explain(failure)).await),
        }
    }

    /// Sends a message that will be answered by one frame, without waiting for the answer.
    ///
    /// Several may be sent before the first answer is received. What the child writes meanwhile is
    /// read, so that it is not kept from reading.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), but for [`Unanswered`](StdioError::Unanswered).
    ///
    /// # Cancel safety
    ///
    /// Once the future has begun to write it, the message is sent as a whole, by the next call that
    /// sends or receives; a [`request`](Self::request) is refused until then. It is not sent at all
    /// if the future was not polled, or was still waiting for an earlier message to be written.
    pub async fn send<M>(&mut self, message: M) -> Result<(), StdioError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        self.send_all(message, 1).await
    }

    /// Sends a message that will not be answered.
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
        self.send_all(message, 0).await
    }

    async fn send_all<M>(&mut self, message: M, replies: u32) -> Result<(), StdioError>
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        // What a cancelled send has left comes first.
        let mut outcome = poll_fn(|cx| self.poll_send(cx)).await;
        if outcome.is_ok() {
            outcome = self.put(message, replies);
        }
        if outcome.is_ok() {
            outcome = poll_fn(|cx| self.poll_send(cx)).await;
        }
        match outcome {
            Ok(()) => {
                self.settle();
                Ok(())
            }
            Err(failure) => Err(Box::pin(self.explain(failure)).await),
        }
    }

    /// Receives a frame: the answer to what was sent, or something the child says by itself.
    ///
    /// Nothing tells the one from the other: while an answer is awaited, whatever comes counts as
    /// one. To a child that may say something in between, use a protocol with ids.
    ///
    /// # Errors
    ///
    /// [`Exited`](StdioError::Exited), [`OutputClosed`](StdioError::OutputClosed),
    /// [`InputClosed`](StdioError::InputClosed), [`Decode`](StdioError::Decode),
    /// [`Write`](StdioError::Write), [`Read`](StdioError::Read), as of [`request`](Self::request).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call goes on where this one was.
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
    /// assert!(child.is_dirty(), "the other answer is on its way");
    /// assert_eq!(child.recv().await?.bytes, "two");
    /// assert!(!child.is_dirty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Result<C::Item, StdioError> {
        let frame = match poll_fn(|cx| self.poll_exchange(cx)).await {
            Ok(frame) => frame,
            Err(failure) => Box::pin(self.recover(failure)).await?.0,
        };
        self.account.unanswered = self.account.unanswered.saturating_sub(1);
        self.settle();
        Ok(frame)
    }

    /// Receives frames up to the first one that `until` is true for: a greeting, or the answer to
    /// what was sent.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and [`ReplyTooLong`](StdioError::ReplyTooLong).
    ///
    /// # Cancel safety
    ///
    /// The frames read so far are lost, and the connection is dirty.
    pub async fn recv_until(
        &mut self,
        until: impl FnMut(&C::Item) -> bool + Send,
    ) -> Result<Vec<C::Item>, StdioError> {
        let frames = self.frames_until(until).await?;
        self.account.unanswered = self.account.unanswered.saturating_sub(1);
        self.settle();
        Ok(frames)
    }

    async fn frames_until(
        &mut self,
        mut until: impl FnMut(&C::Item) -> bool + Send,
    ) -> Result<Vec<C::Item>, StdioError> {
        self.account.is_mid_reply = true;
        let read_before = self.wire.read_total();
        let mut frames = Vec::new();
        let mut write_failure = None;
        loop {
            let outcome = match write_failure.take() {
                None => poll_fn(|cx| self.poll_exchange(cx)).await,
                Some(failure) => Err(failure),
            };
            let frame = match outcome {
                Ok(frame) => frame,
                Err(failure) => {
                    let (frame, failure) = Box::pin(self.recover(failure)).await?;
                    write_failure = Some(failure);
                    frame
                }
            };
            let is_last = until(&frame);
            frames.push(frame);
            if is_last {
                self.account.is_mid_reply = false;
                return Ok(frames);
            }
            let read = self.wire.read_total() - read_before;
            if read > self.settings.reply_bytes_max as u64 {
                return Err(Box::pin(self.explain(Failure::TooLong)).await);
            }
        }
    }
}

impl<C> fmt::Debug for StdioConnection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioConnection")
            .field("id", &self.id)
            .field("pid", &self.child.pid())
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}
