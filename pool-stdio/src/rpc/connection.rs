//! A child that many callers use at once.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pool_core::{BoxError, BoxFuture, SuspicionSink, Vitals};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::call::Call;
use super::caller::ChildCaller;
use super::client::Client;
use super::error::{EndCause, Fate, RpcError};
use super::handshake::say_goodbye;
use super::life_signs::LifeSign;
use super::notifications::Notifications;
use super::round_trip::RoundTrip;
use super::status::RpcStatus;
use super::transport::{Transport, TransportSettings};
use crate::launch::{LaunchedChild, vitals};
use crate::metrics::ChildMeter;
use crate::process::{Child, Liveness, Stop, Termination, Wait};

/// A child process that answers JSON-RPC requests, many at the same time.
///
/// Opened by a [`JsonRpcConnector`](crate::JsonRpcConnector), usually for a pool. All methods take
/// `&self`, so callers can share it.
///
/// Dropping it kills the child with its [scope](crate::KillScope) and reaps it in the background,
/// on any thread, with or without a runtime. Pending calls end with
/// [`Cancelled`](RpcError::Cancelled).
///
/// # Who gets which reply
///
/// Every request is sent under an id of its own that is never used again. So a call can be cancelled or
/// time out at any moment: its late reply is dropped and [counted](Self::status).
///
/// Notifications and requests of the child do not say which call they belong to. Notifications go to
/// all [subscribers](Self::notifications), requests to the
/// [handler](crate::JsonRpcConnector::on_request). If a server needs more than that, lend it to one
/// caller at a time with a [`ConnectionPool`](pool_core::ConnectionPool). Such a pool closes a
/// connection that comes back with an unanswered call, because the child could still send notifications
/// about that call to the next caller.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A server that answers every request with true.
/// let script = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":true}/"#;
/// let server = CommandSpec::new("sed").args(["-u", script]);
/// let connector = JsonRpcConnector::new(server, Protocol::Plain)?;
/// let pool = ConnectionPool::builder(connector).build()?;
/// let child = pool.acquire().await?;
/// let limit = Duration::from_secs(10);
/// assert!(child.call::<bool>("ready", &()).within(limit).await?);
///
/// // A proxy forwards its client's message, and gets the client's id back.
/// let message = r#"{"jsonrpc":"2.0","id":"x-1","method":"ready"}"#;
/// let reply = child.forward(message).within(limit).await?;
/// assert_eq!(reply.unwrap(), r#"{"jsonrpc":"2.0","id":"x-1","result":true}"#);
/// # Ok(())
/// # }
/// ```
pub struct JsonRpcConnection {
    // Order: the calls end before the child's handle is dropped.
    transport: Transport,
    child: Child,
    meter: ChildMeter,
    /// When the pool asked for the connection.
    requested_at: Instant,
    initialize_result: Option<Box<RawValue>>,
}

impl JsonRpcConnection {
    pub(super) fn open(launched: LaunchedChild, settings: TransportSettings) -> Self {
        let LaunchedChild {
            child,
            stdin,
            stdout,
            id,
            requested_at,
            meter,
        } = launched;
        Self {
            transport: Transport::open(&child, id, stdin, stdout, settings, meter.meters()),
            child,
            meter,
            requested_at,
            initialize_result: None,
        }
    }

    /// Calls a method.
    ///
    /// Params that are `null`, such as `&()`, are left out. To get the bytes of the result, ask for a
    /// [`Box<RawValue>`](RawValue).
    ///
    /// Without a limit, the call waits as long as the child lives and neither answers nor closes its
    /// stdout. Usually it should have one: `child.call("method", &params).within(limit).await`.
    ///
    /// # Errors
    ///
    /// The child answered: [`Refused`](RpcError::Refused) with its error,
    /// [`BadResult`](RpcError::BadResult) if the result is not an `R`.
    ///
    /// Nothing was sent: [`BadRequest`](RpcError::BadRequest) if the params cannot be written as JSON,
    /// [`FrameTooLarge`](RpcError::FrameTooLarge) without a report if they are too long,
    /// [`Timeout`](RpcError::Timeout) if there was [no room](crate::RpcLimits::enqueue_timeout)
    /// in the queue.
    ///
    /// The limit passed: [`Timeout`](RpcError::Timeout).
    ///
    /// The connection is over: [`ProcessExited`](RpcError::ProcessExited),
    /// [`OutputClosed`](RpcError::OutputClosed), [`StdinClosed`](RpcError::StdinClosed),
    /// [`WriteStalled`](RpcError::WriteStalled), [`Protocol`](RpcError::Protocol) and
    /// [`FrameTooLarge`](RpcError::FrameTooLarge) because of the child,
    /// [`Cancelled`](RpcError::Cancelled) because its owner closed it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the call up. A request that was not yet written is never written.
    /// Otherwise the child is told to cancel, in the way of its [protocol](crate::Protocol), and its
    /// late reply is dropped. The connection stays usable.
    pub fn call<R: DeserializeOwned>(&self, method: &str, params: &impl Serialize) -> Call<'_, R> {
        Call::new(&self.transport.client, method, params)
    }

    /// Calls the child without a lease, for what concerns it as long as it lives.
    #[must_use]
    pub fn caller(&self) -> ChildCaller {
        ChildCaller::new(self.transport.client.clone())
    }

    /// Sends a notification, as soon as there is room for it in the queue.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call) when nothing was sent, or when the connection is over. Success does not
    /// mean that the child has read it.
    ///
    /// # Cancel safety
    ///
    /// It is sent as a whole or not at all.
    pub async fn notify(&self, method: &str, params: &impl Serialize) -> Result<(), RpcError> {
        self.transport.client.notify(method, params).await
    }

    /// Forwards a message of a client. Resolves to the reply, or to `None` if the message expects none.
    ///
    /// The client's id is replaced on the way by one that no other call has, and restored in the reply,
    /// byte for byte. So are progress tokens. Everything else is passed on unchanged and unread. The
    /// messages of a batch are forwarded one by one, and their replies come back as one batch, in the
    /// same order. Over lines, line breaks between values are replaced by spaces.
    ///
    /// A client's cancel notification is refused, because the child does not know the client's id, or
    /// knows it as the id of another call. Drop this future instead.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), but never [`Refused`](RpcError::Refused) or
    /// [`BadResult`](RpcError::BadResult): the content of the reply is for the client.
    /// [`BadRequest`](RpcError::BadRequest) if the message is neither a request nor a notification, nor
    /// a batch of those, or has 4 GiB or more. A batch has one outcome: all replies, or one error.
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub fn forward(&self, frame: impl Into<Bytes>) -> Call<'_, Option<Bytes>> {
        Call::forward(&self.transport.client, frame.into())
    }

    /// Resolves when no reply can come any more: the child has exited or closed its stdout, hung, or broke
    /// the protocol. It can still live; whoever drops the connection ends it.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let over = Arc::clone(&self.transport.client.link.over);
        async move { Wait::new(over).await }
    }

    /// Subscribes to the notifications of the child, from now on. Progress notifications are not among
    /// them: they go to [their call](Call::progress).
    #[must_use]
    pub fn notifications(&self) -> Notifications {
        self.transport.client.link.subscribe()
    }

    /// The child's result of `initialize`, if the connector sent one.
    #[must_use]
    pub fn initialize_result(&self) -> Option<&RawValue> {
        self.initialize_result.as_deref()
    }

    pub(super) fn set_initialize_result(&mut self, result: Box<RawValue>) {
        self.initialize_result = Some(result);
    }

    /// Whether calls can be made, as far as can be seen without waiting: the child has not exited and
    /// has not closed its stdout, and no write found its stdin closed.
    ///
    /// Costs one system call, or none while the child owes a reply and has written something within the
    /// last millisecond. An end in that time is seen once the connection's task has run.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let sign = self.transport.client.link.signs.look(LATELY);
        if sign == LifeSign::Lost || self.child.try_wait().is_some() {
            return false;
        }
        sign == LifeSign::AtWork
            || match self.child.liveness(Some(self.transport.stdout())) {
                Liveness::Quiet | Liveness::HasOutput => true,
                Liveness::Eof | Liveness::Exited => false,
            }
    }

    /// Whether no call is pending, and none was given up that the child may still work on. Otherwise
    /// the child's next notifications can be about an earlier call.
    pub(super) fn owes_nothing(&self) -> bool {
        self.transport.client.link.state().owes_nothing()
    }

    /// Whether the next caller can find in the child what the client of a session has left there.
    pub(super) fn is_personal(&self) -> bool {
        self.transport.client.link.is_personal()
    }

    /// Lets the pool know from now on whether the child is suspected to hang.
    pub(super) fn watch_suspicion(&self, sink: SuspicionSink) {
        self.transport.client.link.watch_suspicion(sink);
    }

    /// What is under way, and what was dropped so far.
    #[must_use]
    pub fn status(&self) -> RpcStatus {
        self.transport.client.link.state().status()
    }

    /// The child itself: its process id, how it exited, what it wrote to stderr, signals. Its pipes are
    /// taken.
    #[must_use]
    pub const fn process(&self) -> &Child {
        &self.child
    }

    /// Terminates the child with all of its [scope](crate::KillScope), and returns how that went.
    /// Pending calls end with [`Cancelled`](RpcError::Cancelled). For a connection that belongs to no
    /// pool. A language server is not told to shut down first: that is up to the caller.
    ///
    /// # Cancel safety
    ///
    /// The termination begins before this returns, and goes on if the future is dropped.
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

    /// Tells an initialized child to shut down, as far as its protocol has a way to.
    pub(super) async fn say_goodbye(&self) {
        if self.initialize_result.is_some() {
            say_goodbye(&self.transport.client).await;
        }
    }

    pub(super) fn vitals(&self) -> Option<Arc<dyn Vitals>> {
        vitals(&self.child)
    }

    /// Resolves when no reply can come any more, with or without traffic, to the reason.
    pub(super) fn died(&self) -> BoxFuture<'static, Option<BoxError>> {
        let link = Arc::clone(&self.transport.client.link);
        Box::pin(async move {
            Wait::new(Arc::clone(&link.over)).await;
            let reason = link.state().refusal();
            Some(reason.into())
        })
    }

    /// Fails if the child is dead, or if it does not answer a ping and has no work that explains it. If
    /// it has, an unanswered ping makes it a suspect, as any request does that passes its deadline.
    pub(super) async fn check(&self, limit: Duration) -> Result<(), RpcError> {
        let link = &self.transport.client.link;
        let is_open = link.state().is_open();
        if let Some(ping) = self.ping(limit).filter(|_| is_open) {
            match ping.await {
                // There was no room in the queue. The write timeout judges that.
                Err(RpcError::Timeout {
                    fate: Fate::NotSent,
                    ..
                }) => {}
                Err(RpcError::Timeout { .. }) if link.state().may_be_working() => {}
                outcome => return outcome,
            }
        }
        self.liveness()
    }

    /// Pings the child, if there is a ping. Any answer will do.
    fn ping(&self, limit: Duration) -> Option<impl Future<Output = Result<(), RpcError>>> {
        let client = &self.transport.client;
        let request = match client.link.own_ping() {
            Some(ping) => client.request(&ping.method, &ping.params),
            None => client.request(client.protocol.ping()?, &()),
        };
        let mut round_trip = RoundTrip::new(client, request);
        round_trip.set_limit(limit);
        if let Some(request) = round_trip.request_mut() {
            request.details.is_ping = true;
        }
        Some(poll_fn(move |cx| {
            let answered = round_trip.poll(cx).map_ok(drop);
            answered.map(|outcome| outcome.inspect_err(|error| client.count_failure(error)))
        }))
    }

    fn liveness(&self) -> Result<(), RpcError> {
        if self.is_alive() {
            return Ok(());
        }
        let state = self.transport.client.link.state();
        if !state.is_open() {
            return Err(state.refusal());
        }
        drop(state);
        let cause = match self.child.try_wait() {
            Some(_) => EndCause::Exited,
            None => EndCause::OutputClosed,
        };
        Err(self.transport.error(cause))
    }

    /// Publishes the metrics that only the child's handle knows.
    pub(super) fn publish(&self) {
        self.meter.wrote_lines(self.child.stderr_tail().lines_total);
    }

    pub(super) const fn client(&self) -> &Client {
        &self.transport.client
    }

    /// What is between us and the child.
    pub(super) const fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) const fn requested_at(&self) -> Instant {
        self.requested_at
    }
}

impl fmt::Debug for JsonRpcConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonRpcConnection")
            .field("pid", &self.child.pid())
            .field("pending", &self.status().pending)
            .finish_non_exhaustive()
    }
}

/// A child that owes a reply and was heard this recently is taken to live: asking the system costs half
/// as much as a call among many. A child that owes nothing may have exited on purpose after its last
/// reply, so it is asked.
const LATELY: Duration = Duration::from_millis(1);
