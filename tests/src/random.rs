//! Numbers that look random and depend on nothing but a seed, so that a run can be replayed.

/// Sebastiano Vigna's `SplitMix64`. Not for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence for each pair of a seed and a path: as good as independent of all others.
    #[must_use]
    pub fn derived(seed: u64, path: [u64; 2]) -> Self {
        path.into_iter().fold(Self::new(seed), |mut parent, step| {
            Self::new(parent.next_u64() ^ Self::new(step).next_u64())
        })
    }

    /// The next number.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next number below `limit`, or 0 if `limit` is 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        let number = self.next_u64();
        if limit == 0 { 0 } else { number % limit }
    }
}

/// Decisions by number: the same seed, actor and number give the same decision, whatever was decided
/// in between.
#[derive(Debug, Clone, Copy)]
pub struct Chance {
    /// Of the whole run.
    pub seed: u64,
    /// Which actor decides.
    pub actor: u64,
}

impl Chance {
    /// The decision of this number, evenly distributed.
    #[must_use]
    pub fn number(&self, number: u64) -> u64 {
        SplitMix64::derived(self.seed, [self.actor, number]).next_u64()
    }

    /// Whether the decision of this number is yes; it is for one in `count`.
    #[must_use]
    pub fn is_one_in(&self, count: u64, number: u64) -> bool {
        self.number(number).is_multiple_of(count)
    }
}
