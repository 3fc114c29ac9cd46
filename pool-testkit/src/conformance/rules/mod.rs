//! The trial of each rule. Each opens connections of its own and ends them.

mod connect;
mod end;
mod exchange;
mod life;
mod pooled;

use pool_core::Connector;

use super::Rule;
use super::subject::{Boxed, Subject};
use super::trial::Verdict;

/// The trial of one rule.
pub(super) fn trial<C: Connector>(rule: Rule, subject: &Subject<C>) -> Boxed<'_, Verdict> {
    match rule {
        Rule::Connects => Box::pin(connect::opens(subject)),
        Rule::ConnectIsCancelSafe => Box::pin(connect::is_cancel_safe(subject)),
        Rule::ConnectKeepsDeadline => Box::pin(connect::keeps_deadline(subject)),
        Rule::PermanentFailureIsTold => Box::pin(connect::permanent_is_told(subject)),
        Rule::TransientFailureIsTold => Box::pin(connect::transient_is_told(subject)),
        Rule::IsAliveSeesDeath => Box::pin(life::is_alive_sees_death(subject)),
        Rule::QuestionsAreCheap => Box::pin(life::questions_are_cheap(subject)),
        Rule::DiedResolves => Box::pin(life::died_resolves(subject)),
        Rule::DiedWaits => Box::pin(life::died_waits(subject)),
        Rule::ExchangeLeavesClean => Box::pin(exchange::leaves_clean(subject)),
        Rule::CancelledExchangeIsNotReused => Box::pin(exchange::cancelled_is_not_reused(subject)),
        Rule::DirtIsSeen => Box::pin(exchange::dirt_is_seen(subject)),
        Rule::ResetIsHonest => Box::pin(exchange::reset_is_honest(subject)),
        Rule::CheckPassesLive => Box::pin(life::check_passes_live(subject)),
        Rule::CheckTellsDeath => Box::pin(life::check_tells_death(subject)),
        Rule::CloseReturns => Box::pin(end::close_returns(subject)),
        Rule::CloseEndsResource => Box::pin(end::close_ends_resource(subject)),
        Rule::DropEndsResource => Box::pin(end::drop_ends_resource(subject)),
        Rule::PoolReuses => Box::pin(pooled::reuses(subject)),
        Rule::PoolReplacesDead => Box::pin(pooled::replaces_dead(subject)),
        Rule::NothingLeaks => Box::pin(pooled::nothing_leaks(subject)),
    }
}
