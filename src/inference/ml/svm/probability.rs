//! Probabilities of classes from the scores of pairs of classes.
//!
//! Owns Platt's sigmoid and the second method of T.-F. Wu, C.-J. Lin and R. C. Weng, "Probability
//! Estimates for Multi-class Classification by Pairwise Coupling" (2004), with the stopping rule of
//! libsvm and in the precision of onnxruntime.

/// The probability of the first class of a pair is kept this far from 0 and 1.
const CLEAR: f32 = 1e-7;

/// The probability of the first class of a pair, by the sigmoid with `a` and `b`.
pub(super) fn of_pair(score: f32, a: f32, b: f32) -> f32 {
    let x = score * a + b;
    // One less the logistic function, which is cut to 1 for its own sake before that.
    let logistic = 1.0 / (1.0 + (-x.abs()).exp());
    let logistic = if x < 0.0 { 1.0 - logistic } else { logistic };
    (1.0 - logistic).clamp(CLEAR, 1.0 - CLEAR)
}

/// Couples the probabilities of all pairs. `pairs` has, row by row, that of the row's class against the
/// column's. Writes one probability for each class.
pub(super) fn couple(pairs: &[f32], scratch: &mut Vec<f32>, probabilities: &mut [f32]) {
    const ROUNDS_MAX: usize = 100;
    let classes = probabilities.len();
    if classes == 0 || pairs.len() != classes * classes {
        return;
    }
    let tolerance = 0.005 / classes as f32;
    scratch.clear();
    scratch.resize(classes * classes + classes, 0.0);
    let (matrix, products) = scratch.split_at_mut(classes * classes);
    fill(matrix, pairs, classes);
    probabilities.fill(1.0 / classes as f32);
    for _ in 0..ROUNDS_MAX {
        let mut total = 0.0;
        let rows = matrix.chunks_exact(classes);
        for ((row, product), own) in rows.zip(products.iter_mut()).zip(&*probabilities) {
            *product = row.iter().zip(&*probabilities).map(|(q, p)| q * p).sum();
            total += own * *product;
        }
        let errors = products.iter().map(|product| (product - total).abs());
        if errors.fold(0.0, f32::max) < tolerance {
            break;
        }
        for (class, row) in matrix.chunks_exact(classes).enumerate() {
            step(class, row, products, probabilities, &mut total);
        }
    }
}

/// The matrix Q of the paper's equation 17.
fn fill(matrix: &mut [f32], pairs: &[f32], classes: usize) {
    let pair = |of: usize, against: usize| pairs.get(of * classes + against).copied();
    for (class, row) in matrix.chunks_exact_mut(classes).enumerate() {
        let others = (0..classes).filter(|other| *other != class);
        let squares = others.filter_map(|other| pair(other, class)).map(|r| r * r).sum();
        for (other, place) in row.iter_mut().enumerate() {
            *place = if other == class {
                squares
            } else {
                -pair(other, class).unwrap_or_default() * pair(class, other).unwrap_or_default()
            };
        }
    }
}

/// Moves the probability of one class to where the others want it, and keeps the sum at 1.
fn step(
    class: usize,
    row: &[f32],
    products: &mut [f32],
    probabilities: &mut [f32],
    total: &mut f32,
) {
    let (Some(own), Some(product)) = (row.get(class), products.get(class)) else { return };
    let change = (*total - product) / own;
    if let Some(probability) = probabilities.get_mut(class) {
        *probability += change;
    }
    let sum = 1.0 + change;
    *total = (*total + change * (change * own + 2.0 * product)) / sum / sum;
    for ((product, q), probability) in products.iter_mut().zip(row).zip(probabilities) {
        *product = (*product + change * q) / sum;
        *probability /= sum;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_classes_share_what_their_only_pair_says() {
        let mut shares = [0.0; 2];
        couple(&[0.0, 0.8, 0.2, 0.0], &mut Vec::new(), &mut shares);
        assert!((shares[0] - 0.8).abs() < 5e-3 && (shares[1] - 0.2).abs() < 5e-3, "{shares:?}");
    }

    #[test]
    fn a_sigmoid_stays_clear_of_certainty() {
        assert_eq!(of_pair(0.0, -1.0, 0.0), 0.5);
        assert!((of_pair(3_f32.ln(), -1.0, 0.0) - 0.75).abs() < 1e-6);
        assert_eq!(of_pair(1e6, -1.0, 0.0), 1.0 - CLEAR);
        assert_eq!(of_pair(-1e6, -1.0, 0.0), CLEAR);
    }

    proptest! {
        #[test]
        fn probabilities_are_not_negative_and_add_up_to_1(
            upper in proptest::collection::vec(1e-6_f32..1.0 - 1e-6, 10)
        ) {
            let mut pairs = [0.0; 25];
            let places = (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b)));
            for ((a, b), r) in places.zip(upper) {
                pairs[a * 5 + b] = r;
                pairs[b * 5 + a] = 1.0 - r;
            }
            let mut shares = [0.0; 5];
            couple(&pairs, &mut Vec::new(), &mut shares);
            prop_assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{:?}", shares);
            prop_assert!(shares.iter().all(|share| *share >= 0.0), "{:?}", shares);
        }
    }
}
