//! The exponential function of several numbers at a time, and the logistic function on top of it.
//!
//! Owns the approximation that kernels, transforms and nets share where they have many numbers. Never
//! used for a single one, which the standard library does as well.

/// The exponential function of each, to the last digit but one.
///
/// The method is the usual one: `exp(x) = 2^n * exp(r)`, with `n` the nearest integer to `x / ln 2` and a
/// polynomial for `exp(r)` (S. L. Moshier, Cephes, `expf`). Without a branch or a call in it, the compiler
/// can do all lanes at once.
#[inline]
pub(in crate::inference) fn exponentials<const LANES: usize>(
    numbers: [f32; LANES],
) -> [f32; LANES] {
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

/// `1 / (1 + exp(-x))`, without the loss of digits for large negative `x`.
pub(super) fn logistic(x: f32) -> f32 {
    let power = (-x.abs()).exp();
    let small = power / (1.0 + power);
    if x < 0.0 { small } else { 1.0 / (1.0 + power) }
}

/// [`logistic`] of each.
pub(in crate::inference) fn logistics<const LANES: usize>(numbers: [f32; LANES]) -> [f32; LANES] {
    let powers = exponentials(numbers.map(|x| -x.abs()));
    std::array::from_fn(|lane| {
        let (x, power) = (numbers[lane], powers[lane]);
        (if x < 0.0 { power } else { 1.0 }) / (1.0 + power)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_right_to_the_last_digit_but_one() {
        for number in (-87_000..88_000).map(|n| n as f32 / 1000.0) {
            let expected = f64::from(number).exp();
            let [first, zero, _, last] = exponentials([number, 0.0, -1.0, number]);
            assert_eq!((first, zero), (last, 1.0));
            assert!((f64::from(first) - expected).abs() <= 1.2e-7 * expected, "exp({number})");
        }
    }

    #[test]
    fn numbers_out_of_range_are_as_the_standard_library_has_them() {
        let [nan, none, all, tiny] =
            exponentials([f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -100.0]);
        assert!(nan.is_nan());
        assert_eq!((none, all, tiny), (0.0, f32::INFINITY, (-100.0_f32).exp()));
    }
}
