//! A budget as its users hold it.

use std::fmt;
use std::sync::Arc as StdArc;

use crate::budget::budget_builder::BudgetBuilder;
use crate::budget::budget_status::{BudgetMember, BudgetStatus};
use crate::budget::shared_budget::{SharedBudget, positive};
use crate::error::{BuildError, ResizeError};
use crate::sync::Arc;

/// A limit that several pools share: on their connections, and on their connects in flight.
///
/// Each pool has its own `max_size`. A pool that was built with a budget opens a connection only if the
/// budget allows it, too. The connection counts until it is gone, whatever its state.
///
/// When the budget is used up, the next free connection goes to the waiting pool that has the fewest for
/// its share. To free one, the least recently used idle connection of another pool is closed
/// ([`Reclaimed`](crate::CloseReason::Reclaimed)). If none is idle, a pool that has more for its share
/// closes a connection that comes home, although its own callers wait, for a pool that has less. A
/// lease is never cut short. With fewer connections than pools that wait, they take turns, whatever their
/// shares are.
///
/// Clones are handles of the same budget.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// use pool_core::Budget;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let budget = Budget::builder("children").max_connections(1).build()?;
/// let pool = |name: &str| {
///     ConnectionPool::builder(connector_fn(async |_| Ok(()))).name(name).budget(&budget).build()
/// };
/// let (one, other) = (pool("one")?, pool("other")?);
/// drop(one.acquire().await?);
/// assert_eq!(one.status().idle, 1);
///
/// // There is room for one connection only, and that of `one` is idle.
/// let lease = other.acquire().await?;
/// assert_eq!((one.status().size(), other.status().size()), (0, 1));
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Budget {
    pub(super) shared: Arc<SharedBudget>,
}

impl Budget {
    /// A builder of a budget of this name. The name stands in errors and metrics.
    pub fn builder(name: impl Into<StdArc<str>>) -> BudgetBuilder {
        BudgetBuilder::new(name.into())
    }

    pub(super) fn new(settings: BudgetBuilder) -> Self {
        Self {
            shared: Arc::new(SharedBudget::new(settings)),
        }
    }

    /// Who holds what, and who waits.
    #[must_use]
    pub fn status(&self) -> BudgetStatus {
        let now = self.shared.clock.now();
        let accounts = self.shared.accounts.lock();
        let totals = accounts.totals();
        let present = accounts.iter().filter(|account| !account.is_gone());
        let members = present.map(|account| {
            let asks = account.demand.callers + account.demand.spare;
            BudgetMember {
                pool: StdArc::clone(&account.entitlement.name),
                share: account.entitlement.share,
                reserved: account.entitlement.reserved,
                held: account.slots,
                connecting: account.connecting,
                asks,
                stuck: account.stuck,
                waiting_for: (account.demand.is_awaited()).then(|| now.since(account.asked_at)),
                reclaimed: account.reclaimed,
                weight: positive(account.weight),
            }
        });
        BudgetStatus {
            name: StdArc::clone(&self.shared.settings.name),
            limit: accounts.limit(),
            used: totals.slots,
            reserved: totals.reserved,
            stuck: totals.stuck,
            connecting: totals.connecting,
            max_connecting: accounts.max_connecting(),
            reclaiming: self.shared.pressure.claimed(),
            weight: positive(totals.weight),
            max_weight: self.shared.settings.max_weight,
            members: members.collect(),
        }
    }

    /// Changes `max_connections`.
    ///
    /// When it grows, pools that wait open connections at once. When it shrinks, surplus idle
    /// connections are closed, the longest unused first, and surplus leased ones when they are
    /// returned, by pools that have more than their part of what is not reserved.
    ///
    /// # Errors
    ///
    /// [`ResizeError::Reserved`] if more is reserved.
    pub fn resize(&self, max_connections: usize) -> Result<(), ResizeError> {
        let mut accounts = self.shared.accounts.lock();
        if let Err(reserved) = accounts.resize(max_connections) {
            return Err(ResizeError::Reserved {
                limit: max_connections,
                reserved,
            });
        }
        self.shared.finish(accounts, None);
        self.shared.reclaim(None);
        // Its pools may be quiet for long.
        self.shared.publish();
        Ok(())
    }
}

impl BudgetBuilder {
    /// Checks the settings and makes the budget.
    ///
    /// # Errors
    ///
    /// [`BuildError::OutOfRange`] for a limit of zero.
    pub fn build(self) -> Result<Budget, BuildError> {
        let limits = [
            ("max_connections", self.max_connections),
            ("max_connecting", self.max_connecting),
            ("max_weight", usize::from(self.max_weight != Some(0))),
        ];
        if let Some((setting, _)) = limits.into_iter().find(|(_, limit)| *limit == 0) {
            return Err(BuildError::OutOfRange {
                setting,
                value: "0".to_owned(),
                must: "at least 1",
            });
        }
        Ok(Budget::new(self))
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        f.debug_struct("Budget")
            .field("name", &status.name)
            .field("limit", &status.limit)
            .field("used", &status.used)
            .finish_non_exhaustive()
    }
}
