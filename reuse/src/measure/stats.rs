//! Medians, percentiles and ratios.
//!
//! A shared machine disturbs single rounds, and makes them only slower. The median of interleaved
//! rounds ignores the disturbed ones as long as they are fewer than half.

use std::fmt;

use hdrhistogram::Histogram;

/// The middle of `values`; the mean of the two middle ones if their number is even.
///
/// `None` if there are none, or if one of them is not a number.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        Some(sorted[middle])
    } else {
        Some(f64::midpoint(sorted[middle - 1], sorted[middle]))
    }
}

/// The median of `ours / reference`, round by round.
///
/// A disturbance that is longer than a round slows both sides of one ratio. The medians of the two
/// sides can come from different rounds, so their ratio can be distorted by it.
#[must_use]
pub fn paired(ours: &[f64], reference: &[f64]) -> Option<f64> {
    let ratios: Option<Vec<f64>> = ours
        .iter()
        .zip(reference)
        .map(|(ours, reference)| ratio(*ours, *reference))
        .collect();
    median(&ratios?)
}

/// The median of the rounds together with the least and the greatest of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Summary {
    /// Summarizes one value for each round; `None` if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(values)?,
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            greatest: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// How many times `reference` the `value` is; `None` if that is not a useful number.
#[must_use]
pub fn ratio(value: f64, reference: f64) -> Option<f64> {
    (value.is_finite() && reference.is_finite() && reference > 0.0).then(|| value / reference)
}

/// The ratio of the medians of two series of interleaved rounds.
#[must_use]
pub fn ratio_of_medians(values: &[f64], references: &[f64]) -> Option<f64> {
    ratio(median(values)?, median(references)?)
}

/// What is kept of the waits of one round, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentiles {
    /// The mean wait.
    pub mean: f64,
    /// Half of the waits were this long or shorter.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1 000.
    pub p999: u64,
    /// The longest wait.
    pub worst: u64,
}

/// Collects durations with three significant digits, from 1 ns to one minute.
pub struct Waits(Histogram<u64>);

impl Waits {
    /// An empty collection.
    ///
    /// # Panics
    ///
    /// Never: the bounds are constants that the histogram accepts.
    #[must_use]
    pub fn new() -> Self {
        Self(
            Histogram::new_with_bounds(1, LONGEST_NS, SIGNIFICANT_DIGITS)
                .expect("constant bounds are valid"),
        )
    }

    /// Adds one wait. Those longer than a minute count as a minute.
    pub fn record_ns(&mut self, wait_ns: u64) {
        self.0.saturating_record(wait_ns);
    }

    /// The percentiles; `None` if nothing was recorded.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        (!self.0.is_empty()).then(|| Percentiles {
            mean: self.0.mean(),
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
            worst: self.0.max(),
        })
    }
}

impl Default for Waits {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waits").field(&self.percentiles()).finish()
    }
}

const LONGEST_NS: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::{Percentiles, Summary, Waits, median, ratio, ratio_of_medians};

    #[test]
    fn median_of_an_odd_number_is_the_middle_one_whatever_the_order() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
    }

    #[test]
    fn median_of_an_even_number_is_the_mean_of_the_two_middle_ones() {
        assert_eq!(median(&[100.0, 1.0, 3.0, 4.0]), Some(3.5));
    }

    #[test]
    fn median_of_nothing_or_of_no_number_is_none() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN, 2.0]), None);
    }

    #[test]
    fn a_disturbed_minority_of_rounds_does_not_move_the_median() {
        let quiet = [10.0, 11.0, 12.0, 13.0, 14.0];
        let disturbed = [10.0, 11.0, 12.0, 900.0, 900.0];
        assert_eq!(median(&quiet), median(&disturbed));
    }

    #[test]
    fn summary_keeps_the_extremes() {
        let summary = Summary::of(&[3.0, 1.0, 8.0]);
        assert_eq!(
            summary,
            Some(Summary {
                median: 3.0,
                least: 1.0,
                greatest: 8.0
            })
        );
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn ratio_is_value_over_reference() {
        assert_eq!(ratio(50.0, 100.0), Some(0.5));
        assert_eq!(ratio(100.0, 50.0), Some(2.0));
    }

    #[test]
    fn ratio_to_nothing_is_none() {
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(f64::NAN, 1.0), None);
        assert_eq!(ratio(1.0, f64::INFINITY), None);
    }

    #[test]
    fn ratio_of_medians_is_neither_the_ratio_of_means_nor_of_the_best() {
        let values = [2.0, 4.0, 300.0];
        let references = [1.0, 8.0, 9.0];
        assert_eq!(ratio_of_medians(&values, &references), Some(0.5));
        assert_eq!(ratio_of_medians(&values, &[]), None);
    }

    #[test]
    fn percentiles_of_one_to_a_thousand() {
        let mut waits = Waits::new();
        for wait_ns in (1..=1000).rev() {
            waits.record_ns(wait_ns);
        }
        let expected = Percentiles {
            mean: 500.5,
            p50: 500,
            p99: 990,
            p999: 999,
            worst: 1000,
        };
        assert_eq!(waits.percentiles(), Some(expected));
    }

    #[test]
    fn one_long_wait_in_a_thousand_shows_in_the_worst_only() {
        let mut waits = Waits::new();
        for _ in 0..999 {
            waits.record_ns(100);
        }
        waits.record_ns(1_000_000);
        let percentiles = waits.percentiles().expect("waits were recorded");
        assert_eq!((percentiles.p50, percentiles.p999), (100, 100));
        // Three significant digits: the histogram rounds up within one part in a thousand.
        assert!(
            (1_000_000..1_001_000).contains(&percentiles.worst),
            "{percentiles:?}"
        );
    }

    #[test]
    fn a_disturbed_round_is_one_ratio_among_others() {
        let (ours, reference) = ([12.0, 120.0, 12.0], [10.0, 100.0, 10.0]);
        assert_eq!(super::paired(&ours, &reference), Some(1.2));
        assert_eq!(super::paired(&[1.0], &[0.0]), None);
        assert_eq!(super::paired(&[], &[]), None);
    }

    #[test]
    fn percentiles_of_nothing_are_none() {
        assert_eq!(Waits::new().percentiles(), None);
    }

    #[test]
    fn waits_longer_than_the_range_are_kept_as_the_longest() {
        let mut waits = Waits::new();
        waits.record_ns(u64::MAX);
        let worst = waits.percentiles().expect("a wait was recorded").worst;
        assert!(worst >= super::LONGEST_NS, "{worst}");
    }
}
