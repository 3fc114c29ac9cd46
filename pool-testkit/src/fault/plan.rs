//! Which call goes wrong, and how: a pure function of the seed, the method and the call's number.

use std::fmt;
use std::time::Duration;

use crate::{Call, Query};

use super::SplitMix64;

/// The environment variable that replaces the seed of [`FaultPlan::from_env_or`].
pub const SEED_VARIABLE: &str = "POOL_TESTKIT_SEED";

/// How often the calls of one method go wrong, in calls of a thousand.
///
/// # Examples
///
/// ```
/// use pool_testkit::fault::Odds;
/// use std::time::Duration;
///
/// let odds = Odds::none().transient(50).hang(1).slow(200, Duration::from_millis(20));
/// assert_eq!(odds.to_string(), "transient 50 hang 1 slow 200 up to 20ms");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odds {
    transient: u16,
    permanent: u16,
    panic: u16,
    hang: u16,
    slow: u16,
    delay_max: Duration,
}

impl Odds {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        let delay_max = Duration::ZERO;
        Self {
            transient: 0,
            permanent: 0,
            panic: 0,
            hang: 0,
            slow: 0,
            delay_max,
        }
    }

    /// So many calls fail; connects among them with a transient error.
    #[must_use]
    pub const fn transient(mut self, per_mille: u16) -> Self {
        self.transient = per_mille;
        self
    }

    /// So many calls fail; connects among them with a permanent error.
    #[must_use]
    pub const fn permanent(mut self, per_mille: u16) -> Self {
        self.permanent = per_mille;
        self
    }

    /// So many calls panic.
    #[must_use]
    pub const fn panic(mut self, per_mille: u16) -> Self {
        self.panic = per_mille;
        self
    }

    /// So many calls hang until the faults are switched off.
    #[must_use]
    pub const fn hang(mut self, per_mille: u16) -> Self {
        self.hang = per_mille;
        self
    }

    /// So many calls are late by up to `delay_max`, whatever else happens to them.
    #[must_use]
    pub const fn slow(mut self, per_mille: u16, delay_max: Duration) -> Self {
        self.slow = per_mille;
        self.delay_max = delay_max;
        self
    }

    fn draw(&self, numbers: &mut SplitMix64) -> Deed {
        let mut draw = numbers.below(1000);
        let deeds = [
            (self.transient, Deed::Transient),
            (self.permanent, Deed::Permanent),
            (self.panic, Deed::Panic),
            (self.hang, Deed::Hang),
        ];
        for (odds, deed) in deeds {
            if draw < u64::from(odds) {
                return deed;
            }
            draw -= u64::from(odds);
        }
        Deed::Nothing
    }
}

impl fmt::Display for Odds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for (odds, what) in [
            (self.transient, "transient"),
            (self.permanent, "permanent"),
            (self.panic, "panic"),
            (self.hang, "hang"),
            (self.slow, "slow"),
        ] {
            if odds > 0 {
                write!(f, "{gap}{what} {odds}")?;
                gap = " ";
            }
        }
        match (gap, self.slow) {
            ("", _) => f.write_str("none"),
            (_, 0) => Ok(()),
            (_, _) => write!(f, " up to {:?}", self.delay_max),
        }
    }
}

/// What goes wrong with one call.
///
/// # Examples
///
/// ```
/// use pool_testkit::Call;
/// use pool_testkit::fault::{Deed, FaultPlan, Odds};
///
/// let plan = FaultPlan::new(7).call_odds(Call::Check, Odds::none().panic(1000));
/// let fault = plan.call(Call::Check, 0);
/// assert_eq!((fault.deed, fault.delay.is_zero()), (Deed::Panic, true));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallFault {
    /// By how much it is late.
    pub delay: Duration,
    /// What happens then.
    pub deed: Deed,
    /// Whether a connect fails or panics only after the real one has succeeded.
    pub after_success: bool,
}

/// What happens to one call.
///
/// # Examples
///
/// See [`FaultPlan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It is made as if there were no faults.
    Nothing,
    /// It fails, with a transient error if it is a connect.
    Transient,
    /// It fails, with a permanent error if it is a connect.
    Permanent,
    /// It panics.
    Panic,
    /// It hangs until the faults are switched off.
    Hang,
}

/// What goes wrong with one question.
///
/// # Examples
///
/// ```
/// use pool_testkit::Query;
/// use pool_testkit::fault::{FaultPlan, QueryFault};
///
/// let plan = FaultPlan::new(7).query_odds(Query::IsAlive, 1000, 0);
/// assert_eq!(plan.query(Query::IsAlive, 0), QueryFault::Unfavourable);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryFault {
    /// The real answer is given.
    Nothing,
    /// The answer is the one that costs the pool something: not alive, not clean, in need of a
    /// reset.
    Unfavourable,
    /// It panics.
    Panic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct QueryOdds {
    unfavourable: u16,
    panic: u16,
}

/// Decides for each call whether it goes wrong, from nothing but the seed, the method, and the
/// call's number among those of its method.
///
/// So a run whose calls come in the same order is replayed by its seed alone. `Display` shows the
/// seed and the settings: print the plan when a test fails.
///
/// # Examples
///
/// ```
/// use pool_testkit::fault::{Deed, FaultPlan, Odds};
/// use pool_testkit::Call;
///
/// let plan = FaultPlan::new(42).call_odds(Call::Connect, Odds::none().transient(500));
/// assert_eq!(plan.to_string(), "POOL_TESTKIT_SEED=42, per mille: connect transient 500");
/// let deeds: Vec<Deed> = (0..8).map(|n| plan.call(Call::Connect, n).deed).collect();
/// assert!(deeds.contains(&Deed::Nothing) && deeds.contains(&Deed::Transient));
/// assert_eq!(plan.call(Call::Connect, 3), plan.clone().call(Call::Connect, 3));
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

    /// [`new`](Self::new) with the seed from the environment variable [`SEED_VARIABLE`] if it is
    /// set, in decimal or with `0x` in front, and with `seed` otherwise.
    ///
    /// # Panics
    ///
    /// Panics if the variable is set to anything else: a replay that silently uses another seed
    /// would mislead.
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

    /// A plan in which everything goes wrong now and then, delays are up to `delay_max`, and
    /// one connection in ten dies within ten times that.
    #[must_use]
    pub fn with_everything(self, delay_max: Duration) -> Self {
        let odds = Odds::none()
            .transient(60)
            .panic(15)
            .hang(10)
            .slow(300, delay_max);
        self.call_odds(Call::Connect, odds.permanent(10))
            .call_odds(Call::Reset, odds)
            .call_odds(Call::Check, odds)
            .call_odds(
                Call::Close,
                Odds::none().panic(15).hang(5).slow(300, delay_max),
            )
            .query_odds(Query::IsAlive, 20, 5)
            .query_odds(Query::IsClean, 40, 5)
            .query_odds(Query::NeedsReset, 100, 5)
            .death_odds(100, delay_max * 10)
    }

    /// Sets how often the calls of one method go wrong.
    ///
    /// # Panics
    ///
    /// Panics if more than a thousand calls of a thousand fail, panic or hang.
    #[must_use]
    pub fn call_odds(mut self, call: Call, odds: Odds) -> Self {
        let sum = [odds.transient, odds.permanent, odds.panic, odds.hang].map(u32::from);
        assert!(
            sum.iter().sum::<u32>() <= 1000,
            "more than 1000 ‰ of {call} go wrong: {odds}"
        );
        self.calls[call.index()] = odds;
        self
    }

    /// Sets how many of a thousand questions get the unfavourable answer or a panic.
    ///
    /// # Panics
    ///
    /// Panics if the two are more than a thousand together.
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

    /// What goes wrong with the call of this number, counted from 0 for each method.
    #[must_use]
    pub fn call(&self, call: Call, number: u64) -> CallFault {
        let odds = &self.calls[call.index()];
        let mut numbers = SplitMix64::derived(self.seed, [call as u64, number]);
        let deed = odds.draw(&mut numbers);
        let is_slow = numbers.below(1000) < u64::from(odds.slow);
        let delay = random_duration(&mut numbers, odds.delay_max);
        let after_success = numbers.below(2) == 1;
        CallFault {
            delay: if is_slow { delay } else { Duration::ZERO },
            deed,
            after_success,
        }
    }

    /// What goes wrong with the question of this number, counted from 0 for each method.
    #[must_use]
    pub fn query(&self, query: Query, number: u64) -> QueryFault {
        let odds = self.queries[query.index()];
        let draw = SplitMix64::derived(self.seed, [16 + query as u64, number]).below(1000);
        if draw < u64::from(odds.unfavourable) {
            QueryFault::Unfavourable
        } else if draw < u64::from(odds.unfavourable) + u64::from(odds.panic) {
            QueryFault::Panic
        } else {
            QueryFault::Nothing
        }
    }

    /// How long after being opened the connection of this number dies, if it does; counted from 0.
    #[must_use]
    pub fn death(&self, number: u64) -> Option<Duration> {
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

    use super::{Deed, FaultPlan, Odds, QueryFault, parse_seed};
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
                assert_eq!((fault.deed, fault.delay), (Deed::Nothing, Duration::ZERO));
            }
            assert_eq!(plan.query(Query::IsAlive, number), QueryFault::Nothing);
            assert_eq!(plan.death(number), None);
        }
    }

    #[test]
    fn faults_come_about_as_often_as_the_odds_say() {
        let plan = FaultPlan::new(7).with_everything(Duration::from_millis(10));
        let count = |deed| {
            (0..10_000)
                .filter(|&n| plan.call(Call::Reset, n).deed == deed)
                .count()
        };
        assert!((500..700).contains(&count(Deed::Transient)));
        assert!((100..200).contains(&count(Deed::Panic)));
        assert!((60..140).contains(&count(Deed::Hang)));
        assert_eq!(count(Deed::Permanent), 0);
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
    fn seeds_and_methods_have_faults_of_their_own() {
        let faults = |seed, call| {
            let plan = FaultPlan::new(seed).call_odds(call, Odds::none().transient(500));
            (0..64).map(|n| plan.call(call, n).deed).collect::<Vec<_>>()
        };
        assert_eq!(faults(1, Call::Reset), faults(1, Call::Reset));
        assert_ne!(faults(1, Call::Reset), faults(2, Call::Reset));
        assert_ne!(faults(1, Call::Reset), faults(1, Call::Check));
    }

    #[test]
    #[should_panic(expected = "more than 1000 ‰ of check go wrong")]
    fn odds_beyond_certainty_are_refused() {
        drop(FaultPlan::new(0).call_odds(Call::Check, Odds::none().transient(900).hang(101)));
    }
}
