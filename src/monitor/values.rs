//! What is taken out of one exchange: the numbers, texts and truth values of its inputs and outputs.
//!
//! Owns the copy that outlives the tensors, because an exchange is counted when it ends, and the bound on
//! it: of a large batch, rows at even distances are taken. Never knows how values are counted: a
//! [plan](super::plan) does.

use smallvec::SmallVec;

use super::wide;
use crate::domain::stats::layout::{Role, Value};
use crate::protocol::tensor::{Tensor, TensorData};

/// The most values of one tensor that are taken from an exchange. Counting one takes about ten
/// nanoseconds on the worker.
const VALUES_MAX: usize = 8192;

/// The values of one exchange.
#[derive(Debug, Clone, Default)]
pub struct Values {
    pub(super) parts: SmallVec<[Part; 2]>,
}

/// The values of one tensor.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) role: Role,
    /// The number of the tensor among those of its role.
    pub(super) tensor: u16,
    /// Values of one row; 0 for a tensor without any.
    pub(super) width: usize,
    pub(super) data: Data,
}

/// Values, row by row.
#[derive(Debug, Clone)]
pub(super) enum Data {
    /// Numbers, at the precision at which they are compared.
    Single(SmallVec<[f32; 24]>),
    /// Whole numbers, which may be codes of categories.
    Integer(SmallVec<[i64; 12]>),
    /// Truth values.
    Boolean(SmallVec<[bool; 16]>),
    /// Anything.
    Cells(Vec<Cell>),
    /// Of rows that are too wide to be counted one by one: norm and projections.
    Wide(Vec<[f32; wide::NUMBERS]>, String),
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Number(f64),
    Integer(i64),
    Boolean(bool),
    Text(Box<str>),
    Missing,
    Wrong,
}

impl Cell {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Number(number) => Value::Number(*number),
            Self::Integer(integer) => Value::Integer(*integer),
            Self::Boolean(truth) => Value::Boolean(*truth),
            Self::Text(text) => Value::Text(text),
            Self::Missing => Value::Missing,
            Self::Wrong => Value::Wrong,
        }
    }

    /// As a number; what is none is not a number.
    fn number(&self) -> f32 {
        match self {
            Self::Number(number) => single(*number),
            Self::Integer(integer) => *integer as f32,
            Self::Boolean(_) | Self::Text(_) | Self::Missing | Self::Wrong => f32::NAN,
        }
    }
}

impl Values {
    /// Takes the values of `tensors`; `position` tells the number of a tensor by its name. Tensors
    /// without a number are left out.
    pub fn read(
        &mut self,
        role: Role,
        tensors: &[Tensor],
        position: impl Fn(&str) -> Option<usize>,
    ) {
        for tensor in tensors {
            if let Some(number) = position(tensor.name()).and_then(|at| u16::try_from(at).ok()) {
                self.parts.push(Part::of(role, number, tensor));
            }
        }
    }

    /// Whether an output has a number that is none; `None` without outputs.
    pub fn has_broken_output(&self) -> Option<bool> {
        let mut outputs = self.parts.iter().filter(|part| part.role == Role::Output).peekable();
        outputs.peek()?;
        Some(outputs.any(Part::is_broken))
    }

    /// Rows of the tensor that has the most.
    pub(super) fn rows(&self) -> usize {
        self.parts.iter().map(Part::rows).max().unwrap_or(0)
    }

    /// Rows of one role, at least one: what an exchange does not have is missing in each of them.
    pub(super) fn rows_of(&self, role: Role) -> usize {
        let own = self.parts.iter().filter(|part| part.role == role);
        own.map(Part::rows).max().unwrap_or(1).max(1)
    }

    /// The bytes that they take, about.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.parts.iter().map(Part::bytes).sum::<usize>()
    }

    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl Part {
    pub(super) fn of(role: Role, tensor: u16, values: &Tensor) -> Self {
        let len = values.data().len();
        let rows = values.shape().first().copied().unwrap_or(1).max(1);
        let width = len / rows;
        if width > wide::WIDTH_MIN {
            let (numbers, shape) = wide::of(values, width);
            return Self { role, tensor, width, data: Data::Wide(numbers, shape) };
        }
        let cut = Cut::new(len, width);
        let data = match values.data() {
            TensorData::Fp32(values) => Data::Single(cut.take(values, |value| *value)),
            TensorData::Fp64(values) => Data::Single(cut.take(values, |value| single(*value))),
            TensorData::Fp16(values) => Data::Single(cut.take(values, |value| value.to_f32())),
            TensorData::Bf16(values) => Data::Single(cut.take(values, |value| value.to_f32())),
            TensorData::Int64(values) => Data::Integer(cut.take(values, |value| *value)),
            TensorData::Int32(values) => Data::Integer(cut.take(values, |value| (*value).into())),
            TensorData::Int16(values) => Data::Integer(cut.take(values, |value| (*value).into())),
            TensorData::Int8(values) => Data::Integer(cut.take(values, |value| (*value).into())),
            TensorData::Uint32(values) => Data::Integer(cut.take(values, |value| (*value).into())),
            TensorData::Uint16(values) => Data::Integer(cut.take(values, |value| (*value).into())),
            TensorData::Uint8(values) => Data::Integer(cut.take(values, |value| (*value).into())),
            TensorData::Uint64(values) => {
                Data::Integer(cut.take(values, |value| i64::try_from(*value).unwrap_or(i64::MAX)))
            }
            TensorData::Bool(values) => Data::Boolean(cut.take(values, |value| *value)),
            TensorData::Bytes(values) => {
                let text = |value: &Vec<u8>| match std::str::from_utf8(value) {
                    Ok(text) => Cell::Text(text.into()),
                    Err(_) => Cell::Wrong,
                };
                Data::Cells(cut.take::<_, _, Vec<_>>(values, text))
            }
        };
        Self { role, tensor, width, data }
    }

    /// Cells of rows that were found in a body.
    pub(super) fn of_cells(role: Role, tensor: u16, width: usize, cells: Vec<Cell>) -> Self {
        if width > wide::WIDTH_MIN {
            let numbers: Vec<f32> = cells.iter().map(Cell::number).collect();
            let rows = numbers.chunks_exact(width).take(wide::ROWS_MAX).map(wide::numbers_of);
            let data = Data::Wide(rows.collect(), wide::shape_text(&[width]));
            return Self { role, tensor, width, data };
        }
        let cut = Cut::new(cells.len(), width);
        let data = if cut.stride == 1 { cells } else { cut.take(&cells, Cell::clone) };
        Self { role, tensor, width, data: Data::Cells(data) }
    }

    /// Whether it has a number that is none, or lacks a value.
    fn is_broken(&self) -> bool {
        match &self.data {
            Data::Single(values) => values.iter().any(|value| !value.is_finite()),
            Data::Cells(cells) => cells.iter().any(|cell| match cell {
                Cell::Number(number) => !number.is_finite(),
                Cell::Missing => true,
                Cell::Integer(_) | Cell::Boolean(_) | Cell::Text(_) | Cell::Wrong => false,
            }),
            Data::Wide(rows, _) => rows.iter().flatten().any(|number| !number.is_finite()),
            Data::Integer(_) | Data::Boolean(_) => false,
        }
    }

    /// The bytes that its values take.
    fn bytes(&self) -> usize {
        match &self.data {
            Data::Single(values) => size_of_val(values.as_slice()),
            Data::Integer(values) => size_of_val(values.as_slice()),
            Data::Boolean(values) => size_of_val(values.as_slice()),
            Data::Cells(cells) => {
                let texts = cells.iter().map(|cell| match cell {
                    Cell::Text(text) => text.len(),
                    Cell::Number(_)
                    | Cell::Integer(_)
                    | Cell::Boolean(_)
                    | Cell::Missing
                    | Cell::Wrong => 0,
                });
                size_of_val(cells.as_slice()) + texts.sum::<usize>()
            }
            Data::Wide(rows, shape) => size_of_val(rows.as_slice()) + shape.len(),
        }
    }

    /// How many rows were taken.
    pub(super) fn rows(&self) -> usize {
        let values = match &self.data {
            Data::Single(values) => values.len(),
            Data::Integer(values) => values.len(),
            Data::Boolean(values) => values.len(),
            Data::Cells(values) => values.len(),
            Data::Wide(rows, _) => return rows.len(),
        };
        values.checked_div(self.width).unwrap_or(0)
    }

    /// The value at a place that may be beyond the row; not for wide rows.
    pub(super) fn value(&self, row: usize, column: usize) -> Value<'_> {
        if column >= self.width {
            return Value::Missing;
        }
        let at = row * self.width + column;
        let value = match &self.data {
            Data::Single(values) => values.get(at).map(|value| Value::Number((*value).into())),
            Data::Integer(values) => values.get(at).map(|value| Value::Integer(*value)),
            Data::Boolean(values) => values.get(at).map(|value| Value::Boolean(*value)),
            Data::Cells(values) => values.get(at).map(Cell::value),
            Data::Wide(..) => None,
        };
        value.unwrap_or(Value::Missing)
    }

    /// A row of numbers; what is no number is not one.
    pub(super) fn numbers(&self, row: usize) -> SmallVec<[f32; 24]> {
        let places = row * self.width..(row + 1) * self.width;
        match &self.data {
            Data::Single(values) => values.get(places).unwrap_or_default().into(),
            Data::Integer(values) => {
                values.get(places).unwrap_or_default().iter().map(|value| *value as f32).collect()
            }
            Data::Cells(values) => {
                values.get(places).unwrap_or_default().iter().map(Cell::number).collect()
            }
            Data::Boolean(_) | Data::Wide(..) => SmallVec::new(),
        }
    }
}

/// Which rows are taken: all of them, or as many as there may be, at even distances.
struct Cut {
    width: usize,
    stride: usize,
}

impl Cut {
    fn new(len: usize, width: usize) -> Self {
        let width = width.max(1);
        let rows_max = (VALUES_MAX / width).max(1);
        Self { width, stride: (len / width).div_ceil(rows_max).max(1) }
    }

    fn take<T, U, C: FromIterator<U>>(&self, values: &[T], of: impl Fn(&T) -> U) -> C {
        if self.stride == 1 {
            return values.iter().map(of).collect();
        }
        values.chunks(self.width).step_by(self.stride).flatten().map(of).collect()
    }
}

/// A number at single precision; what is finite stays so.
pub(super) fn single(number: f64) -> f32 {
    let single = number as f32;
    if single.is_infinite() && number.is_finite() { f32::MAX.copysign(single) } else { single }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], data: TensorData) -> Tensor {
        Tensor::new("x", shape, data).expect("a sound tensor")
    }

    fn part(shape: &[usize], data: TensorData) -> Part {
        Part::of(Role::Input, 0, &tensor(shape, data))
    }

    #[test]
    fn values_keep_their_rows() {
        let part = part(&[2, 3], TensorData::Fp32(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        assert_eq!((part.rows(), part.width), (2, 3));
        assert_eq!(part.value(1, 2), Value::Number(5.0));
        assert_eq!(part.value(1, 3), Value::Missing);
        assert_eq!(part.numbers(0).as_slice(), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn a_list_is_a_row_for_each_element() {
        let part = part(&[3], TensorData::Bytes(vec![b"a".to_vec(), vec![0xff], b"c".to_vec()]));
        assert_eq!((part.rows(), part.width), (3, 1));
        assert_eq!(part.value(0, 0), Value::Text("a"));
        assert_eq!(part.value(1, 0), Value::Wrong);
    }

    #[test]
    fn of_a_large_batch_whole_rows_at_even_distances_are_taken() {
        let rows = 10_000;
        let data = (0..rows * 4).map(|at| at as f32).collect();
        let part = part(&[rows, 4], TensorData::Fp32(data));
        assert_eq!(part.rows(), 2000);
        assert!(part.rows() * 4 <= VALUES_MAX);
        assert_eq!(part.numbers(1).as_slice(), [20.0, 21.0, 22.0, 23.0]);
    }

    #[test]
    fn outputs_that_are_no_numbers_are_told_from_inputs() {
        let read = |role, numbers: Vec<f32>| {
            let mut values = Values::default();
            let data = TensorData::Fp32(numbers);
            values.read(role, &[tensor(&[2], data)], |_| Some(0));
            values.has_broken_output()
        };
        assert_eq!(read(Role::Output, vec![0.5, 1.0]), Some(false));
        assert_eq!(read(Role::Output, vec![0.5, f32::NAN]), Some(true));
        assert_eq!(read(Role::Output, vec![f32::INFINITY, 0.0]), Some(true));
        assert_eq!(read(Role::Input, vec![f32::NAN, 0.0]), None);
    }

    #[test]
    fn tensors_without_elements_have_no_rows() {
        for shape in [[0, 4], [4, 0]] {
            assert_eq!(part(&shape, TensorData::Fp32(Vec::new())).rows(), 0);
        }
    }
}
