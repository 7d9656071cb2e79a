//! Operators of tract that make a tensor of whatever size a value says: Range, and Tile where the numbers of
//! copies are computed.
//!
//! Owns the look at that size before anything is allocated: beyond what a run may take it is the caller's
//! mistake and says so, where tract would end the process. A Range that runs away from its limit is empty, as
//! specified (<https://onnx.ai/onnx/operators/onnx__Range.html>), also where tract would count backwards. What
//! follows from the size is watched by the footprint of the run. Never looks at sizes that shapes decide.

use tract_onnx::prelude::{
    DatumType, TValue, TVec, Tensor, TractResult, TypedFact, TypedModel, tvec,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue as _, Op, StaticName, SymbolValues, TDim, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::array::{DynTile, Range};

use super::bodies::bodies_mut;
use crate::inference::ml::Unacceptable;

/// An operator with a bound on what it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bounded {
    maker: Maker,
    /// In bytes.
    limit: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Maker {
    Range(Range),
    Tile(DynTile),
}

/// Has such operators make at most `limit` bytes, also in the bodies of loops and branches.
pub(in crate::inference) fn bound(model: &mut TypedModel, limit: u64) {
    for node in model.nodes_mut() {
        let range = node.op.downcast_ref::<Range>().cloned().map(Maker::Range);
        let tile = || node.op.downcast_ref::<DynTile>().cloned().map(Maker::Tile);
        if let Some(maker) = range.or_else(tile) {
            node.op = Box::new(Bounded { maker, limit });
        } else {
            bodies_mut(&mut *node.op).into_iter().for_each(|body| bound(body, limit));
        }
    }
}

impl Bounded {
    fn inner(&self) -> &dyn TypedOp {
        match &self.maker {
            Maker::Range(op) => op,
            Maker::Tile(op) => op,
        }
    }

    /// The elements that are asked for.
    fn elements(&self, symbols: &SymbolValues, inputs: &[TValue]) -> TractResult<u128> {
        match (&self.maker, inputs) {
            (Maker::Range(_), [start, end, step]) => steps(symbols, start, end, step),
            (Maker::Tile(_), [data, copies]) => numbers(symbols, copies)?.into_iter().try_fold(
                data.len() as u128,
                |elements, copies| {
                    let Ok(copies) = u128::try_from(copies) else {
                        let reason = "a number of copies is negative".to_owned();
                        return Err(Unacceptable::new(reason).into());
                    };
                    Ok(elements.saturating_mul(copies))
                },
            ),
            _ => bail!("{} takes other inputs", self.inner().name()),
        }
    }
}

/// Whole numbers, of which some may follow from shapes.
pub(super) fn numbers(symbols: &SymbolValues, of: &Tensor) -> TractResult<Vec<i64>> {
    if of.datum_type() != DatumType::TDim {
        return Ok(of.cast_to::<i64>()?.try_as_plain_ram()?.as_slice::<i64>()?.to_vec());
    }
    let plain = of.try_as_plain_ram()?;
    plain.as_slice::<TDim>()?.iter().map(|number| number.eval_to_i64(symbols)).collect()
}

/// How many numbers there are from `start` on before `end`.
fn steps(symbols: &SymbolValues, start: &Tensor, end: &Tensor, step: &Tensor) -> TractResult<u128> {
    let zero = || Unacceptable::new("a range has steps of zero".to_owned());
    if matches!(start.datum_type(), DatumType::F32 | DatumType::F64) {
        let number = |of: &Tensor| -> TractResult<f64> { of.cast_to_scalar::<f64>() };
        let (start, end, step) = (number(start)?, number(end)?, number(step)?);
        if step == 0.0 {
            return Err(zero().into());
        }
        // Rounds towards what tract takes; NaN is no number of steps.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        return Ok(((end - start) / step).ceil() as u128);
    }
    // tract makes symbolic numbers of others by way of 32 bits.
    let number = |of: &Tensor| -> TractResult<i128> {
        Ok(numbers(symbols, of)?.first().copied().unwrap_or_default().into())
    };
    let (start, end, step) = (number(start)?, number(end)?, number(step)?);
    if step == 0 {
        return Err(zero().into());
    }
    let (distance, length) = if step > 0 { (end - start, step) } else { (start - end, -step) };
    Ok(u128::try_from(distance).unwrap_or(0).div_ceil(length.unsigned_abs()))
}

impl Op for Bounded {
    fn name(&self) -> StaticName {
        self.inner().name()
    }

    fn mints_runtime_symbols(&self) -> bool {
        true
    }

    op_as_typed_op!();
}

impl EvalOp for Bounded {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let elements = self.elements(context.symbols, &inputs)?;
        let Some(first) = inputs.first() else { bail!("{} takes inputs", self.inner().name()) };
        let bytes = elements.saturating_mul(first.datum_type().size_of() as u128);
        if bytes > u128::from(self.limit) {
            let (name, mib) = (self.inner().name(), self.limit / (1024 * 1024));
            let reason = format!(
                "{name} would make a tensor of {elements} elements, and `inference.run_memory` allows {mib} MiB"
            );
            return Err(Unacceptable::new(reason).into());
        }
        match &self.maker {
            Maker::Range(_) if elements == 0 => {
                let whole = first.datum_type() == DatumType::TDim;
                let datum_type = if whole { DatumType::I64 } else { first.datum_type() };
                Ok(tvec!(Tensor::zero_dt(datum_type, &[0])?.into_tvalue()))
            }
            _ => self.inner().eval(context, inputs),
        }
    }
}

impl TypedOp for Bounded {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.inner().output_facts(inputs)
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{Datum, IntoTensor as _, tensor0, tensor1};
    use tract_onnx::tract_hir::internal::SymbolScope;

    use super::*;

    const LIMIT: u64 = 1024 * 1024;

    fn run(maker: Maker, inputs: &[Tensor]) -> TractResult<Tensor> {
        let inputs = inputs.iter().map(|input| input.clone().into_tvalue()).collect();
        let op = Bounded { maker, limit: LIMIT };
        Ok(op.eval(&EvalContext::out_of_plan(), inputs)?.remove(0).into_tensor())
    }

    fn refused(found: TractResult<Tensor>) -> bool {
        let error = found.map(|_| ()).expect_err("too much");
        error.root_cause().downcast_ref::<Unacceptable>().is_some()
    }

    fn range<T: Datum + Copy>(values: [T; 3]) -> TractResult<Tensor> {
        run(Maker::Range(Range::default()), &values.map(tensor0))
    }

    #[test]
    fn a_range_beyond_the_limit_is_the_callers_mistake_and_not_made() {
        assert_eq!(range([0_i64, 5, 2]).expect("small"), tensor1(&[0_i64, 2, 4]));
        assert_eq!(range([3.0_f32, 1.0, -0.5]).expect("small").len(), 4);
        for end in [200_000, 10_i64.pow(13), i64::MAX] {
            assert!(refused(range([0, end, 1])), "{end}");
            assert!(refused(range([i64::MIN, end, 1])), "{end}");
        }
        assert!(refused(range([0.0_f32, f32::INFINITY, 1.0])) && refused(range([0, 1, 0_i64])));
        let symbolic = |ends: [i64; 3]| {
            run(Maker::Range(Range::default()), &ends.map(|end| tensor0(TDim::Val(end))))
        };
        assert_eq!(symbolic([1, 3, 1]).expect("small"), tensor1(&[1_i64, 2]));
        assert_eq!(symbolic([5, 0, 1]).expect("none").len(), 0);
        assert!(refused(symbolic([0, i64::MAX, 1])));
    }

    #[test]
    fn a_range_that_runs_away_from_its_limit_is_empty() {
        assert_eq!(range([5_i64, 0, 1]).expect("none").len(), 0);
        assert_eq!(range([f32::NAN, 0.0, 1.0]).expect("none").len(), 0);
    }

    #[test]
    fn copies_beyond_the_limit_are_the_callers_mistake() {
        let tile = |copies: &[i64]| {
            let op = DynTile::new(&SymbolScope::default(), 2);
            let data = Tensor::zero::<f32>(&[2, 3]).expect("small");
            run(Maker::Tile(op), &[data, tensor1(copies)])
        };
        assert_eq!(tile(&[2, 1]).expect("small").shape(), [4, 3]);
        assert!(refused(tile(&[1 << 20, 1])) && refused(tile(&[i64::MAX, i64::MAX])));
        assert!(refused(tile(&[-1, 1])));
    }
}
