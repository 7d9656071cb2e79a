//! Sums of floating-point numbers without rounding, so that what was added can be taken back.
//!
//! Owns the representation: an expansion of numbers that do not overlap, grown term by term (Shewchuk, "Adaptive
//! Precision Floating-Point Arithmetic", 1997, GROW-EXPANSION). The sum is exact, and rounded once when it is
//! read, so that the order of additions, of retractions and of merges cannot be seen in it. Takes finite terms
//! of at most [`TERM_MAX`]; it is for the caller to turn away what is larger.

use serde::{Deserialize, Serialize};

use smallvec::SmallVec;

/// The largest size of a term. Far from where products of two sums overflow.
pub const TERM_MAX: f64 = 1e120;

/// A sum.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExactSum {
    /// Smallest first; each lies wholly below the last digit of the next.
    #[serde(with = "crate::domain::small")]
    parts: SmallVec<[f64; 3]>,
}

impl ExactSum {
    /// Adds a term.
    pub fn add(&mut self, term: f64) {
        let mut carry = term;
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let Some(part) = self.parts.get(at).copied() else { break };
            let (high, low) = two_sum(carry, part);
            if low != 0.0 {
                if let Some(slot) = self.parts.get_mut(kept) {
                    *slot = low;
                }
                kept += 1;
            }
            carry = high;
        }
        self.parts.truncate(kept);
        if carry != 0.0 {
            self.parts.push(carry);
        }
    }

    /// Takes a term back.
    pub fn subtract(&mut self, term: f64) {
        self.add(-term);
    }

    /// Adds the product of two numbers, which need not be a number itself.
    pub fn add_product(&mut self, a: f64, b: f64) {
        let high = a * b;
        self.add(high);
        self.add(a.mul_add(b, -high));
    }

    /// Takes the product of two numbers back.
    pub fn subtract_product(&mut self, a: f64, b: f64) {
        self.add_product(-a, b);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        for part in &other.parts {
            self.add(*part);
        }
    }

    /// Adds the product of two sums.
    pub fn add_product_of(&mut self, a: &Self, b: &Self) {
        for (a, b) in a.parts.iter().flat_map(|a| b.parts.iter().map(move |b| (*a, *b))) {
            self.add_product(a, b);
        }
    }

    /// The sum times -1.
    pub fn negated(&self) -> Self {
        Self { parts: self.parts.iter().map(|part| -part).collect() }
    }

    /// The number that is nearest to the sum.
    pub fn value(&self) -> f64 {
        let mut rest = self.parts.iter().rev().copied();
        let Some(mut total) = rest.next() else { return 0.0 };
        let mut low = 0.0;
        for part in rest.by_ref() {
            let (high, error) = two_sum(total, part);
            total = high;
            low = error;
            if low != 0.0 {
                break;
            }
        }
        // Halfway between two numbers it is the next part that decides, not the even digit.
        if let Some(next) = rest.next()
            && (low < 0.0) == (next < 0.0)
            && low != 0.0
        {
            let twice = low * 2.0;
            let away = total + twice;
            if away - total == twice {
                total = away;
            }
        }
        total
    }

    /// Whether the sum is nought.
    pub fn is_zero(&self) -> bool {
        self.parts.is_empty()
    }
}

impl PartialEq for ExactSum {
    /// Compares the sums, not how they are kept.
    fn eq(&self, other: &Self) -> bool {
        let mut difference = self.clone();
        difference.merge(&other.negated());
        difference.is_zero()
    }
}

/// The rounded sum of two numbers and what was rounded away (Knuth, TAOCP 2, 4.2.2, theorem B).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    let of_a = sum - of_b;
    (sum, (a - of_a) + (b - of_b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(terms: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|term| sum.add(*term));
        sum
    }

    #[test]
    fn sums_are_rounded_once() {
        assert_eq!(sum(&[0.1; 10]).value(), 1.0);
        assert_eq!(sum(&[1e100, 1.0, -1e100]).value(), 1.0);
        // Halfway, decided by a part far below.
        assert_eq!(sum(&[1.0, 2f64.powi(-53), 2f64.powi(-120)]).value(), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[1.0, 2f64.powi(-53), -2f64.powi(-120)]).value(), 1.0);
        assert_eq!(sum(&[1.0, 2f64.powi(-53)]).value(), 1.0);
        assert_eq!(sum(&[]).value(), 0.0);
    }

    #[test]
    fn products_are_exact() {
        let mut total = ExactSum::default();
        let (a, b) = (1.0 + f64::EPSILON, 1.0 - f64::EPSILON / 2.0);
        total.add_product(a, b);
        total.add(-1.0);
        assert_eq!(total.value(), f64::EPSILON / 2.0 - f64::EPSILON * f64::EPSILON / 2.0);
        let mut square = ExactSum::default();
        let large = sum(&[1e10, 1e-10]);
        square.add_product_of(&large, &large);
        square.add(-1e20);
        assert_eq!(square.value(), 2.0 * 1e10 * 1e-10);
    }

    fn term() -> impl Strategy<Value = f64> {
        (-1f64..1.0, -120i32..120).prop_map(|(mantissa, power)| mantissa * 2f64.powi(power))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn adding_and_taking_back_is_nothing(
            kept in prop::collection::vec(term(), 0..20),
            taken in prop::collection::vec(term(), 0..20),
        ) {
            let mut total = sum(&kept);
            taken.iter().for_each(|term| total.add(*term));
            taken.iter().rev().for_each(|term| total.subtract(*term));
            prop_assert_eq!(&total, &sum(&kept));
            prop_assert_eq!(total.value().to_bits(), sum(&kept).value().to_bits());
        }

        #[test]
        fn order_and_grouping_do_not_count(
            terms in prop::collection::vec(term(), 0..40).prop_shuffle(),
            cut in 0usize..40,
        ) {
            let mut sorted = terms.clone();
            sorted.sort_by(f64::total_cmp);
            let (left, right) = terms.split_at(cut.min(terms.len()));
            let mut merged = sum(right);
            merged.merge(&sum(left));
            prop_assert_eq!(&merged, &sum(&sorted));
            prop_assert_eq!(merged.value().to_bits(), sum(&sorted).value().to_bits());
        }
    }
}
