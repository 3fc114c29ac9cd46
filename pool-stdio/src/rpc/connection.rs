//! A child that many callers speak to at once.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pool_core::{BoxFuture, ConnectionId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::client::Client;
use super::counts::RpcCounts;
use super::driver::ChildFacts;
use super::error::{ConnectionEnd, EndCause, Fate, RpcError};
use super::notifications::{Notices, Progress};
use crate::codec::Fragment;
use crate::metrics::ChildMeter;
use crate::process::{Child, Exit, Handover, Liveness, StderrTail, Stop, Termination, Wait};

/// A child process that answers JSON-RPC requests, any number of them at once.
///
/// Opened by a [`JsonRpcConnector`](crate::JsonRpcConnector), usually for a pool. All methods take
/// `&self`: callers share it.
///
/// Dropping it kills the child with its [scope](crate::KillScope) and reaps it in the background,
/// on any thread, with or without a runtime; who still waits is told
/// [`Cancelled`](RpcError::Cancelled).
///
/// # Who gets which reply
///
/// Every request goes out under an id of its own that is never used again. So it does not matter
/// when a call is cancelled or times out: its late reply meets nobody, and is
/// [counted](Self::counts). What a child sends without naming a request, notifications and requests
/// of its own, cannot be attributed to one of many callers: it goes to
/// [subscribers](Self::notices) and to the [handler](crate::JsonRpcConnector::on_request). For a
/// server that needs more than that, lend the connection to one caller at a time, by a
/// [`ConnectionPool`](pool_core::ConnectionPool): it closes a connection that comes back with a call
/// that was given up and not answered, since what is still said about it would reach the next.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A server that answers everything with true.
/// let script = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":true}/"#;
/// let server = CommandSpec::new("sed").args(["-u", script]);
/// let connector = JsonRpcConnector::new(server, Protocol::Plain)?;
/// let pool = ConnectionPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// assert!(child.call::<bool>("ready", &()).await?);
///
/// // A proxy hands on what its client sent, and gets the client's id back.
/// let reply = child.forward(r#"{"jsonrpc":"2.0","id":"x-1","method":"ready"}"#).await?;
/// assert_eq!(reply.unwrap(), r#"{"jsonrpc":"2.0","id":"x-1","result":true}"#);
/// # Ok(())
/// # }
/// ```
pub struct JsonRpcConnection {
    // Order: hung up before the child's handle is dropped.
    pub(super) transport: Transport,
    pub(super) child: Child,
    pub(super) meter: ChildMeter,
    pub(super) id: ConnectionId,
    pub(super) name: Arc<str>,
    pub(super) wanted: Instant,
    pub(super) greeted: Option<Box<RawValue>>,
}

/// What is between us and the child. Dropping it ends all calls and the task.
pub(super) struct Transport {
    pub(super) client: Client,
    pub(super) tasks: JoinSet<()>,
    pub(super) stdout: Arc<Receiver>,
    pub(super) facts: ChildFacts,
}

impl JsonRpcConnection {
    /// Calls a method, and waits for its result.
    ///
    /// Params that are `null`, such as `&()`, are left out. To get at the bytes of the result, ask
    /// for a [`Box<RawValue>`](RawValue).
    ///
    /// Waits as long as the child lives and does neither answer nor close its stdout: usually
    /// [`call_within`](Self::call_within) is what is wanted.
    ///
    /// # Errors
    ///
    /// The child has answered: [`Refused`](RpcError::Refused) with its error,
    /// [`BadResult`](RpcError::BadResult) if the result is not an `R`.
    ///
    /// Nothing was sent: [`BadRequest`](RpcError::BadRequest) if the params cannot be written as JSON,
    /// [`FrameTooLarge`](RpcError::FrameTooLarge) without a report if they are too long,
    /// [`Timeout`](RpcError::Timeout) if there was [no room](crate::JsonRpcConnector::enqueue_timeout)
    /// in the queue.
    ///
    /// The connection is over: [`ProcessExited`](RpcError::ProcessExited),
    /// [`OutputClosed`](RpcError::OutputClosed), [`StdinClosed`](RpcError::StdinClosed),
    /// [`WriteStalled`](RpcError::WriteStalled), [`Protocol`](RpcError::Protocol) and
    /// [`FrameTooLarge`](RpcError::FrameTooLarge) by the child's doing,
    /// [`Cancelled`](RpcError::Cancelled) by that of whoever closed it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the call up. If its request was not yet written it never will be;
    /// otherwise the child is told to [cancel](crate::Cancel), without waiting for that, and its
    /// late reply is dropped. The connection stays good.
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, RpcError> {
        self.transport.client.call(method, params, None, None).await
    }

    /// The same, within a time. It holds even if the child never reads.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), and [`Timeout`](RpcError::Timeout).
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call); a timeout has the same consequence as dropping the future.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::ConnectionPool;
    /// # use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, RpcError};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // It never reads.
    /// let connector = JsonRpcConnector::new(CommandSpec::new("sleep").arg("60"), Protocol::Plain)?;
    /// let pool = ConnectionPool::builder(connector).build()?;
    /// let child = pool.acquire().await?;
    /// let limit = Duration::from_millis(20);
    /// let error = child.call_within::<()>("wake up", &(), limit).await.unwrap_err();
    /// assert!(matches!(error, RpcError::Timeout { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call_within<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
        limit: Duration,
    ) -> Result<R, RpcError> {
        self.transport
            .client
            .call(method, params, None, Some(limit))
            .await
    }

    /// Calls a method whose params carry a progress token; what the child says about it goes to
    /// `progress`, with that token. On its way the token is replaced by one that nobody else has.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub async fn call_with_progress<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
        progress: Progress,
    ) -> Result<R, RpcError> {
        self.transport
            .client
            .call(method, params, Some(progress), None)
            .await
    }

    /// Sends a notification, as soon as there is room for it in the queue.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call) when nothing was sent, or the connection is over. That there is no error
    /// does not mean that the child has read it.
    ///
    /// # Cancel safety
    ///
    /// It is sent as a whole or not at all.
    pub async fn notify(&self, method: &str, params: &impl Serialize) -> Result<(), RpcError> {
        self.transport.client.notify(method, params).await
    }

    /// Hands on a message of a client, and returns the reply, if there is one to come.
    ///
    /// The client's id is replaced on the way, by one that nobody else has, and is the same byte
    /// for byte in the reply, whatever it is. So are progress tokens. Nothing else is changed or
    /// even looked at. A batch is taken apart; its replies come back as one batch, in its order.
    /// Over lines, a message with a newline or a carriage return in it cannot be handed on.
    ///
    /// A client's cancel notification is refused, since the child does not know its id or token, or
    /// knows it as another caller's: drop this future instead.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), but for [`Refused`](RpcError::Refused) and
    /// [`BadResult`](RpcError::BadResult): whatever the reply says is for the client.
    /// [`BadRequest`](RpcError::BadRequest) if the message is neither a request nor a notification, nor
    /// a batch of those, or has 4 GiB or more. A batch is answered as a whole, or with an error.
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub async fn forward(&self, frame: impl Into<Bytes>) -> Result<Option<Bytes>, RpcError> {
        self.transport
            .client
            .forward(frame.into(), None, None)
            .await
    }

    /// The same, within a time.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), and [`Timeout`](RpcError::Timeout).
    ///
    /// # Cancel safety
    ///
    /// As [`call_within`](Self::call_within).
    pub async fn forward_within(
        &self,
        frame: impl Into<Bytes>,
        limit: Duration,
    ) -> Result<Option<Bytes>, RpcError> {
        self.transport
            .client
            .forward(frame.into(), None, Some(limit))
            .await
    }

    /// Hands on a request, and its progress notifications to `progress`, with the client's token; or
    /// a batch, and those of all its requests.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    ///
    /// # Cancel safety
    ///
    /// As [`forward`](Self::forward).
    pub async fn forward_with_progress(
        &self,
        frame: impl Into<Bytes>,
        progress: Progress,
    ) -> Result<Option<Bytes>, RpcError> {
        self.transport
            .client
            .forward(frame.into(), Some(progress), None)
            .await
    }

    /// Subscribes to the notifications of the child, from now on, but for those about progress.
    #[must_use]
    pub fn notices(&self) -> Notices {
        self.transport.client.link.subscribe()
    }

    /// What the child answered to `initialize`, if it was greeted.
    #[must_use]
    pub fn initialize_result(&self) -> Option<&RawValue> {
        self.greeted.as_deref()
    }

    /// Whether calls can be made, as far as can be seen without waiting: the child has not exited,
    /// has not closed its stdout, and was not found to have closed its stdin, which is found by
    /// writing.
    ///
    /// Costs one system call; none while the child owes a reply, and has written something within the
    /// last millisecond. An end in that time is seen as soon as the connection's task has run, which
    /// it does to fail the call.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let (is_open, is_at_work) = self.transport.client.link.vital_signs(LATELY);
        if !is_open || self.try_wait().is_some() {
            return false;
        }
        is_at_work
            || match self.child.liveness(Some(self.transport.stdout.as_fd())) {
                Liveness::Quiet | Liveness::HasOutput => true,
                Liveness::Eof | Liveness::Exited => false,
            }
    }

    /// Whether nothing is pending, and nothing that was given up may still be worked on: what is
    /// said from now on is about what is asked from now on.
    pub(super) fn owes_nothing(&self) -> bool {
        self.transport.client.link.owes_nothing()
    }

    /// Whether it has said nothing to anybody for so long, and let somebody wait in vain meanwhile.
    pub(super) fn hangs(&self, limit: Duration) -> bool {
        self.transport.client.link.is_silent_beyond(limit)
    }

    /// The connector's [name](crate::JsonRpcConnector::name).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The child's process id, which is the id of its process group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The number that the pool knows it by.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// Calls that were begun and are not over.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.transport.client.link.pending()
    }

    /// How long ago the child was wanted.
    #[must_use]
    pub fn age(&self) -> Duration {
        Instant::now() - self.wanted
    }

    /// How long ago something was read from the child, or the connection was opened.
    #[must_use]
    pub fn last_activity(&self) -> Duration {
        Instant::now() - self.transport.client.link.last_read()
    }

    /// What was dropped so far.
    #[must_use]
    pub fn counts(&self) -> RpcCounts {
        self.transport.client.link.counts()
    }

    /// How the last few frames begin that were no message.
    #[must_use]
    pub fn strays(&self) -> Vec<Fragment> {
        self.transport.client.link.strays()
    }

    /// How the child exited, if it has.
    #[must_use]
    pub fn try_wait(&self) -> Option<Exit> {
        self.child.try_wait()
    }

    /// The end of what the child has written to stderr so far.
    #[must_use]
    pub fn stderr_tail(&self) -> StderrTail {
        self.child.stderr_tail()
    }

    /// Ends the child with all of its [scope](crate::KillScope), and says how that went. Calls that
    /// are pending end with [`Cancelled`](RpcError::Cancelled). For a connection that belongs to no
    /// pool. A language server is not asked to shut down: that is the caller's to do before.
    ///
    /// # Cancel safety
    ///
    /// It is begun before this returns, and goes on to its end whatever becomes of the future.
    pub fn terminate(self, stop: Stop) -> impl Future<Output = Termination> + Send + 'static {
        let Self {
            mut transport,
            child,
            meter,
            ..
        } = self;
        let terminating = child.terminate_with(stop, transport.close());
        async move {
            let termination = terminating.await;
            termination.tell_if_unasked(meter.connector());
            meter.end(&termination);
            termination
        }
    }

    /// Resolves when no reply can come any more, with or without traffic.
    pub(super) fn died(&self) -> BoxFuture<'static, ()> {
        Box::pin(Wait::new(Arc::clone(&self.transport.client.link.over)))
    }

    /// Asks for a sign of life, where the protocol has a way to. A child that is busy may take its
    /// time, but not for ever once it let callers wait in vain.
    pub(super) async fn ping(&self, limit: Duration) -> Result<(), RpcError> {
        let link = &self.transport.client.link;
        let read_before = link.last_read();
        let is_excused = match self.transport.client.protocol.ping() {
            Some(method) if link.is_open() => {
                match timeout(limit, self.transport.client.ping(method)).await {
                    // There was no room. Whether it ever reads is for the write timeout to say.
                    Ok(Err(RpcError::Timeout { .. })) => true,
                    Ok(outcome) => return outcome,
                    Err(_) => link.is_busy() || link.last_read() > read_before,
                }
            }
            // Who cannot be asked is judged by what it was asked by others.
            Some(_) | None => link.is_unasked_or_busy(),
        };
        if is_excused {
            return self.liveness();
        }
        let fate = Fate::MaybeExecuted;
        let pid = self.pid();
        Err(RpcError::Timeout { limit, pid, fate })
    }

    fn liveness(&self) -> Result<(), RpcError> {
        if self.is_alive() {
            return Ok(());
        }
        if let Some(error) = self.transport.client.link.end() {
            return Err(error);
        }
        let cause = match self.try_wait() {
            Some(_) => EndCause::Exited,
            None => EndCause::OutputClosed,
        };
        let report = self.transport.facts.report(&self.transport.client.link);
        Err(ConnectionEnd { cause, report }.error(Fate::NotSent))
    }

    /// Leaves a child that was greeted the time to put its things in order, where the protocol says
    /// how. It is ended in any case.
    pub(super) async fn say_goodbye(&self) {
        let farewell = self.transport.client.protocol.farewell();
        let Some((question, last_word)) = farewell.filter(|_| self.greeted.is_some()) else {
            return;
        };
        let until = Instant::now() + GOODBYE_TIMEOUT;
        let asked = self.call_within::<Box<RawValue>>(question, &(), GOODBYE_TIMEOUT);
        // Some leave out a result that is null, and refuse what they were asked before.
        let has_answered = matches!(
            asked.await,
            Ok(_) | Err(RpcError::Refused(_) | RpcError::BadResult { .. })
        );
        if has_answered {
            // It fails if the child is faster, and finds no room if it answers without reading.
            drop(timeout_at(until, self.notify(last_word, &())).await);
        }
    }

    /// Publishes what is only known from the child's handle.
    pub(super) fn publish(&self) {
        self.meter.wrote_lines(self.child.stderr_tail().lines_total);
    }
}

impl Transport {
    /// Ends all calls and the task, and gives the pipes back, the first time.
    fn close(&mut self) -> Handover {
        let cause = EndCause::Closed;
        let report = self.facts.report(&self.client.link);
        let left = self.client.link.close(ConnectionEnd { cause, report });
        self.tasks.abort_all();
        let mut handover = Handover::new();
        if let Some((rest, pipe)) = left
            && let Some(stdin) = pipe.into_fd()
        {
            handover = handover.stdin(stdin, rest);
        }
        // The task may hold it for a moment longer, and will not read any more.
        match self.stdout.as_fd().try_clone_to_owned() {
            Ok(stdout) => handover.stdout(stdout),
            Err(_) => handover,
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl fmt::Debug for JsonRpcConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonRpcConnection")
            .field("id", &self.id)
            .field("pid", &self.pid())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// Who is at work and spoke so lately is taken to live: to ask costs as much as half a call that
/// shares its way with others. Who owes nothing may have gone on purpose, right after its last word.
const LATELY: Duration = Duration::from_millis(1);
/// Then comes the end of its input, and what else it takes.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
