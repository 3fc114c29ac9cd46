//! Children that speak JSON-RPC as connections of a pool: how one is started, initialized, checked and
//! closed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, ConnectionId,
    Connector, SharedConnector, SuspicionSink, Vitals, async_trait,
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

#[cfg(doc)]
use super::call::Call;
use super::caller::ChildCaller;
use super::connection::JsonRpcConnection;
use super::error::{Fate, RpcError};
use super::framing::Framing;
use super::handshake::Handshake;
use super::limit::{DURATION_MAX, Limit};
use super::link::LinkSettings;
use super::note_limits::NoteLimits;
use super::notifications::CAPACITY_MAX;
use super::protocol::Protocol;
use super::report::ChildFacts;
use super::server_request::{Answer, ServerRequest};
use super::transport::TransportSettings;
use crate::codec::FRAME_BYTES_MAX_DEFAULT;
use crate::error::{ChildReport, Stage, StdioError};
use crate::launch::{Launcher, stop_mode};
use crate::process::{Children, CommandError, CommandSpec, Stop};

/// Starts children of one command that answer many JSON-RPC requests at once.
///
/// Meant for a [`SharedPool`](pool_core::SharedPool): few children serve many callers. A
/// [`ConnectionPool`](pool_core::ConnectionPool) lends a child to one caller at a time, for servers
/// whose notifications and requests do not say which call they belong to.
///
/// # What a pool gets from it
///
/// * **`connect`** starts a child and [initializes](Self::initialize) it, within the pool's connect
///   timeout. A child that dies meanwhile fails the connect at once, with its exit and the end of its
///   stderr.
/// * **`is_alive`** is [one system call](JsonRpcConnection::is_alive), or none while a busy child
///   answers.
/// * **`watch_suspicion`** tells a shared pool when a child is [suspected](RpcLimits::hang_after) to hang.
/// * **`is_clean`**, of an exclusive pool, says no to a connection with a call that was given up and not
///   answered: the next caller could receive notifications about it. Nor is a child clean that was held
///   for a [session](crate::Session).
/// * **`died`** resolves on exit or end of stdout.
/// * **`check`** pings the child, if the protocol has a ping. A child that does not answer fails the
///   check, unless it may be working on a call: then it is [suspected](RpcLimits::hang_after).
/// * **`close`** tells an initialized language server to shut down and waits up to two seconds for that,
///   if the end is orderly. It ends pending calls with [`Cancelled`](RpcError::Cancelled), walks the
///   [ladder](crate::LadderTimes), and returns when the child is reaped.
///
/// # Examples
///
/// ```
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let script = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":"hi"}/"#;
/// let server = CommandSpec::new("sed").args(["-u", script]);
/// let connector = JsonRpcConnector::new(server, Protocol::Plain)?;
/// let pool = SharedPool::builder(connector).max_size(4).target_leases(64).build()?;
///
/// let child = pool.acquire().await?;
/// let limit = Duration::from_secs(10);
/// assert_eq!(child.call::<String>("greet", &()).within(limit).await?, "hi");
/// # Ok(())
/// # }
/// ```
///
/// ```
/// use pool_stdio::{CommandError, CommandSpec, JsonRpcConnector, Protocol};
///
/// let error = JsonRpcConnector::new(CommandSpec::new("no-such-server"), Protocol::Mcp).unwrap_err();
/// assert!(matches!(error, CommandError::NotFound { .. }));
/// ```
pub struct JsonRpcConnector {
    launcher: Launcher,
    handshake: Option<Handshake>,
    settings: TransportSettings,
    ping_timeout: Duration,
}

/// How much one JSON-RPC connection keeps, and how long it waits.
///
/// # Examples
///
/// ```
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol, RpcLimits};
/// use std::time::Duration;
///
/// // A server that thinks long and silently, behind callers without limits of their own.
/// let limits = RpcLimits { hang_after: Duration::from_secs(60), ..RpcLimits::default() };
/// let connector = JsonRpcConnector::new(CommandSpec::new("cat"), Protocol::Mcp)?.limits(limits);
/// # drop(connector);
/// # Ok::<(), pool_stdio::CommandError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RpcLimits {
    /// How many bytes a message may have, in either direction; at most 4 GiB less one. Default:
    /// 16 MiB. Worst-case cost: this much memory for each connection, and for each queued message.
    pub frame_bytes_max: usize,
    /// How many messages of callers may be queued for writing, at least one. Further callers wait for
    /// room. Default: 64. Cancel notifications and answers to the child never wait: up to 1024 of them
    /// are queued, and more are dropped and [counted](crate::RpcStatus::unsent).
    pub queue_max: usize,
    /// How long a caller may wait for room in the queue. Default: 30 seconds. Then the call ends with a
    /// [`Timeout`](RpcError::Timeout), and nothing of it was sent.
    pub enqueue_timeout: Duration,
    /// How long a child may leave its stdin unread while something is queued for it. Default: 30
    /// seconds. Then the connection is over, and all calls end with
    /// [`WriteStalled`](RpcError::WriteStalled).
    ///
    /// Many programs read nothing while they work. So a child that has a whole request is left alone until the
    /// deadline of the last such request, or until it has answered all of them, and then for this long at most.
    pub write_timeout: Duration,
    /// How many notifications are kept for slow subscribers, and in a [`Session`](crate::Session); at least
    /// one and at most 65,536. Default: 256.
    pub notifications_max: usize,
    /// How many bytes of notifications are kept for slow subscribers, in a [`Session`](crate::Session), and in
    /// an [`Exchange`](crate::Exchange). A single one is kept however long it is. Default: 16 MiB. Worst-case
    /// cost: this much, or one message, for the subscribers of a connection, for each session, and for each
    /// exchange whose client does not take its notes.
    pub notification_bytes_max: usize,
    /// How long a ping may take. Default: 2 seconds. Must be below the pool's check timeout.
    pub ping_timeout: Duration,
    /// How long a child that is suspected to hang may stay silent. Default: 5 seconds.
    ///
    /// A child is suspected when a request that was written to it passed its
    /// [deadline](Call::within) and nothing was read from the child since. It is also suspected when its
    /// process has been stopped (as by SIGSTOP) for this long while a call was pending. A call that its
    /// caller dropped is no evidence.
    ///
    /// A suspected child is pinged, if its protocol has a ping. A
    /// [`SharedPool`](pool_core::SharedPool) gives no new lease of it, and may open a replacement at
    /// once. Any byte from the child clears it. After this long of further silence it is ended, and its
    /// calls fail with [`Hung`](RpcError::Hung). If other calls were pending when it became a suspect, it
    /// is not ended before the last of their deadlines, unless its process is stopped. So a child that
    /// works silently for a minute under a deadline of two minutes is never ended, and one that was
    /// stopped is gone within twice this time.
    pub hang_after: Duration,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            queue_max: 64,
            enqueue_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            notifications_max: 256,
            notification_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            ping_timeout: Duration::from_secs(2),
            hang_after: Duration::from_secs(5),
        }
    }
}

impl RpcLimits {
    fn notes(self) -> NoteLimits {
        NoteLimits {
            notes_max: self.notifications_max.clamp(1, CAPACITY_MAX),
            bytes_max: self.notification_bytes_max,
        }
    }
}

impl JsonRpcConnector {
    /// Children of this command, with the framing of the protocol.
    ///
    /// # Errors
    ///
    /// As [`CommandSpec::build`].
    pub fn new(spec: CommandSpec, protocol: Protocol) -> Result<Self, CommandError> {
        let limits = RpcLimits::default();
        let connector = Self {
            launcher: Launcher::new(spec)?,
            handshake: None,
            settings: TransportSettings {
                protocol,
                link: LinkSettings {
                    pid: 0,
                    facts: ChildFacts::default(),
                    connection_id: ConnectionId::from_u64(0),
                    framing: protocol.framing(),
                    frame_bytes_max: limits.frame_bytes_max,
                    cancel: protocol.cancel(),
                    ping: protocol.ping(),
                    queue_max: limits.queue_max,
                    enqueue_timeout: limits.enqueue_timeout,
                    write_timeout: limits.write_timeout,
                    hang_after: limits.hang_after,
                    notes: limits.notes(),
                },
                handler: None,
            },
            ping_timeout: limits.ping_timeout,
        };
        Ok(connector)
    }

    /// Initializes each child: sends `initialize` with these params, and then the notification that the
    /// protocol wants after its result. The result is
    /// [kept](JsonRpcConnection::initialize_result). Default: nothing is sent.
    ///
    /// # Errors
    ///
    /// The params cannot be written as JSON.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
    /// use std::collections::BTreeMap;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let params = BTreeMap::from([("processId", None::<u32>)]);
    /// let connector = JsonRpcConnector::new(CommandSpec::new("cat"), Protocol::Lsp)?;
    /// let connector = connector.initialize(&params)?;
    /// # drop(connector);
    /// # Ok(())
    /// # }
    /// ```
    pub fn initialize(mut self, params: &impl Serialize) -> serde_json::Result<Self> {
        self.handshake = Some(Handshake::initialize(params)?);
        Ok(self)
    }

    /// Begins each child with a handshake of your own, in the place of [`initialize`](Self::initialize). Its
    /// result is [kept](JsonRpcConnection::initialize_result). It has the time that is left of the connect
    /// timeout.
    ///
    /// An error fails the connect, which may succeed later, unless the error is a [`ConnectError`] that says
    /// otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::{BoxError, SharedPool};
    /// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A server that answers every request with true.
    /// let script = r#"s/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":true}/"#;
    /// let server = CommandSpec::new("sed").args(["-u", script]);
    /// let connector = JsonRpcConnector::new(server, Protocol::Mcp)?.handshake(|child| {
    ///     Box::pin(async move { child.call("hello", &()).await.map_err(BoxError::from) })
    /// });
    /// let pool = SharedPool::builder(connector).build()?;
    /// let said = pool.acquire().await?.initialize_result().map(|said| said.get().to_owned());
    /// assert_eq!(said.as_deref(), Some("true"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn handshake(
        mut self,
        handshake: impl Fn(ChildCaller) -> BoxFuture<'static, Result<Box<RawValue>, BoxError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.handshake = Some(Handshake::Own(Arc::new(handshake)));
        self
    }

    /// How messages are framed. Default: as the protocol says.
    #[must_use]
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.settings.link.framing = framing;
        self
    }

    /// How much is kept, and how long is waited. Default: [`RpcLimits::default`].
    #[must_use]
    pub fn limits(mut self, limits: RpcLimits) -> Self {
        let link = &mut self.settings.link;
        link.frame_bytes_max = limits.frame_bytes_max.min(FRAME_BYTES_LIMIT);
        link.queue_max = limits.queue_max.max(1);
        link.enqueue_timeout = limits.enqueue_timeout;
        link.write_timeout = limits.write_timeout;
        link.notes = limits.notes();
        link.hang_after = limits.hang_after.min(DURATION_MAX);
        self.ping_timeout = limits.ping_timeout;
        self
    }

    /// Answers the requests of a child. Default: MCP's `ping` is answered with `{}`, everything else with
    /// the error `-32601`, method not found.
    ///
    /// Up to 64 requests of one child are answered at the same time, further ones with the error
    /// `-32000`. If the handler panics, the answer is the error `-32603`. If the child cancels its request,
    /// the handler's future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_stdio::{CommandSpec, ErrorObject, JsonRpcConnector, Protocol};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let connector = JsonRpcConnector::new(CommandSpec::new("cat"), Protocol::Mcp)?.on_request(
    ///     |request| {
    ///         Box::pin(async move {
    ///             assert_ne!(request.method, "");
    ///             Err(ErrorObject::new(-32601, "not here"))
    ///         })
    ///     },
    /// );
    /// # drop(connector);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_request(
        mut self,
        handler: impl Fn(ServerRequest) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    ) -> Self {
        self.settings.handler = Some(Arc::new(handler));
        self
    }

    /// All children of this connector; see [`StdioConnector::children`](crate::StdioConnector::children).
    #[must_use]
    pub fn children(&self) -> Children {
        self.launcher.children()
    }

    async fn open(&self, cx: &ConnectContext) -> Result<JsonRpcConnection, ConnectError> {
        let launched = self.launcher.launch(cx).await?;
        let mut connection = JsonRpcConnection::open(launched, self.settings.clone());
        if let Some(handshake) = &self.handshake {
            let begun = Instant::now();
            let run = handshake.run(&connection.transport().client);
            let outcome = match timeout_at(cx.deadline, run).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let limit = Limit {
                        duration: cx.deadline.saturating_duration_since(begun),
                        until: cx.deadline,
                    };
                    let link = &connection.transport().client.link;
                    Err(link.timed_out(limit, Fate::MaybeExecuted).into())
                }
            };
            let result = outcome.map_err(|error| handshake_error(&connection, error))?;
            connection.set_initialize_result(result);
        }
        Ok(connection)
    }
}

/// An error of a child that ended is passed on, as is one that says by itself whether a later attempt can
/// succeed. Any other is wrapped with a report on the child.
fn handshake_error(connection: &JsonRpcConnection, error: BoxError) -> ConnectError {
    let error = match error.downcast::<ConnectError>() {
        Ok(decided) => return *decided,
        Err(error) => error,
    };
    let source = match error.downcast::<RpcError>() {
        Ok(error) if error.ends_connection() && error.report().is_some() => {
            return ConnectError::transient(*error);
        }
        Ok(error) => error,
        Err(error) => error,
    };
    let requested_at = Some(connection.requested_at());
    let report = ChildReport::of(connection.process(), Stage::Handshake, requested_at);
    ConnectError::transient(StdioError::Handshake { source, report })
}

#[async_trait]
impl Connector for JsonRpcConnector {
    type Connection = JsonRpcConnection;

    async fn connect(&self, cx: &ConnectContext) -> Result<Self::Connection, ConnectError> {
        self.open(cx).await
    }

    fn is_alive(&self, connection: &Self::Connection) -> bool {
        connection.is_alive()
    }

    fn is_clean(&self, connection: &Self::Connection) -> bool {
        connection.owes_nothing() && !connection.is_personal()
    }

    fn died(&self, connection: &Self::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        Some(connection.died())
    }

    fn vitals(&self, connection: &Self::Connection) -> Option<Arc<dyn Vitals>> {
        connection.vitals()
    }

    fn watch_suspicion(&self, connection: &Self::Connection, sink: SuspicionSink) {
        connection.watch_suspicion(sink);
    }

    async fn check(&self, connection: &mut Self::Connection) -> Result<(), CheckError> {
        self.check_shared(connection).await
    }

    async fn close(&self, connection: Self::Connection, reason: CloseReason) {
        // A child that served a session is dirty, and in order.
        let is_in_order = connection.is_personal() && connection.owes_nothing();
        let stop = if reason == CloseReason::Dirty && is_in_order {
            Stop::Orderly
        } else {
            stop_mode(reason)
        };
        if stop == Stop::Orderly {
            connection.say_goodbye().await;
        }
        connection.terminate(stop).await;
    }
}

#[async_trait]
impl SharedConnector for JsonRpcConnector {
    async fn check_shared(&self, connection: &Self::Connection) -> Result<(), CheckError> {
        connection.publish();
        let outcome = connection.check(self.ping_timeout).await;
        outcome.map_err(CheckError::new)
    }

    fn is_clean_shared(&self, _: &Self::Connection) -> bool {
        // Late replies are dropped, so a call that was given up does no harm to others.
        true
    }
}

impl fmt::Debug for JsonRpcConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonRpcConnector")
            .field("protocol", &self.settings.protocol)
            .field("settings", &self.settings.link)
            .finish_non_exhaustive()
    }
}

/// A position in a frame must fit into 32 bits.
const FRAME_BYTES_LIMIT: usize = u32::MAX as usize;
