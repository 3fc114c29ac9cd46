//! Children that speak JSON-RPC, as connections of a pool: how one is started, greeted, judged.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector, SharedConnector,
    async_trait,
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::connection::{JsonRpcConnection, Transport};
use super::driver::{ChildFacts, Desk, Driver, StrayFrames};
use super::error::{Fate, RpcError};
use super::framing::{FrameDecoder, Framing};
use super::link::{Link, LinkSettings};
use super::notifications::CAPACITY_MAX;
use super::protocol::{Cancel, Greeting, Protocol};
use super::server_request::{Answer, Handler, Responder, ServerRequest};
use crate::codec::FRAME_BYTES_MAX_DEFAULT;
use crate::error::{ChildReport, Stage, StdioError};
use crate::launch::{LaunchedChild, Launcher, stop_mode};
use crate::process::{Children, CommandError, CommandSpec, Stop};

/// Starts children of one command that answer many JSON-RPC requests at once.
///
/// Meant for a [`SharedPool`](pool_core::SharedPool): few children serve many callers, a child that
/// has lived for long goes on until its replacement is open, and its calls are let finish. A
/// [`ConnectionPool`](pool_core::ConnectionPool) lends a child to one caller at a time, for servers
/// whose notifications and questions do not say which request they belong to.
///
/// # What a pool gets from it
///
/// * **`connect`** starts a child and [greets](Self::initialize) it, within the pool's connect
///   timeout. A child that dies in its greeting fails the connect at once, with its exit and the
///   end of its stderr.
/// * **`is_alive`** is [one system call](JsonRpcConnection::is_alive), or none while a busy child
///   answers.
/// * **`is_clean_shared`** says no to a child that hangs: it was silent for
///   [`silence_max`](Self::silence_max), and a caller gave it up meanwhile. Otherwise it says yes: of
///   many callers none gets what was meant for one that gave up. **`is_clean`**, of an exclusive
///   pool, says no to a connection with a call that was given up and not answered: what is still
///   said about it would reach the next caller.
/// * **`died`** resolves on exit or end of stdout.
/// * **`check`** pings the child, if the protocol has a ping. A child that is busy with calls may
///   stay silent; once calls were given up in that silence, for two checks, or nine while others
///   still wait. So is a child found that hangs, with or without a ping.
/// * **`close`** asks a language server that was greeted to shut down, for up to two seconds, if its
///   end is orderly; ends pending calls with [`Cancelled`](RpcError::Cancelled), walks the
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
/// assert_eq!(child.call_within::<String>("greet", &(), limit).await?, "hi");
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
    name: Arc<str>,
    protocol: Protocol,
    greeting: Option<Greeting>,
    settings: LinkSettings,
    strays: StrayFrames,
    handler: Option<Arc<Handler>>,
    ping_timeout: Duration,
    silence_max: Duration,
}

impl JsonRpcConnector {
    /// Children of this command, with the framing and the cancel notification of the protocol.
    ///
    /// # Errors
    ///
    /// As [`CommandSpec::build`].
    pub fn new(spec: CommandSpec, protocol: Protocol) -> Result<Self, CommandError> {
        let launcher = Launcher::new(spec)?;
        let name = launcher.program_name().into();
        Ok(Self {
            launcher,
            name,
            protocol,
            greeting: None,
            settings: LinkSettings {
                pid: 0,
                framing: protocol.framing(),
                frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
                cancel: protocol.cancel(),
                queue_max: QUEUE_DEFAULT,
                enqueue_timeout: TIMEOUT_DEFAULT,
                write_timeout: TIMEOUT_DEFAULT,
                notices_max: NOTICES_DEFAULT,
            },
            strays: StrayFrames::default(),
            handler: None,
            ping_timeout: PING_TIMEOUT_DEFAULT,
            silence_max: SILENCE_DEFAULT,
        })
    }

    /// Greets each child with `initialize` and these params, and with the protocol's notification
    /// that this is done. The result is [kept](JsonRpcConnection::initialize_result). Default: no
    /// greeting.
    ///
    /// # Errors
    ///
    /// If the params cannot be written as JSON.
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
        self.greeting = Some(Greeting::new(params)?);
        Ok(self)
    }

    /// The `connector` label of metrics, and the name of its connections. Default: the file name of
    /// the program.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.launcher.set_name(name);
        self.name = name.into();
        self
    }

    /// How messages are told apart. Default: as the protocol says.
    #[must_use]
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.settings.framing = framing;
        self
    }

    /// How a child is told that nobody waits any more. Default: as the protocol says.
    #[must_use]
    pub const fn cancel(mut self, cancel: Cancel) -> Self {
        self.settings.cancel = cancel;
        self
    }

    /// What becomes of frames that are no message. Default: [`StrayFrames::Skip`].
    #[must_use]
    pub const fn stray_frames(mut self, policy: StrayFrames) -> Self {
        self.strays = policy;
        self
    }

    /// The most bytes that a message may have, in either direction, at most 4 GiB less one. Default:
    /// [`FRAME_BYTES_MAX_DEFAULT`]. Worst-case cost: as many per connection, and per call that waits
    /// to be written.
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.frame_bytes_max = if bytes < FRAME_BYTES_LIMIT {
            bytes
        } else {
            FRAME_BYTES_LIMIT
        };
        self
    }

    /// How many messages may wait to be written, at least one; further callers wait in line. Default:
    /// 64. Cancel notifications and answers to the child do not wait; at most 1024 of them are kept.
    #[must_use]
    pub const fn queue_max(mut self, messages: usize) -> Self {
        self.settings.queue_max = if messages == 0 { 1 } else { messages };
        self
    }

    /// How long a message may wait for room in the queue. Default: 30 seconds. Then its call ends
    /// with a [`Timeout`](RpcError::Timeout), and nothing of it was sent.
    #[must_use]
    pub const fn enqueue_timeout(mut self, limit: Duration) -> Self {
        self.settings.enqueue_timeout = limit;
        self
    }

    /// How long a child may leave its stdin unread while there is something for it. Default: 30
    /// seconds. Then the connection is dead, and all calls end with
    /// [`WriteStalled`](RpcError::WriteStalled).
    #[must_use]
    pub const fn write_timeout(mut self, limit: Duration) -> Self {
        self.settings.write_timeout = limit;
        self
    }

    /// How many notifications are kept for a subscriber who does not take them, at least one and at
    /// most 65,536, rounded up to a power of two. Default: 256. The room is set aside at once, for
    /// each connection.
    #[must_use]
    pub fn notices_max(mut self, notifications: usize) -> Self {
        self.settings.notices_max = notifications.clamp(1, CAPACITY_MAX);
        self
    }

    /// How long a ping may take. Default: 2 seconds. Must be below the pool's check timeout.
    #[must_use]
    pub const fn ping_timeout(mut self, limit: Duration) -> Self {
        self.ping_timeout = limit;
        self
    }

    /// How long a child may say nothing to anybody, once a caller gave it up in that time. Default: 5
    /// minutes. A [`SharedPool`](pool_core::SharedPool) then lends it no more, and ends it after its
    /// last lease. To be longer than anything takes that a child does by itself.
    #[must_use]
    pub const fn silence_max(mut self, limit: Duration) -> Self {
        self.silence_max = limit;
        self
    }

    /// Who answers what a child asks. Default: everything is answered with `-32601`, method not
    /// found, but for MCP's `ping`. Up to 64 requests are answered at once; a panic is answered with
    /// `-32603`.
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
        self.handler = Some(Arc::new(handler));
        self
    }

    /// All children of this connector; see [`StdioConnector::children`](crate::StdioConnector::children).
    #[must_use]
    pub fn children(&self) -> Children {
        self.launcher.children()
    }

    async fn open(&self, cx: &ConnectContext) -> Result<JsonRpcConnection, ConnectError> {
        let mut connection = self.connection(self.launcher.launch(cx).await?);
        if let Some(greeting) = &self.greeting {
            let begun = Instant::now();
            let greeted = match timeout_at(cx.deadline, self.greet(&connection, greeting)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(RpcError::Timeout {
                    limit: cx.deadline.saturating_duration_since(begun),
                    pid: connection.pid(),
                    fate: Fate::MaybeExecuted,
                }),
            };
            let greeted = greeted.map_err(|error| ungreeted(&connection, error));
            connection.greeted = Some(greeted?);
        }
        Ok(connection)
    }

    fn connection(&self, launched: LaunchedChild) -> JsonRpcConnection {
        let LaunchedChild {
            child,
            stdin,
            stdout,
            id,
            requested_at: wanted,
            meter,
        } = launched;
        let meters = meter.meters();
        let settings = LinkSettings {
            pid: child.pid(),
            ..self.settings.clone()
        };
        let (link, notices) = Link::new(settings, Box::new(stdin));
        let facts = ChildFacts {
            record: Some(child.record()),
        };
        let driver = Driver {
            link: Arc::clone(&link),
            stdout: Arc::clone(&stdout),
            notices,
            frames: FrameDecoder::new(self.settings.framing, self.settings.frame_bytes_max),
            protocol: self.protocol,
            strays: self.strays,
            responder: Responder::new(self.handler.clone(), self.protocol),
            facts: facts.clone(),
            exited: Some(child.exit_wait()),
            meters: Arc::clone(&meters),
            desk: Desk::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        let client = Client {
            link,
            protocol: self.protocol,
            meters,
        };
        JsonRpcConnection {
            transport: Transport {
                client,
                tasks,
                stdout,
                facts,
            },
            child,
            meter,
            id,
            name: Arc::clone(&self.name),
            wanted,
            greeted: None,
        }
    }

    async fn greet(
        &self,
        connection: &JsonRpcConnection,
        greeting: &Greeting,
    ) -> Result<Box<RawValue>, RpcError> {
        let result = connection.call("initialize", &greeting.params).await?;
        if let Some(method) = self.protocol.initialized() {
            let nothing = std::collections::BTreeMap::<String, ()>::new();
            connection.notify(method, &nothing).await?;
        }
        Ok(result)
    }
}

/// An error that knows its child goes as it is; any other is told with the circumstances.
fn ungreeted(connection: &JsonRpcConnection, error: RpcError) -> ConnectError {
    if error.report().is_some() {
        return ConnectError::transient(error);
    }
    let report = ChildReport::of(&connection.child, Stage::Handshake, Some(connection.wanted));
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

    fn died(&self, connection: &Self::Connection) -> Option<BoxFuture<'static, ()>> {
        Some(connection.died())
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
        let outcome = connection.ping(self.ping_timeout).await;
        outcome.map_err(CheckError::new)
    }

    fn is_clean_shared(&self, connection: &Self::Connection) -> bool {
        // Whatever still comes meets nobody. But who is busy is never checked.
        !connection.hangs(self.silence_max)
    }
}

impl fmt::Debug for JsonRpcConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonRpcConnector")
            .field("name", &self.name)
            .field("protocol", &self.protocol)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

const QUEUE_DEFAULT: usize = 64;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const NOTICES_DEFAULT: usize = 256;
const PING_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
const SILENCE_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Where something is in a frame must fit into 32 bits.
const FRAME_BYTES_LIMIT: usize = u32::MAX as usize;
