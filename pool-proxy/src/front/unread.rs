//! How long a client may leave unread what was sent to it.
//!
//! A client that does not read fills the buffers of the system; then writes wait. One that waits for longer than
//! the limit ends the connection, and so the place, the request and the stream that it held. A client that
//! reads slowly is kept as long as it takes [`PROGRESS_BYTES`] within the limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::idle::{Busy, Connection};

/// A connection whose writes wait no longer than this limit.
#[derive(Debug)]
pub(super) struct ReadByClient<S> {
    inner: S,
    limit: Duration,
    connection: Arc<Connection>,
    /// `None` as long as the client has taken everything.
    waiting: Option<Waiting>,
}

/// Bytes that the client has not taken.
#[derive(Debug)]
struct Waiting {
    _busy: Busy,
    until: Pin<Box<Sleep>>,
    /// What it took since the limit began.
    taken: usize,
}

impl<S> ReadByClient<S> {
    pub(super) const fn new(inner: S, limit: Duration, connection: Arc<Connection>) -> Self {
        Self {
            inner,
            limit,
            connection,
            waiting: None,
        }
    }

    /// Begins the limit, or ends the wait when it is over.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let (limit, connection) = (self.limit, &self.connection);
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            _busy: connection.busy(),
            until: Box::pin(sleep_until(Instant::now() + limit)),
            taken: 0,
        });
        waiting.until.as_mut().poll(cx).map(|()| {
            metrics::counter!("proxy_connections_unread_total").increment(1);
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    /// What a write has led to.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => return self.wait(cx),
            Poll::Ready(Ok(count)) => {
                if let Some(waiting) = &mut self.waiting {
                    waiting.taken += count;
                    if waiting.taken >= PROGRESS_BYTES {
                        self.waiting = None;
                    }
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadByClient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadByClient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// Called when everything was written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Pending => self.wait(cx),
            flushed @ Poll::Ready(_) => {
                self.waiting = None;
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_shutdown(cx) {
            Poll::Pending => self.wait(cx),
            closed @ Poll::Ready(_) => closed,
        }
    }
}

/// What a slow client must take within the limit.
const PROGRESS_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn read_by_client(stream: DuplexStream) -> ReadByClient<DuplexStream> {
        ReadByClient::new(stream, LIMIT, Connection::begin(&Arc::default()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up_at_the_limit() {
        let (mut proxy, _client) = {
            let (ours, theirs) = duplex(1024);
            (read_by_client(ours), theirs)
        };
        let begun = Instant::now();
        let error = proxy.write_all(&[0; 2048]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_kept_as_long_as_it_takes_enough_and_no_longer() {
        let (ours, mut client) = duplex(PROGRESS_BYTES);
        let mut proxy = read_by_client(ours);
        let begun = Instant::now();
        let writing = async { proxy.write_all(&vec![0; 8 * PROGRESS_BYTES]).await };
        let reading = async {
            let mut part = vec![0; PROGRESS_BYTES];
            for _ in 0..4 {
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                client.read_exact(&mut part).await.unwrap();
            }
            // From now on it takes too little.
            let mut part = vec![0; 100];
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if client.read_exact(&mut part).await.is_err() {
                    return;
                }
            }
        };
        let written = tokio::select! {
            written = writing => written,
            () = reading => Ok(()),
        };
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let kept = begun.elapsed();
        assert!(kept > 4 * (LIMIT - Duration::from_secs(1)), "{kept:?}");
        assert!(kept <= 5 * LIMIT, "{kept:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_silent_for_as_long_as_it_wants() {
        let (ours, mut client) = duplex(1024);
        let mut proxy = read_by_client(ours);
        for _ in 0..3 {
            proxy.write_all(&[0; 1024]).await.unwrap();
            proxy.flush().await.unwrap();
            tokio::time::sleep(2 * LIMIT).await;
            client.read_exact(&mut [0; 1024]).await.unwrap();
        }
    }
}
