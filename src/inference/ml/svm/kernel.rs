//! How alike a row of features and each support vector are.
//!
//! Owns the four kernels and the layout of the vectors: side by side in lanes, so that the compiler
//! computes several at a time and still adds the features of each up in their order. Never weighs the
//! vectors.

use tract_onnx::prelude::TractResult;

use crate::inference::ml::attributes::Attributes;
use crate::inference::ml::exponential::exponentials;

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
    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.groups.as_slice())
    }

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
