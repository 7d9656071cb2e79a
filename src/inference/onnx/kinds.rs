//! `ai.onnx` IsNaN and IsInf.
//!
//! Owns which numbers are missing or infinite (<https://onnx.ai/onnx/operators/onnx__IsInf.html>), of FP64 too, for which
//! tract has neither operator. Never changes a number.

use half::f16;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{Datum, DatumType, OutletId, Tensor, TractResult, TypedModel};
use tract_onnx::tract_hir::internal::{StaticName, bail};
use tract_onnx::tract_hir::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};

use super::wiring::{self, Built, Wiring};

/// A question about each number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Missing,
    Infinite { positive: bool, negative: bool },
}

/// Makes the IsNaN of a node.
pub(super) fn is_nan(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    wiring::built(Kind::Missing)
}

/// Makes the IsInf of a node.
pub(super) fn is_inf(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let detects = |name| TractResult::Ok(node.get_attr_opt::<i64>(name)?.unwrap_or(1) != 0);
    let (positive, negative) = (detects("detect_positive")?, detects("detect_negative")?);
    wiring::built(Kind::Infinite { positive, negative })
}

impl Wiring for Kind {
    fn operator(&self) -> StaticName {
        self.name().into()
    }

    fn datum_type(&self, inputs: &[DatumType]) -> TractResult<DatumType> {
        match inputs {
            [DatumType::F32 | DatumType::F64 | DatumType::F16] => Ok(DatumType::Bool),
            other => bail!("{} takes floating-point numbers, not {other:?}", self.name()),
        }
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        wiring::node(prefix, model, ElementWiseOp(Box::new(self.clone()), None), inputs)
    }
}

impl ElementWiseMiniOp for Kind {
    fn name(&self) -> String {
        match self {
            Self::Missing => "IsNaN",
            Self::Infinite { .. } => "IsInf",
        }
        .to_owned()
    }

    fn output_type(&self, _input: DatumType) -> Option<DatumType> {
        Some(DatumType::Bool)
    }

    fn eval_out_of_place(&self, tensor: &Tensor, _: Option<DatumType>) -> TractResult<Tensor> {
        match tensor.datum_type() {
            DatumType::F32 => self.answers::<f32>(tensor),
            DatumType::F64 => self.answers::<f64>(tensor),
            DatumType::F16 => self.answers::<f16>(tensor),
            other => bail!("{} takes floating-point numbers, not {other:?}", self.name()),
        }
    }
}

impl Kind {
    fn answers<T: Datum + Copy + Into<f64>>(&self, tensor: &Tensor) -> TractResult<Tensor> {
        let numbers = tensor.try_as_plain_ram()?.as_slice::<T>()?;
        let answers: Vec<bool> = numbers.iter().map(|x| self.is((*x).into())).collect();
        Tensor::from_shape(tensor.shape(), &answers)
    }

    fn is(&self, x: f64) -> bool {
        match *self {
            Self::Missing => x.is_nan(),
            Self::Infinite { positive, negative } => {
                positive && x == f64::INFINITY || negative && x == f64::NEG_INFINITY
            }
        }
    }
}
