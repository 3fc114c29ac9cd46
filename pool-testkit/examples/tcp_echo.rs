//! A connector to a TCP server, in a pool and under the rules of `pool_testkit::conformance`. Each
//! connection has a task that reads, so a death is seen at once.
//!
//! Run with `cargo run -p pool-testkit --example tcp_echo`, test with
//! `cargo test -p pool-testkit --example tcp_echo`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod echo;

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    BoxError, BoxFuture, CloseReason, ConnectContext, ConnectError, ConnectionPool, Connector,
    async_trait,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

use echo::{Listener, MAGIC, Server};

/// Connects to an echo server.
struct TcpConnector {
    address: SocketAddr,
    /// Each open connection holds one clone.
    open: Arc<()>,
}

/// A connection. A task reads its answers.
struct TcpConnection {
    number: u64,
    writer: OwnedWriteHalf,
    answers: mpsc::Receiver<u64>,
    is_dead: watch::Receiver<bool>,
    reader: JoinHandle<()>,
    unanswered: usize,
}

impl TcpConnection {
    async fn ask(&mut self, number: u64) -> Result<u64, BoxError> {
        self.send(number).await?;
        let answer = self.answers.recv().await;
        let answer = answer.ok_or("the server closed the connection")?;
        self.unanswered -= 1;
        Ok(answer)
    }

    async fn send(&mut self, number: u64) -> Result<(), BoxError> {
        // Cancel: counted before the first byte is written, so a request that is dropped halfway stays
        // counted, and the connection is not clean.
        self.unanswered += 1;
        Ok(self.writer.write_u64(number).await?)
    }
}

impl Drop for TcpConnection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_answers(
    mut reader: OwnedReadHalf,
    answers: mpsc::Sender<u64>,
    is_dead: watch::Sender<bool>,
    _open: Arc<()>,
) {
    while let Ok(answer) = reader.read_u64().await {
        if answers.send(answer).await.is_err() {
            return;
        }
    }
    is_dead.send_replace(true);
}

impl TcpConnector {
    fn new(address: SocketAddr) -> Self {
        let open = Arc::new(());
        Self { address, open }
    }

    async fn open(&self, open: Arc<()>) -> Result<TcpConnection, ConnectError> {
        let connected = TcpStream::connect(self.address).await;
        let mut stream = connected.map_err(ConnectError::transient)?;
        let magic = stream.read_u64().await.map_err(ConnectError::transient)?;
        if magic != MAGIC {
            return Err(ConnectError::permanent("the server is of another kind"));
        }
        let number = stream.read_u64().await.map_err(ConnectError::transient)?;
        // Cancel: there is no await from here on, so no dropped connect can leave the task behind.
        let (reader, writer) = stream.into_split();
        let (sender, answers) = mpsc::channel(1);
        let (death, is_dead) = watch::channel(false);
        Ok(TcpConnection {
            number,
            writer,
            answers,
            is_dead,
            reader: spawn(read_answers(reader, sender, death, open)),
            unanswered: 0,
        })
    }
}

#[async_trait]
impl Connector for TcpConnector {
    type Connection = TcpConnection;

    async fn connect(&self, cx: &ConnectContext) -> Result<TcpConnection, ConnectError> {
        let opening = self.open(Arc::clone(&self.open));
        let opened = timeout_at(cx.deadline, opening).await;
        opened.map_err(ConnectError::transient)?
    }

    fn is_alive(&self, connection: &TcpConnection) -> bool {
        !*connection.is_dead.borrow()
    }

    fn is_clean(&self, connection: &TcpConnection) -> bool {
        connection.unanswered == 0
    }

    fn died(&self, connection: &TcpConnection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        let mut is_dead = connection.is_dead.clone();
        Some(Box::pin(async move {
            // An error means that the task was aborted, because the connection was dropped.
            let (Ok(_) | Err(_)) = is_dead.wait_for(|is_dead| *is_dead).await;
            None
        }))
    }

    async fn close(&self, mut connection: TcpConnection, reason: CloseReason) {
        if reason.is_orderly() {
            let (Ok(_) | Err(_)) = timeout(FAREWELL, connection.writer.shutdown()).await;
        }
        connection.reader.abort();
        // The task owns half of the socket, so the socket is closed only when the task has ended.
        let (Ok(()) | Err(_)) = (&mut connection.reader).await;
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let connector = TcpConnector::new(listener.local_addr()?);
    let _server = Server::start(listener);
    let pool = ConnectionPool::builder(connector)
        .name("tcp")
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

#[expect(
    clippy::disallowed_methods,
    reason = "the reader belongs to its connection"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

/// How long an orderly close may take.
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod rules {
    use std::sync::Arc;

    use pool_testkit::conformance::Subject;
    use tokio::net::TcpSocket;

    use super::{Ipv4Addr, Server, TcpConnection, TcpConnector, TcpListener, echo};

    pool_testkit::conformance!(subject().await);

    async fn bind() -> (TcpListener, TcpConnector) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let connector = TcpConnector::new(listener.local_addr().unwrap());
        (listener, connector)
    }

    async fn subject() -> Subject<TcpConnector> {
        let (listener, connector) = bind().await;
        let server = Server::start(listener);
        // Connections wait in its backlog and get no greeting.
        let (silent, stalling) = bind().await;
        echo::keep(silent);
        let (other, failing_permanently) = bind().await;
        Server::start_with(other, 42);
        let open = Arc::downgrade(&connector.open);
        Subject::new(connector)
            .exchange(async |connection: &mut TcpConnection, number| connection.ask(number).await)
            .dirty(async |connection: &mut TcpConnection| connection.send(0).await)
            .kill(move |connection: &TcpConnection| {
                let (server, number) = (server.clone(), connection.number);
                async move { server.kill(number) }
            })
            .resources(move || 1..open.strong_count())
            .stalling(stalling)
            .failing_permanently(failing_permanently)
            .failing_transiently(refused())
    }

    /// The address of a socket that is bound but does not listen. No other process can listen there.
    fn refused() -> TcpConnector {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let connector = TcpConnector::new(socket.local_addr().unwrap());
        echo::keep(socket);
        connector
    }
}
