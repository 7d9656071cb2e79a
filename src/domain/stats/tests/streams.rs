//! Streams of numbers that any language makes alike: SplitMix64, and sums of twelve uniforms.

/// A generator of Steele, Lea and Flood (2014).
#[derive(Debug, Clone)]
pub(in crate::domain::stats) struct SplitMix(u64);

impl SplitMix {
    pub(in crate::domain::stats) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::domain::stats) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform from 0 to 1.
    pub(in crate::domain::stats) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal: the sum of twelve uniforms less six.
    pub(in crate::domain::stats) fn normal(&mut self) -> f64 {
        (0..12).fold(0.0, |sum, _| sum + self.uniform()) - 6.0
    }
}

/// A stream of about normal numbers.
pub(in crate::domain::stats) fn normals(
    seed: u64,
    n: usize,
    mean: f64,
    deviation: f64,
) -> Vec<f64> {
    let mut generator = SplitMix::new(seed);
    (0..n).map(|_| mean + deviation * generator.normal()).collect()
}
