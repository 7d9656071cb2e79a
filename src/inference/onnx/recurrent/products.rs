//! Products of rows with rows.
//!
//! Owns the way that is fast for few rows, and the one for many, which is ndarray's. Never copies weights.

use tract_onnx::prelude::tract_ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul};

/// From how many rows on weights are worth being arranged for it.
const MANY: usize = 4;
const LANES: usize = 8;

/// Writes for each row of `rows` its product with each row of `weights`, both of `width` numbers, plus `bias`,
/// which has a number for each row of the weights or is empty.
pub(super) fn products(
    rows: &[f32],
    width: usize,
    weights: &[f32],
    results: &mut [f32],
    bias: &[f32],
) {
    let columns = weights.len().checked_div(width).unwrap_or(bias.len());
    if columns == 0 {
        return;
    }
    for results in results.chunks_exact_mut(columns) {
        results.fill(0.0);
        results.iter_mut().zip(bias).for_each(|(result, bias)| *result = *bias);
    }
    if width == 0 {
        return;
    }
    let count = rows.len() / width;
    let Some(results) = results.get_mut(..count * columns) else { return };
    if count >= MANY
        && let (Ok(rows), Ok(weights), Ok(mut results)) = (
            ArrayView2::from_shape((count, width), rows),
            ArrayView2::from_shape((columns, width), weights),
            ArrayViewMut2::from_shape((count, columns), &mut *results),
        )
    {
        general_mat_mul(1.0, &rows, &weights.t(), 1.0, &mut results);
        return;
    }
    for (row, results) in rows.chunks_exact(width).zip(results.chunks_exact_mut(columns)) {
        for (weights, result) in weights.chunks_exact(width).zip(results) {
            *result += product(row, weights);
        }
    }
}

/// The sum of the products of numbers, in lanes that are added up at the end.
fn product(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    sums.into_iter().chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_and_many_have_the_same_products() {
        let width = 11;
        let number = |at: usize| ((at * 37 % 19) as f32 - 9.0) / 4.0;
        let weights: Vec<f32> = (0..3 * width).map(number).collect();
        let rows: Vec<f32> = (0..6 * width).map(|at| number(at + 5)).collect();
        let bias = [1.0, -2.0, 0.5];
        let mut together = vec![7.0; 6 * 3];
        products(&rows, width, &weights, &mut together, &bias);
        for (row, together) in rows.chunks(width).zip(together.chunks(3)) {
            let mut alone = vec![7.0; 3];
            products(row, width, &weights, &mut alone, &bias);
            for (column, (alone, together)) in alone.iter().zip(together).enumerate() {
                let pairs = row.iter().zip(&weights[column * width..]);
                let exact = pairs.map(|(a, b)| a * b).sum::<f32>() + bias[column];
                assert!((alone - exact).abs() < 1e-4 && (together - exact).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn nothing_is_read_where_there_is_nothing() {
        let mut results = [7.0; 2];
        products(&[], 0, &[], &mut results, &[1.0, 2.0]);
        assert_eq!(results, [1.0, 2.0]);
        products(&[1.0], 1, &[], &mut results, &[]);
    }
}
