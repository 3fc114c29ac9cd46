//! Which connections are idle, and which of them ends when another client needs its place.
//!
//! A connection is idle until the head of its first request has come, and between the end of an answer and the
//! head of the next request. As long as its client has not taken all of an answer, it is not.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::wire::ReplyBody;

/// The connections that are idle.
#[derive(Debug, Default)]
pub(super) struct IdleConnections {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// By a number that grows, so the first one has been idle for longest.
    connections: BTreeMap<u64, (Instant, CancellationToken)>,
    next: u64,
}

/// A connection of a client.
#[derive(Debug)]
pub(super) struct Connection {
    idle: Arc<IdleConnections>,
    closed: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// With its number among the idle ones.
    Idle(u64),
    /// With how many there are of [`Busy`].
    Busy(usize),
}

/// As long as it exists, the connection is not idle.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

/// The body of an answer, until which the connection is busy.
#[derive(Debug)]
pub(super) struct BusyBody {
    body: ReplyBody,
    _busy: Busy,
}

impl IdleConnections {
    /// Closes the connection that has been idle for longest, as soon as it has been for [`IDLE_MIN`].
    ///
    /// # Cancel safety
    ///
    /// No connection was closed.
    pub(super) async fn close_longest(&self) {
        loop {
            let since = match self.take_longest() {
                Some(Ok(closed)) => {
                    // Order: after unlocking, because it wakes a task.
                    closed.cancel();
                    metrics::counter!("proxy_connections_idle_closed_total").increment(1);
                    return;
                }
                Some(Err(since)) => since,
                None => Instant::now(),
            };
            sleep_until(since + IDLE_MIN).await;
        }
    }

    /// The connection that has been idle for longest, or since when it has been if that is not long enough.
    fn take_longest(&self) -> Option<Result<CancellationToken, Instant>> {
        let mut idle = self.lock();
        let first = idle.connections.first_entry()?;
        Some(match first.get().0.elapsed() >= IDLE_MIN {
            true => Ok(first.remove().1),
            false => Err(first.get().0),
        })
    }

    fn enter(&self, closed: &CancellationToken) -> u64 {
        let mut idle = self.lock();
        let number = idle.next;
        idle.next += 1;
        let entry = (Instant::now(), closed.clone());
        idle.connections.insert(number, entry);
        number
    }

    fn leave(&self, number: u64) {
        self.lock().connections.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// An idle one.
    pub(super) fn begin(idle: &Arc<IdleConnections>) -> Arc<Self> {
        let closed = CancellationToken::new();
        let number = idle.enter(&closed);
        Arc::new(Self {
            idle: Arc::clone(idle),
            closed,
            state: Mutex::new(State::Idle(number)),
        })
    }

    /// Cancelled when the connection has to end for another one.
    pub(super) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        let mut state = self.lock();
        *state = match *state {
            State::Idle(number) => {
                self.idle.leave(number);
                State::Busy(1)
            }
            State::Busy(count) => State::Busy(count + 1),
        };
        Busy(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let State::Idle(number) = *self.lock() {
            self.idle.leave(number);
        }
    }
}

impl Busy {
    /// Until this body was sent.
    pub(super) const fn with(self, body: ReplyBody) -> BusyBody {
        BusyBody { body, _busy: self }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        *state = match *state {
            State::Busy(count) if count > 1 => State::Busy(count - 1),
            State::Busy(_) => State::Idle(self.0.idle.enter(&self.0.closed)),
            State::Idle(number) => State::Idle(number),
        };
    }
}

impl Body for BusyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// No client takes longer to send the head of a request, once it is connected.
const IDLE_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_idle_for_longest_ends_and_never_a_busy_one() {
        let idle = Arc::<IdleConnections>::default();
        let connections: Vec<_> = (0..3).map(|_| Connection::begin(&idle)).collect();
        let are_closed = || {
            let closed = connections.iter().map(|one| one.closed.is_cancelled());
            closed.collect::<Vec<_>>()
        };
        // The first one has two requests' worth of work; the second one has been idle again since a moment.
        let (request, unread) = (connections[0].busy(), connections[0].busy());
        drop(connections[1].busy());
        drop(request);
        let begun = Instant::now();
        idle.close_longest().await;
        assert_eq!(begun.elapsed(), IDLE_MIN, "it may have only just come");
        assert_eq!(are_closed(), [false, false, true]);
        idle.close_longest().await;
        assert_eq!(are_closed(), [false, true, true]);
        assert!(idle.close_longest().now_or_never().is_none());
        drop(unread);
        idle.close_longest().await;
        assert_eq!(are_closed(), [true, true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_ended_is_not_closed_in_the_place_of_another() {
        let idle = Arc::<IdleConnections>::default();
        drop(Connection::begin(&idle));
        let lives = Connection::begin(&idle);
        idle.close_longest().await;
        assert!(lives.closed.is_cancelled());
    }
}
