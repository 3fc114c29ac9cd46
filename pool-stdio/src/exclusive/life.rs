//! What can be asked of a connection without asking the child, and how it ends.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use pool_core::{BoxFuture, ConnectionId};
use tokio::time::Instant;

use super::connection::StdioConnection;
use super::stray::StrayPolicy;
use super::wire::Pipes;
use crate::codec::Codec;
use crate::process::{
    Exit, ExitWait, Liveness, Signal, SignalError, StderrTail, Stop, Termination,
};

impl<C: Codec> StdioConnection<C> {
    /// Whether bytes of a request were or may be written and its whole reply was not read, or a
    /// failure has left the connection unusable.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.account.is_broken || self.is_owed()
    }

    /// Whether somebody else may use it: it is not dirty, and has not said more than it was asked.
    pub(crate) fn is_clean(&self) -> bool {
        !self.is_dirty() && self.wire.settle(self.settings.strays)
    }

    /// Whether more was read than its handshake took, and that is not allowed.
    pub(crate) fn has_strays(&self) -> bool {
        self.settings.strays == StrayPolicy::Reject && !self.wire.settle(StrayPolicy::Reject)
    }

    /// Whether it can still answer, as far as can be seen without waiting: it has not exited, has
    /// not closed its stdout, and has not spoken unasked if that is [not
    /// allowed](StrayPolicy::Reject). Costs one system call.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.liveness() {
            Liveness::Quiet => true,
            Liveness::HasOutput => !self.is_stray(),
            Liveness::Eof | Liveness::Exited => false,
        }
    }

    fn liveness(&self) -> Liveness {
        self.child.liveness(Some(self.wire.stdout()))
    }

    /// Whether output that waits now is not allowed to.
    fn is_stray(&self) -> bool {
        self.settings.strays == StrayPolicy::Reject && !self.is_owed()
    }

    /// The same, for a pool, which asks when a lease comes home and again before the next begins. A
    /// reply that was just read is sign enough for the first time: it saves a twentieth of a
    /// request. What dies in between is found the second time, or by who waits for its death.
    pub(crate) fn gives_sign_of_life(&self) -> bool {
        if self.has_just_answered.swap(false, Ordering::Relaxed) && !self.has_exited {
            return true;
        }
        match self.liveness() {
            Liveness::HasOutput if self.is_stray() => {
                // Counted here, since a pool that hears of it asks no more.
                self.settings.meters.strayed(1);
                false
            }
            Liveness::Quiet | Liveness::HasOutput => true,
            Liveness::Eof | Liveness::Exited => false,
        }
    }

    /// How the child exited, if it has.
    #[must_use]
    pub fn try_wait(&self) -> Option<Exit> {
        self.child.try_wait()
    }

    /// The child's process id, which is the id of its process group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The number that the pool knows it by.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// How long ago the child was wanted.
    #[must_use]
    pub fn age(&self) -> Duration {
        Instant::now() - self.wanted
    }

    /// The end of what the child has written to stderr so far.
    #[must_use]
    pub fn stderr_tail(&self) -> StderrTail {
        self.child.stderr_tail()
    }

    /// Sends a signal to the child's process group.
    ///
    /// # Errors
    ///
    /// As [`Child::signal`](crate::Child::signal).
    pub fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        self.child.signal(signal)
    }

    /// Ends the child with all of its [scope](crate::KillScope), and says how that went. For a
    /// connection that belongs to no pool.
    ///
    /// # Cancel safety
    ///
    /// It is begun before this returns, and goes on to its end whatever becomes of the future.
    pub fn terminate(self, stop: Stop) -> impl Future<Output = Termination> + Send + 'static
    where
        C: 'static,
    {
        let Self {
            child, wire, live, ..
        } = self;
        let terminating = child.terminate_with(stop, wire.pipes.into_handover());
        async move {
            let termination = terminating.await;
            termination.tell_if_unasked(live.connector());
            live.end(&termination);
            termination
        }
    }

    /// Resolves when the child has exited.
    pub(crate) fn exited(&self) -> ExitWait {
        self.child.exit_wait()
    }

    /// Resolves when the child has exited or closed its stdout, with or without traffic.
    pub(crate) fn died(&self) -> BoxFuture<'static, ()> {
        let mut exited = self.child.exit_wait();
        let mut end = Box::pin(output_ended(&self.wire.pipes));
        Box::pin(poll_fn(move |cx| {
            let has_exited = Pin::new(&mut exited).poll(cx).is_ready();
            if has_exited || end.as_mut().poll(cx).is_ready() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    }

    /// Runs what has to be done before it is lent.
    pub(crate) const fn set_in_handshake(&mut self, is_in_handshake: bool) {
        self.is_in_handshake = is_in_handshake;
    }

    /// Publishes what is only known from the child's handle.
    pub(crate) fn publish(&self) {
        self.live.wrote_lines(self.child.stderr_tail().lines_total);
    }
}

/// Resolves at the end of a child's stdout. Data does not wake it, so it costs a request nothing:
/// nobody sends urgent data through a pipe, but its end wakes every kind of reader.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn output_ended(pipes: &Pipes) -> impl Future<Output = ()> + Send + 'static {
    let stdout = Arc::clone(&pipes.stdout);
    async move {
        if stdout.ready(tokio::io::Interest::PRIORITY).await.is_err() {
            // The runtime has gone, and whoever waits here with it.
            std::future::pending::<()>().await;
        }
    }
}

/// There is no telling it from data on this system: what is left is the exit.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn output_ended(_: &Pipes) -> impl Future<Output = ()> + Send + 'static {
    std::future::pending()
}
