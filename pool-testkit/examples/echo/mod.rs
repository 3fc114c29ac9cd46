//! The other side of both examples: greets with [`MAGIC`] and the number of the connection, then
//! echoes numbers of eight bytes.

use std::collections::BTreeMap;
#[cfg(test)]
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::AbortHandle;

/// Says that this is such a server, and not another.
pub(crate) const MAGIC: u64 = u64::from_be_bytes(*b"ECHO v1\n");

/// A socket that is listened on.
pub(crate) trait Listener: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A server in tasks of the current runtime, which end with it.
#[derive(Clone, Default)]
pub(crate) struct Server {
    serving: Arc<Mutex<BTreeMap<u64, AbortHandle>>>,
}

impl Server {
    /// Serves whoever connects.
    pub(crate) fn start(listener: impl Listener) -> Self {
        Self::start_with(listener, MAGIC)
    }

    /// Serves with a greeting of its own.
    pub(crate) fn start_with(listener: impl Listener, magic: u64) -> Self {
        let server = Self::default();
        let peers = server.clone();
        drop(spawn(async move {
            let mut number = 0;
            while let Ok(stream) = listener.next().await {
                // Order: it can be killed before its greeting is read.
                let mut peers = peers.lock();
                let serving = spawn(serve(stream, magic, number));
                drop(peers.insert(number, serving));
                number += 1;
            }
        }));
        server
    }

    /// Ends one connection, as a crash of the server would.
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

/// Keeps something until the runtime ends.
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
