//! Trying out whether the rows of a model are independent of each other.
//!
//! Owns the trial rows. A graph may have a batch dimension and still mix its rows, as one that subtracts
//! the mean of the batch does; answers of different callers must not depend on each other. Never keeps a
//! model from being served one request at a time.

use super::local_model::{InferError, LocalModel, Prepared};
use super::signature::Dim;
use crate::protocol::tensor::{Datatype, Shape, Tensor, TensorData};

/// How many requests of one row are run together.
const REQUESTS: usize = 3;

/// Runs some rows alone and together.
pub(super) fn rows_are_independent(model: &LocalModel) -> Result<(), String> {
    let fails = |error| format!("a trial row fails: {error}");
    // A model that divides by an integer fails on the first kind of rows.
    let (requests, alone) = match trial_rows(model, 0)? {
        (_, Err(_fails)) => trial_rows(model, 1)?,
        good => good,
    };
    let alone = alone.map_err(fails)?;
    let together = model.run_together(&requests).map_err(fails)?;
    for (alone, together) in alone.iter().flatten().zip(together.iter().flatten()) {
        if !alike(alone.data(), together.data()) {
            let name = alone.name();
            return Err(format!("output '{name}' of one row depends on the other rows"));
        }
    }
    Ok(())
}

type Answers = Result<Vec<Vec<Tensor>>, InferError>;

/// Requests of a row each, whose integers are `least` or one more, with the answer to each alone.
fn trial_rows(model: &LocalModel, least: u8) -> Result<(Vec<Prepared>, Answers), String> {
    let mut random = fastrand::Rng::with_seed(0x706f_696e_7473);
    let requests: Vec<Prepared> = (0..REQUESTS)
        .map(|_| {
            let inputs = rows(model, least, &mut random)?;
            model.prepare(inputs, &[]).map_err(|error| error.to_string())
        })
        .collect::<Result<_, _>>()?;
    let alone = requests.iter().map(|request| model.run(request)).collect();
    Ok((requests, alone))
}

/// One row of every input: floats around 0, integers that are good as indexes.
fn rows(model: &LocalModel, least: u8, random: &mut fastrand::Rng) -> Result<Vec<Tensor>, String> {
    let signature = model.signature();
    let specs = signature.inputs.iter().zip(&signature.dims);
    let inputs = specs.map(|(spec, dims)| {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Free(_) => 1,
        };
        let shape: Shape = dims.iter().map(size).collect();
        let count = shape.iter().product();
        let data = data(spec.datatype, count, least, random)
            .ok_or_else(|| format!("there is no trial row for the datatype {}", spec.datatype))?;
        Tensor::new(spec.name.clone(), shape, data).map_err(|error| error.to_string())
    });
    inputs.collect()
}

fn data(
    datatype: Datatype,
    count: usize,
    least: u8,
    random: &mut fastrand::Rng,
) -> Option<TensorData> {
    /// `count` values that are `least` or one more.
    fn small<T: From<u8>>(count: usize, least: u8, random: &mut fastrand::Rng) -> Vec<T> {
        (0..count).map(|_| (least + u8::from(random.bool())).into()).collect()
    }
    Some(match datatype {
        Datatype::Bool => TensorData::Bool((0..count).map(|_| random.bool()).collect()),
        Datatype::Uint8 => TensorData::Uint8(small(count, least, random)),
        Datatype::Uint16 => TensorData::Uint16(small(count, least, random)),
        Datatype::Uint32 => TensorData::Uint32(small(count, least, random)),
        Datatype::Uint64 => TensorData::Uint64(small(count, least, random)),
        Datatype::Int8 => {
            let values: Vec<u8> = small(count, least, random);
            TensorData::Int8(values.into_iter().map(u8::cast_signed).collect())
        }
        Datatype::Int16 => TensorData::Int16(small(count, least, random)),
        Datatype::Int32 => TensorData::Int32(small(count, least, random)),
        Datatype::Int64 => TensorData::Int64(small(count, least, random)),
        Datatype::Fp32 => {
            TensorData::Fp32((0..count).map(|_| random.f32().mul_add(4.0, -2.0)).collect())
        }
        Datatype::Fp64 => {
            TensorData::Fp64((0..count).map(|_| random.f64().mul_add(4.0, -2.0)).collect())
        }
        Datatype::Fp16 => {
            let small = |_| half::f16::from_f32(random.f32().mul_add(4.0, -2.0));
            TensorData::Fp16((0..count).map(small).collect())
        }
        Datatype::Bf16 | Datatype::Bytes => return None,
    })
}

/// Equal, but for the rounding of sums in another order.
fn alike(a: &TensorData, b: &TensorData) -> bool {
    fn near(pairs: impl Iterator<Item = (f64, f64)>, tolerance: f64) -> bool {
        let near = |(a, b): (f64, f64)| {
            a.to_bits() == b.to_bits()
                || (a.is_nan() && b.is_nan())
                || (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1e-2)
        };
        pairs.into_iter().all(near)
    }
    if a.len() != b.len() {
        return false;
    }
    match (a, b) {
        (TensorData::Fp16(a), TensorData::Fp16(b)) => {
            near(a.iter().zip(b).map(|(a, b)| (a.to_f64(), b.to_f64())), 1e-1)
        }
        (TensorData::Fp32(a), TensorData::Fp32(b)) => {
            near(a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b))), 1e-3)
        }
        (TensorData::Fp64(a), TensorData::Fp64(b)) => {
            near(a.iter().copied().zip(b.iter().copied()), 1e-3)
        }
        (a, b) => a == b,
    }
}
