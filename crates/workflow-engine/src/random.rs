//! Randomness that a replay repeats: numbers that are derived from the run alone.

use uuid::{Builder, Uuid};

/// The state of a generator (splitmix64: G. Steele et al., "Fast Splittable Pseudorandom Number
/// Generators", 2014).
///
/// This crate has its own implementation because each of its versions must produce the same
/// numbers: they are part of the history of runs that have not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    #[cfg(test)]
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Derives a seed from a text (FNV-1a).
    pub(crate) fn of(text: &str) -> Self {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Self(text.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
    }

    /// Derives a seed from this one and a text.
    pub(crate) fn with(self, text: &str) -> Self {
        Self(self.0 ^ Self::of(text).0)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 up to, but not including, 1.
    pub(crate) fn unit(mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        let bytes = (u128::from(self.next()) << 64) | u128::from(self.next());
        Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_every_version() {
        // The first numbers of splitmix64 for the seed 1234567, from its reference implementation.
        let mut seed = Seed::new(1_234_567);
        let numbers = [seed.next(), seed.next(), seed.next()];
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
        let uuid = Seed::of("order-17").uuid();
        assert_eq!(
            (uuid.get_version_num(), uuid),
            (4, Seed::of("order-17").uuid())
        );
    }
}
