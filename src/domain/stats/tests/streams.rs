//! Streams of numbers that any language makes alike: SplitMix64, and sums of twelve uniforms.

/// A generator of Steele, Lea and Flood (2014).
#[derive(Debug, Clone)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform from 0 to 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How many requests came in a time in which `mean` come on average (Knuth's method: for small means).
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        let (floor, mut product, mut count) = ((-mean).exp(), self.uniform(), 0);
        while product > floor {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    /// About normal: the sum of twelve uniforms less six.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).fold(0.0, |sum, _| sum + self.uniform()) - 6.0
    }
}

/// A stream of about normal numbers.
pub(crate) fn normals(seed: u64, n: usize, mean: f64, deviation: f64) -> Vec<f64> {
    let mut generator = SplitMix::new(seed);
    (0..n).map(|_| mean + deviation * generator.normal()).collect()
}
