//! The server of both examples. It greets with [`MAGIC`] and the number of the connection, then echoes
//! numbers of eight bytes.

use std::collections::BTreeMap;
#[cfg(test)]
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::AbortHandle;

/// Shows that the peer is this server and not another one.
pub(crate) const MAGIC: u64 = u64::from_be_bytes(*b"ECHO v1\n");

/// A listening socket.
pub(crate) trait Listener: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A server in tasks of the current runtime. They end with the runtime.
#[derive(Clone, Default)]
pub(crate) struct Server {
    serving: Arc<Mutex<BTreeMap<u64, AbortHandle>>>,
}

impl Server {
    /// Serves every connection.
    pub(crate) fn start(listener: impl Listener) -> Self {
        Self::start_with(listener, MAGIC)
    }

    /// Serves every connection, with this greeting.
    pub(crate) fn start_with(listener: impl Listener, magic: u64) -> Self {
        let server = Self::default();
        let peers = server.clone();
        drop(spawn(async move {
            let mut number = 0;
            while let Ok(stream) = listener.next().await {
                // Order: listed before the greeting is sent, so that a client that has read it can be killed.
                let mut peers = peers.lock();
                let serving = spawn(serve(stream, magic, number));
                drop(peers.insert(number, serving));
                number += 1;
            }
        }));
        server
    }

    /// Ends one connection as a crash of the server would.
    #[cfg(test)]
    pub(crate) fn kill(&self, number: u64) {
        if let Some(serving) = self.lock().remove(&number) {
            serving.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, AbortHandle>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, magic: u64, number: u64) {
    let greeted = async {
        stream.write_u64(magic).await?;
        stream.write_u64(number).await
    };
    if greeted.await.is_err() {
        return;
    }
    while let Ok(number) = stream.read_u64().await {
        if stream.write_u64(number).await.is_err() {
            return;
        }
    }
}

/// Keeps a value until the runtime ends.
#[cfg(test)]
pub(crate) fn keep(something: impl Send + 'static) {
    drop(spawn(async move {
        let _kept = something;
        pending::<()>().await;
    }));
}

#[expect(clippy::disallowed_methods, reason = "the server belongs to no pool")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(task).abort_handle()
}
