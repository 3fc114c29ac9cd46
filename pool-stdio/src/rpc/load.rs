//! Which requests count as load although they were given up. Pure.
//!
//! A child works on a request until it has read that it was cancelled, and some work on. So the lease of a
//! request that was given up is kept, and the pool sees the load. It ends with the late reply. In MCP, where
//! what was cancelled has no reply, it also ends when the child answers something that was asked later:
//! then it has read the cancel. The owner of the lease waits no longer than `hang_after` for either.
//!
//! # Invariants
//!
//! 1. After a load has begun, and after each reply, all loads have an owner that still waits. So there are
//!    no more of them than leases, however many requests a child has never answered.

use tokio::sync::oneshot;

use super::call_id::CallId;

/// The load of requests that were given up.
#[derive(Debug, Default)]
pub(super) struct Loads {
    all: Vec<Load>,
}

/// The load of one request. Its owner learns the end when this is dropped, which must happen outside of all
/// locks.
#[derive(Debug)]
pub(super) struct Load {
    call: CallId,
    /// A reply to this call, or to a later one, ends it. The greatest number if only its own reply does.
    ends_with: CallId,
    owner: oneshot::Sender<()>,
}

/// Resolves, to an error, when the load ends.
pub(super) type LoadEnd = oneshot::Receiver<()>;

impl Loads {
    /// A request was given up that the child may work on.
    pub(super) fn begin(&mut self, call: CallId, ends_with: CallId) -> LoadEnd {
        // A load whose owner no longer waits wakes nobody when it is dropped.
        self.all.retain(|load| !load.owner.is_closed());
        let (owner, end) = oneshot::channel();
        self.all.push(Load {
            call,
            ends_with,
            owner,
        });
        end
    }

    /// The child has replied to this call. Returns the loads that end by that, and those whose owner no
    /// longer waits.
    pub(super) fn note_reply(&mut self, id: CallId) -> Vec<Load> {
        let ends =
            |load: &mut Load| load.call == id || load.ends_with <= id || load.owner.is_closed();
        self.all.extract_if(.., ends).collect()
    }

    pub(super) fn end_all(&mut self) -> Vec<Load> {
        std::mem::take(&mut self.all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the answer to a ping would end one.
    pub(super) fn wants_answer(&self) -> bool {
        self.all.iter().any(|load| load.ends_with < CallId::MAX)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_ends_with_its_own_reply_or_with_one_to_a_later_call() {
        let mut loads = Loads::default();
        let mut own = loads.begin(3, CallId::MAX);
        let mut later = loads.begin(4, 7);
        let mut last = loads.begin(5, 9);
        assert!(loads.note_reply(6).is_empty(), "it was asked before");
        drop(loads.note_reply(3));
        drop(loads.note_reply(8));
        assert!(own.try_recv().is_err_and(is_over));
        assert!(later.try_recv().is_err_and(is_over));
        assert!(!last.try_recv().is_err_and(is_over));
        drop(loads.end_all());
        assert!(last.try_recv().is_err_and(is_over) && loads.is_empty());
    }

    fn is_over(error: oneshot::error::TryRecvError) -> bool {
        error == oneshot::error::TryRecvError::Closed
    }
}
