//! Numbers that are names of classes.
//!
//! Owns the rule by which a column of an output is taken for classes though it has numbers. A classifier that answers
//! `[0, 2, 1]` is judged by the share of each class, not by where numbers lie. The writer for Python has the same rule.

use std::collections::BTreeMap;

use super::{Column, Numbers, Texts};

/// The most different whole numbers that are taken for classes.
const FEW: usize = 20;
/// Whole numbers below this are exact at single precision.
const EXACT: f32 = 16_777_216.0;

impl Column {
    /// The column as categories, where its numbers are classes: whole numbers only, and at most 20
    /// different ones that come twice each on average, or only such as are `known` for classes. What is not a number is
    /// absent then, as categories have it. `None` where it stays what it is.
    pub fn classes(&self, known: impl Fn(i64) -> bool) -> Option<Self> {
        let Self::Numbers(numbers) = self else { return None };
        numbers.classes(known).map(Self::Texts)
    }
}

impl Numbers {
    fn classes(&self, known: impl Fn(i64) -> bool) -> Option<Texts> {
        let mut found: BTreeMap<i64, u64> = BTreeMap::new();
        let (mut are_few, mut are_known) = (true, true);
        for &number in self.values.iter().filter(|number| !number.is_nan()) {
            let class = whole(number)?;
            are_known &= known(class);
            are_few &= found.len() < FEW || found.contains_key(&class);
            if !are_few && !are_known {
                return None;
            }
            *found.entry(class).or_default() += 1;
        }
        let values: u64 = found.values().sum();
        let come_again = 2 * found.len() as u64 <= values;
        let are_classes = !found.is_empty() && ((are_few && come_again) || are_known);
        are_classes.then(|| {
            let mut texts = Texts::default();
            for &number in &self.values {
                texts.push(whole(number).map(|class| class.to_string()).as_deref());
            }
            texts
        })
    }
}

/// The whole number that a number is.
fn whole(number: f32) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::stats::build::Options;

    fn column(values: impl IntoIterator<Item = f64>) -> Column {
        let mut numbers = Numbers::default();
        values.into_iter().for_each(|number| numbers.push(Some(number)));
        Column::Numbers(numbers)
    }

    fn values(column: &Column) -> Option<Vec<String>> {
        Some(column.classes(|_| false)?.build("class", Options::default()).values)
    }

    #[test]
    fn a_few_whole_numbers_are_classes_and_other_numbers_are_not() {
        let classes = |count: i32| column((0..4000).map(move |at| f64::from(at % count)));
        assert_eq!(values(&classes(3)).expect("classes"), ["0", "1", "2"]);
        assert_eq!(values(&classes(20)).map(|values| values.len()), Some(20));
        assert_eq!(values(&classes(21)), None, "a count of something");
        assert_eq!(values(&column((0..4000).map(|at| f64::from(at % 4) / 2.0))), None);
        assert_eq!(values(&column([f64::INFINITY, 1.0, 1.0, 1.0])), None);
        assert_eq!(values(&column([1e9, 1e9, 1e9])), None, "single precision would mix them up");
        assert_eq!(values(&column([f64::NAN, f64::NAN])), None);
        assert_eq!(values(&column([])), None);
        assert_eq!(values(&column([-1.0, -0.0, -1.0, 0.0])), Some(vec!["-1".into(), "0".into()]));
        assert_eq!(values(&column((0..12).map(f64::from))), None, "each comes once");
    }

    #[test]
    fn classes_that_are_known_may_be_many() {
        let many = column((0..100).map(f64::from));
        let of = |last: i64| many.classes(|class| (0..=last).contains(&class));
        assert!(of(98).is_none(), "one of them is no class");
        let built = of(99).expect("classes").build("class", Options::default());
        assert_eq!(built.values.len(), 100);
    }

    #[test]
    fn what_is_no_number_is_missing_among_classes() {
        let built = column([1.0, 0.0, f64::NAN, 1.0, 0.0])
            .classes(|_| false)
            .expect("classes")
            .build("class", Options::default());
        assert_eq!((built.n, built.missing, built.nan), (Some(4), 0.2, 0.0));
        assert_eq!(built.mass, [0.5, 0.5]);
    }
}
