//! Children that serve one caller at a time, as connections of a pool.
//!
//! Decides when a new child is ready to be lent: a failed handshake is a *transient* failure, unless
//! the handshake says otherwise.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, Connector, Vitals,
    async_trait,
};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tokio_util::codec::Encoder;

use super::connection::StdioConnection;
use super::quiet_token::QuietToken;
use super::settings::{ExchangeSettings, StrayPolicy};
use crate::codec::{Codec, LineCodec};
use crate::error::{ChildReport, StdioError};
use crate::launch::{Launcher, stop_mode};
use crate::process::{Children, CommandError, CommandSpec};

type Hook<C> =
    dyn for<'a> Fn(&'a mut StdioConnection<C>) -> BoxFuture<'a, Result<(), BoxError>> + Send + Sync;

/// Starts children of one command, for a [`ConnectionPool`](pool_core::ConnectionPool).
///
/// # What the pool gets from it
///
/// * **`connect`** starts a child on a thread that may block, registers its pipes with the pool's
///   runtime, and runs the [handshake](Self::handshake), all within the pool's connect timeout.
///   Cancelling it leaves no child. A child that dies in its handshake fails the connect at once,
///   with its exit and the end of its stderr.
/// * **`is_alive`** is false if the child has exited, has closed its stdout, or has written unasked.
///   It costs at most one system call.
/// * **`is_clean`** is false if a request was cancelled, timed out, or not answered as a whole.
/// * **`died`** resolves on exit or end of stdout, so the pool removes an idle child that crashes at
///   once, without traffic.
/// * **`close`** walks the whole [ladder](crate::LadderTimes) if the child did nothing wrong, and
///   kills it otherwise. It returns when the child is reaped. With the default times the ladder
///   takes up to 10.5 seconds for a child that ignores everything, less than the pool's default
///   `close_timeout`.
///
/// # When pooling cannot help
///
/// A child must be able to serve one request after the other. For a tool that exits after its
/// answer, use [`OneShotConnector`](crate::OneShotConnector). For a server that answers many
/// JSON-RPC requests at once, use [`JsonRpcConnector`](crate::JsonRpcConnector): here it would serve
/// one at a time.
///
/// # Examples
///
/// ```
/// use pool_core::ConnectionPool;
/// use pool_stdio::{CommandSpec, StdioConnector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = StdioConnector::new(CommandSpec::new("cat"))?;
/// let pool = ConnectionPool::builder(connector).name("cats").max_size(4).build()?;
/// let pid = pool.acquire().await?.process().pid();
/// for number in 0..100 {
///     let mut cat = pool.acquire().await?;
///     assert_eq!(cat.request(format!("{number}")).await?.bytes, format!("{number}"));
///     assert_eq!(cat.process().pid(), pid, "one child serves all");
/// }
/// # Ok(())
/// # }
/// ```
pub struct StdioConnector<C: Codec = LineCodec> {
    launcher: Launcher,
    settings: ExchangeSettings<C>,
    codec: Arc<dyn Fn() -> C + Send + Sync>,
    handshake: Option<Arc<Hook<C>>>,
}

impl StdioConnector {
    /// Children that speak in lines.
    ///
    /// A last line without a newline is an error, not a reply: half a reply must not look like a
    /// whole one. See [`with_codec`](Self::with_codec) for anything else.
    ///
    /// # Errors
    ///
    /// As [`CommandSpec::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_stdio::{CommandError, CommandSpec, StdioConnector};
    ///
    /// let error = StdioConnector::new(CommandSpec::new("no-such-server")).unwrap_err();
    /// assert!(matches!(error, CommandError::NotFound { .. }));
    /// ```
    pub fn new(spec: CommandSpec) -> Result<Self, CommandError> {
        Self::with_codec(spec, LineCodec::new)
    }
}

impl<C: Codec> StdioConnector<C> {
    /// Children that speak in frames of a codec. Each child gets a codec of its own.
    ///
    /// # Errors
    ///
    /// As [`CommandSpec::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::ConnectionPool;
    /// use pool_stdio::codec::HeaderCodec;
    /// use pool_stdio::{CommandSpec, StdioConnector};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let connector = StdioConnector::with_codec(CommandSpec::new("cat"), HeaderCodec::new)?;
    /// let pool = ConnectionPool::builder(connector).build()?;
    /// let reply = pool.acquire().await?.request("{}").await?;
    /// assert_eq!(reply.body, "{}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_codec(
        spec: CommandSpec,
        codec: impl Fn() -> C + Send + Sync + 'static,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            launcher: Launcher::new(spec)?,
            settings: ExchangeSettings::default(),
            codec: Arc::new(codec),
            handshake: None,
        })
    }

    /// Drops output that nobody asked for: what a child writes while no request is under way, or
    /// behind a reply. Whole frames are dropped and counted before the next request is written.
    ///
    /// By default a connection with such output is not used again, and a pool replaces the child: it
    /// may be out of step, and then the next reply would be the wrong one. Even with this, output
    /// that ends in the middle of a frame has that consequence, since the rest of the frame would
    /// be taken for the reply.
    ///
    /// Output that arrived before a request was written is never taken for the reply. Output that
    /// arrives later cannot be told from the reply: a child that often writes unasked, or that
    /// answers twice, needs a protocol with ids.
    #[must_use]
    pub fn discard_stray_output(mut self) -> Self {
        self.settings.strays = StrayPolicy::Discard;
        self
    }

    /// The most bytes that a reply of many frames may have before its last frame, checked after each
    /// frame. The size of one frame is limited by the codec. Default: 16 MiB. Worst-case cost: as many
    /// bytes per connection, the size of a `C::Item` for each frame, and one more frame.
    ///
    /// It also limits how much is read while a message is [sent](StdioConnection::send): if the
    /// child writes more than that before it reads on, no more is read, and the message waits.
    #[must_use]
    pub fn reply_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.reply_bytes_max = bytes;
        self
    }

    /// Every reply ends with the first frame for which `is_last` is true, and every message but a
    /// [notification](StdioConnection::notify) has one reply.
    ///
    /// With this the connector, and not each caller, decides when a connection is clean: after a
    /// reply of which a caller has read less, or more than one caller-side
    /// [`until`](crate::Request::until) asks for, it is dirty until the last frame was read. And a
    /// reply may then be read frame by frame, with [`recv`](StdioConnection::recv). If every frame
    /// is a whole reply, say `|_| true`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::ConnectionPool;
    /// use pool_stdio::{CommandSpec, StdioConnector};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Thinks aloud before it answers.
    /// let script = "while read line; do echo info 1; echo info 2; echo best $line; done";
    /// let engine = StdioConnector::new(CommandSpec::new("sh").args(["-c", script]))?
    ///     .replies_until(|line| line.bytes.starts_with(b"best"));
    /// let pool = ConnectionPool::builder(engine).build()?;
    ///
    /// let mut child = pool.acquire().await?;
    /// child.send("go").await?;
    /// assert_eq!(child.recv().await?.bytes, "info 1");
    /// assert_eq!(child.recv().await?.bytes, "info 2");
    /// assert!(child.is_dirty());
    /// assert_eq!(child.recv().await?.bytes, "best go");
    /// assert!(!child.is_dirty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn replies_until(
        mut self,
        is_last: impl Fn(&C::Item) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.settings.is_last = Some(Arc::new(is_last));
        self
    }

    /// Makes a dirty connection clean again, when it is returned to its pool, by a question whose
    /// answer tells that the child has answered everything before it.
    ///
    /// `message` makes the question for a number, and `is_answer` says whether a frame is the answer to
    /// the question of this number. Frames before it are dropped. The number is a random one below 2⁵³
    /// each time, so no caller can ask the same question first. The answer must hold the number: an
    /// answer that fits another number too is refused, since it may answer the question of a caller.
    ///
    /// So a cancelled request costs the rest of its reply and not the child. The pool's
    /// [`reset_timeout`](pool_core::Builder::reset_timeout) limits the wait; a child that does not
    /// answer by then is killed, as without a quiet token.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::ConnectionPool;
    /// use pool_stdio::{CommandSpec, StdioConnector};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let slow = CommandSpec::new("sh").args(["-c", "while read n; do sleep 0.5; echo $n; done"]);
    /// let connector = StdioConnector::new(slow)?
    ///     .quiet_token(|number| format!("token {number}"), |number, line| {
    ///         line.bytes == format!("token {number}")
    ///     });
    /// let pool = ConnectionPool::builder(connector).max_size(1).build()?;
    ///
    /// let mut child = pool.acquire().await?;
    /// let pid = child.process().pid();
    /// child.request("one").within(Duration::from_millis(10)).await.unwrap_err();
    /// drop(child);
    ///
    /// let mut child = pool.acquire().await?;
    /// assert_eq!(child.process().pid(), pid, "it was not replaced");
    /// assert_eq!(child.request("two").await?.bytes, "two");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn quiet_token<M>(
        mut self,
        message: impl Fn(u64) -> M + Send + Sync + 'static,
        is_answer: impl Fn(u64, &C::Item) -> bool + Send + Sync + 'static,
    ) -> Self
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        self.settings.quiet_token = Some(Arc::new(QuietToken::new(message, is_answer)));
        self
    }

    /// Runs with each new child before it is lent: reads a greeting, agrees on a version.
    ///
    /// It has the pool's connect timeout, and fails as soon as the child exits. An error fails the
    /// connect; the failure is transient unless the error is a [`ConnectError`] that says otherwise.
    /// The connect fails too if the connection is dirty afterwards, or, if that is not
    /// [allowed](Self::discard_stray_output), if the child has written more than was received.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::ConnectionPool;
    /// use pool_stdio::{CommandSpec, StdioConnector};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = CommandSpec::new("sh").args(["-c", "echo warming up; echo ready; exec cat"]);
    /// let connector = StdioConnector::new(server)?.handshake(|child| {
    ///     Box::pin(async {
    ///         child.recv().until(|line| line.bytes == "ready").await?;
    ///         Ok(())
    ///     })
    /// });
    /// let pool = ConnectionPool::builder(connector).build()?;
    /// assert_eq!(pool.acquire().await?.request("hi").await?.bytes, "hi");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn handshake(
        mut self,
        hook: impl for<'a> Fn(&'a mut StdioConnection<C>) -> BoxFuture<'a, Result<(), BoxError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.handshake = Some(Arc::new(hook));
        self
    }

    /// All children of this connector, to [signal](Children::signal_all) or
    /// [end](Children::terminate_all) them together. Call it before you give the connector to a pool.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::ConnectionPool;
    /// use pool_stdio::{CommandSpec, StdioConnector};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let connector = StdioConnector::new(CommandSpec::new("cat"))?;
    /// let children = connector.children();
    /// let pool = ConnectionPool::builder(connector).build()?;
    /// let lease = pool.acquire().await?;
    /// assert_eq!(children.pids(), [lease.process().pid()]);
    ///
    /// let report = children.terminate_all(Duration::from_secs(5)).await;
    /// assert_eq!(report.ended, 1);
    /// assert!(report.left.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn children(&self) -> Children {
        self.launcher.children()
    }

    async fn open(&self, cx: &ConnectContext) -> Result<StdioConnection<C>, ConnectError> {
        let launched = self.launcher.launch(cx).await?;
        let mut connection = StdioConnection::new(launched, (self.codec)(), self.settings.clone());
        if let Some(hook) = &self.handshake {
            run_handshake(hook, &mut connection, cx.deadline).await?;
        }
        connection.end_handshake();
        Ok(connection)
    }
}

/// Runs the hook until it is done, the child exits, or the deadline has come.
async fn run_handshake<C: Codec>(
    hook: &Arc<Hook<C>>,
    connection: &mut StdioConnection<C>,
    deadline: Instant,
) -> Result<(), ConnectError> {
    let begun = Instant::now();
    let mut exited = pin!(connection.exited());
    let ended = {
        let mut running = pin!(timeout_at(deadline, hook(connection)));
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = running.as_mut().poll(cx) {
                return Poll::Ready(HandshakeEnd::of(outcome));
            }
            exited.as_mut().poll(cx).map(|_| HandshakeEnd::Exited)
        })
        .await
    };
    let report = connection.report();
    let error = match ended {
        HandshakeEnd::Failed(error) => return Err(handshake_error(error, report)),
        HandshakeEnd::TimedOut => StdioError::TimedOut {
            limit: deadline.saturating_duration_since(begun),
            report,
        },
        HandshakeEnd::Exited => StdioError::Exited { report },
        HandshakeEnd::Done if report.exit.is_some() => StdioError::Exited { report },
        HandshakeEnd::Done if connection.is_dirty() => StdioError::Unanswered { report },
        HandshakeEnd::Done if connection.has_strays() => StdioError::StrayOutput { report },
        HandshakeEnd::Done => return Ok(()),
    };
    Err(ConnectError::transient(error))
}

/// How the hook came to its end.
enum HandshakeEnd {
    Done,
    Failed(BoxError),
    TimedOut,
    /// The child has exited before the hook was done.
    Exited,
}

impl HandshakeEnd {
    fn of(outcome: Result<Result<(), BoxError>, Elapsed>) -> Self {
        match outcome {
            Ok(Ok(())) => Self::Done,
            Ok(Err(error)) => Self::Failed(error),
            Err(Elapsed { .. }) => Self::TimedOut,
        }
    }
}

fn handshake_error(error: BoxError, report: Box<ChildReport>) -> ConnectError {
    let error = match error.downcast::<ConnectError>() {
        Ok(decided) => return *decided,
        Err(error) => error,
    };
    ConnectError::transient(match error.downcast::<StdioError>() {
        Ok(error) => *error,
        Err(source) => StdioError::Handshake { source, report },
    })
}

#[async_trait]
impl<C: Codec> Connector for StdioConnector<C> {
    type Connection = StdioConnection<C>;

    async fn connect(&self, cx: &ConnectContext) -> Result<Self::Connection, ConnectError> {
        self.open(cx).await
    }

    fn is_alive(&self, connection: &Self::Connection) -> bool {
        connection.gives_sign_of_life()
    }

    fn is_clean(&self, connection: &Self::Connection) -> bool {
        connection.is_clean() || connection.can_settle()
    }

    fn needs_reset(&self, connection: &Self::Connection) -> bool {
        connection.can_settle()
    }

    async fn reset(&self, connection: &mut Self::Connection) -> Result<(), CheckError> {
        connection.settle().await.map_err(CheckError::new)
    }

    fn died(&self, connection: &Self::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        Some(connection.died())
    }

    fn vitals(&self, connection: &Self::Connection) -> Option<Arc<dyn Vitals>> {
        connection.vitals()
    }

    async fn check(&self, connection: &mut Self::Connection) -> Result<(), CheckError> {
        connection.count_stderr_lines();
        Ok(())
    }

    async fn close(&self, connection: Self::Connection, reason: CloseReason) {
        connection.terminate(stop_mode(reason)).await;
    }
}

impl<C: Codec> fmt::Debug for StdioConnector<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioConnector")
            .field("launcher", &self.launcher)
            .finish_non_exhaustive()
    }
}
