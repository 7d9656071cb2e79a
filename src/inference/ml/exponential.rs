//! The exponential function of several numbers at a time, and the logistic function on top of it.
//!
//! Owns the approximation that kernels, transforms and nets share where they have many numbers, and what all of
//! them are written with: loops over lanes without a branch or a call in them, of which the compiler makes vector
//! instructions, those of the function that all is inlined into. Never used for a single number, which the standard
//! library does as well.

/// What `function` makes of each.
#[inline(always)]
pub(in crate::inference) fn each<const LANES: usize>(
    mut numbers: [f32; LANES],
    function: impl Fn(f32) -> f32,
) -> [f32; LANES] {
    for x in &mut numbers {
        *x = function(*x);
    }
    numbers
}

/// What `function` makes of each and the one beside it.
#[inline(always)]
pub(in crate::inference) fn pairs<const LANES: usize>(
    mut numbers: [f32; LANES],
    beside: [f32; LANES],
    function: impl Fn(f32, f32) -> f32,
) -> [f32; LANES] {
    for (x, y) in numbers.iter_mut().zip(&beside) {
        *x = function(*x, *y);
    }
    numbers
}

/// The polynomial with these factors, that of the highest power first.
#[inline(always)]
pub(in crate::inference) fn polynomial<const FACTORS: usize>(
    factors: [f32; FACTORS],
    x: f32,
) -> f32 {
    let mut sum = 0.0;
    for factor in factors {
        sum = sum * x + factor;
    }
    sum
}

/// The exponential function of each, to the last digit but one.
///
/// The method is the usual one: `exp(x) = 2^n * exp(r)`, with `n` the nearest integer to `x / ln 2` and a
/// polynomial for `exp(r)` (S. L. Moshier, Cephes, `expf`).
#[inline(always)]
pub(in crate::inference) fn exponentials<const LANES: usize>(
    numbers: [f32; LANES],
) -> [f32; LANES] {
    // Added to a number, it rounds it to an integer, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const FACTORS: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    // ln 2 in two parts, of which the first has few digits.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let powers = each(numbers, |x| {
        let rounded = x * std::f32::consts::LOG2_E + ROUND;
        let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
        let n = rounded - ROUND;
        let r = x - n * LN_2.0 - n * LN_2.1;
        (polynomial(FACTORS, r) * r * r + r + 1.0) * power
    });
    // Beyond, the result is not a normal number, or it is NaN.
    let usual = |x: f32| (-87.0..88.0).contains(&x);
    if numbers.iter().fold(true, |all, x| all & usual(*x)) {
        return powers;
    }
    // What is beside a number never changes its result.
    pairs(powers, numbers, |power, x| if usual(x) { power } else { x.exp() })
}

/// `1 / (1 + exp(-x))`, without the loss of digits for large negative `x`.
pub(super) fn logistic(x: f32) -> f32 {
    let power = (-x.abs()).exp();
    let small = power / (1.0 + power);
    if x < 0.0 { small } else { 1.0 / (1.0 + power) }
}

/// [`logistic`] of each.
#[inline(always)]
pub(in crate::inference) fn logistics<const LANES: usize>(numbers: [f32; LANES]) -> [f32; LANES] {
    pairs(numbers, exponentials(each(numbers, |x| -x.abs())), |x, power| {
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
    fn what_is_beside_a_number_does_not_change_its_result() {
        for number in (-870..880).map(|n| n as f32 / 10.0) {
            let [among, alone] =
                [f32::NEG_INFINITY, number].map(|beside| exponentials([beside, number])[1]);
            assert_eq!(among.to_bits(), alone.to_bits(), "exp({number})");
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
