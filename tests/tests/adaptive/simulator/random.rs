//! What comes by chance in a simulation: the same in each run with the same seed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pool_tests::random::SplitMix64;

#[derive(Debug)]
pub(crate) struct SharedRandom(Mutex<SplitMix64>);

impl SharedRandom {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(Mutex::new(SplitMix64::new(seed)))
    }

    /// At least 0, and less than 1.
    pub(crate) fn fraction(&self) -> f64 {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let high = u32::try_from(numbers.next_u64() >> 32).expect("32 bits");
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// A time from the exponential distribution: as long as nothing happens that happens by chance.
    pub(crate) fn exponential(&self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.fraction()).ln())
    }
}
