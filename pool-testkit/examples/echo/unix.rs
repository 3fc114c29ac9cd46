//! The connector of the example `unix_echo`, its use, and its tests.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{
    BoxError, CheckError, ConnectContext, ConnectError, ConnectionPool, Connector, async_trait,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout_at;

use crate::echo::{Listener, MAGIC, Server};

/// Connects to an echo server.
struct UnixConnector {
    path: PathBuf,
    /// Each open connection holds one clone.
    open: Arc<()>,
}

/// A connection. Its drop closes it.
struct UnixConnection {
    number: u64,
    stream: UnixStream,
    /// A request was begun, and its answer was not read completely.
    is_dirty: bool,
    _open: Arc<()>,
}

impl UnixConnection {
    async fn ask(&mut self, number: u64) -> Result<u64, BoxError> {
        self.send(number).await?;
        let answer = self.stream.read_u64().await?;
        self.is_dirty = false;
        Ok(answer)
    }

    async fn send(&mut self, number: u64) -> Result<(), BoxError> {
        // Cancel: marked before the first byte is written.
        self.is_dirty = true;
        Ok(self.stream.write_u64(number).await?)
    }
}

impl UnixConnector {
    fn new(path: PathBuf) -> Self {
        let open = Arc::new(());
        Self { path, open }
    }

    async fn open(&self, open: Arc<()>) -> Result<UnixConnection, ConnectError> {
        let connected = UnixStream::connect(&self.path).await;
        let mut stream = connected.map_err(|error| {
            use io::ErrorKind::{NotFound, PermissionDenied};
            if matches!(error.kind(), NotFound | PermissionDenied) {
                ConnectError::permanent(error)
            } else {
                // For example refused: the server may be restarting.
                ConnectError::transient(error)
            }
        })?;
        let magic = stream.read_u64().await.map_err(ConnectError::transient)?;
        if magic != MAGIC {
            return Err(ConnectError::permanent("the server is of another kind"));
        }
        Ok(UnixConnection {
            number: stream.read_u64().await.map_err(ConnectError::transient)?,
            stream,
            is_dirty: false,
            _open: open,
        })
    }
}

#[async_trait]
impl Connector for UnixConnector {
    type Connection = UnixConnection;

    async fn connect(&self, cx: &ConnectContext) -> Result<UnixConnection, ConnectError> {
        let opening = self.open(Arc::clone(&self.open));
        let opened = timeout_at(cx.deadline, opening).await;
        opened.map_err(ConnectError::transient)?
    }

    fn is_alive(&self, connection: &UnixConnection) -> bool {
        // A clean connection has nothing to read. A byte, an end of file or an error shows that it cannot
        // be used. A dirty one is not read, since this would lose a part of its answer.
        let nothing = || match connection.stream.try_read(&mut [0]) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        connection.is_dirty || nothing()
    }

    fn is_clean(&self, connection: &UnixConnection) -> bool {
        !connection.is_dirty
    }

    async fn check(&self, connection: &mut UnixConnection) -> Result<(), CheckError> {
        match connection.ask(PING).await {
            Ok(PING) => Ok(()),
            Ok(other) => Err(CheckError::new(format!("asked for {PING}, got {other}"))),
            Err(error) => Err(CheckError::new(error)),
        }
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// The path of a socket. The file is removed when this is dropped.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pool-unix-echo-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A file of this name can only have been left by a dead process with our id.
        drop(std::fs::remove_file(&path));
        Self(path)
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let path = SocketPath::new();
    let _server = Server::start(UnixListener::bind(&path.0)?);
    let connector = UnixConnector::new(path.0.clone());
    let pool = ConnectionPool::builder(connector)
        .name("unix")
        .max_size(2)
        .build()?;
    for number in 0..100 {
        let answer = pool.acquire().await?.ask(number).await?;
        assert_eq!(answer, number);
    }
    let number = pool.acquire().await?.number;
    println!("100 requests, all to connection {number} of the server");
    assert_eq!(pool.status().size(), 1);
    assert!(pool.close(Duration::from_secs(10)).await.is_complete());
    Ok(())
}

const PING: u64 = u64::MAX;

#[cfg(test)]
mod rules {
    use std::sync::Arc;

    use pool_testkit::conformance::{Rule, Subject};

    use super::{Server, SocketPath, UnixConnection, UnixConnector, UnixListener};
    use crate::echo;

    pool_testkit::conformance!(subject());

    fn subject() -> Subject<UnixConnector> {
        let (listener, connector) = bind();
        let server = Server::start(listener);
        // Connections wait in its backlog and get no greeting.
        let (silent, stalling) = bind();
        echo::keep(silent);
        // The listener is dropped here; its path stays, and no one listens there.
        let (_, failing_transiently) = bind();
        let open = Arc::downgrade(&connector.open);
        let no_hint = "nobody waits for the end of the stream; `is_alive` sees it when asked";
        Subject::new(connector)
            .exchange(async |connection: &mut UnixConnection, number| connection.ask(number).await)
            .dirty(async |connection: &mut UnixConnection| connection.send(0).await)
            .kill(move |connection: &UnixConnection| {
                let (server, number) = (server.clone(), connection.number);
                async move { server.kill(number) }
            })
            .resources(move || 1..open.strong_count())
            .stalling(stalling)
            .failing_permanently(UnixConnector::new("/no/such/socket".into()))
            .failing_transiently(failing_transiently)
            .waive(Rule::DiedResolves, no_hint)
            .waive(Rule::DiedWaits, no_hint)
    }

    fn bind() -> (UnixListener, UnixConnector) {
        let path = SocketPath::new();
        let listener = UnixListener::bind(&path.0).unwrap();
        let connector = UnixConnector::new(path.0.clone());
        echo::keep(path);
        (listener, connector)
    }
}
