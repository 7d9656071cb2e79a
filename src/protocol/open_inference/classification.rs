//! The classification extension: the largest values of an output instead of all of them.
//!
//! Owns the text `<value>:<index>[:<label>]` that stands for a class. Written to what Triton 2.51 does;
//! where it leaves the order of equal values open, the lower index comes first here, and NaN last.

use std::cmp::Ordering;
use std::fmt::{Display, Write as _};
use std::num::NonZeroU32;

use crate::protocol::shown::shortened;
use crate::protocol::tensor::{Datatype, Shape, Tensor, TensorData};

/// An output that has no classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output '{output}' is {datatype}, of which no classification can be made")]
pub struct ClassifyError {
    /// The output.
    pub output: String,
    /// Its datatype.
    pub datatype: Datatype,
}

/// The `count` largest values of each row of `output`, as BYTES of shape `[count]` or, where `output` has
/// a batch dimension in front of others, `[batch, count]`. What the parameters of `output` say is about its values and
/// not about these texts, which have none.
///
/// # Errors
/// When `output` is BYTES.
pub fn classify(
    output: &Tensor,
    count: NonZeroU32,
    labels: &[String],
) -> Result<Tensor, ClassifyError> {
    let shape = output.shape();
    let batch = if let [batch, _, ..] = *shape { Some(batch) } else { None };
    let width = output.data().len().checked_div(batch.unwrap_or(1)).unwrap_or(0);
    let count = usize::try_from(count.get()).unwrap_or(usize::MAX).min(width);
    let top = Top { width, count, labels };
    let classes = match output.data() {
        TensorData::Bool(values) => top.of(values, u8::from, ascending),
        TensorData::Uint8(values) => top.of(values, |value| value, ascending),
        TensorData::Uint16(values) => top.of(values, |value| value, ascending),
        TensorData::Uint32(values) => top.of(values, |value| value, ascending),
        TensorData::Uint64(values) => top.of(values, |value| value, ascending),
        TensorData::Int8(values) => top.of(values, |value| value, ascending),
        TensorData::Int16(values) => top.of(values, |value| value, ascending),
        TensorData::Int32(values) => top.of(values, |value| value, ascending),
        TensorData::Int64(values) => top.of(values, |value| value, ascending),
        TensorData::Fp16(values) => top.of(values, |value| Float(value.into()), Float::compare),
        TensorData::Bf16(values) => top.of(values, |value| Float(value.into()), Float::compare),
        TensorData::Fp32(values) => top.of(values, |value| Float(value.into()), Float::compare),
        TensorData::Fp64(values) => top.of(values, Float, Float::compare),
        TensorData::Bytes(_) => {
            let (output, datatype) = (shortened(output.name()), output.datatype());
            return Err(ClassifyError { output, datatype });
        }
    };
    let shape: Shape = batch.into_iter().chain([count]).collect();
    let wrong = |_| ClassifyError { output: shortened(output.name()), datatype: output.datatype() };
    Tensor::new(output.name(), shape, TensorData::Bytes(classes)).map_err(wrong)
}

/// Which values are taken of each row.
struct Top<'l> {
    width: usize,
    count: usize,
    labels: &'l [String],
}

impl Top<'_> {
    fn of<T: Copy, V: Display + Copy>(
        &self,
        values: &[T],
        value_of: impl Fn(T) -> V,
        compare: impl Fn(V, V) -> Ordering,
    ) -> Vec<Vec<u8>> {
        let mut classes = Vec::new();
        if self.width == 0 {
            return classes;
        }
        let mut row_classes: Vec<(usize, V)> = Vec::with_capacity(self.width);
        for row in values.chunks(self.width) {
            row_classes.clear();
            row_classes.extend(row.iter().map(|&value| value_of(value)).enumerate());
            let order = |a: &(usize, V), b: &(usize, V)| compare(b.1, a.1).then(a.0.cmp(&b.0));
            if self.count < row_classes.len() {
                row_classes.select_nth_unstable_by(self.count, order);
                row_classes.truncate(self.count);
            }
            row_classes.sort_unstable_by(order);
            classes.extend(row_classes.iter().map(|&(index, value)| self.class(index, value)));
        }
        classes
    }

    fn class(&self, index: usize, value: impl Display) -> Vec<u8> {
        let mut text = String::new();
        let label = self.labels.get(index).filter(|label| !label.is_empty());
        // Writing to a string cannot fail.
        let _written = match label {
            Some(label) => write!(text, "{value}:{index}:{label}"),
            None => write!(text, "{value}:{index}"),
        };
        text.into_bytes()
    }
}

fn ascending<T: Ord>(a: T, b: T) -> Ordering {
    a.cmp(&b)
}

/// A float that is shown like C's `%f`.
#[derive(Clone, Copy)]
struct Float(f64);

impl Float {
    /// NaN is less than all others.
    fn compare(self, other: Self) -> Ordering {
        let less = || other.0.is_nan().cmp(&self.0.is_nan());
        self.0.partial_cmp(&other.0).unwrap_or_else(less)
    }
}

impl Display for Float {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_nan() { f.write_str("nan") } else { write!(f, "{:.6}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn classes(
        shape: &[usize],
        data: TensorData,
        count: u32,
        labels: &[&str],
    ) -> (Vec<usize>, Vec<String>) {
        let output = Tensor::new("y", shape, data).expect("agrees");
        let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
        let count = NonZeroU32::new(count).expect("not 0");
        let classes = classify(&output, count, &labels).expect("numbers");
        let shape = classes.shape().to_vec();
        let TensorData::Bytes(texts) = classes.into_data() else { panic!("not BYTES") };
        let texts = texts.into_iter().map(|text| String::from_utf8(text).expect("text"));
        (shape, texts.collect())
    }

    /// As Triton 2.51.0 answered.
    #[test]
    fn classes_are_those_of_triton() {
        let data = TensorData::Fp32(vec![1.0, 9.0, 3.0, 7.0]);
        let (shape, texts) = classes(&[1, 4], data.clone(), 2, &[]);
        assert_eq!(shape, [1, 2]);
        assert_eq!(texts, ["9.000000:1", "7.000000:3"]);
        let (shape, texts) = classes(&[4], data.clone(), 9, &["a", "b", ""]);
        assert_eq!(shape, [4]);
        assert_eq!(texts, ["9.000000:1:b", "7.000000:3", "3.000000:2", "1.000000:0:a"]);
        let (shape, texts) = classes(&[2, 2, 1], data, 1, &[]);
        assert_eq!((shape, texts.join(" ")), (vec![2, 1], "9.000000:1 7.000000:1".to_owned()));
    }

    #[test]
    fn equal_values_keep_their_order_and_nan_is_last() {
        let data = TensorData::Fp32(vec![f32::NAN, 1.0, f32::INFINITY, 1.0, f32::NEG_INFINITY]);
        let (_, texts) = classes(&[5], data, 5, &[]);
        assert_eq!(texts, ["inf:2", "1.000000:1", "1.000000:3", "-inf:4", "nan:0"]);
        let (_, texts) = classes(&[1, 3], TensorData::Int64(vec![-5, i64::MAX, 0]), 2, &[]);
        assert_eq!(texts, ["9223372036854775807:1", "0:2"]);
        let (_, texts) = classes(&[2], TensorData::Bool(vec![false, true]), 2, &[]);
        assert_eq!(texts, ["1:1", "0:0"]);
    }

    #[test]
    fn nothing_has_no_classes_and_text_cannot_be_classified() {
        let (shape, texts) = classes(&[0, 4], TensorData::Fp32(vec![]), 2, &[]);
        assert_eq!((shape, texts.len()), (vec![0, 0], 0));
        let (shape, texts) = classes(&[3, 0], TensorData::Fp32(vec![]), 2, &[]);
        assert_eq!((shape, texts.len()), (vec![3, 0], 0));
        let (shape, texts) = classes(&[], TensorData::Fp32(vec![5.0]), 2, &[]);
        assert_eq!((shape, texts.join("")), (vec![1], "5.000000:0".to_owned()));
        let text =
            Tensor::new("y", [1].as_slice(), TensorData::Bytes(vec![vec![]])).expect("agrees");
        let error = classify(&text, NonZeroU32::MIN, &[]).expect_err("text");
        assert_eq!(
            error.to_string(),
            "output 'y' is BYTES, of which no classification can be made"
        );
    }

    proptest! {
        #[test]
        fn the_largest_are_taken_as_a_full_sort_does(values in prop::collection::vec(-5i32..5, 0..40), count in 1u32..45) {
            let mut sorted: Vec<(usize, i32)> = values.iter().copied().enumerate().collect();
            sorted.sort_by_key(|&(index, value)| (-value, index));
            sorted.truncate(count as usize);
            let expected: Vec<String> = sorted.iter().map(|(index, value)| format!("{value}:{index}")).collect();
            let (_, texts) = classes(&[values.len()], TensorData::Int32(values), count, &[]);
            prop_assert_eq!(texts, expected);
        }
    }
}
