//! `ai.onnx` Mul by a constant that is nothing but zeros.
//!
//! Owns that zero times NaN or an infinity is NaN (IEEE 754, section 6). tract puts a zero in place of the
//! product; exporters use it to make zeros in the shape of an input, and what should show as NaN would pass
//! for a number. Never takes part in any other multiplication, which stays tract's.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::prelude::{IntoTensor as _, TValue, TVec, TractResult, tvec};
use tract_onnx::tract_hir::infer::InferenceOp;
use tract_onnx::tract_hir::internal::{EvalOp as _, IntoTValue as _, bail};
use tract_onnx::tract_hir::ops::binary::BinIntoHir as _;
use tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast;
use tract_onnx::tract_hir::tract_core::ops::math;

use crate::inference::ml::{self, Attributes, Form, Operator};

/// Multiplies and does nothing else.
#[derive(Debug)]
struct Mul;

/// Makes the operator of a node.
pub(super) fn build(
    context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let constants = context.parent_graphs.iter().flat_map(|graph| &graph.initializer);
    let mut factors = constants.filter(|constant| node.input.contains(&constant.name));
    if factors.any(is_zero) {
        ml::build::<Mul>(context, node)
    } else {
        Ok((math::Mul.into_hir(), Vec::new()))
    }
}

/// Whether these are floating-point zeros without exception.
fn is_zero(constant: &TensorProto) -> bool {
    match DataType::try_from(constant.data_type) {
        Ok(DataType::Float) => {
            let (raw, _rest) = constant.raw_data.as_chunks::<4>();
            raw.iter().all(|bytes| f32::from_le_bytes(*bytes) == 0.0)
                && constant.float_data.iter().all(|x| *x == 0.0)
        }
        Ok(DataType::Double) => {
            let (raw, _rest) = constant.raw_data.as_chunks::<8>();
            raw.iter().all(|bytes| f64::from_le_bytes(*bytes) == 0.0)
                && constant.double_data.iter().all(|x| *x == 0.0)
        }
        _ => false,
    }
}

impl Operator for Mul {
    const NAME: &'static str = "Mul";

    fn parse(_attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let [a, b] = inputs else { bail!("Mul takes two inputs") };
        if a.datum_type != b.datum_type {
            bail!("Mul takes factors of one type, not {:?} and {:?}", a.datum_type, b.datum_type);
        }
        let shape = multi_broadcast(&[&a.shape, &b.shape])?;
        Ok(tvec!(Form { datum_type: a.datum_type, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let rank = inputs.iter().map(|input| input.rank()).max().unwrap_or(0);
        let factors = inputs.into_iter().map(|input| {
            let factor = input.into_tensor().broadcast_into_rank(rank)?;
            Ok(factor.into_tvalue())
        });
        let factors = factors.collect::<TractResult<_>>()?;
        match math::mul().eval_out_of_plan(factors)? {
            Some(outputs) => Ok(outputs),
            None => bail!("Mul needs the plan around it"),
        }
    }
}
