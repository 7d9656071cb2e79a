//! Trying out whether the rows of a model are independent of each other.
//!
//! Owns the trial rows. A graph may have a batch dimension and still mix its rows, as one that subtracts
//! the mean of the batch does; answers of different callers must not depend on each other. Labels and
//! saturated scores hide that, so the tensors between the operators are compared too, with rows whose sizes
//! lie far apart, integers among them, and rows of missing values. Never keeps a model from being served one request at
//! a time.

use tract_onnx::prelude::{
    DatumType, OutletId, TValue, TVec, Tensor as TractTensor, TractError, TractResult, TypedModel,
};
use tract_onnx::tract_hir::internal::{DimLike as _, Symbol, TDim};

use super::local_model::{InferError, LocalModel, Prepared};
use super::plan::Plan;
use super::signature::Dim;
use super::{contained, convert, rows};
use crate::protocol::tensor::{Datatype, Shape, Tensor, TensorData};

/// How many requests of one row are run together.
const REQUESTS: usize = 3;

/// Runs some rows alone and together.
pub(super) fn rows_are_independent(model: &LocalModel) -> Result<(), String> {
    let fails = |error| format!("a trial row fails: {error}");
    // A model that divides by an integer fails on the first kind of rows.
    let (least, requests, alone) = match trial_rows(model, ordinary(0))? {
        (_, Err(_fails)) => {
            let (requests, alone) = trial_rows(model, ordinary(1))?;
            (1, requests, alone)
        }
        (requests, alone) => (0, requests, alone),
    };
    let alone = alone.map_err(fails)?;
    let together = model.run_together(&requests).map_err(fails)?;
    compare(&alone, &together, |alone, together| alike(alone.data(), together.data()))?;
    let wholes = wholes(model);
    // A model need not take such rows.
    if let Some(sizes) = wholes
        && let (requests, Ok(alone)) = trial_rows(model, sizes)?
        && let Ok(together) = model.run_together(&requests)
    {
        compare(&alone, &together, roughly)?;
    }
    let Some(taps) = Taps::new(model) else { return Ok(()) };
    for factors in FACTORS {
        let size = |factor| Size { factor, whole: Whole::Least(least) };
        taps.compare(model, factors.map(size))?;
    }
    // What values decide is not bounded there.
    match wholes.filter(|_| !model.compiled().is_open()) {
        Some(sizes) => taps.compare(model, sizes),
        None => Ok(()),
    }
}

type Answers = Result<Vec<Vec<Tensor>>, InferError>;

/// How large the numbers of a row are.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// What floating-point numbers are multiplied by.
    factor: f32,
    whole: Whole,
}

/// How large the integers of a row are.
#[derive(Debug, Clone, Copy)]
enum Whole {
    /// This or one more, which is good as an index.
    Least(u8),
    /// The largest of the type or one less.
    Largest,
}

impl Whole {
    /// One of the two, of a type that ends there.
    fn pick(self, largest: i128, random: &mut fastrand::Rng) -> i128 {
        let step = i128::from(random.bool());
        match self {
            Self::Least(least) => i128::from(least) + step,
            Self::Largest => largest - step,
        }
    }
}

/// Rows of ordinary numbers, with integers from `least` on.
fn ordinary(least: u8) -> [Size; REQUESTS] {
    [Size { factor: 1.0, whole: Whole::Least(least) }; REQUESTS]
}

/// Rows of integers that lie far apart, if the model takes some. Integers may be indexes, which must be small: they
/// have rows of their own.
fn wholes(model: &LocalModel) -> Option<[Size; REQUESTS]> {
    use Datatype::{Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    let mut inputs = model.signature().inputs.iter();
    let integers = inputs.any(|spec| {
        matches!(spec.datatype, Int8 | Int16 | Int32 | Int64 | Uint8 | Uint16 | Uint32 | Uint64)
    });
    let sizes = [Whole::Least(1), Whole::Least(100), Whole::Largest];
    integers.then(|| sizes.map(|whole| Size { factor: 1.0, whole }))
}

/// Compares answers to rows alone with those together.
fn compare(
    alone: &[Vec<Tensor>],
    together: &[Vec<Tensor>],
    same: impl Fn(&Tensor, &Tensor) -> bool,
) -> Result<(), String> {
    for (alone, together) in alone.iter().flatten().zip(together.iter().flatten()) {
        if !same(alone, together) {
            let name = alone.name();
            return Err(format!("output '{name}' of one row depends on the other rows"));
        }
    }
    Ok(())
}

/// Requests of a row each.
fn requests(model: &LocalModel, sizes: [Size; REQUESTS]) -> Result<Vec<Prepared>, String> {
    let mut random = fastrand::Rng::with_seed(0x706f_696e_7473);
    let requests = sizes.into_iter().map(|size| {
        let inputs = row(model, size, &mut random)?;
        model.prepare(inputs, &[]).map_err(|error| error.to_string())
    });
    requests.collect()
}

/// Requests with the answer to each alone.
fn trial_rows(
    model: &LocalModel,
    sizes: [Size; REQUESTS],
) -> Result<(Vec<Prepared>, Answers), String> {
    let requests = requests(model, sizes)?;
    let alone = requests.iter().map(|request| model.run(request)).collect();
    Ok((requests, alone))
}

/// One row of every input: floats around 0.
fn row(model: &LocalModel, size: Size, random: &mut fastrand::Rng) -> Result<Vec<Tensor>, String> {
    let signature = model.signature();
    let specs = signature.inputs.iter().zip(&signature.dims);
    let inputs = specs.map(|(spec, dims)| {
        let places = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Free(_) => 1,
        };
        let shape: Shape = dims.iter().map(places).collect();
        let count = shape.iter().product();
        let data = data(spec.datatype, count, size, random)
            .ok_or_else(|| format!("there is no trial row for the datatype {}", spec.datatype))?;
        Tensor::new(spec.name.clone(), shape, data).map_err(|error| error.to_string())
    });
    inputs.collect()
}

fn data(
    datatype: Datatype,
    count: usize,
    size: Size,
    random: &mut fastrand::Rng,
) -> Option<TensorData> {
    fn whole<T: TryFrom<i128>>(
        count: usize,
        whole: Whole,
        largest: impl Into<i128>,
        random: &mut fastrand::Rng,
    ) -> Option<Vec<T>> {
        let largest = largest.into();
        (0..count).map(|_| T::try_from(whole.pick(largest, random)).ok()).collect()
    }
    let Size { factor, whole: of } = size;
    Some(match datatype {
        Datatype::Bool => TensorData::Bool((0..count).map(|_| random.bool()).collect()),
        Datatype::Uint8 => TensorData::Uint8(whole(count, of, u8::MAX, random)?),
        Datatype::Uint16 => TensorData::Uint16(whole(count, of, u16::MAX, random)?),
        Datatype::Uint32 => TensorData::Uint32(whole(count, of, u32::MAX, random)?),
        Datatype::Uint64 => TensorData::Uint64(whole(count, of, u64::MAX, random)?),
        Datatype::Int8 => TensorData::Int8(whole(count, of, i8::MAX, random)?),
        Datatype::Int16 => TensorData::Int16(whole(count, of, i16::MAX, random)?),
        Datatype::Int32 => TensorData::Int32(whole(count, of, i32::MAX, random)?),
        Datatype::Int64 => TensorData::Int64(whole(count, of, i64::MAX, random)?),
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

/// Equal as the tensors between the operators are, where they are floating-point numbers: what large ones make may
/// cancel out.
fn roughly(alone: &Tensor, together: &Tensor) -> bool {
    if !matches!(alone.data(), TensorData::Fp16(_) | TensorData::Fp32(_) | TensorData::Fp64(_)) {
        return alike(alone.data(), together.data());
    }
    let both = convert::to_tract(alone).and_then(|a| Ok((a, convert::to_tract(together)?)));
    both.and_then(|(alone, together)| near(&alone, &together)).unwrap_or(false)
}

/// What the numbers of the trial's rows are multiplied by, one for each.
const FACTORS: [[f32; REQUESTS]; 2] = [[1.0, 1e3, 1e6], [1.0, f32::NAN, 1.0]];
/// The most bytes that the tensors between the operators may take for one row.
const TAPPED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How far the places of one row may lie apart, relative to the largest: sums in another order, and a level of
/// quantisation.
const APART_MAX: f64 = 2e-2;
/// Rows whose numbers are smaller count as if the largest were that.
const LARGEST_MIN: f64 = 1e-3;

/// The tensors of a graph that have one place for each row, made its outputs.
struct Taps {
    plan: Plan,
    /// The axis of the rows, for each output, and the operator that makes it.
    outputs: Vec<(usize, String)>,
}

impl Taps {
    /// Those of `model`; none where its graph is not kept, or cannot be compiled like this.
    fn new(model: &LocalModel) -> Option<Self> {
        let (graph, symbols) = model.compiled().source()?;
        let batch = match model.signature().dims.first()?.first()? {
            Dim::Free(number) => symbols.get(*number)?,
            Dim::Fixed(_) => return None,
        };
        let taps = outlets(graph, symbols, batch);
        let (outlets, outputs): (Vec<OutletId>, Vec<_>) = taps.into_iter().unzip();
        if outlets.is_empty() {
            return None;
        }
        let mut tapped = graph.clone();
        let compiled = contained(|| {
            tapped.select_output_outlets(&outlets)?;
            Plan::compile(tapped)
        });
        let failure = match compiled {
            Ok(Ok(plan)) => return Some(Self { plan, outputs }),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => panic,
        };
        tracing::warn!(failure, "only the outputs of a model are compared in its trial");
        None
    }

    /// Runs rows of these sizes alone and together.
    fn compare(&self, model: &LocalModel, sizes: [Size; REQUESTS]) -> Result<(), String> {
        let requests = requests(model, sizes)?;
        let alone: Result<Vec<_>, _> =
            requests.iter().map(|request| self.run(std::slice::from_ref(request))).collect();
        // A model need not take such rows.
        let Ok(alone) = alone else { return Ok(()) };
        let Ok(together) = self.run(&requests) else { return Ok(()) };
        let rows = sizes.iter().zip(&alone).enumerate();
        for (at, (Size { factor, .. }, alone)) in rows.filter(|(_, it)| !it.0.factor.is_nan()) {
            for (((axis, operator), alone), together) in
                self.outputs.iter().zip(alone).zip(&together)
            {
                let row = together.slice(*axis, at, at + 1);
                let alike = row.and_then(|row| near(alone, &row));
                if !alike.map_err(|error| error.to_string())? {
                    return Err(format!(
                        "what the operator {operator} makes of one row ({factor:e}) depends on the \
                         other rows"
                    ));
                }
            }
        }
        Ok(())
    }

    fn run(&self, requests: &[Prepared]) -> TractResult<TVec<TValue>> {
        let count = requests.first().map_or(0, |request| request.inputs().len());
        let values = (0..count).map(|position| {
            let parts = requests.iter().filter_map(|request| request.inputs().get(position));
            let parts = parts.map(convert::to_tract).collect::<TractResult<Vec<_>>>()?;
            TractTensor::stack_tensors(0, &parts).map(Into::into)
        });
        let values = values.collect::<TractResult<TVec<TValue>>>()?;
        contained(|| self.plan.run(values, None)).map_err(TractError::msg)?
    }
}

/// The tensors of numbers with exactly one axis of rows, that axis, and who makes them.
fn outlets(
    graph: &TypedModel,
    symbols: &[Symbol],
    batch: &Symbol,
) -> Vec<(OutletId, (usize, String))> {
    let of_one = |dim: &TDim| {
        let ones = symbols.iter().map(|symbol| (symbol.clone(), TDim::from(1))).collect();
        dim.substitute_all(&ones).ok().and_then(|dim| dim.to_usize().ok())
    };
    let mut bytes = 0_usize;
    let mut found = Vec::new();
    for node in graph.nodes().iter().filter(|node| !node.inputs.is_empty()) {
        for (slot, outlet) in node.outputs.iter().enumerate() {
            let fact = &outlet.fact;
            let numbers = fact.datum_type.is_float()
                || matches!(fact.datum_type, DatumType::U8 | DatumType::I8 | DatumType::I32);
            let axes: TVec<usize> = rows::axes_of(fact, batch).collect();
            let about = fact.shape.iter().filter(|dim| dim.symbols().contains(batch)).count();
            let ([axis], 1, true, None) = (&*axes, about, numbers, &fact.konst) else { continue };
            let Some(elements) = of_one(&fact.shape.volume()) else { continue };
            bytes = bytes.saturating_add(elements.saturating_mul(fact.datum_type.size_of()));
            if bytes > TAPPED_BYTES_MAX {
                return found;
            }
            let operator = format!("{} (node '{}')", node.op.name(), node.name);
            found.push((OutletId::new(node.id, slot), (*axis, operator)));
        }
    }
    found
}

/// Whether two tensors of one row are equal, but for rounding relative to the largest number of the first.
fn near(alone: &TractTensor, together: &TractTensor) -> TractResult<bool> {
    if alone.shape() != together.shape() {
        return Ok(false);
    }
    let (alone, together) = (alone.cast_to::<f64>()?, together.cast_to::<f64>()?);
    let (alone, together) = (alone.try_as_plain_ram()?, together.try_as_plain_ram()?);
    let (alone, together) = (alone.as_slice::<f64>()?, together.as_slice::<f64>()?);
    let sizes = alone.iter().map(|number| number.abs()).filter(|size| size.is_finite());
    let allowed = APART_MAX * sizes.fold(LARGEST_MIN, f64::max);
    let mut pairs = alone.iter().zip(together);
    Ok(pairs.all(|(a, b)| {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed
    }))
}
