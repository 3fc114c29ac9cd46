//! Which settings are refused.

use std::fmt::Display;
use std::time::Duration;

use crate::engine::Timeouts;
use crate::error::BuildError;
use crate::handle::MAX_SIZE;
use crate::store::{Limits, Sharing, TargetLeases};

/// Refuses settings that cannot work.
pub(super) fn settings(
    limits: &Limits,
    timeouts: &Timeouts,
    budget_share: u32,
) -> Result<(), BuildError> {
    counts(limits)?;
    if budget_share == 0 {
        return Err(out_of_range("budget_share", &0, "at least 1"));
    }
    durations(limits, timeouts)?;
    contradictions(limits)
}

fn counts(limits: &Limits) -> Result<(), BuildError> {
    let Sharing {
        target_leases,
        max_leases,
        max_surge,
    } = limits.sharing;
    let at_least_one = [
        ("max_size", limits.max_size == 0),
        ("max_connecting", limits.max_connecting == 0),
        ("fail_fast_after", limits.pacer.fail_fast_after == 0),
        ("target_leases", target_least(target_leases) == 0),
        ("max_leases_per_connection", max_leases == 0),
        ("max_uses", limits.max_uses == Some(0)),
    ];
    if let Some((setting, _)) = at_least_one.iter().find(|(_, is_zero)| *is_zero) {
        return Err(out_of_range(setting, &0, "at least 1"));
    }
    let at_most = [
        ("max_size", limits.max_size),
        ("max_waiters", limits.max_waiters),
    ];
    if let Some((setting, value)) = at_most.iter().find(|(_, value)| *value > MAX_SIZE) {
        return Err(out_of_range(setting, value, "at most 4294967294"));
    }
    if max_surge > MAX_SIZE - limits.max_size {
        let must = "small enough to be counted together with max_size";
        return Err(out_of_range("max_surge", &max_surge, must));
    }
    Ok(())
}

fn durations(limits: &Limits, timeouts: &Timeouts) -> Result<(), BuildError> {
    let durations = [
        ("connect_timeout", Some(timeouts.connect)),
        ("check_timeout", Some(timeouts.check)),
        ("reset_timeout", Some(timeouts.reset)),
        ("close_timeout", Some(timeouts.close)),
        ("check_interval", limits.check_interval),
        ("check_after_idle", limits.check_after_idle),
        ("idle_timeout", limits.idle_timeout),
        ("max_lifetime", limits.max_lifetime),
        ("lease_warn_after", limits.lease_warn_after),
        ("retry_delay", Some(limits.pacer.delay)),
        ("weigh_interval", Some(limits.weigh_interval)),
    ];
    match durations
        .iter()
        .find(|(_, value)| *value == Some(Duration::ZERO))
    {
        Some((setting, _)) => Err(out_of_range(setting, &"0s", "more than nothing")),
        None => Ok(()),
    }
}

fn contradictions(limits: &Limits) -> Result<(), BuildError> {
    let Limits {
        max_size,
        min_idle,
        min_uptime,
        max_lifetime,
        pacer,
        sharing,
        ..
    } = limits;
    if min_idle > max_size {
        return Err(BuildError::Contradiction {
            setting: "min_idle",
            value: min_idle.to_string(),
            other: "max_size",
            other_value: max_size.to_string(),
            rule: "idle connections count against the limit",
        });
    }
    if pacer.delay > pacer.delay_max {
        return Err(BuildError::Contradiction {
            setting: "the first retry_delay",
            value: format!("{:?}", pacer.delay),
            other: "its maximum",
            other_value: format!("{:?}", pacer.delay_max),
            rule: "delays grow from the first to the maximum",
        });
    }
    if let TargetLeases::Adaptive { min, max } = sharing.target_leases
        && min > max
    {
        return Err(BuildError::Contradiction {
            setting: "the least of target_leases",
            value: min.to_string(),
            other: "the greatest",
            other_value: max.to_string(),
            rule: "the target is learned between them",
        });
    }
    weights(limits)?;
    let target_least = target_least(sharing.target_leases);
    if target_least > sharing.max_leases {
        return Err(BuildError::Contradiction {
            setting: "target_leases",
            value: target_least.to_string(),
            other: "max_leases_per_connection",
            other_value: sharing.max_leases.to_string(),
            rule: "a connection that may have no more leases would never count as busy",
        });
    }
    match max_lifetime {
        Some(lifetime) if min_uptime >= lifetime => Err(BuildError::Contradiction {
            setting: "min_uptime",
            value: format!("{min_uptime:?}"),
            other: "max_lifetime",
            other_value: format!("{lifetime:?}"),
            rule: "every connection would end before it has proven itself",
        }),
        _ => Ok(()),
    }
}

fn weights(limits: &Limits) -> Result<(), BuildError> {
    match (limits.max_weight, limits.kill_weight) {
        (Some(max), Some(kill)) if max > kill => Err(BuildError::Contradiction {
            setting: "max_weight",
            value: max.to_string(),
            other: "kill_weight",
            other_value: kill.to_string(),
            rule: "a connection would be killed before it is replaced",
        }),
        _ => Ok(()),
    }
}

const fn target_least(target: TargetLeases) -> u32 {
    match target {
        TargetLeases::Fixed(leases) => leases,
        TargetLeases::Adaptive { min, .. } => min,
    }
}

fn out_of_range(setting: &'static str, value: &dyn Display, must: &'static str) -> BuildError {
    BuildError::OutOfRange {
        setting,
        value: value.to_string(),
        must,
    }
}
