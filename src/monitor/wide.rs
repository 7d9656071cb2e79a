//! Rows that are too wide to be counted value by value: images, embeddings, texts as tokens.
//!
//! Owns what stands for such a row: its Euclidean norm, some fixed random projections, and its shape. The
//! projections are very sparse (Li, Hastie and Church, "Very Sparse Random Projections", KDD 2006): each
//! looks at [`TAPS`] places that follow from the width and the number of the projection alone, so that
//! every process and every version projects alike. Pure.

use smallvec::SmallVec;

use crate::protocol::tensor::{Tensor, TensorData};

/// Rows of more values than this are wide.
pub(super) const WIDTH_MIN: usize = 256;
/// The most wide rows of one exchange that are looked at.
pub(super) const ROWS_MAX: usize = 16;
/// How many projections there are.
pub(super) const PROJECTIONS: usize = 8;
/// The numbers that stand for a row: its norm and its projections.
pub(super) const NUMBERS: usize = 1 + PROJECTIONS;
/// The places that a projection looks at.
const TAPS: usize = 128;

/// What stands for the rows of a tensor, and its shape without the first dimension.
pub(super) fn of(tensor: &Tensor, width: usize) -> (Vec<[f32; NUMBERS]>, String) {
    let shape = shape_text(tensor.shape().get(1..).unwrap_or_default());
    let rows =
        |numbers: &[f32]| numbers.chunks_exact(width).take(ROWS_MAX).map(numbers_of).collect();
    let some = width.saturating_mul(ROWS_MAX);
    macro_rules! converted {
        ($values:expr, $of:expr) => {{
            let numbers: Vec<f32> = $values.iter().take(some).map($of).collect();
            rows(&numbers)
        }};
    }
    let numbers = match tensor.data() {
        TensorData::Fp32(values) => rows(values),
        TensorData::Fp64(values) => converted!(values, |value| super::values::single(*value)),
        TensorData::Fp16(values) => converted!(values, |value| value.to_f32()),
        TensorData::Bf16(values) => converted!(values, |value| value.to_f32()),
        TensorData::Uint8(values) => converted!(values, |value| f32::from(*value)),
        TensorData::Int8(values) => converted!(values, |value| f32::from(*value)),
        TensorData::Uint16(values) => converted!(values, |value| f32::from(*value)),
        TensorData::Int16(values) => converted!(values, |value| f32::from(*value)),
        TensorData::Uint32(values) => converted!(values, |value| *value as f32),
        TensorData::Int32(values) => converted!(values, |value| *value as f32),
        TensorData::Uint64(values) => converted!(values, |value| *value as f32),
        TensorData::Int64(values) => converted!(values, |value| *value as f32),
        TensorData::Bool(values) => converted!(values, |value| f32::from(u8::from(*value))),
        TensorData::Bytes(values) => converted!(values, |value| value.len() as f32),
    };
    (numbers, shape)
}

/// A shape as a category: `3x224x224`.
pub(super) fn shape_text(shape: &[usize]) -> String {
    let sizes: SmallVec<[String; 4]> = shape.iter().map(usize::to_string).collect();
    sizes.join("x")
}

/// The norm and the projections of a row.
pub(super) fn numbers_of(row: &[f32]) -> [f32; NUMBERS] {
    let mut numbers = [0.0; NUMBERS];
    // Four sums side by side, so that the additions need not wait for each other.
    let mut squares = [0.0f32; 8];
    let chunks = row.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, value) in squares.iter_mut().zip(chunk) {
            *sum += value * value;
        }
    }
    let square = squares.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>();
    let scale = (row.len() as f32 / TAPS as f32).sqrt();
    let projections = (1..).map(|number| project(row, number) * scale);
    for (number, value) in numbers.iter_mut().zip(std::iter::once(square.sqrt()).chain(projections))
    {
        *number = value;
    }
    numbers
}

/// The sum of some values of a row, each with a sign.
fn project(row: &[f32], number: u64) -> f32 {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut sum = 0.0;
    for _ in 0..TAPS {
        let bits = next(&mut state);
        // The upper half of a product is a place below the width (Lemire, 2019).
        let place = (u128::from(bits) * row.len() as u128) >> 64;
        let value = usize::try_from(place).ok().and_then(|place| row.get(place));
        let value = value.copied().unwrap_or_default();
        sum += if bits & 1 == 0 { value } else { -value };
    }
    sum
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_and_projections_scale_with_the_row_and_repeat() {
        let row: Vec<f32> = (0..1003).map(|at| (at as f32 * 0.7).sin()).collect();
        let once = numbers_of(&row);
        assert_eq!(once, numbers_of(&row));
        let exact = row.iter().map(|value| f64::from(value * value)).sum::<f64>().sqrt();
        assert!((f64::from(once[0]) - exact).abs() < 1e-3, "{} for {exact}", once[0]);
        let scaled: Vec<f32> = row.iter().map(|value| value * 1.09).collect();
        for (scaled, once) in numbers_of(&scaled).iter().zip(once) {
            assert!((scaled - once * 1.09).abs() < 1e-3 * once.abs().max(1.0));
        }
    }

    /// The variance of a projection of independent values is the width times theirs.
    #[test]
    fn projections_keep_the_spread() {
        let width = 512;
        let mut state = 7;
        let mut squares = 0.0;
        let rows = 400;
        for _ in 0..rows {
            let row: Vec<f32> = (0..width)
                .map(|_| (next(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0)
                .collect();
            squares += numbers_of(&row)[1..].iter().map(|p| f64::from(p * p)).sum::<f64>();
        }
        let variance = squares / (rows * PROJECTIONS) as f64;
        let expected = width as f64 / 3.0;
        // Places may repeat within a projection, which widens it a little.
        assert!((0.8..1.6).contains(&(variance / expected)), "{variance} for {expected}");
    }

    #[test]
    fn shapes_are_categories() {
        let image = Tensor::new("x", [2, 3, 16, 16].as_slice(), TensorData::Uint8(vec![1; 1536]));
        let (rows, shape) = of(&image.expect("sound"), 768);
        assert_eq!((rows.len(), shape.as_str()), (2, "3x16x16"));
    }
}
