//! The metrics of a budget.

use metrics::Gauge;

use crate::budget::pressure::Figures;
use crate::foreign::{catch, report};

/// The handles of all metrics, resolved once.
pub(super) struct BudgetMeters {
    connections: Gauge,
    max_connections: Gauge,
    connecting: Gauge,
    stuck: Gauge,
    holders: Gauge,
    waiting: Gauge,
    weight: Gauge,
    /// If there is one.
    max_weight: Option<Gauge>,
}

impl BudgetMeters {
    pub(super) fn new(budget: &str, limits_weight: bool) -> Self {
        let budget = || budget.to_owned();
        Self {
            connections: metrics::gauge!("pool_budget_connections", "budget" => budget()),
            max_connections: metrics::gauge!("pool_budget_max_connections", "budget" => budget()),
            connecting: metrics::gauge!("pool_budget_connecting", "budget" => budget()),
            stuck: metrics::gauge!("pool_budget_stuck", "budget" => budget()),
            holders: metrics::gauge!("pool_budget_holding_pools", "budget" => budget()),
            waiting: metrics::gauge!("pool_budget_waiting_pools", "budget" => budget()),
            weight: metrics::gauge!("pool_budget_weight", "budget" => budget()),
            max_weight: limits_weight
                .then(|| metrics::gauge!("pool_budget_max_weight", "budget" => budget())),
        }
    }

    pub(super) fn publish(&self, figures: Figures) {
        report(catch("metrics", || {
            let gauges = [
                (&self.connections, figures.slots),
                (&self.max_connections, figures.limit),
                (&self.connecting, figures.connecting),
                (&self.stuck, figures.stuck),
                (&self.holders, figures.holders),
                (&self.waiting, figures.waiting),
            ];
            for (gauge, count) in gauges {
                gauge.set(real(count));
            }
            let weight = |weight: u64| real(usize::try_from(weight).unwrap_or(usize::MAX));
            self.weight.set(weight(figures.weight));
            if let (Some(gauge), Some(max)) = (&self.max_weight, figures.max_weight) {
                gauge.set(weight(max));
            }
        }));
    }
}

/// A count as the facade wants it.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of connections are far below 2^52"
)]
const fn real(count: usize) -> f64 {
    count as f64
}
