//! Numbers in one pass: from digits to a float or an integer without looking at a byte twice.
//!
//! Owns the fast way. It takes what is short enough to be exact in the processor's own arithmetic, which is
//! nearly everything that clients send, and says `None` to all else; the slow way, which also finds the
//! words for what is wrong, is the [`Reader`](super::Reader)'s.

/// A number as it stands: `mantissa` times ten to the power of `exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal<'a> {
    pub(super) negative: bool,
    pub(super) mantissa: u64,
    pub(super) exponent: i32,
    /// Whether it is written without a fraction and without an exponent.
    pub(super) integer: bool,
    pub(super) text: &'a [u8],
}

/// The most digits that always fit into the mantissa.
const DIGITS_MAX: usize = 19;

/// The most digits of an exponent; more are left to the slow way.
const EXPONENT_DIGITS_MAX: usize = 4;

/// The number that `bytes` begin with, if it is valid and short.
#[inline]
pub(super) fn scan(bytes: &[u8]) -> Option<Decimal<'_>> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mut at, mut mantissa) = digits(bytes, start, 0);
    let mut count = at - start;
    if count == 0 || (count > 1 && bytes.get(start) == Some(&b'0')) {
        return None;
    }
    let (mut exponent, mut integer) = (0, true);
    if bytes.get(at) == Some(&b'.') {
        let start = at + 1;
        (at, mantissa) = digits(bytes, start, mantissa);
        if at == start {
            return None;
        }
        count += at - start;
        exponent = -i32::try_from(at - start).ok()?;
        integer = false;
    }
    if count > DIGITS_MAX && count - leading_zeros(bytes.get(start..at)?) > DIGITS_MAX {
        return None;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = bytes.get(at + 1);
        let start = at + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
        let written;
        (at, written) = digits(bytes, start, 0);
        if at == start || at - start > EXPONENT_DIGITS_MAX {
            return None;
        }
        let written = i32::try_from(written).ok()?;
        exponent += if sign == Some(&b'-') { -written } else { written };
        integer = false;
    }
    let text = bytes.get(..at)?;
    Some(Decimal { negative, mantissa, exponent, integer, text })
}

/// The zeros that a long number begins with, on both sides of the point; they add nothing to the mantissa.
#[cold]
fn leading_zeros(number: &[u8]) -> usize {
    number
        .iter()
        .take_while(|&&byte| matches!(byte, b'0' | b'.'))
        .filter(|&&byte| byte == b'0')
        .count()
}

/// Reads digits from `at` on into `mantissa`, which wraps around when there are too many.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mut mantissa: u64) -> (usize, u64) {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let (count, value, scale) = eight(u64::from_le_bytes(*chunk));
        mantissa = mantissa.wrapping_mul(scale).wrapping_add(value);
        at += count;
        if count < 8 {
            return (at, mantissa);
        }
    }
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&d| d < 10) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(digit.into());
        at += 1;
    }
    (at, mantissa)
}

/// How many digits the eight characters in `chunk` begin with, their value, and ten to the power of their
/// number. All eight at once, see D. Lemire, "Quickly parsing eight digits" (2018).
#[inline]
fn eight(chunk: u64) -> (usize, u64, u64) {
    const SCALES: [u64; 9] =
        [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
    let values = chunk ^ 0x3030_3030_3030_3030;
    // A byte above 9 gets its high bit set; what it may carry only reaches bytes behind it.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let bits = others.trailing_zeros() & !7;
    let count = usize::try_from(bits / 8).unwrap_or(0);
    let scale = SCALES.get(count).copied().unwrap_or(1);
    // The digits move to the end, as if zeros stood in front of them.
    let Some(padded) = values.checked_shl(64 - bits) else { return (0, 0, scale) };
    let pairs = padded.wrapping_mul(10).wrapping_add(padded >> 8);
    let high = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let low = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    (count, high.wrapping_add(low) >> 32, scale)
}

/// The powers of ten that an `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

impl Decimal<'_> {
    /// The nearest `f32`; infinite beyond its range, `None` beyond that of `f64` as well.
    #[inline]
    pub(super) fn to_f32(self) -> Option<f32> {
        // Both steps are off by less than one part in 2^52, so that the `f64` is within four units in its
        // last place. Whether the `f32` below or above it is nearest is certain unless the middle between
        // them is that close.
        const BEHIND_F32: u64 = (1 << 29) - 1;
        const MIDDLE: u64 = 1 << 28;
        const OFF: u64 = 4;
        if let Some(value) = self.approximate() {
            let behind = value.to_bits() & BEHIND_F32;
            if behind.abs_diff(MIDDLE) > OFF {
                return Some(value as f32);
            }
        }
        let value: f32 = std::str::from_utf8(self.text).ok()?.parse().ok()?;
        (value.is_finite() || self.to_f64().is_some()).then_some(value)
    }

    /// The nearest `f64`, `None` beyond its range.
    #[inline]
    pub(super) fn to_f64(self) -> Option<f64> {
        // One operation on two exact numbers is rounded once.
        if self.mantissa <= 1 << 53
            && let Some(value) = self.approximate()
        {
            return Some(value);
        }
        let value: f64 = std::str::from_utf8(self.text).ok()?.parse().ok()?;
        value.is_finite().then_some(value)
    }

    /// The value with a relative error of less than 2^-51, if its power of ten is exact. It is 0 or at
    /// least 1e-22, and so far from the smallest numbers, which have fewer bits.
    #[inline]
    fn approximate(self) -> Option<f64> {
        let power = *POWERS.get(usize::try_from(self.exponent.unsigned_abs()).ok()?)?;
        let mantissa = self.mantissa as f64;
        let value = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(if self.negative { -value } else { value })
    }

    /// The value as an integer, if it is written as one and `T` has it.
    #[inline]
    pub(super) fn to_integer<T: TryFrom<i128>>(self) -> Option<T> {
        let magnitude = i128::from(self.mantissa);
        let value = if self.negative { -magnitude } else { magnitude };
        if self.integer { T::try_from(value).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the standard library reads, and whether it is the same bits.
    #[track_caller]
    fn assert_as_std(text: &str) {
        let Some(decimal) = scan(text.as_bytes()) else { panic!("{text} is not taken") };
        assert_eq!(decimal.text, text.as_bytes());
        let wide: f64 = text.parse().expect("a number");
        let narrow: f32 = text.parse().expect("a number");
        let expected = Some(wide).filter(|value| value.is_finite());
        assert_eq!(decimal.to_f64().map(f64::to_bits), expected.map(f64::to_bits), "{text}");
        let expected = expected.map(|_| narrow);
        assert_eq!(decimal.to_f32().map(f32::to_bits), expected.map(f32::to_bits), "{text}");
    }

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        for text in [
            "0",
            "-0",
            "0.0",
            "-0.0e5",
            "1",
            "-1",
            "5.1",
            "3.4028235e38",
            "3.4028236e38",
            "1e39",
            "-1e39",
            "1e308",
            "1e309",
            "1e-400",
            "1e-45",
            "7e-46",
            "1.17549435e-38",
            "4.9e-324",
            "0.10000000149011612",
            "-0.0017925824504345655",
            "0.0000000000000000001",
            "9007199254740993",
            "9007199254740993.0",
            "1234567890123456789",
            "16777217",
            "16777217.0000000001",
            "33554435",
            "1.00000017881393432617",
            "0.3",
            "123456789",
            "12345678",
            "1234567",
            "1.2345678",
            "12345678.12345678",
            "0e0",
            "1E+22",
            "1e22",
            "1e23",
        ] {
            match scan(text.as_bytes()) {
                None => assert!(text.len() > DIGITS_MAX, "{text} is short"),
                Some(_) => assert_as_std(text),
            }
        }
    }

    #[test]
    fn what_is_no_number_or_long_is_left_to_the_slow_way() {
        for text in [
            "",
            "-",
            "+1",
            ".5",
            "1.",
            "1.e5",
            "1e",
            "1e+",
            "01",
            "-01",
            "00",
            "NaN",
            "-Infinity",
            "x",
            "12345678901234567890",
            "0.12345678901234567890",
            "1e12345",
            "1.-",
            "[1]",
            "\"1\"",
            "--1",
        ] {
            assert_eq!(scan(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_number_ends_where_its_characters_end() {
        for (text, number) in [
            ("1,2", "1"),
            ("1.5]", "1.5"),
            ("-2e3 ", "-2e3"),
            ("0x", "0"),
            ("12345678:", "12345678"),
            ("0.00000000000000000000.0", "0.00000000000000000000"),
        ] {
            let decimal = scan(text.as_bytes()).expect(text);
            assert_eq!(decimal.text, number.as_bytes());
        }
    }

    #[test]
    fn integers_are_exact_or_none() {
        let integer = |text: &str| scan(text.as_bytes()).and_then(Decimal::to_integer::<i64>);
        assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer("9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer("9223372036854775808"), None);
        assert_eq!((integer("1.0"), integer("1e2"), integer("-0")), (None, None, Some(0)));
        assert_eq!(scan(b"256").and_then(Decimal::to_integer::<u8>), None);
    }

    proptest! {
        #[test]
        fn shortest_texts_of_floats_read_back(bits: u32, wide: u64) {
            let narrow = f32::from_bits(bits);
            if narrow.is_finite() {
                assert_as_std(ryu::Buffer::new().format_finite(narrow));
                // As numpy and Python print an FP32: the shortest text of the same number as an f64.
                assert_as_std(ryu::Buffer::new().format_finite(f64::from(narrow)));
            }
            let wide = f64::from_bits(wide);
            if wide.is_finite() {
                assert_as_std(ryu::Buffer::new().format_finite(wide));
            }
        }

        #[test]
        fn any_decimal_is_rounded_as_the_standard_library_does(
            negative: bool, whole in 0u64..100_000_000_000, fraction in "[0-9]{0,8}", exponent in -60i32..60,
        ) {
            let sign = if negative { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            assert_as_std(&format!("{sign}{whole}{point}{fraction}e{exponent}"));
            assert_as_std(&format!("{sign}{whole}{point}{fraction}"));
        }

        #[test]
        fn numbers_near_the_middle_of_two_f32_are_rounded_right(bits in 0x0080_0000u32..0x7f00_0000, nudge in -3i64..4) {
            let middle = (f64::from(f32::from_bits(bits)) + f64::from(f32::from_bits(bits + 1))) / 2.0;
            let near = f64::from_bits(middle.to_bits().wrapping_add_signed(nudge));
            let text = ryu::Buffer::new().format_finite(near).to_owned();
            if scan(text.as_bytes()).is_some() {
                assert_as_std(&text);
            }
        }
    }
}
