//! A connector from a function that connects.

use std::fmt;

use async_trait::async_trait;

use crate::connector::{ConnectContext, Connector};
use crate::error::ConnectError;
use crate::shared_pool::SharedConnector;

/// Makes a connector of a function that opens a connection.
///
/// The other methods of [`Connector`] have their defaults: a connection is good until it is dropped,
/// and dropping it closes it. Where the peer can say more, implement the trait. If the connection is
/// `Sync`, the connector serves a [`SharedPool`](crate::SharedPool) as well.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectError, ConnectionPool, connector_fn};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let address = listener.local_addr()?;
/// tokio::spawn(async move {
///     let (mut stream, _) = listener.accept().await?;
///     let (mut read, mut write) = stream.split();
///     tokio::io::copy(&mut read, &mut write).await
/// });
///
/// let connector = connector_fn(move |_cx| async move {
///     TcpStream::connect(address).await.map_err(ConnectError::transient)
/// });
/// let pool = ConnectionPool::builder(connector).build()?;
/// for _ in 0..3 {
///     let mut stream = pool.acquire().await?;
///     stream.write_all(b"ping").await?;
///     let mut reply = [0; 4];
///     stream.read_exact(&mut reply).await?;
///     assert_eq!(&reply, b"ping");
/// }
/// assert_eq!(pool.status().size(), 1, "one connection served all");
/// # Ok(())
/// # }
/// ```
pub const fn connector_fn<F, R, T>(connect: F) -> ConnectorFn<F>
where
    F: Fn(ConnectContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, ConnectError>> + Send + 'static,
    T: Send + 'static,
{
    ConnectorFn { connect }
}

/// The connector that [`connector_fn`] makes.
#[derive(Clone)]
pub struct ConnectorFn<F> {
    connect: F,
}

#[async_trait]
impl<F, R, T> Connector for ConnectorFn<F>
where
    F: Fn(ConnectContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, ConnectError>> + Send + 'static,
    T: Send + 'static,
{
    type Connection = T;

    async fn connect(&self, cx: &ConnectContext) -> Result<T, ConnectError> {
        (self.connect)(cx.clone()).await
    }
}

impl<F, R, T> SharedConnector for ConnectorFn<F>
where
    F: Fn(ConnectContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, ConnectError>> + Send + 'static,
    T: Send + Sync + 'static,
{
}

impl<F> fmt::Debug for ConnectorFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorFn").finish_non_exhaustive()
    }
}
