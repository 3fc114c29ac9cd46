//! Which call goes wrong and how: a pure function of the seed, the method and the call's number.

use std::fmt;
use std::time::Duration;

use crate::{Call, Query};

use super::odds::{FaultKind, Odds, QueryOdds};
use super::random::SplitMix64;

/// The environment variable that replaces the seed of [`FaultPlan::from_env_or`].
const SEED_VARIABLE: &str = "POOL_TESTKIT_SEED";

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallFault {
    /// By how much it is late.
    pub(super) delay: Duration,
    /// What happens after the delay.
    pub(super) kind: FaultKind,
    /// Whether a connect fails or panics only after the real one has succeeded.
    pub(super) after_success: bool,
}

/// What goes wrong with one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryFault {
    /// The real answer is given.
    None,
    /// The answer is the one that costs the pool something: not alive, not clean, in need of a
    /// reset.
    Unfavourable,
    /// It panics.
    Panic,
}

/// Decides for each call whether it goes wrong. The decision depends on the seed, the method, and the
/// call's number among the calls of its method, and on nothing else.
///
/// So the seed alone replays a run whose calls come in the same order. `Display` shows the seed and
/// the settings: print the plan when a test fails.
///
/// # Examples
///
/// ```
/// use pool_testkit::Call;
/// use pool_testkit::fault::{FaultPlan, Odds};
///
/// // Half of all connects fail, and each replay of the seed fails the same ones.
/// let plan = FaultPlan::new(42).call_odds(Call::Connect, Odds::none().transient(500));
/// assert_eq!(plan.to_string(), "POOL_TESTKIT_SEED=42, per mille: connect transient 500");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultPlan {
    seed: u64,
    calls: [Odds; Call::ALL.len()],
    queries: [QueryOdds; Query::ALL.len()],
    deaths: u16,
    death_within: Duration,
}

impl FaultPlan {
    /// A plan in which nothing goes wrong yet.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            calls: [Odds::none(); Call::ALL.len()],
            queries: [QueryOdds {
                unfavourable: 0,
                panic: 0,
            }; Query::ALL.len()],
            deaths: 0,
            death_within: Duration::ZERO,
        }
    }

    /// [`new`](Self::new) with the seed from the environment variable `POOL_TESTKIT_SEED` if it is
    /// set, in decimal or with `0x` in front, and with `seed` otherwise.
    ///
    /// # Panics
    ///
    /// Panics if the variable is set to anything else. A replay that silently used another seed would
    /// mislead.
    #[must_use]
    pub fn from_env_or(seed: u64) -> Self {
        match std::env::var(SEED_VARIABLE) {
            Err(std::env::VarError::NotPresent) => Self::new(seed),
            Err(error) => panic!("{SEED_VARIABLE}: {error}"),
            Ok(text) => match parse_seed(&text) {
                Some(seed) => Self::new(seed),
                None => panic!("{SEED_VARIABLE} is {text:?}, but must be a number"),
            },
        }
    }

    /// Sets how often the calls of one method go wrong.
    ///
    /// # Panics
    ///
    /// Panics if more than a thousand calls of a thousand fail, panic or hang.
    #[must_use]
    pub fn call_odds(mut self, call: Call, odds: Odds) -> Self {
        assert!(
            odds.sum() <= 1000,
            "more than 1000 ‰ of {call} go wrong: {odds}"
        );
        self.calls[call.index()] = odds;
        self
    }

    /// Sets how many of a thousand queries get the unfavourable answer or a panic.
    ///
    /// # Panics
    ///
    /// Panics if the two together are more than a thousand.
    #[must_use]
    pub fn query_odds(mut self, query: Query, unfavourable: u16, panic: u16) -> Self {
        let sum = u32::from(unfavourable) + u32::from(panic);
        assert!(sum <= 1000, "more than 1000 ‰ of {query} go wrong");
        self.queries[query.index()] = QueryOdds {
            unfavourable,
            panic,
        };
        self
    }

    /// Sets how many of a thousand connections die, and within which time of being opened.
    #[must_use]
    pub const fn death_odds(mut self, per_mille: u16, within: Duration) -> Self {
        self.deaths = per_mille;
        self.death_within = within;
        self
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// What goes wrong with the call of this number. Each method counts its calls from 0.
    pub(super) fn call(&self, call: Call, number: u64) -> CallFault {
        let odds = &self.calls[call.index()];
        let mut numbers = SplitMix64::derived(self.seed, [call as u64, number]);
        let kind = odds.draw(&mut numbers);
        let is_slow = numbers.below(1000) < u64::from(odds.slow);
        let delay = random_duration(&mut numbers, odds.delay_max);
        let after_success = numbers.below(2) == 1;
        CallFault {
            delay: if is_slow { delay } else { Duration::ZERO },
            kind,
            after_success,
        }
    }

    /// What goes wrong with the query of this number. Each method counts its queries from 0.
    pub(super) fn query(&self, query: Query, number: u64) -> QueryFault {
        let odds = self.queries[query.index()];
        let draw = SplitMix64::derived(self.seed, [16 + query as u64, number]).below(1000);
        if draw < u64::from(odds.unfavourable) {
            QueryFault::Unfavourable
        } else if draw < u64::from(odds.unfavourable) + u64::from(odds.panic) {
            QueryFault::Panic
        } else {
            QueryFault::None
        }
    }

    /// How long after it was opened the connection of this number dies, if it does. Connections are
    /// counted from 0.
    pub(super) fn death(&self, number: u64) -> Option<Duration> {
        let mut numbers = SplitMix64::derived(self.seed, [32, number]);
        let dies = numbers.below(1000) < u64::from(self.deaths);
        dies.then(|| random_duration(&mut numbers, self.death_within))
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SEED_VARIABLE}={}, per mille:", self.seed)?;
        let mut gap = " ";
        for call in Call::ALL {
            let odds = self.calls[call.index()];
            if odds != Odds::none() {
                write!(f, "{gap}{call} {odds}")?;
                gap = ", ";
            }
        }
        for query in Query::ALL {
            let QueryOdds {
                unfavourable,
                panic,
            } = self.queries[query.index()];
            if unfavourable + panic > 0 {
                write!(f, "{gap}{query} unfavourable {unfavourable} panic {panic}")?;
                gap = ", ";
            }
        }
        if self.deaths > 0 {
            write!(
                f,
                "{gap}deaths {} within {:?}",
                self.deaths, self.death_within
            )?;
            gap = ", ";
        }
        if gap == " " {
            f.write_str(" none")
        } else {
            Ok(())
        }
    }
}

/// A whole number of microseconds up to `max`, so that it reads well in a log.
fn random_duration(numbers: &mut SplitMix64, max: Duration) -> Duration {
    let micros = u64::try_from(max.as_micros()).unwrap_or(u64::MAX - 1);
    Duration::from_micros(numbers.below(micros + 1))
}

fn parse_seed(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FaultKind, FaultPlan, Odds, QueryFault, parse_seed};
    use crate::{Call, Query};

    #[test]
    fn seeds_are_read_in_decimal_and_hexadecimal() {
        assert_eq!(parse_seed("42"), Some(42));
        assert_eq!(parse_seed(" 0xff\n"), Some(255));
        assert_eq!(parse_seed("ff"), None);
        assert_eq!(parse_seed(""), None);
    }

    #[test]
    fn a_plan_without_odds_leaves_every_call_alone() {
        let plan = FaultPlan::new(7);
        assert_eq!(plan.to_string(), "POOL_TESTKIT_SEED=7, per mille: none");
        for number in 0..200 {
            for call in Call::ALL {
                let fault = plan.call(call, number);
                assert_eq!((fault.kind, fault.delay), (FaultKind::None, Duration::ZERO));
            }
            assert_eq!(plan.query(Query::IsAlive, number), QueryFault::None);
            assert_eq!(plan.death(number), None);
        }
    }

    #[test]
    fn faults_happen_as_often_as_the_odds_say() {
        let delay_max = Duration::from_millis(10);
        let odds = Odds::none().transient(60).panic(15).hang(10);
        let slow = Odds::none().slow(300, delay_max);
        let plan = FaultPlan::new(7)
            .call_odds(Call::Reset, odds)
            .call_odds(Call::Close, slow)
            .death_odds(100, delay_max * 10);
        let count = |kind| {
            (0..10_000)
                .filter(|&n| plan.call(Call::Reset, n).kind == kind)
                .count()
        };
        assert!((500..700).contains(&count(FaultKind::Transient)));
        assert!((100..200).contains(&count(FaultKind::Panic)));
        assert!((60..140).contains(&count(FaultKind::Hang)));
        assert_eq!(count(FaultKind::Permanent), 0);
        let slow = (0..10_000)
            .filter(|&n| !plan.call(Call::Close, n).delay.is_zero())
            .count();
        assert!((2700..3300).contains(&slow));
        let deaths: Vec<_> = (0..10_000).filter_map(|n| plan.death(n)).collect();
        assert!((900..1100).contains(&deaths.len()));
        assert!(
            deaths
                .iter()
                .all(|after| *after <= Duration::from_millis(100))
        );
    }

    #[test]
    fn each_seed_and_each_method_has_faults_of_its_own() {
        let faults = |seed, call| {
            let plan = FaultPlan::new(seed).call_odds(call, Odds::none().transient(500));
            (0..64).map(|n| plan.call(call, n).kind).collect::<Vec<_>>()
        };
        assert_eq!(faults(1, Call::Reset), faults(1, Call::Reset));
        assert_ne!(faults(1, Call::Reset), faults(2, Call::Reset));
        assert_ne!(faults(1, Call::Reset), faults(1, Call::Check));
    }

    #[test]
    #[should_panic(expected = "more than 1000 ‰ of check go wrong")]
    fn odds_of_more_than_a_thousand_in_a_thousand_are_refused() {
        drop(FaultPlan::new(0).call_odds(Call::Check, Odds::none().transient(900).hang(101)));
    }
}
