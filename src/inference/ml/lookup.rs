//! Finding a tensor's elements in a list of the file.
//!
//! Owns when an element equals a key: texts by their bytes, integers by their value, numbers by their
//! value with every NaN equal to every other. Never says what is found there: an element becomes the
//! position of its key.

use std::collections::HashMap;

use tract_onnx::prelude::{Datum, DatumType, Tensor, TractResult};
use tract_onnx::tract_hir::internal::bail;

/// The positions of keys, which are all of one element type.
#[derive(Debug)]
pub(super) struct Lookup {
    datum_type: DatumType,
    positions: Positions,
}

/// Which of two equal keys counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precedence {
    First,
    Last,
}

#[derive(Debug)]
enum Positions {
    Integers(HashMap<i64, usize>),
    Floats(HashMap<u64, usize>),
    Texts(HashMap<String, usize>),
}

impl Lookup {
    /// Finds the elements of `keys`, a tensor of rank 1.
    ///
    /// # Errors
    /// When its elements are of a type that nothing is looked up by.
    pub(super) fn new(keys: &Tensor, precedence: Precedence) -> TractResult<Self> {
        let plain = keys.try_as_plain_ram()?;
        let datum_type = keys.datum_type();
        let positions = match datum_type {
            DatumType::String => {
                Positions::Texts(map(plain.as_slice::<String>()?.iter().cloned(), precedence))
            }
            DatumType::F32 | DatumType::F64 => {
                let keys = keys.cast_to::<f64>()?;
                let keys = keys.try_as_plain_ram()?.as_slice::<f64>()?;
                Positions::Floats(map(keys.iter().map(|key| bits(*key)), precedence))
            }
            DatumType::I64 | DatumType::I32 | DatumType::I16 => {
                let keys = keys.cast_to::<i64>()?;
                let keys = keys.try_as_plain_ram()?.as_slice::<i64>()?;
                Positions::Integers(map(keys.iter().copied(), precedence))
            }
            other => bail!("keys of type {other:?} are not supported"),
        };
        Ok(Self { datum_type, positions })
    }

    /// The element type of the keys.
    pub(super) fn datum_type(&self) -> DatumType {
        self.datum_type
    }

    /// Calls `found` with the position of each element's key, in order; `None` where there is no such
    /// key.
    ///
    /// # Errors
    /// When the elements are of another type than the keys, or `found` fails.
    pub(super) fn each(
        &self,
        elements: &Tensor,
        mut found: impl FnMut(Option<usize>) -> TractResult<()>,
    ) -> TractResult<()> {
        let plain = elements.try_as_plain_ram()?;
        match (&self.positions, elements.datum_type()) {
            (Positions::Texts(positions), DatumType::String) => plain
                .as_slice::<String>()?
                .iter()
                .try_for_each(|text| found(positions.get(text).copied())),
            (Positions::Integers(positions), DatumType::I64) => {
                each_number(plain.as_slice::<i64>()?, |x| positions.get(&x).copied(), found)
            }
            (Positions::Integers(positions), DatumType::I32) => {
                each_number(plain.as_slice::<i32>()?, |x| positions.get(&x.into()).copied(), found)
            }
            (Positions::Integers(positions), DatumType::I16) => {
                each_number(plain.as_slice::<i16>()?, |x| positions.get(&x.into()).copied(), found)
            }
            (Positions::Integers(_), DatumType::TDim) => {
                self.each(&*elements.cast_to::<i64>()?, found)
            }
            // Numbers are looked up among integers by their integral part, which only an operator that
            // casts asks for. What no integer can hold matches none.
            (Positions::Integers(positions), DatumType::F32) => each_number(
                plain.as_slice::<f32>()?,
                |x| integral(x.into()).and_then(|x| positions.get(&x).copied()),
                found,
            ),
            (Positions::Integers(positions), DatumType::F64) => each_number(
                plain.as_slice::<f64>()?,
                |x| integral(x).and_then(|x| positions.get(&x).copied()),
                found,
            ),
            (Positions::Floats(positions), DatumType::F32) => each_number(
                plain.as_slice::<f32>()?,
                |x| positions.get(&bits(x.into())).copied(),
                found,
            ),
            (Positions::Floats(positions), DatumType::F64) => {
                each_number(plain.as_slice::<f64>()?, |x| positions.get(&bits(x)).copied(), found)
            }
            (_, other) => bail!("keys of type {:?} do not match {other:?}", self.datum_type),
        }
    }
}

fn each_number<T: Datum + Copy>(
    elements: &[T],
    position: impl Fn(T) -> Option<usize>,
    mut found: impl FnMut(Option<usize>) -> TractResult<()>,
) -> TractResult<()> {
    elements.iter().try_for_each(|element| found(position(*element)))
}

fn map<K: Eq + std::hash::Hash>(
    keys: impl Iterator<Item = K>,
    precedence: Precedence,
) -> HashMap<K, usize> {
    let mut positions = HashMap::new();
    for (position, key) in keys.enumerate() {
        match precedence {
            Precedence::First => {
                positions.entry(key).or_insert(position);
            }
            Precedence::Last => {
                positions.insert(key, position);
            }
        }
    }
    positions
}

/// The same for numbers that are equal, and for all NaN.
fn bits(number: f64) -> u64 {
    if number.is_nan() {
        f64::NAN.to_bits()
    } else if number == 0.0 {
        0
    } else {
        number.to_bits()
    }
}

/// A number without its fraction, `None` where that is no 64-bit integer.
fn integral(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (-LIMIT..LIMIT).contains(&number).then_some(number as i64)
}
