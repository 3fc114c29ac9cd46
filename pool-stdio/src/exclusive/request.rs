//! How an exclusive request is put together before it is made.

use std::fmt;
use std::time::Duration;

use bytes::BytesMut;
use pool_core::{BoxError, BoxFuture};
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder};

use super::exchange::{ExclusiveExchange, Until};
use super::fault::Fault;
use crate::codec::{Codec, LineCodec};
use crate::error::StdioError;

/// A request that is made when it is awaited, from [`StdioConnection::request`]; or a wait for
/// frames, from [`StdioConnection::recv`].
///
/// [`StdioConnection::request`]: crate::StdioConnection::request
/// [`StdioConnection::recv`]: crate::StdioConnection::recv
///
/// Without [`within`](Self::within) it waits as long as the child lives and neither answers nor
/// closes its stdout.
///
/// # Examples
///
/// ```
/// # use pool_core::ConnectionPool;
/// # use pool_stdio::{CommandSpec, StdioConnector};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Repeats each line, and says "ok" after it.
/// let server = StdioConnector::new(CommandSpec::new("sed").args(["-u", "a\\\nok"]))?;
/// let pool = ConnectionPool::builder(server).build()?;
/// let mut child = pool.acquire().await?;
///
/// let limit = Duration::from_secs(5);
/// let reply = child.request("status").until(|line| line.bytes == "ok").within(limit).await?;
/// assert_eq!(reply.len(), 2);
/// assert_eq!(reply[0].bytes, "status");
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is written before it is awaited"]
pub struct Request<'c, C: Codec = LineCodec, R = <C as Decoder>::Item> {
    exchange: &'c mut ExclusiveExchange<C>,
    /// The encoded messages; `None` if frames are awaited and nothing is asked.
    messages: Option<Result<BytesMut, Fault>>,
    until: Option<Until<'c, C::Item>>,
    limit: Option<Duration>,
    /// Makes the reply of its last frame and those before it.
    assemble: fn(C::Item, Vec<C::Item>) -> R,
}

impl<'c, C: Codec> Request<'c, C> {
    pub(super) fn new(exchange: &'c mut ExclusiveExchange<C>) -> Self {
        Self {
            exchange,
            messages: None,
            until: None,
            limit: None,
            assemble: |frame, _| frame,
        }
    }

    /// The reply is all frames up to the first one for which `is_last` is true. Without this it is
    /// one frame.
    ///
    /// `is_last` sees each frame as it arrives, so it can pass a long reply on meanwhile.
    ///
    /// How many bytes such a reply may have is limited by
    /// [`reply_bytes_max`](crate::StdioConnector::reply_bytes_max).
    pub fn until(
        self,
        is_last: impl FnMut(&C::Item) -> bool + Send + 'c,
    ) -> Request<'c, C, Vec<C::Item>> {
        Request {
            exchange: self.exchange,
            messages: self.messages,
            until: Some(Box::new(is_last)),
            limit: self.limit,
            assemble: |last, mut frames| {
                frames.push(last);
                frames
            },
        }
    }
}

impl<C: Codec, R> Request<'_, C, R> {
    /// Sends this message as well, behind those before it. One reply answers them all.
    ///
    /// So a request of several frames is made as a whole or not at all: no caller can leave in the
    /// middle of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::ConnectionPool;
    /// # use pool_stdio::{CommandSpec, StdioConnector};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Takes its arguments line by line, and begins at an empty line.
    /// let script = "while true; do n=0; while read line && [ -n \"$line\" ]; do n=$((n+1)); done; \
    ///     echo $n arguments; done";
    /// let tool = CommandSpec::new("sh").args(["-c", script]);
    /// let pool = ConnectionPool::builder(StdioConnector::new(tool)?).build()?;
    /// let mut child = pool.acquire().await?;
    /// let reply = child.request("-size").and("picture.jpg").and("").await?;
    /// assert_eq!(reply.bytes, "2 arguments");
    /// # Ok(())
    /// # }
    /// ```
    pub fn and<M>(mut self, message: M) -> Self
    where
        C: Encoder<M, Error: Into<BoxError>>,
    {
        let messages = self.messages.unwrap_or_else(|| self.exchange.buffer());
        self.messages = Some(messages.and_then(|mut messages| {
            self.exchange.encode(message, &mut messages)?;
            Ok(messages)
        }));
        self
    }

    /// Fails with [`TimedOut`](StdioError::TimedOut) if the reply is not whole within this time,
    /// even if the child never reads and the pipe to it is full. If it is known by then that no reply can come, the
    /// error says so instead.
    ///
    /// A timeout leaves the connection as dropping the future does.
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
    /// let error = child.request("hello?").within(Duration::from_millis(20)).await.unwrap_err();
    /// assert!(matches!(error, StdioError::TimedOut { .. }));
    /// assert!(child.is_dirty(), "a late reply would reach the next caller");
    /// # Ok(())
    /// # }
    /// ```
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

impl<'c, C: Codec, R: 'c> IntoFuture for Request<'c, C, R> {
    type Output = Result<R, StdioError>;
    type IntoFuture = BoxFuture<'c, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let exchange = self.exchange;
            let until = self.until;
            let asked = async {
                match self.messages {
                    Some(messages) => exchange.request(messages, until).await,
                    None => exchange.receive(until).await,
                }
            };
            let (last, earlier) = match self.limit {
                None => asked.await?,
                Some(limit) => match timeout(limit, asked).await {
                    Ok(outcome) => outcome?,
                    Err(_) => return Err(exchange.timed_out(limit)),
                },
            };
            Ok((self.assemble)(last, earlier))
        })
    }
}

impl<C: Codec, R> fmt::Debug for Request<'_, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("pid", &self.exchange.child().pid())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
