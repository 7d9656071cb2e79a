//! The made-up rows of a trial.
//!
//! Owns how large their numbers are, and that they are the same each time. Never runs anything.

use crate::inference::local_model::{LocalModel, Prepared};
use crate::protocol::tensor::{Datatype, Shape, Tensor, TensorData};

/// How many requests of one row are run together.
pub(super) const REQUESTS: usize = 3;

/// The rows of the requests.
pub(super) type Rows = [Size; REQUESTS];

/// How large the numbers of a row are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Integers are this or one more, which is good as an index.
    pub(super) least: u64,
    pub(super) far: Far,
}

/// Which numbers of a row lie apart from the others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Far {
    None,
    /// Floating-point ones are multiplied, of one input or of all.
    Floats {
        factor: f32,
        input: Option<usize>,
    },
    /// The integers of one input are `from` or one more, or the largest of their type.
    Integers {
        from: u64,
        input: usize,
    },
}

impl Size {
    /// What the floating-point numbers of an input are multiplied by.
    fn factor(self, input: usize) -> f32 {
        match self.far {
            Far::Floats { factor, input: only } if only.is_none_or(|only| only == input) => factor,
            _ => 1.0,
        }
    }

    /// What the integers of an input are at least.
    fn from(self, input: usize) -> u64 {
        match self.far {
            Far::Integers { from, input: only } if only == input => from,
            _ => self.least,
        }
    }

    /// Whether numbers are missing.
    pub(super) fn is_missing(self) -> bool {
        matches!(self.far, Far::Floats { factor, .. } if factor.is_nan())
    }
}

/// Rows of ordinary numbers, with integers from `least` on.
pub(super) fn ordinary(least: u64) -> Rows {
    [Size { least, far: Far::None }; REQUESTS]
}

/// Requests of a row each.
pub(super) fn requests(model: &LocalModel, rows: Rows) -> Result<Vec<Prepared>, String> {
    let mut random = fastrand::Rng::with_seed(0x706f_696e_7473);
    let requests = rows.into_iter().map(|size| {
        let inputs = row(model, size, &mut random)?;
        model.prepare(inputs, &[]).map_err(|error| error.to_string())
    });
    requests.collect()
}

/// One row of every input.
fn row(model: &LocalModel, size: Size, random: &mut fastrand::Rng) -> Result<Vec<Tensor>, String> {
    let signature = model.signature();
    let specs = signature.inputs.iter().zip(&signature.dims).enumerate();
    let inputs = specs.map(|(input, (spec, dims))| {
        let shape: Shape = model.ordinary_shape(dims).into_iter().collect();
        let count = shape.iter().product();
        let data = data(spec.datatype, count, size.factor(input), size.from(input), random)
            .ok_or_else(|| format!("there is no trial row for the datatype {}", spec.datatype))?;
        Tensor::new(spec.name.clone(), shape, data).map_err(|error| error.to_string())
    });
    inputs.collect()
}

/// Numbers of a datatype: floating-point ones around 0, times `factor`, and integers that are `from` or one more, or
/// the largest of their type.
fn data(
    datatype: Datatype,
    count: usize,
    factor: f32,
    from: u64,
    random: &mut fastrand::Rng,
) -> Option<TensorData> {
    fn whole<T: TryFrom<i128>>(
        count: usize,
        from: u64,
        largest: impl Into<i128>,
        random: &mut fastrand::Rng,
    ) -> Option<Vec<T>> {
        let from = i128::from(from).min(largest.into() - 1);
        (0..count).map(|_| T::try_from(from + i128::from(random.bool())).ok()).collect()
    }
    Some(match datatype {
        Datatype::Bool => TensorData::Bool((0..count).map(|_| random.bool()).collect()),
        Datatype::Uint8 => TensorData::Uint8(whole(count, from, u8::MAX, random)?),
        Datatype::Uint16 => TensorData::Uint16(whole(count, from, u16::MAX, random)?),
        Datatype::Uint32 => TensorData::Uint32(whole(count, from, u32::MAX, random)?),
        Datatype::Uint64 => TensorData::Uint64(whole(count, from, u64::MAX, random)?),
        Datatype::Int8 => TensorData::Int8(whole(count, from, i8::MAX, random)?),
        Datatype::Int16 => TensorData::Int16(whole(count, from, i16::MAX, random)?),
        Datatype::Int32 => TensorData::Int32(whole(count, from, i32::MAX, random)?),
        Datatype::Int64 => TensorData::Int64(whole(count, from, i64::MAX, random)?),
        Datatype::Fp32 => {
            TensorData::Fp32((0..count).map(|_| random.f32().mul_add(4.0, -2.0) * factor).collect())
        }
        Datatype::Fp64 => {
            let factor = f64::from(factor);
            TensorData::Fp64((0..count).map(|_| random.f64().mul_add(4.0, -2.0) * factor).collect())
        }
        Datatype::Fp16 => {
            let small = |_| half::f16::from_f32(random.f32().mul_add(4.0, -2.0) * factor);
            TensorData::Fp16((0..count).map(small).collect())
        }
        Datatype::Bf16 | Datatype::Bytes => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_that_are_asked_for_or_the_largest_of_their_type() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut of = |datatype, from| data(datatype, 64, 1.0, from, &mut random).expect("integers");
        for (from, expected) in [(0, [0_i64, 1]), (7, [7, 8]), (u64::MAX, [i64::MAX - 1, i64::MAX])]
        {
            let TensorData::Int64(found) = of(Datatype::Int64, from) else { panic!("integers") };
            assert!(expected.iter().all(|number| found.contains(number)), "{found:?}");
            assert!(found.iter().all(|number| expected.contains(number)), "{found:?}");
        }
        let TensorData::Uint8(found) = of(Datatype::Uint8, 1000) else { panic!("integers") };
        assert!(found.iter().all(|number| [254, 255].contains(number)), "{found:?}");
    }
}
