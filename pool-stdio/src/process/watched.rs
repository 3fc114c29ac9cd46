//! What the custodian waits for: descriptors, and which child each belongs to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::record::ChildId;
use super::sys::{Poller, Ready, Root};

/// Which of a child's descriptors became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Exit,
    Stdin,
    Stdout,
    Stderr,
}

/// A child and one of its descriptors, as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    // Order: by source first, so that exits are served before output.
    pub(crate) source: Source,
    pub(crate) child: ChildId,
}

impl Token {
    pub(crate) const fn to_number(self) -> u64 {
        self.child.0 << 2 | self.source as u64
    }

    pub(crate) const fn of_number(number: u64) -> Self {
        let source = match number & 3 {
            0 => Source::Exit,
            1 => Source::Stdin,
            2 => Source::Stdout,
            _ => Source::Stderr,
        };
        Self {
            source,
            child: ChildId(number >> 2),
        }
    }
}

/// A descriptor that the custodian waits for until this is dropped, which closes it.
#[derive(Debug)]
pub(crate) struct Watched {
    /// `None` once it was taken out.
    fd: Option<OwnedFd>,
    poller: Arc<Poller>,
    is_polled: bool,
}

impl Watched {
    /// If the system refuses to wait for it, it must be tried from time to time.
    pub(crate) fn new(fd: OwnedFd, poller: &Arc<Poller>, token: Token, ready: Ready) -> Self {
        let is_polled = poller.add(fd.as_fd(), token.to_number(), ready).is_ok();
        Self {
            fd: Some(fd),
            poller: Arc::clone(poller),
            is_polled,
        }
    }

    /// Waits for it no more, and leaves it open.
    pub(crate) fn into_fd(mut self) -> OwnedFd {
        self.stop();
        self.fd.take().expect("it is taken out once, here")
    }

    fn stop(&self) {
        if self.is_polled
            && let Some(fd) = &self.fd
        {
            self.poller.remove(fd.as_fd());
        }
    }

    pub(crate) const fn is_polled(&self) -> bool {
        self.is_polled
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
            .as_ref()
            .expect("it is there until it is taken out")
            .as_fd()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The exit of a root that the custodian waits for, until this is dropped.
#[derive(Debug)]
pub(crate) struct WatchedExit {
    root: Arc<Root>,
    poller: Arc<Poller>,
}

impl WatchedExit {
    /// `None` if it must be asked for.
    pub(crate) fn new(root: &Arc<Root>, poller: &Arc<Poller>, child: ChildId) -> Option<Self> {
        let token = Token {
            source: Source::Exit,
            child,
        };
        poller
            .add(root.exit_fd()?, token.to_number(), Ready::ToRead)
            .ok()?;
        Some(Self {
            root: Arc::clone(root),
            poller: Arc::clone(poller),
        })
    }
}

impl Drop for WatchedExit {
    fn drop(&mut self) {
        if let Some(fd) = self.root.exit_fd() {
            self.poller.remove(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_after_it_was_a_number() {
        for number in [0, 1, 7, u64::MAX >> 3] {
            for source in [Source::Exit, Source::Stdin, Source::Stdout, Source::Stderr] {
                let token = Token {
                    source,
                    child: ChildId(number),
                };
                assert_eq!(Token::of_number(token.to_number()), token);
            }
        }
    }
}
