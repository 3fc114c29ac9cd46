//! What a budget reports about itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One consistent snapshot of a [`Budget`](crate::Budget), taken under its lock.
///
/// # Examples
///
/// ```
/// # use pool_core::{ConnectionPool, connector_fn};
/// use pool_core::Budget;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let budget = Budget::builder("children").max_connections(2).build()?;
/// let pool = ConnectionPool::builder(connector_fn(async |_| Ok(()))).name("a").budget(&budget).build()?;
/// let lease = pool.acquire().await?;
///
/// let status = budget.status();
/// assert_eq!((status.used, status.limit), (1, 2));
/// assert_eq!((&*status.members[0].pool, status.members[0].held), ("a", 1));
/// assert_eq!(status.to_string(), "1 of 2, held by 1 pool; 0 pools wait");
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BudgetStatus {
    /// The budget's name.
    pub name: Arc<str>,
    /// `max_connections`.
    pub limit: usize,
    /// The connections of all pools together, whatever their state.
    pub used: usize,
    /// What is reserved for the `min_idle` of pools.
    pub reserved: usize,
    /// Those of `used` whose close takes longer than its timeout.
    pub stuck: usize,
    /// Connects in flight, without those that are overdue.
    pub connecting: usize,
    /// The limit of these.
    pub max_connecting: usize,
    /// Connections of one pool that are being closed for another.
    pub reclaiming: usize,
    /// What all connections together weigh, as far as they were weighed.
    pub weight: u64,
    /// `max_weight`.
    pub max_weight: Option<u64>,
    /// Every pool, in no particular order.
    pub members: Vec<BudgetMember>,
}

/// What one pool holds of a budget, and what it waits for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BudgetMember {
    /// The pool's name.
    pub pool: Arc<str>,
    /// Its share, in relation to those of other pools.
    pub share: u32,
    /// How many connections are reserved for it.
    pub reserved: usize,
    /// Its connections, whatever their state, and those it may open next.
    pub held: usize,
    /// Those of them whose close takes longer than its timeout. When the pool is compared with others, one of them
    /// is no part of what it has; further ones are.
    pub stuck: usize,
    /// Its connects in flight, without those that are overdue.
    pub connecting: usize,
    /// How many connections it asks for, for callers and for `min_idle`.
    pub asks: usize,
    /// How long its callers have waited for the next one; `None` if none waits.
    pub waiting_for: Option<Duration>,
    /// What its connections weigh together.
    pub weight: u64,
    /// How many of its connections were closed for other pools so far.
    pub reclaimed: u64,
}

impl fmt::Display for BudgetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders = self.members.iter().filter(|member| member.held > 0);
        let members = self.members.iter();
        let waiting = members.filter(|member| member.waiting_for.is_some());
        let (holders, waiting) = (holders.count(), waiting.count());
        let members = self.members.iter();
        let unused = members.map(|member| member.reserved.saturating_sub(member.held));
        let counts = Counts {
            used: self.used,
            limit: self.limit,
            stuck: self.stuck,
            unused_reserve: unused.sum(),
            holders,
            waiting,
        };
        counts.describe(f, "pool")
    }
}

/// How full a budget was when a pool waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetUsage {
    /// The budget's name.
    pub name: Arc<str>,
    /// The connections of all pools together.
    pub used: usize,
    /// `max_connections`.
    pub limit: usize,
    /// Those of `used` whose close takes longer than its timeout.
    pub stuck: usize,
    /// What is reserved for pools that do not use it now: nobody else gets it.
    pub unused_reserve: usize,
    /// Connects in flight.
    pub connecting: usize,
    /// The limit of these.
    pub max_connecting: usize,
    /// How many pools hold a connection.
    pub holders: usize,
    /// How many pools have callers that wait for one.
    pub waiting: usize,
    /// What all connections together weigh.
    pub weight: u64,
    /// `max_weight`.
    pub max_weight: Option<u64>,
}

impl BudgetUsage {
    /// Whether nothing is opened because the connections are too heavy.
    #[must_use]
    pub fn is_too_heavy(&self) -> bool {
        self.used < self.limit && self.max_weight.is_some_and(|max| self.weight >= max)
    }

    /// Whether connects are what is missing, and not connections.
    #[must_use]
    pub const fn is_short_of_connects(&self) -> bool {
        self.used + self.unused_reserve < self.limit && self.connecting >= self.max_connecting
    }
}

impl fmt::Display for BudgetUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, "pool")
    }
}

impl BudgetUsage {
    /// Calls its members `noun`.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, noun: &str) -> fmt::Result {
        let name = &self.name;
        if self.is_short_of_connects() {
            let (connecting, max_connecting) = (self.connecting, self.max_connecting);
            let waiting = self.waiting;
            return write!(
                f,
                "budget `{name}` allows no more connects: {connecting} of {max_connecting} in flight; {}",
                Waiting(waiting, noun)
            );
        }
        if let (true, Some(max)) = (self.is_too_heavy(), self.max_weight) {
            write!(
                f,
                "budget `{name}` is too heavy: weight {} of {max}; ",
                self.weight
            )?;
        } else {
            write!(f, "budget `{name}` is full: ")?;
        }
        let counts = Counts {
            used: self.used,
            limit: self.limit,
            stuck: self.stuck,
            unused_reserve: self.unused_reserve,
            holders: self.holders,
            waiting: self.waiting,
        };
        counts.describe(f, noun)
    }
}

struct Counts {
    used: usize,
    limit: usize,
    stuck: usize,
    unused_reserve: usize,
    holders: usize,
    waiting: usize,
}

impl Counts {
    fn describe(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        let Self { used, limit, .. } = self;
        write!(f, "{used} of {limit}")?;
        match (self.stuck, self.unused_reserve) {
            (0, 0) => {}
            (stuck, 0) => write!(f, " ({stuck} stuck in their close)")?,
            (0, reserved) => write!(f, " ({reserved} more reserved)")?,
            (stuck, reserved) => {
                write!(
                    f,
                    " ({stuck} stuck in their close, {reserved} more reserved)"
                )?;
            }
        }
        let holders = self.holders;
        let plural = if holders == 1 { "" } else { "s" };
        let waiting = Waiting(self.waiting, what);
        write!(f, ", held by {holders} {what}{plural}; {waiting}")
    }
}

/// "1 pool waits", "3 pools wait".
struct Waiting<'a>(usize, &'a str);

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = self;
        match count {
            1 => write!(f, "1 {what} waits"),
            count => write!(f, "{count} {what}s wait"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::BudgetUsage;

    #[test]
    fn a_budget_that_is_full_by_its_reserves_is_not_short_of_connects() {
        let usage = |unused_reserve| BudgetUsage {
            name: "children".into(),
            used: 3,
            limit: 5,
            stuck: 0,
            unused_reserve,
            connecting: 1,
            max_connecting: 1,
            holders: 1,
            waiting: 1,
            weight: 0,
            max_weight: None,
        };
        assert_eq!(
            usage(2).to_string(),
            "budget `children` is full: 3 of 5 (2 more reserved), held by 1 pool; 1 pool waits"
        );
        assert_eq!(
            usage(1).to_string(),
            "budget `children` allows no more connects: 1 of 1 in flight; 1 pool waits"
        );
    }
}
