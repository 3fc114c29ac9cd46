//! A budget as its users hold it, and as its members share it.
//!
//! # Locking
//!
//! The lock of the accounts is never held together with a store's. A pool that asks or frees a slot
//! takes the budget's lock after it has unlocked its store; a pool that reclaims locks the store of
//! another pool after it has unlocked the budget.

use std::fmt;
use std::sync::Arc as StdArc;

use crate::budget::accounts::{Accounts, MemberKey};
use crate::budget::budget_builder::BudgetBuilder;
use crate::budget::budget_meters::BudgetMeters;
use crate::budget::budget_status::{BudgetMember, BudgetStatus};
use crate::budget::member::Member;
use crate::budget::pressure::{Claim, Figures, Pressure};
use crate::error::{BuildError, ResizeError};
use crate::foreign::drop_quietly;
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::time::Clock;

/// A limit that several pools share: on their connections, and on their connects in flight.
///
/// Each pool has its own `max_size`. A pool that was built with a budget opens a connection only if the
/// budget allows it, too. The connection counts until it is gone, whatever its state.
///
/// When the budget is used up, the next free connection goes to the waiting pool that has the fewest for
/// its share. To free one, the least recently used idle connection of another pool is closed
/// ([`Reclaimed`](crate::CloseReason::Reclaimed)). If none is idle, a pool that has more than its share
/// closes a connection that comes home, although its own callers wait, for a pool that has less. A
/// lease is never cut short.
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

/// What the members of a budget share.
pub(super) struct SharedBudget {
    pub(super) settings: BudgetBuilder,
    pub(super) accounts: Mutex<Accounts<StdArc<dyn Member>>>,
    pub(super) pressure: Arc<Pressure>,
    /// All members measure time by it, so that their idle connections can be compared.
    pub(super) clock: Clock,
    meters: BudgetMeters,
}

impl Budget {
    /// A builder of a budget of this name. The name stands in errors and metrics.
    pub fn builder(name: impl Into<StdArc<str>>) -> BudgetBuilder {
        BudgetBuilder::new(name.into())
    }

    pub(super) fn new(settings: BudgetBuilder) -> Self {
        let (connections, connects) = (settings.max_connections, settings.max_connecting);
        let accounts = Accounts::new(connections, connects, settings.max_weight);
        let clock = Clock::start();
        let shared = SharedBudget {
            pressure: Arc::new(Pressure::new(StdArc::clone(&settings.name), clock.clone())),
            accounts: Mutex::new(accounts),
            meters: BudgetMeters::new(&settings.name, settings.max_weight.is_some()),
            settings,
            clock,
        };
        shared.write(&shared.accounts.lock(), None);
        Self {
            shared: Arc::new(shared),
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
                waiting_for: (account.demand.callers > 0).then(|| now.since(account.asked_at)),
                reclaimed: account.reclaimed,
                weight: positive(account.weight),
            }
        });
        BudgetStatus {
            name: StdArc::clone(&self.shared.settings.name),
            limit: accounts.limit(),
            used: totals.slots,
            reserved: totals.reserved,
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
    /// returned, by pools that have more than their share.
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

type AccountsGuard<'a> = MutexGuard<'a, Accounts<StdArc<dyn Member>>>;

impl SharedBudget {
    /// Grants what is free, unlocks, and tells the pools that were granted something. `ended` is a claim
    /// whose permit was given back.
    ///
    /// Order: the claim ends in the critical section that frees the permit. Otherwise a store would
    /// see that a connection is still wanted, and give up another one.
    pub(super) fn finish(&self, mut accounts: AccountsGuard<'_>, ended: Option<Claim>) {
        let mut granted = accounts.settle(self.clock.now());
        granted.dedup();
        let granted = accounts.handles(granted);
        #[cfg(debug_assertions)]
        accounts.assert_invariants();
        self.write(&accounts, ended);
        drop(accounts);
        for member in granted {
            member.kick();
            // It may be the last reference to the pool.
            drop_quietly(member);
        }
    }

    /// Order: under the lock, so that stores read the latest state.
    fn write(&self, accounts: &Accounts<StdArc<dyn Member>>, ended: Option<Claim>) {
        let totals = accounts.totals();
        let figures = Figures {
            limit: accounts.limit(),
            active_shares: totals.active_shares,
            slots: totals.slots,
            connecting: totals.connecting,
            max_connecting: accounts.max_connecting(),
            holders: accounts.holder_count(),
            waiting: totals.waiting,
            weight: positive(totals.weight),
            max_weight: self.settings.max_weight,
        };
        self.pressure.write(accounts.want(), figures, ended);
    }

    /// Publishes the metrics. Members do so when they publish theirs.
    pub(super) fn publish(&self) {
        self.meters.publish(self.pressure.figures());
    }

    /// Has idle connections of others closed as long as some are wanted, the least recently used first.
    ///
    /// When it returns, the store of every pool that held a slot was locked after the pressure rose, so a
    /// connection that comes home later is given up there.
    ///
    /// Claims that have aged are given to other connections first.
    pub(super) fn reclaim(&self, asker: Option<MemberKey>) {
        let now = self.clock.now();
        self.pressure.end_aged(now);
        let mut tries_left = RECLAIM_TRIES;
        while self.pressure.is_on() && tries_left > 0 {
            let holders = self.accounts.lock().other_holders(asker);
            let idle = holders
                .iter()
                .filter_map(|member| Some((member.oldest_idle(now)?, member)));
            let oldest = idle.min_by_key(|(since, _)| *since);
            let Some((_, member)) = oldest else {
                drop_quietly(holders);
                return;
            };
            // If it was lent meanwhile, there may be another one.
            tries_left -= usize::from(!member.reclaim_idle());
            drop_quietly(holders);
        }
    }
}

impl SharedBudget {
    /// Has connections closed if all together are too heavy: idle ones, those of the heaviest member first;
    /// then one that callers have, when it is returned.
    pub(super) fn shed(&self) {
        let (mut excess, heaviest) = {
            let accounts = self.accounts.lock();
            (accounts.excess_weight(), accounts.heaviest())
        };
        for member in &heaviest {
            excess = excess.saturating_sub(member.outgoing_weight());
        }
        for member in &heaviest {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(member.shed_idle(excess));
        }
        if excess > 0 {
            let mut members = heaviest.iter();
            let _: bool = members.any(|member| member.shed_leased());
        }
        heaviest.into_iter().for_each(drop_quietly);
    }
}

/// A sum of changes that came in any order.
fn positive(weight: i128) -> u64 {
    u64::try_from(weight.max(0)).unwrap_or(u64::MAX)
}

/// How often a reclaim looks again because what it found was lent meanwhile.
const RECLAIM_TRIES: usize = 3;
