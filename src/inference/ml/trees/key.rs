//! Numbers as keys: unsigned integers in the same order.
//!
//! Owns the two places a NaN can take in that order, above everything or below, so that one integer
//! comparison answers every test of a tree, and answers it for NaN as well. Never rounds.

use std::ops::{AddAssign, DivAssign};

/// A floating-point type that trees can be walked in.
pub(super) trait Real: Copy + PartialOrd + AddAssign + DivAssign + Into<f64> {
    /// The integers that stand for its numbers.
    type Key: Copy + Ord + Default;

    /// The key above those of all numbers.
    const LAST: u64;

    /// Zero.
    const ZERO: Self;

    /// The key of a number; that of NaN is of no use.
    fn key(self) -> Self::Key;

    /// The key of `self`, or `nan`.
    fn key_or(self, nan: Self::Key) -> Self::Key;

    /// A key as it is computed with when a table is built.
    fn narrow(wide: u64) -> Self::Key;

    /// A key, wide enough for both types.
    fn widen(key: Self::Key) -> u64;

    /// The number with these bits.
    fn from_bits(bits: Self::Key) -> Self;

    /// The bits of the number.
    fn bits(self) -> Self::Key;

    /// The nearest number.
    fn from_f64(number: f64) -> Self;

    /// The nearest number.
    fn from_count(count: usize) -> Self;
}

impl Real for f32 {
    type Key = u32;

    const LAST: u64 = u32::MAX as u64;
    const ZERO: Self = 0.0;

    #[inline]
    fn key(self) -> u32 {
        // Adding zero makes zero of negative zero, which equals it.
        let bits = (self + 0.0).to_bits();
        // All bits of a negative number, the sign of another.
        bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 0x8000_0000)
    }

    #[inline]
    fn key_or(self, nan: u32) -> u32 {
        if self.is_nan() { nan } else { self.key() }
    }

    fn narrow(wide: u64) -> u32 {
        u32::try_from(wide).unwrap_or(u32::MAX)
    }

    fn widen(key: u32) -> u64 {
        u64::from(key)
    }

    #[inline]
    fn from_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }

    fn bits(self) -> u32 {
        self.to_bits()
    }

    fn from_f64(number: f64) -> Self {
        number as Self
    }

    fn from_count(count: usize) -> Self {
        count as Self
    }
}

impl Real for f64 {
    type Key = u64;

    const LAST: u64 = u64::MAX;
    const ZERO: Self = 0.0;

    #[inline]
    fn key(self) -> u64 {
        let bits = (self + 0.0).to_bits();
        bits ^ ((bits.cast_signed() >> 63).cast_unsigned() | 0x8000_0000_0000_0000)
    }

    #[inline]
    fn key_or(self, nan: u64) -> u64 {
        if self.is_nan() { nan } else { self.key() }
    }

    fn narrow(wide: u64) -> u64 {
        wide
    }

    fn widen(key: u64) -> u64 {
        key
    }

    #[inline]
    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }

    fn bits(self) -> u64 {
        self.to_bits()
    }

    fn from_f64(number: f64) -> Self {
        number
    }

    fn from_count(count: usize) -> Self {
        count as Self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_the_numbers(a in proptest::num::f32::ANY, b in proptest::num::f32::ANY) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(a.partial_cmp(&b), Some(a.key().cmp(&b.key())));
            let (a, b) = (f64::from(a), f64::from(b));
            prop_assert_eq!(a.partial_cmp(&b), Some(a.key().cmp(&b.key())));
        }

        #[test]
        fn keys_of_numbers_of_64_bits_too(a in proptest::num::f64::ANY, b in proptest::num::f64::ANY) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(a.partial_cmp(&b), Some(a.key().cmp(&b.key())));
        }
    }

    #[test]
    fn there_is_room_for_nan_on_both_sides() {
        assert!(f32::NEG_INFINITY.key() > 1 && u64::from(f32::INFINITY.key()) < f32::LAST - 1);
        assert!(f64::NEG_INFINITY.key() > 1 && f64::INFINITY.key() < f64::LAST - 1);
        assert_eq!((-0.0_f32).key(), 0.0_f32.key());
        assert_eq!((f32::NAN.key_or(7), 0.5_f64.key_or(7)), (7, 0.5_f64.key()));
    }
}
