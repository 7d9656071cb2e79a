//! Weighted sums of features.
//!
//! Owns the arithmetic that linear classifiers and regressors share. Never computes in anything but FP32.

/// What scores one class or target.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) weights: Vec<f32>,
    pub(super) intercept: f32,
}

impl Model {
    /// The intercept plus the weighted sum of the features.
    pub(super) fn score(&self, features: &[f32]) -> f32 {
        self.intercept + dot(&self.weights, features)
    }

    /// One model for each row of coefficients, with 0 where intercepts are missing.
    pub(super) fn rows(coefficients: &[f32], features: usize, intercepts: &[f32]) -> Vec<Self> {
        let intercepts = intercepts.iter().copied().chain(std::iter::repeat(0.0));
        let rows = coefficients.chunks_exact(features).zip(intercepts);
        rows.map(|(row, intercept)| Self { weights: row.to_vec(), intercept }).collect()
    }
}

/// The scalar product. Sums in lanes, which the compiler may run side by side.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    if a_lanes.is_empty() { rest } else { rest + sums.iter().sum::<f32>() }
}
