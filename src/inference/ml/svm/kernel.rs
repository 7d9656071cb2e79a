//! How alike a row of features and each support vector are.
//!
//! Owns the four kernels and the layout of the vectors: side by side in lanes, so that the compiler
//! computes several at a time and still adds the features of each up in their order. Never weighs the
//! vectors.

use tract_onnx::prelude::TractResult;

use crate::inference::ml::attributes::Attributes;

/// How many vectors are computed side by side.
const LANES: usize = 16;

/// The attributes `kernel_type` and `kernel_params`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kernel {
    Linear,
    Poly { gamma: f32, offset: f32, degree: f32 },
    Rbf { gamma: f32 },
    Sigmoid { gamma: f32, offset: f32 },
}

impl Kernel {
    /// Reads the attributes.
    ///
    /// # Errors
    /// When the kernel is unknown or its parameters are not three.
    pub(super) fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let name = attributes.text("kernel_type")?.unwrap_or("LINEAR");
        let parameters = attributes.floats("kernel_params")?;
        let (gamma, offset, degree) = match (name, parameters) {
            ("LINEAR", _) => return Ok(Self::Linear),
            (_, &[gamma, offset, degree]) => (gamma, offset, degree),
            _ => {
                let reason = format!("has {} elements instead of 3", parameters.len());
                return Err(attributes.refuse("kernel_params", &reason));
            }
        };
        match name {
            "POLY" => Ok(Self::Poly { gamma, offset, degree }),
            "RBF" => Ok(Self::Rbf { gamma }),
            "SIGMOID" => Ok(Self::Sigmoid { gamma, offset }),
            other => {
                let reason = format!("names the unknown kernel '{other}'");
                Err(attributes.refuse("kernel_type", &reason))
            }
        }
    }
}

/// The support vectors and the kernel that rows are compared with them by.
#[derive(Debug)]
pub(super) struct SupportVectors {
    kernel: Kernel,
    /// For each group of vectors, one array for each feature; the last group is filled up with zeros.
    groups: Vec<[f32; LANES]>,
    features: usize,
    count: usize,
}

impl SupportVectors {
    /// Takes `count` vectors, at least one, of equal length.
    pub(super) fn new(kernel: Kernel, vectors: &[f32], count: usize) -> Self {
        let features = vectors.len() / count.max(1);
        let mut groups = vec![[0.0; LANES]; count.div_ceil(LANES) * features];
        for (number, vector) in vectors.chunks_exact(features.max(1)).enumerate() {
            let group = groups.iter_mut().skip(number / LANES * features);
            for (lanes, feature) in group.zip(vector) {
                if let Some(place) = lanes.get_mut(number % LANES) {
                    *place = *feature;
                }
            }
        }
        Self { kernel, groups, features, count }
    }

    /// The number of features in a vector.
    pub(super) fn features(&self) -> usize {
        self.features
    }

    /// Writes the value of the kernel for each vector.
    pub(super) fn compare(&self, row: &[f32], values: &mut Vec<f32>) {
        values.clear();
        for group in self.groups.chunks_exact(self.features.max(1)) {
            values.extend(match self.kernel {
                Kernel::Linear => dots(group, row),
                Kernel::Poly { gamma, offset, degree } => {
                    dots(group, row).map(|dot| power(gamma * dot + offset, degree))
                }
                Kernel::Sigmoid { gamma, offset } => {
                    dots(group, row).map(|dot| (gamma * dot + offset).tanh())
                }
                Kernel::Rbf { gamma } => {
                    exponentials(distances(group, row).map(|sum| -gamma * sum))
                }
            });
        }
        values.truncate(self.count);
    }
}

fn power(base: f32, degree: f32) -> f32 {
    if degree == 2.0 {
        base * base
    } else if degree == 3.0 {
        base * base * base
    } else {
        base.powf(degree)
    }
}

/// The scalar products of `row` with each vector of a group.
fn dots(group: &[[f32; LANES]], row: &[f32]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (lanes, feature) in group.iter().zip(row) {
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            *sum += feature * lane;
        }
    }
    sums
}

/// The squares of the distances of `row` to each vector of a group.
fn distances(group: &[[f32; LANES]], row: &[f32]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (lanes, feature) in group.iter().zip(row) {
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            let difference = feature - lane;
            *sum += difference * difference;
        }
    }
    sums
}

/// The exponential function of each, to the last digit but one.
///
/// The method is the usual one: `exp(x) = 2^n * exp(r)`, with `n` the nearest integer to `x / ln 2` and a
/// polynomial for `exp(r)` (S. L. Moshier, Cephes, `expf`). Without a branch or a call in it, the compiler
/// can do all lanes at once.
fn exponentials(numbers: [f32; LANES]) -> [f32; LANES] {
    // Added to a number, it rounds it to an integer, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    // ln 2 in two parts, of which the first has few digits.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    // Beyond, the result is not a normal number, or it is NaN.
    if !numbers.iter().all(|x| (-87.0..88.0).contains(x)) {
        return numbers.map(f32::exp);
    }
    numbers.map(|x| {
        let rounded = x * std::f32::consts::LOG2_E + ROUND;
        let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
        let n = rounded - ROUND;
        let r = x - n * LN_2.0 - n * LN_2.1;
        let sum = POLYNOMIAL.into_iter().fold(0.0, |sum, factor| sum * r + factor);
        (sum * r * r + r + 1.0) * power
    })
}

/// The sum of the products, in 64 bits as libsvm computes it.
pub(super) fn weighted(values: &[f32], weights: &[f32]) -> f64 {
    const SUMS: usize = 4;
    let (values, values_rest) = values.as_chunks::<SUMS>();
    let (weights, weights_rest) = weights.as_chunks::<SUMS>();
    let mut sums = [0.0; SUMS];
    for (values, weights) in values.iter().zip(weights) {
        for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
            *sum += f64::from(value * weight);
        }
    }
    let rest = values_rest.iter().zip(weights_rest);
    let rest: f64 = rest.map(|(value, weight)| f64::from(value * weight)).sum();
    sums.iter().sum::<f64>() + rest
}
