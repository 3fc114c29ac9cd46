//! How many connections there are, and how they end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::idle::{Connection, IdleConnections};
use super::route::answer;
use super::unread::ReadByClient;
use crate::app::App;

/// Listens on this address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As the standard library listens.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until the proxy stops. Returns the connections that are left.
pub(crate) async fn serve(
    listener: TcpListener,
    app: &Arc<App>,
    connections_max: usize,
) -> GracefulShutdown {
    let places = Arc::new(Semaphore::new(connections_max));
    let connections = GracefulShutdown::new();
    let idle = Arc::<IdleConnections>::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = app.stop.cancelled() => break,
            accepted = accept(&listener, &places, &idle) => accepted,
        };
        if let Some((stream, place)) = accepted {
            spawn(stream, (place, Connection::begin(&idle)), app, &connections);
        }
    }
    connections
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    idle: &IdleConnections,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    match listener.accept().await {
        // Order: it is accepted first, so that no connection is closed for nobody.
        Ok((stream, _)) => Some((stream, place(places, idle).await?)),
        Err(error) => {
            tracing::error!(%error, "no connection can be accepted");
            // Most likely there is no descriptor left, and the connection stays in the backlog.
            sleep(ACCEPT_DELAY).await;
            None
        }
    }
}

/// If all places are taken, that of the connection that has been idle for longest.
async fn place(places: &Arc<Semaphore>, idle: &IdleConnections) -> Option<OwnedSemaphorePermit> {
    let mut place = pin!(Arc::clone(places).acquire_owned());
    tokio::select! {
        biased;
        place = place.as_mut() => return place.ok(),
        () = idle.close_longest() => {}
    }
    place.await.ok()
}

fn spawn(
    stream: TcpStream,
    (place, connection): (OwnedSemaphorePermit, Arc<Connection>),
    app: &Arc<App>,
    connections: &GracefulShutdown,
) {
    // Without it an answer in two parts can wait for the client's acknowledgement of the first one.
    drop(stream.set_nodelay(true));
    let stream = ReadByClient::new(stream, app.http.write_timeout, Arc::clone(&connection));
    let closed = connection.closed();
    let service = {
        let app = Arc::clone(app);
        service_fn(move |request| {
            let (app, busy) = (Arc::clone(&app), connection.busy());
            async move {
                let answer = answer(&app, request).await;
                Ok::<_, Infallible>(answer.map(|body| busy.with(body)))
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.http.head_timeout)
        .max_buf_size(app.http.head_bytes_max)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    app.tasks.spawn(async move {
        tokio::select! {
            // Order: a connection that has to end begins no request.
            biased;
            () = closed.cancelled() => {}
            // Its failures are the client's: it went away, broke the protocol, or did not read.
            _ = connection => {}
        }
        drop(place);
    });
}

const ACCEPT_DELAY: Duration = Duration::from_millis(100);
const BACKLOG: u32 = 1024;
/// Linux doubles it, and takes more bytes when a third is free: 64 KiB, as a slow client has to take in a while
/// ([`ReadByClient`]). A buffer that grows by itself takes megabytes, and then nothing for minutes.
const SEND_BUFFER_BYTES: u32 = 96 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_keeps_little_of_what_a_client_has_not_taken() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (stream, _) = accepted.unwrap();
        let socket = TcpSocket::from_std_stream(stream.into_std().unwrap());
        assert!(socket.send_buffer_size().unwrap() <= 2 * SEND_BUFFER_BYTES);
        drop(client);
    }
}
