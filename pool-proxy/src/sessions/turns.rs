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
    has_listener: bool,
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
    Listener,
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

    /// The stream for everything that belongs to no request; `None` if there is one.
    pub(crate) fn listener(&self) -> Option<StreamTurn> {
        let is_first = self.open.send_if_modified(|open| {
            let is_first = !open.has_listener;
            open.has_listener = true;
            is_first
        });
        is_first.then(|| self.turn(Role::Listener))
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
        let is_request = self.open.borrow().requests == 1;
        is_request == (self.role == Role::Request)
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
        self.sender.send_modify(|open| match role {
            Role::Request => open.requests -= 1,
            Role::Listener => open.has_listener = false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_request_comes_before_the_listener_and_two_requests_after_it() {
        let turns = Turns::new();
        let one = turns.request();
        assert!(one.is_mine());
        let listener = turns.listener().unwrap();
        assert!(turns.listener().is_none());
        assert!(one.is_mine() && !listener.is_mine());
        let two = turns.request();
        assert!(!one.is_mine() && !two.is_mine() && listener.is_mine());
        drop(one);
        assert!(two.is_mine() && !listener.is_mine());
        drop(listener);
        assert!(turns.listener().is_some());
    }
}
