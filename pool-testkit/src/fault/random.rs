//! Numbers that look random and depend on nothing but a seed.

/// Sebastiano Vigna's `SplitMix64`.
///
/// Not for secrets. The same seed gives the same numbers on every machine and in every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The sequence of this seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence for each pair of a seed and a path: as good as independent of all others.
    pub(super) fn derived(seed: u64, path: [u64; 2]) -> Self {
        path.into_iter().fold(Self::new(seed), |mut parent, step| {
            Self::new(parent.next_u64() ^ Self::new(step).next_u64())
        })
    }

    /// The next number.
    pub(super) const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next number below `limit`, or 0 if that is 0. The bias is at most `limit` in 2⁶⁴.
    pub(super) const fn below(&mut self, limit: u64) -> u64 {
        let number = self.next_u64();
        if limit == 0 { 0 } else { number % limit }
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    #[test]
    fn the_published_sequence_comes_out() {
        let mut numbers = SplitMix64::new(1_234_567);
        let sequence = [(); 3].map(|()| numbers.next_u64());
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(sequence, published);
    }

    #[test]
    fn derived_sequences_differ_in_each_part_of_their_origin() {
        let first = |seed, path| SplitMix64::derived(seed, path).next_u64();
        assert_eq!(first(1, [2, 3]), first(1, [2, 3]));
        assert_ne!(first(1, [2, 3]), first(2, [2, 3]));
        assert_ne!(first(1, [2, 3]), first(1, [3, 3]));
        assert_ne!(first(1, [2, 3]), first(1, [3, 2]));
        assert_ne!(first(1, [2, 3]), first(1, [2, 4]));
    }
}
