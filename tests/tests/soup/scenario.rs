//! One run: the pool's settings, the faults, and the number of actors and steps, all drawn from one seed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{Builder, Observer, TargetLeases};
use pool_testkit::fault::{FaultPlan, Odds};
use pool_testkit::{Call, Query};
use pool_tests::random::SplitMix64;

/// The runtime of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuntimeKind {
    /// One thread and a paused clock. The seed decides everything but the pool's own jitter.
    Paused,
    /// Two workers and the real clock.
    Threads,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The actors stop, the pool recovers, and then it is closed.
    Close,
    /// It is closed while the actors are busy.
    CloseAmid,
    /// The last handle is dropped by the actor that stops last, while there are leases.
    LastHandle,
    /// The runtime is dropped while the actors are busy.
    RuntimeGone,
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) runtime_kind: RuntimeKind,
    pub(crate) ending: Ending,
    /// All times are multiples of this.
    pub(crate) unit: Duration,
    pub(crate) plan: FaultPlan,
    pub(crate) actors: u64,
    pub(crate) steps: usize,
    /// The limit on connections at the start, and again at the end.
    pub(crate) max_size: usize,
    pub(crate) acquire_units: u32,
    pub(crate) sharing: SharingSettings,
    settings: Settings,
}

/// How a shared pool lends its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharingSettings {
    pub(crate) target: TargetLeases,
    pub(crate) max_leases: u32,
    pub(crate) max_surge: usize,
}

#[derive(Debug, Clone)]
struct Settings {
    min_idle: usize,
    max_connecting: usize,
    max_waiters: usize,
    idle: Option<u32>,
    lifetime: Option<u32>,
    check: Option<u32>,
    check_after_idle: Option<u32>,
    warn: Option<u32>,
    uses: Option<u64>,
    fail_fast_after: u32,
}

impl Scenario {
    pub(crate) fn draw(runtime_kind: RuntimeKind, ending: Ending, plan: FaultPlan) -> Self {
        let mut numbers = SplitMix64::derived(plan.seed(), [64, 0]);
        let mut below = |limit: u32| {
            u32::try_from(numbers.below(u64::from(limit))).expect("it is below a `u32`")
        };
        let unit = match runtime_kind {
            RuntimeKind::Paused => Duration::from_millis(10),
            RuntimeKind::Threads => Duration::from_millis(1),
        };
        let max_size = 1 + below(6) as usize;
        let settings = Settings {
            min_idle: (below(4) as usize).saturating_sub(1).min(max_size),
            max_connecting: 1 + below(3) as usize,
            max_waiters: if below(4) == 0 { 3 } else { 1000 },
            idle: (below(2) == 0).then_some(20),
            lifetime: (below(3) == 0).then_some(50),
            check: (below(3) > 0).then_some(12),
            warn: (below(2) == 0).then_some(4),
            uses: (below(3) == 0).then(|| u64::from(1 + below(8))),
            fail_fast_after: 1 + below(4),
            check_after_idle: (below(2) == 0).then_some(3),
        };
        Self {
            runtime_kind,
            ending,
            unit,
            actors: u64::from(2 + below(9)),
            steps: 10 + below(40) as usize,
            max_size,
            acquire_units: 5 + below(60),
            plan: with_faults(plan, below(6), unit),
            settings,
            sharing: draw_sharing(&mut below),
        }
    }

    /// The largest limit that an actor sets.
    pub(crate) const fn largest(&self) -> usize {
        self.max_size + 2
    }

    pub(crate) fn units(&self, count: u32) -> Duration {
        self.unit * count
    }

    pub(crate) fn acquire_timeout(&self) -> Duration {
        self.units(self.acquire_units)
    }

    pub(crate) fn lease_warn_after(&self) -> Option<Duration> {
        self.settings.warn.map(|units| self.units(units))
    }

    pub(crate) const fn max_uses(&self) -> Option<u64> {
        self.settings.uses
    }

    pub(crate) const fn has_lifetime(&self) -> bool {
        self.settings.lifetime.is_some()
    }

    /// The settings of either kind of pool.
    pub(crate) fn settle<T: Send + 'static, L>(
        &self,
        builder: Builder<T, L>,
        observer: Arc<dyn Observer>,
    ) -> Builder<T, L> {
        let units = |count: u32| self.units(count);
        let Settings {
            min_idle,
            max_connecting,
            max_waiters,
            idle,
            lifetime,
            check,
            check_after_idle,
            warn: _,
            uses,
            fail_fast_after,
        } = self.settings;
        builder
            .name("soup")
            .max_size(self.max_size)
            .min_idle(min_idle)
            .max_connecting(max_connecting)
            .max_waiters(max_waiters)
            .acquire_timeout(self.acquire_timeout())
            .connect_timeout(units(8))
            .check_timeout(units(6))
            .close_timeout(units(5))
            .idle_timeout(idle.map(units))
            .max_lifetime(lifetime.map(units))
            .check_interval(check.map(units))
            .check_after_idle(check_after_idle.map(units))
            .max_uses(uses)
            .min_uptime(units(2))
            .retry_delay(units(1), units(8))
            .fail_fast_after(fail_fast_after)
            .observer(observer)
    }
}

fn draw_sharing(below: &mut impl FnMut(u32) -> u32) -> SharingSettings {
    let least = 1 + below(3);
    let most = least + below(3);
    SharingSettings {
        target: match below(2) {
            0 => TargetLeases::Fixed(least),
            _ => TargetLeases::Adaptive {
                min: least,
                max: most,
            },
        },
        max_leases: most + below(3),
        max_surge: below(3) as usize,
    }
}

/// Some plans have no faults, some have one kind of fault, and some have all kinds.
fn with_faults(plan: FaultPlan, kind: u32, unit: Duration) -> FaultPlan {
    let some = Odds::none().slow(400, unit * 3);
    match kind {
        0 => plan,
        1 => plan.call_odds(
            Call::Connect,
            some.transient(300).permanent(100).panic(50).hang(50),
        ),
        2 => plan
            .call_odds(Call::Close, some.panic(100).hang(60).slow(600, unit * 9))
            .call_odds(Call::Reset, some.hang(100))
            .query_odds(Query::NeedsReset, 300, 0),
        3 => plan
            .death_odds(600, unit * 5)
            .query_odds(Query::IsAlive, 150, 50)
            .query_odds(Query::IsClean, 50, 50)
            .query_odds(Query::NeedsReset, 50, 50),
        _ => with_everything(plan, unit * 2),
    }
}

/// Everything goes wrong now and then, delays are up to `delay_max`, and one connection in ten dies
/// within ten times that.
fn with_everything(plan: FaultPlan, delay_max: Duration) -> FaultPlan {
    let slow = Odds::none().slow(300, delay_max);
    let odds = slow.transient(60).panic(15).hang(10);
    plan.call_odds(Call::Connect, odds.permanent(10))
        .call_odds(Call::Reset, odds)
        .call_odds(Call::Check, odds)
        .call_odds(Call::Close, slow.panic(15).hang(5))
        .query_odds(Query::IsAlive, 20, 5)
        .query_odds(Query::IsClean, 40, 5)
        .query_odds(Query::NeedsReset, 100, 5)
        .death_odds(100, delay_max * 10)
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            runtime_kind,
            ending,
            unit,
            plan,
            actors,
            steps,
            max_size,
            acquire_units,
            sharing,
            settings,
        } = self;
        write!(
            f,
            "{plan}\n{runtime_kind:?}, {ending:?}, a unit is {unit:?}, {actors} actors, {steps} steps, "
        )?;
        write!(
            f,
            "max_size {max_size}, acquire {acquire_units}, {settings:?}, {sharing:?}"
        )
    }
}
