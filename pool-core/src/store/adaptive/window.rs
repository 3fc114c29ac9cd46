//! What the leases of some ticks came to: their load, their rate, their time.

use std::time::Duration;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LoadWindow {
    pub(super) ticks: u32,
    seconds: f64,
    /// The load, added up over time: by Little's law, the time of all leases together.
    lease_seconds: f64,
    pub(super) ended: f64,
    /// The squares of what ended in each tick, added up.
    ended_squared: f64,
}

impl LoadWindow {
    pub(super) fn of_tick(passed: Duration, load: f64, ended: u64) -> Self {
        let seconds = passed.as_secs_f64();
        let ended = real_count(ended);
        Self {
            ticks: 1,
            seconds,
            lease_seconds: load * seconds,
            ended,
            ended_squared: ended * ended,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.ticks += other.ticks;
        self.seconds += other.seconds;
        self.lease_seconds += other.lease_seconds;
        self.ended += other.ended;
        self.ended_squared += other.ended_squared;
    }

    /// Counts for half of what it was, so that what comes counts for more.
    fn fade(&mut self) {
        self.ticks /= 2;
        self.seconds /= 2.0;
        self.lease_seconds /= 2.0;
        self.ended /= 2.0;
        self.ended_squared /= 2.0;
    }

    /// Completions per second.
    pub(super) fn rate(&self) -> f64 {
        self.ended / self.seconds
    }

    /// The leases that are out at a time.
    pub(super) fn mean_load(&self) -> f64 {
        self.lease_seconds / self.seconds
    }

    /// The time of a lease.
    pub(super) fn mean_seconds(&self) -> f64 {
        self.lease_seconds / self.ended
    }

    /// The time of a lease, and it is hardly longer.
    pub(super) fn seconds_at_most(&self) -> f64 {
        self.mean_seconds() * (1.0 + 2.0 / self.ended.sqrt())
    }

    /// There is enough in it for a first judgement.
    pub(super) fn is_telling(&self) -> bool {
        self.ticks >= TICKS_MIN && self.ended >= ENDED_MIN
    }

    /// By what part the rate may be off by chance: as the ends vary from tick to tick, and not less
    /// than if they came independently.
    fn error(&self) -> f64 {
        let ticks = f64::from(self.ticks);
        let mean = self.ended / ticks;
        let variance = (self.ended_squared / ticks - mean * mean).max(0.0) / (ticks - 1.0).max(1.0);
        (variance.sqrt() / mean).max(1.0 / self.ended.sqrt())
    }

    /// By what part the ratio of two rates may be off by chance.
    pub(super) fn error_beside(&self, other: &Self) -> f64 {
        self.error().hypot(other.error()).max(ERROR_MIN)
    }

    /// Twice as many leases have ended as are out at a time, and they are enough for a mean.
    pub(super) fn is_renewed(&self) -> bool {
        self.ended >= ENDED_MIN.max(2.0 * self.mean_load())
    }

    /// It is exact enough to be compared with.
    pub(super) fn is_steady(&self) -> bool {
        self.error() <= ERROR_STEADY
    }

    /// There will be no better judgement: the ends come evenly, or twice as many leases have ended as
    /// are out at a time.
    pub(super) fn is_complete(&self) -> bool {
        let is_even = self.error() <= ERROR_EVEN || self.is_renewed();
        let is_long = self.ticks >= TICKS_MAX && is_even || self.ticks >= TICKS_LIMIT;
        is_long && self.is_telling()
    }
}

/// What leases came to, in all and at different loads.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadProfile {
    pub(super) total: LoadWindow,
    /// Two classes for each doubling of the load.
    pub(super) classes: [LoadWindow; CLASSES],
}

impl Default for LoadProfile {
    fn default() -> Self {
        Self {
            total: LoadWindow::default(),
            classes: [LoadWindow::default(); CLASSES],
        }
    }
}

impl LoadProfile {
    pub(super) fn add(&mut self, tick: &LoadWindow) {
        self.total.add(tick);
        self.classes[class_of(tick.mean_load())].add(tick);
    }

    pub(super) fn fade(&mut self) {
        self.total.fade();
        self.classes.iter_mut().for_each(LoadWindow::fade);
    }
}

/// Twice the binary logarithm.
fn class_of(load: f64) -> usize {
    whole((2.0 * load.max(1.0).log2()).round()).min(CLASSES - 1)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) const fn real(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) const fn real_count(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion that saturates; loads are small and not negative"
)]
pub(super) const fn whole(number: f64) -> usize {
    number as usize
}

const TICKS_MIN: u32 = 3;
const TICKS_MAX: u32 = 12;
/// However few leases end.
const TICKS_LIMIT: u32 = 300;
pub(super) const ENDED_MIN: f64 = 8.0;
/// What a busy machine makes of two equal measurements.
const ERROR_MIN: f64 = 0.05;
const ERROR_EVEN: f64 = 0.1;
const ERROR_STEADY: f64 = 0.25;
/// Up to a load of 2^12.
const CLASSES: usize = 25;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    /// Ticks of a tenth of a second with this load, in which so many leases ended.
    fn ticks(load: f64, ended: &[u64]) -> LoadWindow {
        let mut all = LoadWindow::default();
        for ended in ended {
            all.add(&LoadWindow::of_tick(TENTH, load, *ended));
        }
        all
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn long_ticks_count_for_more_than_short_ones() {
        let mut window = LoadWindow::of_tick(Duration::from_secs(1), 4.0, 10);
        window.add(&LoadWindow::of_tick(Duration::from_secs(3), 8.0, 46));
        assert_eq!(window.ticks, 2);
        assert_near(window.rate(), 14.0);
        assert_near(window.mean_load(), 7.0);
        assert_near(window.mean_seconds(), 0.5);
    }

    #[test]
    fn leases_are_renewed_when_eight_have_ended_and_twice_as_many_as_are_out() {
        assert!(!ticks(1.0, &[7]).is_renewed());
        assert!(ticks(4.0, &[4, 4]).is_renewed());
        assert!(!ticks(4.5, &[4, 4]).is_renewed());
        assert!(ticks(4.5, &[4, 4, 1]).is_renewed());
    }

    #[test]
    fn the_more_leases_the_more_exact_is_their_time() {
        let eight = ticks(16.0, &[4, 4]);
        assert_near(eight.seconds_at_most(), 0.4 * (1.0 + 1.0 / 2.0_f64.sqrt()));
        let sixteen = ticks(16.0, &[8, 8]);
        assert_near(sixteen.seconds_at_most(), 0.2 * 1.5);
    }

    #[test]
    fn three_ticks_with_eight_leases_tell_something() {
        assert!(ticks(1.0, &[3, 3, 2]).is_telling());
        assert!(!ticks(1.0, &[3, 3, 1]).is_telling());
        assert!(!ticks(1.0, &[30, 30]).is_telling());
    }

    #[test]
    fn a_rate_is_as_uncertain_as_it_varies_and_at_least_as_chance_makes_it() {
        // Off by 10 of 20 in each of four ticks.
        assert_near(ticks(1.0, &[10, 30, 10, 30]).error(), 1.0 / 12.0_f64.sqrt());
        assert_near(ticks(1.0, &[100; 4]).error(), 1.0 / 20.0);
        assert_near(ticks(1.0, &[25]).error(), 1.0 / 5.0);
    }

    #[test]
    fn two_rates_are_compared_with_both_their_errors() {
        let (fifth, twentieth) = (ticks(1.0, &[25]), ticks(1.0, &[100; 4]));
        assert_near(fifth.error_beside(&twentieth), 0.2_f64.hypot(0.05));
        let exact = ticks(1.0, &[10_000; 4]);
        assert_near(exact.error_beside(&exact), 0.05);
    }

    #[test]
    fn a_rate_is_steady_when_it_is_off_by_a_quarter_at_most() {
        assert!(ticks(1.0, &[4; 4]).is_steady());
        assert!(!ticks(1.0, &[3; 5]).is_steady());
    }

    #[test]
    fn a_measurement_is_complete_after_twelve_ticks_if_its_ends_come_evenly() {
        assert!(ticks(1_000.0, &[10; 12]).is_complete());
        assert!(!ticks(1_000.0, &[10; 11]).is_complete());
        assert!(!ticks(1_000.0, &[8; 12]).is_complete(), "uneven");
    }

    #[test]
    fn a_measurement_is_complete_after_twelve_ticks_if_all_leases_were_renewed_twice() {
        assert!(ticks(17.5, &[3; 12]).is_complete());
        assert!(!ticks(18.5, &[3; 12]).is_complete());
    }

    #[test]
    fn a_measurement_is_complete_after_three_hundred_ticks_with_few_leases() {
        let mut rare = [0; 300];
        rare[..8].fill(1);
        assert!(ticks(1_000.0, &rare).is_complete());
        assert!(!ticks(1_000.0, &rare[..299]).is_complete());
        rare[0] = 0;
        assert!(!ticks(1_000.0, &rare).is_complete(), "too few");
    }

    #[test]
    fn a_faded_window_says_the_same_and_counts_for_half() {
        let mut window = ticks(6.0, &[10, 30, 10, 30]);
        window.fade();
        assert_eq!(window.ticks, 2);
        assert_near(window.ended, 40.0);
        assert_near(window.rate(), 200.0);
        assert_near(window.mean_load(), 6.0);
        assert_near(window.error(), 0.5);
        window.add(&ticks(12.0, &[80, 80]));
        assert_near(window.rate(), 500.0);
        assert_near(window.mean_load(), 9.0);
    }

    #[test]
    fn each_doubling_of_the_load_has_two_classes() {
        let classes = [0.0, 1.0, 1.4, 2.0, 2.8, 4.0, 4_096.0, 1e9].map(class_of);
        assert_eq!(classes, [0, 0, 1, 2, 3, 4, 24, 24]);
    }

    #[test]
    fn a_profile_keeps_loads_apart_and_fades_as_a_whole() {
        let mut profile = LoadProfile::default();
        profile.add(&ticks(1.0, &[10]));
        profile.add(&ticks(4.0, &[20]));
        profile.add(&ticks(4.0, &[40]));
        assert_near(profile.total.ended, 70.0);
        assert_near(profile.classes[0].ended, 10.0);
        assert_near(profile.classes[4].ended, 60.0);
        profile.fade();
        assert_near(profile.total.ended, 35.0);
        assert_near(profile.classes[0].ended, 5.0);
        assert_near(profile.classes[4].ended, 30.0);
    }
}
