//! Which stream of a session gets what its child says to the client.
//!
//! A question of a child does not say which request it belongs to. If one request is in flight, it is that
//! one's, and goes to its stream. Otherwise it goes to the stream that the client keeps open for such
//! messages. If there is none, it waits: until there is one, or one request alone is in flight. The queue of
//! what waits is bounded, and that of the session.

use tokio::sync::watch;

/// Which streams are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Open {
    requests: usize,
    /// How many listeners there have been. The latest counts.
    listeners: u64,
}

/// The streams of one session.
#[derive(Debug)]
pub(crate) struct Turns {
    open: watch::Sender<Open>,
}

/// A stream that is open. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct StreamTurn {
    sender: watch::Sender<Open>,
    open: watch::Receiver<Open>,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Request,
    /// With its number.
    Listener(u64),
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            open: watch::Sender::new(Open::default()),
        }
    }

    /// The stream of a request.
    pub(crate) fn request(&self) -> StreamTurn {
        self.open.send_modify(|open| open.requests += 1);
        self.turn(Role::Request)
    }

    /// The stream for everything that belongs to no request. It takes the place of an earlier one, whose
    /// client may be gone without a word.
    pub(crate) fn listener(&self) -> StreamTurn {
        let mut number = 0;
        self.open.send_modify(|open| {
            open.listeners += 1;
            number = open.listeners;
        });
        self.turn(Role::Listener(number))
    }

    fn turn(&self, role: Role) -> StreamTurn {
        StreamTurn {
            sender: self.open.clone(),
            open: self.open.subscribe(),
            role,
        }
    }
}

impl StreamTurn {
    /// Whether this stream gets the next message.
    pub(crate) fn is_mine(&self) -> bool {
        let open = *self.open.borrow();
        match self.role {
            Role::Request => open.requests == 1,
            Role::Listener(number) => open.requests != 1 && open.listeners == number,
        }
    }

    /// Resolves when another stream has taken the place of this one.
    pub(crate) fn replaced(&self) -> impl Future<Output = ()> + Send + 'static {
        let (mut open, role) = (self.open.clone(), self.role);
        async move {
            let is_later = |open: &Open| match role {
                Role::Request => false,
                Role::Listener(number) => open.listeners != number,
            };
            if open.wait_for(is_later).await.is_err() {
                // The session is gone, and ends its streams itself.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves when it may be another stream's turn.
    pub(crate) async fn changed(&mut self) {
        // Fails only without a sender, and there is one here.
        drop(self.open.changed().await);
    }
}

impl Drop for StreamTurn {
    fn drop(&mut self) {
        let role = self.role;
        if role == Role::Request {
            self.sender.send_modify(|open| open.requests -= 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_lone_request_comes_before_the_listener_and_two_requests_after_it() {
        let turns = Turns::new();
        let one = turns.request();
        assert!(one.is_mine());
        let listener = turns.listener();
        assert!(one.is_mine() && !listener.is_mine());
        let two = turns.request();
        assert!(!one.is_mine() && !two.is_mine() && listener.is_mine());
        drop(one);
        assert!(two.is_mine() && !listener.is_mine());
        drop(listener);
        assert!(two.is_mine());
    }

    #[test]
    fn a_listener_takes_the_place_of_an_earlier_one_whose_end_then_means_nothing() {
        let turns = Turns::new();
        let dead = turns.listener();
        assert!(dead.is_mine());
        assert!(dead.replaced().now_or_never().is_none());
        let successor = turns.listener();
        assert!(!dead.is_mine() && successor.is_mine());
        assert!(dead.replaced().now_or_never().is_some());
        drop(dead);
        assert!(successor.is_mine());
        assert!(successor.replaced().now_or_never().is_none());
    }
}
