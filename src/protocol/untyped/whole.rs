//! Integers that are written with a fraction or an exponent, as languages without integers do.
//!
//! Owns whether such a number is whole, told from its digits: a double between the text and the integer
//! would lose what is beyond 2^53.

/// What a number is among integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Integer(i128),
    /// Beyond every integer type.
    Beyond,
    /// It has a fraction.
    Fraction,
}

/// The most digits of an integer that is looked at; those of 64 bits have at most 20.
const DIGITS_MAX: i64 = 30;

/// What the number `text` is, written as JSON has it: `-12.50e+3`. `None` where it is none.
pub(super) fn whole(text: &str) -> Option<Whole> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if before.is_empty() || !is_digits(before) || !is_digits(after) {
        return None;
    }
    let exponent = exponent_of(exponent)?;
    let digits = [before, after].concat();
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(Whole::Integer(0));
    }
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    // The value is `significant` times ten to the power of this.
    let power = exponent
        .saturating_sub(length(after))
        .saturating_add(length(&digits) - length(significant));
    let significant = significant.trim_start_matches('0');
    if power < 0 {
        return Some(Whole::Fraction);
    }
    if length(significant).saturating_add(power) > DIGITS_MAX {
        return Some(Whole::Beyond);
    }
    let scale = 10_i128.checked_pow(u32::try_from(power).ok()?)?;
    let value = significant.parse::<i128>().ok()?.checked_mul(scale)?;
    Some(Whole::Integer(if unsigned.len() < text.len() { -value } else { value }))
}

/// An exponent; what is beyond 64 bits is as far as they reach.
fn exponent_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.trim_start_matches('0');
    let size = if size.is_empty() { 0 } else { size.parse().unwrap_or(i64::MAX) };
    Some(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_decide_and_no_double_does() {
        let integer = |value| Some(Whole::Integer(value));
        for (text, expected) in [
            ("5.0", integer(5)),
            ("-0.0", integer(0)),
            ("0e99999999999999999999", integer(0)),
            ("9007199254740993.0", integer(9_007_199_254_740_993)),
            ("18446744073709551615.000", integer(18_446_744_073_709_551_615)),
            ("1e3", integer(1000)),
            ("-12.50e+1", integer(-125)),
            ("1200e-2", integer(12)),
            ("0.00012E5", integer(12)),
            ("1e18", integer(1_000_000_000_000_000_000)),
            ("5.5", Some(Whole::Fraction)),
            ("1e-1", Some(Whole::Fraction)),
            ("9007199254740992.5", Some(Whole::Fraction)),
            ("1e-99999999999999999999", Some(Whole::Fraction)),
            ("1e30", Some(Whole::Beyond)),
            ("1e99999999999999999999", Some(Whole::Beyond)),
            ("", None),
            ("-", None),
            (".5", None),
            ("1e", None),
            ("1e+", None),
            ("1x", None),
            ("+1", None),
        ] {
            assert_eq!(whole(text), expected, "{text}");
        }
    }

    proptest! {
        /// However an integer is written, it is read as itself.
        #[test]
        fn every_writing_of_an_integer_is_that_integer(value: i64, zeros in 0_usize..20, shift in 0_usize..25) {
            let plain = format!("{value}.{}", "0".repeat(zeros));
            prop_assert_eq!(whole(&plain), Some(Whole::Integer(value.into())));
            let (sign, digits) = if value < 0 { ("-", value.unsigned_abs().to_string()) } else { ("", value.to_string()) };
            let padded = format!("{digits:0>width$}", width = shift + 1);
            let (before, after) = padded.split_at(padded.len() - shift);
            let shifted = format!("{sign}{before}.{after}e{shift}");
            prop_assert_eq!(whole(&shifted), Some(Whole::Integer(value.into())));
        }
    }
}
