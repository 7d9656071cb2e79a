//! Trying out whether the rows of a model are independent of each other.
//!
//! Owns which rows are tried, and what must be alike. A graph may have a batch dimension and still mix its rows, as one
//! that subtracts the mean of the batch does; answers of different callers must not depend on each other. Labels and
//! saturated scores hide that, so the tensors between the operators are compared too ([`taps`]), with rows whose sizes
//! lie far apart and rows of missing values. Integers may be indexes, which must be small: those of one
//! input at a time lie as far apart as the model takes them. Never keeps a model from being served one request at a time.

mod rows;
mod taps;

use std::path::Path;
use std::time::{Duration, Instant};

use tract_onnx::prelude::{Tensor as TractTensor, TractResult};

use self::rows::{Far, REQUESTS, Rows, Size, ordinary};
use self::taps::Taps;
use super::convert;
use super::local_model::{InferError, LocalModel, Prepared};
use crate::protocol::tensor::{Datatype, Tensor, TensorData};

/// The integers of the row that lies farthest from the others, or one more; the largest of a type first. Fewer are
/// tried where the model takes no such row, as one that has a table of so many places.
const TOPS: [u64; 13] = [u64::MAX, 1_000_000, 30_000, 5_000, 1_000, 250, 100, 30, 10, 5, 2, 1, 0];
/// The most that integers of the row between are.
const BETWEEN_MAX: u64 = 100;
/// What floating-point numbers of the rows are multiplied by, the farthest apart first.
const FACTORS: [[f32; REQUESTS]; 4] =
    [[1.0, 1e3, 1e6], [1.0, 30.0, 1e3], [1.0, 3.0, 10.0], [1.0; REQUESTS]];
/// One row in which numbers are missing.
const MISSING: [f32; REQUESTS] = [1.0, f32::NAN, 1.0];
/// How far the places of one row may lie apart, relative to the largest: sums in another order, and a level of
/// quantisation.
const APART_MAX: f64 = 2e-2;
/// Rows whose numbers are smaller count as if the largest were that.
const LARGEST_MIN: f64 = 1e-3;

/// Runs some rows alone and together, for so long. `path` is the model's, for the log.
///
/// # Errors
/// Says what depends on other rows, or what cannot be tried.
pub(super) fn rows_are_independent(
    model: &LocalModel,
    path: &Path,
    time: Duration,
) -> Result<(), String> {
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
    let until = Instant::now() + time;
    let trial = Trial { model, path, least, taps: Taps::new(model), time, until };
    trial.integers()?;
    trial.floats()
}

type Answers = Result<Vec<Vec<Tensor>>, InferError>;

/// Requests with the answer to each alone.
fn trial_rows(model: &LocalModel, rows: Rows) -> Result<(Vec<Prepared>, Answers), String> {
    let requests = rows::requests(model, rows)?;
    // The last one lies farthest apart, and is declined first.
    let alone: Result<Vec<_>, _> =
        requests.iter().rev().map(|request| model.run(request)).collect();
    let in_order = |mut alone: Vec<_>| {
        alone.reverse();
        alone
    };
    Ok((requests, alone.map(in_order)))
}

/// The trial of rows that lie apart.
struct Trial<'a> {
    model: &'a LocalModel,
    path: &'a Path,
    /// What integers are at least where they are small.
    least: u64,
    taps: Option<Taps>,
    time: Duration,
    until: Instant,
}

impl Trial<'_> {
    /// Tries rows of integers that lie apart, of one input at a time.
    fn integers(&self) -> Result<(), String> {
        use Datatype::{Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
        for (input, spec) in self.model.signature().inputs.iter().enumerate() {
            let whole = [Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64];
            if !whole.contains(&spec.datatype) {
                continue;
            }
            let (name, path) = (&spec.name, self.path.display());
            let rows = |top: &u64| {
                let between = top.isqrt().min(BETWEEN_MAX);
                [self.least, between, *top].map(|from| self.size(Far::Integers { from, input }))
            };
            match self.farthest(TOPS.iter().map(rows), |rows| self.answers_agree(rows))? {
                Some(0) => {}
                Some(number) => {
                    let largest = TOPS.get(number).map_or(0, |top| top.saturating_add(1));
                    tracing::info!(
                        %path, input = %name, largest,
                        "the trial of batches has no larger integers: the model declines them"
                    );
                }
                // The last of them are ordinary rows: only a model that fails now and then comes here.
                None => {
                    return Err(format!(
                        "no rows whose integers of the input '{name}' lie apart can be tried: the model fails on all \
                         of them, alone or together"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Compares the tensors between the operators for floating-point numbers that lie apart, of all inputs, and of one at
    /// a time where the model declines those.
    fn floats(&self) -> Result<(), String> {
        use Datatype::{Fp16, Fp32, Fp64};
        let Some(taps) = &self.taps else { return Ok(()) };
        let inputs = self.model.signature().inputs.iter().enumerate();
        let floats = inputs.filter(|(_, spec)| matches!(spec.datatype, Fp16 | Fp32 | Fp64));
        let floats: Vec<Option<usize>> = floats.map(|(input, _)| Some(input)).collect();
        let rows = |factors: [f32; REQUESTS], input| {
            factors.map(|factor| self.size(Far::Floats { factor, input }))
        };
        let apart = |input: Option<usize>| {
            let rows = FACTORS.iter().map(|factors| rows(*factors, input));
            self.farthest(rows, |rows| taps.compare(self.model, rows))
        };
        let missing = |input: Option<usize>| {
            self.farthest([rows(MISSING, input)], |rows| taps.compare(self.model, rows))
        };
        let ones: &[Option<usize>] = if floats.len() > 1 { &floats } else { &[] };
        let tried = apart(None)?;
        if tried != Some(0) {
            let path = self.path.display();
            match tried.and_then(|number| FACTORS.get(number)?.last()) {
                Some(factor) => tracing::info!(
                    %path, factor,
                    "the trial of batches has no larger floating-point numbers: the model declines them"
                ),
                // The last of them are the rows that it has just answered.
                None => {
                    tracing::warn!(%path, "only the outputs of a model are compared in its trial");
                }
            }
            ones.iter().try_for_each(|input| apart(*input).map(drop))?;
        }
        if missing(None)?.is_none() {
            ones.iter().try_for_each(|input| missing(*input).map(drop))?;
        }
        Ok(())
    }

    fn size(&self, far: Far) -> Size {
        Size { least: self.least, far }
    }

    /// The number of the first rows that the model takes, which are compared.
    fn farthest(
        &self,
        rows: impl IntoIterator<Item = Rows>,
        compare: impl Fn(Rows) -> Result<bool, String>,
    ) -> Result<Option<usize>, String> {
        for (number, rows) in rows.into_iter().enumerate() {
            if Instant::now() > self.until {
                return Err(format!("trying it takes longer than {:?}", self.time));
            }
            if compare(rows)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Compares what the model makes of rows alone and together, and the tensors between its operators; false where it
    /// does not take such rows.
    fn answers_agree(&self, rows: Rows) -> Result<bool, String> {
        let (requests, Ok(alone)) = trial_rows(self.model, rows)? else { return Ok(false) };
        let Ok(together) = self.model.run_together(&requests) else { return Ok(false) };
        compare(&alone, &together, roughly)?;
        // What values decide is not bounded there.
        if let Some(taps) = self.taps.as_ref().filter(|_| !self.model.form().is_open())
            && !taps.compare(self.model, rows)?
        {
            let path = self.path.display();
            tracing::warn!(%path, "only the outputs of a model are compared for rows of its trial");
        }
        Ok(true)
    }
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
