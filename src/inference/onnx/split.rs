//! `ai.onnx` Split of a dimension that only a request tells.
//!
//! Owns that the parts make up all of it (<https://onnx.ai/onnx/operators/onnx__Split.html>): tract takes the parts from the
//! front, so that what is left of a longer row is lost without a word. Where the file says the size, parts that do not
//! add up to it are refused when the model is loaded; where it does not, it is the caller's mistake. Never splits.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{OutletId, TValue, TVec, TractResult, TypedFact, TypedModel, tvec};
use tract_onnx::tract_hir::infer::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, Expansion, Op, StaticName, TypedModelPatch, TypedNode, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, expand, op_as_typed_op, op_out_of_plan};

use super::wiring::{self, Built, constant, integers};
use crate::inference::ml::Unacceptable;

/// Since when the last of equal parts may be smaller than the others.
const SMALLER_SINCE: i64 = 18;

/// A node of the file.
#[derive(Debug, Clone)]
struct Split {
    stock: Box<dyn Expansion>,
    /// From the end where negative.
    axis: i64,
    /// Those of an attribute, before they were an input.
    sizes: Option<Vec<i64>>,
    /// What they are where no sizes are given.
    equal: Parts,
}

/// The parts of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts {
    /// Of given sizes, which have so many places together.
    Together(usize),
    /// So many of the same size.
    Equal(usize),
    /// So many, of which the last may be smaller.
    UpTo(usize),
}

/// Lets a tensor pass that can be split.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Splittable {
    axis: usize,
    parts: Parts,
}

/// Makes the operator of a node.
pub(super) fn build(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let count = node.output.len();
    let smaller = context.onnx_operator_set_version >= SMALLER_SINCE;
    let split = Split {
        stock: wiring::stock(context, node)?,
        axis: node.get_attr_opt("axis")?.unwrap_or(0),
        sizes: node.get_attr_opt_vec("split")?,
        equal: if smaller { Parts::UpTo(count) } else { Parts::Equal(count) },
    };
    Ok((expand(split), Vec::new()))
}

impl Parts {
    /// Those of these sizes.
    fn of(sizes: &[i64]) -> TractResult<Self> {
        let together = sizes
            .iter()
            .try_fold(0_usize, |together, size| together.checked_add(usize::try_from(*size).ok()?));
        match together {
            Some(together) => Ok(Self::Together(together)),
            None => bail!("Split has parts of the sizes {sizes:?}"),
        }
    }

    /// Why a dimension of `len` places cannot be split, if so.
    fn against(self, len: usize) -> Option<String> {
        match self {
            Self::Together(places) => (places != len).then(|| {
                format!(
                    "the model splits {places} places into parts, and there are {len}: the inputs are too long or \
                     too short"
                )
            }),
            Self::Equal(parts) => (parts == 0 || !len.is_multiple_of(parts)).then(|| {
                format!("the model makes {parts} equal parts, and there are {len} places to split")
            }),
            Self::UpTo(parts) => {
                let others = len.div_ceil(parts.max(1)) * parts.saturating_sub(1);
                (parts == 0 || others > len).then(|| {
                    format!("the model makes {parts} parts, and there are {len} places to split")
                })
            }
        }
    }
}

impl Expansion for Split {
    fn name(&self) -> StaticName {
        self.stock.name()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.stock.nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.stock.rules(solver, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let Some(&input) = inputs.first() else { bail!("Split takes an input") };
        let parts = match (inputs.get(1), &self.sizes) {
            (Some(sizes), _) => match constant(model, *sizes)? {
                Some(sizes) => Parts::of(&integers(&sizes)?)?,
                None => bail!("the sizes of Split must be constants"),
            },
            (None, Some(sizes)) => Parts::of(sizes)?,
            (None, None) => self.equal,
        };
        let shape = &model.outlet_fact(input)?.shape;
        let rank = i64::try_from(shape.rank())?;
        let axis = if self.axis < 0 { self.axis + rank } else { self.axis };
        let axis = usize::try_from(axis).ok().filter(|axis| *axis < shape.rank());
        let Some((axis, dim)) = axis.and_then(|axis| Some((axis, shape.get(axis)?))) else {
            bail!("Split has the axis {}, and its input {rank} dimensions", self.axis);
        };
        let mut inputs: TVec<OutletId> = inputs.into();
        match dim.as_i64().map(usize::try_from) {
            Some(len) => {
                if let Some(reason) = parts.against(len?) {
                    bail!("{reason}");
                }
            }
            None => {
                let name = format!("{prefix}.splittable");
                let checked = wiring::node(name, model, Splittable { axis, parts }, &[input])?;
                inputs.first_mut().into_iter().for_each(|input| *input = checked);
            }
        }
        self.stock.wire(prefix, model, &inputs)
    }
}

impl Op for Splittable {
    fn name(&self) -> StaticName {
        "Split".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Splittable {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("Split takes one input") };
        let len = input.shape().get(self.axis).copied().unwrap_or(0);
        match self.parts.against(len) {
            Some(reason) => Err(Unacceptable::new(reason).into()),
            None => Ok(inputs),
        }
    }
}

impl TypedOp for Splittable {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("Split takes one input") };
        Ok(tvec!(input.without_value()))
    }

    /// Of a size that fits nothing is left to look at.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let [input] = *node.inputs else { bail!("Split takes one input") };
        let dim = model.outlet_fact(input)?.shape.get(self.axis);
        let len = dim.and_then(|dim| usize::try_from(dim.as_i64()?).ok());
        if len.is_none_or(|len| self.parts.against(len).is_some()) {
            return Ok(None);
        }
        let mut patch = TypedModelPatch::default();
        let input = patch.tap_model(model, input)?;
        patch.shunt_outside(model, node.id.into(), input)?;
        Ok(Some(patch))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::Tensor;
    use tract_onnx::tract_hir::internal::IntoTValue as _;

    use super::*;

    #[test]
    fn parts_make_up_all_of_a_dimension() {
        let fit = |parts: Parts| (0..8).filter(move |len| parts.against(*len).is_none());
        let fitting = |parts: Parts| fit(parts).collect::<Vec<_>>();
        assert_eq!(fitting(Parts::of(&[2, 0, 3]).expect("sizes")), [5]);
        assert!(Parts::of(&[2, -1]).is_err() && Parts::of(&[i64::MIN]).is_err());
        assert_eq!(fitting(Parts::Equal(3)), [0, 3, 6]);
        assert_eq!(fitting(Parts::UpTo(3)), [0, 2, 3, 4, 5, 6, 7]);
        assert!(fitting(Parts::Equal(0)).is_empty() && fitting(Parts::UpTo(0)).is_empty());
    }

    #[test]
    fn a_dimension_that_cannot_be_split_is_the_callers_mistake() {
        let splittable = Splittable { axis: 1, parts: Parts::Together(5) };
        let run = |features: usize| {
            let zeros = Tensor::zero::<f32>(&[2, features]).expect("small").into_tvalue();
            splittable.eval(&EvalContext::out_of_plan(), tvec!(zeros))
        };
        assert_eq!(run(5).expect("fits")[0].shape(), [2, 5]);
        for features in [0, 4, 6] {
            let error = run(features).expect_err("does not fit");
            assert!(error.root_cause().is::<Unacceptable>(), "{error}");
        }
    }
}
