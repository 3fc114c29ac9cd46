//! Counts the connections of several pools together, against the limit of their budget.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::{ConnectionId, Event, EventKind, Observer};

use super::observer::Ledger;

/// Checks that the pools of a budget together never have more connections than it allows. A clone is the
/// same ledger.
///
/// Each pool needs a name of its own. A connection counts from its `Opening` until it is gone, whatever
/// its state.
///
/// # Examples
///
/// ```
/// # use pool_core::ConnectionPool;
/// use pool_core::Budget;
/// use pool_testkit::connector::pair;
/// use pool_testkit::ledger::{BudgetLedger, Ledger};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let budget = Budget::builder("children").max_connections(1).build()?;
/// let together = BudgetLedger::new(1);
/// let pool = |name: &str| {
///     let builder = ConnectionPool::builder(pair().0).name(name).budget(&budget);
///     builder.observer(together.observer(Ledger::new(10))).build()
/// };
/// let (one, other) = (pool("one")?, pool("other")?);
/// drop(one.acquire().await?);
/// drop(other.acquire().await?); // the connection of `one` is closed for it
/// one.close(Duration::from_secs(5)).await;
/// other.close(Duration::from_secs(5)).await;
/// together.assert_settled();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BudgetLedger {
    counted: Arc<Mutex<Counted>>,
}

#[derive(Debug)]
struct Counted {
    limit: usize,
    present: HashSet<(Arc<str>, ConnectionId)>,
    /// The first rule that was broken.
    breach: Option<String>,
}

impl BudgetLedger {
    /// The ledger of a budget with this `max_connections`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            counted: Arc::new(Mutex::new(Counted {
                limit,
                present: HashSet::new(),
                breach: None,
            })),
        }
    }

    /// The budget is about to allow so many. A smaller number changes nothing: what was opened before
    /// counts until it is gone.
    pub fn limit_at_least(&self, limit: usize) {
        let mut counted = self.lock();
        counted.limit = counted.limit.max(limit);
    }

    /// The observer for one of the pools: it tells this ledger and the pool's own.
    #[must_use]
    pub fn observer(&self, of_pool: Ledger) -> Arc<dyn Observer> {
        let together = self.clone();
        Arc::new(Both { of_pool, together })
    }

    /// Checks that the limit was kept, and that no connection is left.
    ///
    /// # Panics
    ///
    /// Panics if it was not, or one is.
    #[track_caller]
    pub fn assert_settled(&self) {
        let (breach, left) = {
            let counted = self.lock();
            (counted.breach.clone(), counted.present.clone())
        };
        assert!(breach.is_none(), "{}", breach.unwrap_or_default());
        assert!(left.is_empty(), "connections are left: {left:?}");
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for BudgetLedger {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most events change no count"
    )]
    fn on_event(&self, event: &Event) {
        let of = |id| (Arc::clone(&event.pool), id);
        let mut counted = self.lock();
        match event.kind {
            EventKind::Opening { id } => counted.opens(of(id)),
            EventKind::Closed { id, .. }
            | EventKind::Detached { id }
            | EventKind::ConnectFailed { id, .. }
            | EventKind::ConnectAborted { id } => {
                counted.present.remove(&of(id));
            }
            _ => {}
        }
    }
}

impl Counted {
    fn opens(&mut self, (pool, id): (Arc<str>, ConnectionId)) {
        let is_new = self.present.insert((Arc::clone(&pool), id));
        let count = self.present.len();
        if self.breach.is_some() {
            return;
        }
        if !is_new {
            self.breach = Some(format!(
                "{id} of `{pool}` opens twice: do two pools have this name?"
            ));
        } else if count > self.limit {
            let limit = self.limit;
            self.breach = Some(format!(
                "{count} connections of {limit} together, since {id} of `{pool}` opened"
            ));
        }
    }
}

#[derive(Debug)]
struct Both {
    of_pool: Ledger,
    together: BudgetLedger,
}

impl Observer for Both {
    fn on_event(&self, event: &Event) {
        self.of_pool.on_event(event);
        self.together.on_event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool_core::CloseReason;

    fn tell(ledger: &BudgetLedger, pool: &str, kind: EventKind) {
        ledger.on_event(&Event::new(0, Arc::from(pool), kind));
    }

    fn id(number: u64) -> ConnectionId {
        ConnectionId::from_u64(number)
    }

    fn opening(number: u64) -> EventKind {
        EventKind::Opening { id: id(number) }
    }

    fn closed(number: u64) -> EventKind {
        let reason = CloseReason::Reclaimed;
        EventKind::Closed {
            id: id(number),
            reason,
        }
    }

    #[test]
    fn connection_that_is_gone_makes_room_for_one_of_another_pool() {
        let ledger = BudgetLedger::new(1);
        tell(&ledger, "one", opening(0));
        tell(&ledger, "one", closed(0));
        tell(&ledger, "other", opening(0));
        tell(&ledger, "other", EventKind::Detached { id: id(0) });
        ledger.assert_settled();
    }

    #[test]
    #[should_panic(expected = "2 connections of 1 together, since #0 of `other` opened")]
    fn connections_of_two_pools_beyond_the_limit_are_found() {
        let ledger = BudgetLedger::new(1);
        tell(&ledger, "one", opening(0));
        tell(&ledger, "other", opening(0));
        tell(&ledger, "one", closed(0));
        tell(&ledger, "other", closed(0));
        ledger.assert_settled();
    }

    #[test]
    #[should_panic(expected = "connections are left")]
    fn connection_that_is_left_is_found() {
        let ledger = BudgetLedger::new(1);
        tell(&ledger, "one", opening(0));
        ledger.assert_settled();
    }

    #[test]
    fn limit_that_has_grown_holds_from_then_on() {
        let ledger = BudgetLedger::new(1);
        ledger.limit_at_least(2);
        ledger.limit_at_least(0);
        tell(&ledger, "one", opening(0));
        tell(&ledger, "other", opening(0));
        tell(&ledger, "one", closed(0));
        tell(&ledger, "other", closed(0));
        ledger.assert_settled();
    }
}
