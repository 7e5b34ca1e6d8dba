//! Decides every random choice of a record, from its seed only: the same record always has the same values.

/// A SplitMix64 generator.
pub struct Chance(u64);

impl Chance {
    /// A generator for one version of one record: its draws say nothing of the draws of the next.
    pub fn new(seed: u64, record: u64, version: u64) -> Chance {
        let mut mixed = Chance(seed ^ record.wrapping_mul(0xd6e8_feb8_6659_fd93));
        mixed.0 = mixed.next() ^ version.wrapping_mul(0xa076_1d64_78bd_642f);
        mixed
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..end`; `end` is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number in `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    pub fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
