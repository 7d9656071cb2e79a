//! Whether two answers are the same, but for the rounding that is allowed.
//!
//! Owns the rule: numbers within `atol + rtol * |expected|`, everything else exactly, not a number equal to itself.
//! Datatypes may differ, because most dialects have none. Never runs anything.

use half::{bf16, f16};

use crate::protocol::tensor::{Tensor, TensorData};

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tolerance {
    pub(super) atol: f64,
    pub(super) rtol: f64,
}

impl Default for Tolerance {
    /// For recorded answers: another version of a library may add in another order.
    fn default() -> Self {
        Self { atol: 1e-4, rtol: 1e-3 }
    }
}

impl Tolerance {
    /// For the same row asked twice.
    pub(super) const REPEATED: Self = Self { atol: 1e-6, rtol: 1e-6 };
    /// For a row in company, where sums may be made in another order.
    pub(super) const TOGETHER: Self = Self { atol: 1e-5, rtol: 1e-4 };

    fn allows(self, actual: f64, expected: f64) -> bool {
        // An infinity is equal to itself only.
        actual == expected
            || (actual.is_nan() && expected.is_nan())
            || (actual - expected).abs() <= self.rtol.mul_add(expected.abs(), self.atol)
    }
}

/// The elements as numbers; `None` for texts.
pub(super) fn numbers(data: &TensorData) -> Option<Vec<f64>> {
    fn each<T: Copy>(values: &[T], number: impl Fn(T) -> f64) -> Option<Vec<f64>> {
        Some(values.iter().map(|value| number(*value)).collect())
    }
    match data {
        TensorData::Bool(values) => each(values, |value| if value { 1.0 } else { 0.0 }),
        TensorData::Uint8(values) => each(values, f64::from),
        TensorData::Uint16(values) => each(values, f64::from),
        TensorData::Uint32(values) => each(values, f64::from),
        TensorData::Uint64(values) => each(values, |value| value as f64),
        TensorData::Int8(values) => each(values, f64::from),
        TensorData::Int16(values) => each(values, f64::from),
        TensorData::Int32(values) => each(values, f64::from),
        TensorData::Int64(values) => each(values, |value| value as f64),
        TensorData::Fp16(values) => each(values, f16::to_f64),
        TensorData::Bf16(values) => each(values, bf16::to_f64),
        TensorData::Fp32(values) => each(values, f64::from),
        TensorData::Fp64(values) => each(values, |value| value),
        TensorData::Bytes(_) => None,
    }
}

/// The output that answers to `name`: the one of that name, or the only one where both sides have one.
pub(super) fn counterpart<'a>(
    outputs: &'a [Tensor],
    name: &str,
    is_only: bool,
) -> Option<&'a Tensor> {
    match outputs {
        [only] if is_only => Some(only),
        all => all.iter().find(|output| output.name() == name),
    }
}

/// Holds an answer against the expected one; the largest difference.
///
/// # Errors
/// The end of a sentence that says what differs first.
pub(super) fn answers(
    actual: &[Tensor],
    expected: &[Tensor],
    tolerance: Tolerance,
) -> Result<f64, String> {
    let mut largest = 0.0_f64;
    for wanted in expected {
        let name = wanted.name();
        let found = counterpart(actual, name, expected.len() == 1)
            .ok_or_else(|| format!("there is no output '{name}'"))?;
        largest = largest.max(tensors(found, wanted, tolerance)?);
    }
    Ok(largest)
}

fn tensors(actual: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Result<f64, String> {
    let name = expected.name();
    let (found, wanted) = (actual.data().len(), expected.data().len());
    if found != wanted {
        return Err(format!("output '{name}' has {found} values, not {wanted}"));
    }
    let differs = |at: usize, found: &str, wanted: &str| {
        Err(format!("output '{name}' has {found} in place {at}, not {wanted}"))
    };
    let (Some(found), Some(wanted)) = (numbers(actual.data()), numbers(expected.data())) else {
        let (found, wanted) = (texts(actual.data()), texts(expected.data()));
        let other = found.iter().zip(&wanted).position(|(found, wanted)| found != wanted);
        let Some(at) = other else { return Ok(0.0) };
        let shown = |texts: &[String]| texts.get(at).cloned().unwrap_or_default();
        return differs(at, &shown(&found), &shown(&wanted));
    };
    let mut largest = 0.0_f64;
    for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        if !tolerance.allows(*found, *wanted) {
            return differs(at, &found.to_string(), &wanted.to_string());
        }
        largest = largest.max((found - wanted).abs());
    }
    Ok(largest)
}

/// The elements as texts, shortened.
pub(super) fn texts(data: &TensorData) -> Vec<String> {
    const SHOWN: usize = 64;
    match data {
        TensorData::Bytes(values) => {
            let text =
                |value: &Vec<u8>| String::from_utf8_lossy(value).chars().take(SHOWN).collect();
            values.iter().map(text).collect()
        }
        data => numbers(data).unwrap_or_default().iter().map(ToString::to_string).collect(),
    }
}

/// The first number that is none, or is infinite.
pub(super) fn first_unsound(outputs: &[Tensor]) -> Option<String> {
    outputs.iter().find_map(|output| {
        let numbers = numbers(output.data())?;
        let at = numbers.iter().position(|number| !number.is_finite())?;
        let number = numbers.get(at)?;
        Some(format!("output '{}' has {number} in place {at}", output.name()))
    })
}

/// The rows `from` to `to` of a tensor; `None` where it does not have `rows`.
pub(super) fn rows_of(tensor: &Tensor, rows: usize, row: usize) -> Option<Tensor> {
    let (&first, rest) = tensor.shape().split_first()?;
    if first != rows {
        return None;
    }
    let width = tensor.data().len().checked_div(rows)?;
    let range = row.checked_mul(width)?..row.checked_add(1)?.checked_mul(width)?;
    let data = part(tensor.data(), range)?;
    let shape: Vec<usize> = std::iter::once(1).chain(rest.iter().copied()).collect();
    Tensor::new(tensor.name(), shape.as_slice(), data).ok()
}

fn part(data: &TensorData, range: std::ops::Range<usize>) -> Option<TensorData> {
    fn cut<T: Clone>(values: &[T], range: std::ops::Range<usize>) -> Option<Vec<T>> {
        values.get(range).map(<[T]>::to_vec)
    }
    Some(match data {
        TensorData::Bool(values) => TensorData::Bool(cut(values, range)?),
        TensorData::Uint8(values) => TensorData::Uint8(cut(values, range)?),
        TensorData::Uint16(values) => TensorData::Uint16(cut(values, range)?),
        TensorData::Uint32(values) => TensorData::Uint32(cut(values, range)?),
        TensorData::Uint64(values) => TensorData::Uint64(cut(values, range)?),
        TensorData::Int8(values) => TensorData::Int8(cut(values, range)?),
        TensorData::Int16(values) => TensorData::Int16(cut(values, range)?),
        TensorData::Int32(values) => TensorData::Int32(cut(values, range)?),
        TensorData::Int64(values) => TensorData::Int64(cut(values, range)?),
        TensorData::Fp16(values) => TensorData::Fp16(cut(values, range)?),
        TensorData::Bf16(values) => TensorData::Bf16(cut(values, range)?),
        TensorData::Fp32(values) => TensorData::Fp32(cut(values, range)?),
        TensorData::Fp64(values) => TensorData::Fp64(cut(values, range)?),
        TensorData::Bytes(values) => TensorData::Bytes(cut(values, range)?),
    })
}

/// Several tensors of one name and row shape, one behind the other; `None` where they are not alike.
pub(super) fn stacked(parts: &[&Tensor]) -> Option<Tensor> {
    let (first, others) = parts.split_first()?;
    let (&rows, inner) = first.shape().split_first()?;
    let mut data = first.data().clone();
    let mut total = rows;
    for other in others {
        let (&rows, shape) = other.shape().split_first()?;
        if shape != inner || !append(&mut data, other.data()) {
            return None;
        }
        total = total.checked_add(rows)?;
    }
    let shape: Vec<usize> = std::iter::once(total).chain(inner.iter().copied()).collect();
    Tensor::new(first.name(), shape.as_slice(), data).ok()
}

fn append(data: &mut TensorData, more: &TensorData) -> bool {
    match (data, more) {
        (TensorData::Bool(data), TensorData::Bool(more)) => data.extend_from_slice(more),
        (TensorData::Uint8(data), TensorData::Uint8(more)) => data.extend_from_slice(more),
        (TensorData::Uint16(data), TensorData::Uint16(more)) => data.extend_from_slice(more),
        (TensorData::Uint32(data), TensorData::Uint32(more)) => data.extend_from_slice(more),
        (TensorData::Uint64(data), TensorData::Uint64(more)) => data.extend_from_slice(more),
        (TensorData::Int8(data), TensorData::Int8(more)) => data.extend_from_slice(more),
        (TensorData::Int16(data), TensorData::Int16(more)) => data.extend_from_slice(more),
        (TensorData::Int32(data), TensorData::Int32(more)) => data.extend_from_slice(more),
        (TensorData::Int64(data), TensorData::Int64(more)) => data.extend_from_slice(more),
        (TensorData::Fp16(data), TensorData::Fp16(more)) => data.extend_from_slice(more),
        (TensorData::Bf16(data), TensorData::Bf16(more)) => data.extend_from_slice(more),
        (TensorData::Fp32(data), TensorData::Fp32(more)) => data.extend_from_slice(more),
        (TensorData::Fp64(data), TensorData::Fp64(more)) => data.extend_from_slice(more),
        (TensorData::Bytes(data), TensorData::Bytes(more)) => data.extend_from_slice(more),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fp32(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(name, shape, TensorData::Fp32(values.to_vec())).expect("agrees")
    }

    #[test]
    fn numbers_may_differ_by_rounding_and_texts_may_not() {
        let allowed = Tolerance { atol: 0.1, rtol: 0.0 };
        let held = |actual: &[f32], expected: &[f32]| {
            answers(&[fp32("y", &[2], actual)], &[fp32("y", &[2], expected)], allowed)
        };
        assert!(held(&[1.05, f32::NAN], &[1.0, f32::NAN]).is_ok());
        assert_eq!(
            held(&[1.0, 1.5], &[1.0, 1.0]),
            Err("output 'y' has 1.5 in place 1, not 1".into())
        );
        assert!(held(&[1.0, f32::NAN], &[1.0, 1.0]).is_err());
        assert!(held(&[1.0, f32::INFINITY], &[1.0, 1.0]).is_err());
        let text = |value: &[u8]| {
            Tensor::new("y", [1].as_slice(), TensorData::Bytes(vec![value.to_vec()]))
                .expect("agrees")
        };
        assert!(answers(&[text(b"a")], &[text(b"a")], allowed).is_ok());
        assert_eq!(
            answers(&[text(b"a")], &[text(b"b")], allowed),
            Err("output 'y' has a in place 0, not b".into())
        );
    }

    #[test]
    fn only_outputs_need_no_name_and_others_do() {
        let (p, q) = (fp32("p", &[1], &[1.0]), fp32("q", &[1], &[1.0]));
        let exact = Tolerance { atol: 0.0, rtol: 0.0 };
        assert!(answers(std::slice::from_ref(&p), std::slice::from_ref(&q), exact).is_ok());
        let both = [p, fp32("r", &[1], &[2.0])];
        let error = answers(&both, &[q], exact).expect_err("another");
        assert_eq!(error, "there is no output 'q'");
    }

    #[test]
    fn rows_come_apart_and_together_again() {
        let whole = fp32("x", &[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let rows: Vec<Tensor> = (0..3).map(|row| rows_of(&whole, 3, row).expect("a row")).collect();
        assert_eq!(rows[1], fp32("x", &[1, 2], &[2.0, 3.0]));
        assert_eq!(stacked(&rows.iter().collect::<Vec<_>>()), Some(whole.clone()));
        assert_eq!(rows_of(&whole, 2, 0), None);
        let other = fp32("x", &[1, 3], &[0.0; 3]);
        assert_eq!(stacked(&[&rows[0], &other]), None);
    }

    #[test]
    fn what_is_no_finite_number_is_found() {
        let outputs = [fp32("p", &[2], &[1.0, 2.0]), fp32("q", &[2], &[0.0, f32::NAN])];
        assert_eq!(first_unsound(&outputs).as_deref(), Some("output 'q' has NaN in place 1"));
        assert_eq!(first_unsound(&outputs[..1]), None);
    }
}
