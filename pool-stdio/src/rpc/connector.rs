//! Children that speak JSON-RPC as connections of a pool: how one is started, initialized, checked and
//! closed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, ConnectionId,
    Connector, SharedConnector, SuspicionSink, async_trait,
};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

#[cfg(doc)]
use super::call::Call;
use super::connection::JsonRpcConnection;
use super::error::{Fate, RpcError};
use super::framing::Framing;
use super::handshake::Handshake;
use super::limit::DURATION_MAX;
use super::link::LinkSettings;
use super::notifications::CAPACITY_MAX;
use super::protocol::Protocol;
use super::router::StrayFrames;
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
/// * **`watch_suspicion`** tells a shared pool when a child is [suspected](Self::hang_after) to hang.
/// * **`is_clean`**, of an exclusive pool, says no to a connection with a call that was given up and not
///   answered: the next caller could receive notifications about it.
/// * **`died`** resolves on exit or end of stdout.
/// * **`check`** pings the child, if the protocol has a ping. A child that does not answer fails the
///   check, unless it may be working on a call: then it is [suspected](Self::hang_after).
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

impl JsonRpcConnector {
    /// Children of this command, with the framing of the protocol.
    ///
    /// # Errors
    ///
    /// As [`CommandSpec::build`].
    pub fn new(spec: CommandSpec, protocol: Protocol) -> Result<Self, CommandError> {
        Ok(Self {
            launcher: Launcher::new(spec)?,
            handshake: None,
            settings: TransportSettings {
                protocol,
                link: LinkSettings {
                    pid: 0,
                    connection_id: ConnectionId::from_u64(0),
                    framing: protocol.framing(),
                    frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
                    cancel: protocol.cancel(),
                    queue_max: QUEUE_DEFAULT,
                    enqueue_timeout: TIMEOUT_DEFAULT,
                    write_timeout: TIMEOUT_DEFAULT,
                    hang_after: HANG_AFTER_DEFAULT,
                    notifications_max: NOTIFICATIONS_DEFAULT,
                },
                strays: StrayFrames::default(),
                handler: None,
            },
            ping_timeout: PING_TIMEOUT_DEFAULT,
        })
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
        self.handshake = Some(Handshake::new(params)?);
        Ok(self)
    }

    /// The `connector` label of metrics. Default: the file name of the program.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.launcher.set_name(name);
        self
    }

    /// How messages are framed. Default: as the protocol says.
    #[must_use]
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.settings.link.framing = framing;
        self
    }

    /// What happens when a child writes a frame that is not a message. Default: [`StrayFrames::Skip`].
    #[must_use]
    pub const fn stray_frames(mut self, policy: StrayFrames) -> Self {
        self.settings.strays = policy;
        self
    }

    /// How many bytes a message may have, in either direction; at most 4 GiB less one. Default:
    /// [`FRAME_BYTES_MAX_DEFAULT`]. Worst-case cost: this much memory for each connection, and for each
    /// queued message.
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.link.frame_bytes_max = if bytes < FRAME_BYTES_LIMIT {
            bytes
        } else {
            FRAME_BYTES_LIMIT
        };
        self
    }

    /// How many messages of callers may be queued for writing, at least one. Further callers wait for
    /// room. Default: 64. Cancel notifications and answers to the child never wait: up to 1024 of them
    /// are queued, and more are dropped and [counted](crate::RpcCounts::unsent).
    #[must_use]
    pub const fn queue_max(mut self, messages: usize) -> Self {
        self.settings.link.queue_max = if messages == 0 { 1 } else { messages };
        self
    }

    /// How long a caller may wait for room in the queue. Default: 30 seconds. Then the call ends with a
    /// [`Timeout`](RpcError::Timeout), and nothing of it was sent.
    #[must_use]
    pub const fn enqueue_timeout(mut self, limit: Duration) -> Self {
        self.settings.link.enqueue_timeout = limit;
        self
    }

    /// How long a child may leave its stdin unread while something is queued for it. Default: 30
    /// seconds. Then the connection is over, and all calls end with
    /// [`WriteStalled`](RpcError::WriteStalled).
    #[must_use]
    pub const fn write_timeout(mut self, limit: Duration) -> Self {
        self.settings.link.write_timeout = limit;
        self
    }

    /// How many notifications are kept for a slow subscriber, at least one and at most 65,536, rounded
    /// up to a power of two. Default: 256. The memory is allocated when a connection opens.
    #[must_use]
    pub fn notifications_max(mut self, notifications: usize) -> Self {
        self.settings.link.notifications_max = notifications.clamp(1, CAPACITY_MAX);
        self
    }

    /// How long a ping may take. Default: 2 seconds. Must be below the pool's check timeout.
    #[must_use]
    pub const fn ping_timeout(mut self, limit: Duration) -> Self {
        self.ping_timeout = limit;
        self
    }

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
    #[must_use]
    pub fn hang_after(mut self, silence: Duration) -> Self {
        self.settings.link.hang_after = silence.min(DURATION_MAX);
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
    ///             assert_ne!(request.method(), "");
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
                Err(_) => Err(RpcError::Timeout {
                    limit: cx.deadline.saturating_duration_since(begun),
                    pid: connection.pid(),
                    fate: Fate::MaybeExecuted,
                }),
            };
            let result = outcome.map_err(|error| handshake_failed(&connection, error))?;
            connection.set_initialize_result(result);
        }
        Ok(connection)
    }
}

/// An error that already reports on the child is passed on; any other is wrapped with such a report.
fn handshake_failed(connection: &JsonRpcConnection, error: RpcError) -> ConnectError {
    if error.report().is_some() {
        return ConnectError::transient(error);
    }
    let requested_at = Some(connection.requested_at());
    let report = ChildReport::of(connection.child(), Stage::Handshake, requested_at);
    let source = error.into();
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
        connection.owes_nothing()
    }

    fn died(&self, connection: &Self::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        Some(connection.died())
    }

    fn watch_suspicion(&self, connection: &Self::Connection, sink: SuspicionSink) {
        connection.watch_suspicion(sink);
    }

    async fn check(&self, connection: &mut Self::Connection) -> Result<(), CheckError> {
        self.check_shared(connection).await
    }

    async fn close(&self, connection: Self::Connection, reason: CloseReason) {
        let stop = stop_mode(reason);
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

const QUEUE_DEFAULT: usize = 64;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const NOTIFICATIONS_DEFAULT: usize = 256;
const PING_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
const HANG_AFTER_DEFAULT: Duration = Duration::from_secs(5);
/// A position in a frame must fit into 32 bits.
const FRAME_BYTES_LIMIT: usize = u32::MAX as usize;
