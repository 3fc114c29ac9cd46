//! How each rule is tried. Each trial opens connections of its own and ends them.

mod connect;
mod end;
mod exchange;
mod life;
mod pooled;
mod shared;
mod vitals;

use pool_core::Connector;

use super::Rule;
use super::subject::Boxed;
use super::trial::{Trial, TrialResult};

/// Tries one rule.
pub(super) fn run<'a, C: Connector>(rule: Rule, trial: &'a Trial<'a, C>) -> Boxed<'a, TrialResult> {
    match rule {
        Rule::Connects => Box::pin(connect::opens(trial)),
        Rule::ConnectIsCancelSafe => Box::pin(connect::is_cancel_safe(trial)),
        Rule::ConnectKeepsDeadline => Box::pin(connect::keeps_deadline(trial)),
        Rule::PermanentFailureIsReported => Box::pin(connect::permanent_is_reported(trial)),
        Rule::TransientFailureIsReported => Box::pin(connect::transient_is_reported(trial)),
        Rule::IsAliveSeesDeath => Box::pin(life::is_alive_sees_death(trial)),
        Rule::QueriesAreCheap => Box::pin(life::queries_are_cheap(trial)),
        Rule::DiedResolves => Box::pin(life::died_resolves(trial)),
        Rule::DiedWaits => Box::pin(life::died_waits(trial)),
        Rule::ExchangeLeavesClean => Box::pin(exchange::leaves_clean(trial)),
        Rule::CancelledExchangeIsNotReused => Box::pin(exchange::cancelled_is_not_reused(trial)),
        Rule::DirtIsSeen => Box::pin(exchange::dirt_is_seen(trial)),
        Rule::ResetIsHonest => Box::pin(exchange::reset_is_honest(trial)),
        Rule::CheckPassesLive => Box::pin(life::check_passes_live(trial)),
        Rule::CheckSeesDeath => Box::pin(life::check_sees_death(trial)),
        Rule::VitalsEndIt => Box::pin(vitals::vitals_end_it(trial)),
        Rule::CloseReturns => Box::pin(end::close_returns(trial)),
        Rule::CloseEndsResource => Box::pin(end::close_ends_resource(trial)),
        Rule::DropEndsResource => Box::pin(end::drop_ends_resource(trial)),
        Rule::PoolReuses => Box::pin(pooled::reuses(trial)),
        Rule::PoolReplacesDead => Box::pin(pooled::replaces_dead(trial)),
        Rule::NothingLeaks => Box::pin(pooled::nothing_leaks(trial)),
        Rule::SharedExchangesAreApart => Box::pin(shared::exchanges_are_apart(trial)),
        Rule::SharedCancelHarmsNoOther => {
            Box::pin(shared::cancelled_exchange_harms_no_other(trial))
        }
        Rule::SharedCheckPassesLive => Box::pin(shared::check_passes_live(trial)),
        Rule::SharedCheckSeesDeath => Box::pin(shared::check_sees_death(trial)),
    }
}
