//! `ai.onnx` Gemm of numbers of 64 and of 16 bits.
//!
//! Owns that the factors `alpha` and `beta` are of the type of the operands
//! (<https://onnx.ai/onnx/operators/onnx__Gemm.html>): tract multiplies by FP32, which it cannot with another type, so that
//! no Gemm of FP64 with a third input or a factor would run. Never multiplies matrices, and leaves all of FP32 to tract.

use half::f16;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    DatumType, OutletId, SpecialOps as _, Tensor, TractResult, TypedModel, tensor0,
};
use tract_onnx::tract_hir::internal::{Expansion, StaticName, bail};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::change_axes::wire_with_rank_broadcast;
use tract_onnx::tract_hir::tract_core::ops::math;

use super::wiring::{self, Built, Wiring};

/// A node of the file.
#[derive(Debug, Clone)]
struct Gemm {
    stock: Box<dyn Expansion>,
    /// The same without factors.
    product: Box<dyn Expansion>,
    alpha: f32,
    beta: f32,
}

/// Makes the Gemm of a node.
pub(super) fn build(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    const FACTORS: [&str; 2] = ["alpha", "beta"];
    let mut bare = node.clone();
    bare.attribute.retain(|attribute| !FACTORS.contains(&&*attribute.name));
    let factor = |name| TractResult::Ok(node.get_attr_opt::<f32>(name)?.unwrap_or(1.0));
    let [alpha, beta] = FACTORS.map(factor);
    wiring::built(Gemm {
        stock: wiring::stock(context, node)?,
        product: wiring::stock(context, &bare)?,
        alpha: alpha?,
        beta: beta?,
    })
}

impl Wiring for Gemm {
    fn operator(&self) -> StaticName {
        self.stock.name()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [a, b, added @ ..] = inputs else { bail!("Gemm takes two matrices") };
        let datum_type = model.outlet_fact(*a)?.datum_type;
        if !matches!(datum_type, DatumType::F64 | DatumType::F16) {
            return wiring::only(prefix, &self.stock.wire(prefix, model, inputs)?);
        }
        let product = wiring::only(prefix, &self.product.wire(prefix, model, &[*a, *b])?)?;
        let product = times(&format!("{prefix}.alpha"), model, product, self.alpha, datum_type)?;
        match added {
            [c, ..] if self.beta != 0.0 => {
                let c = times(&format!("{prefix}.beta"), model, *c, self.beta, datum_type)?;
                both(prefix, model, math::add(), &[product, c])
            }
            _ => Ok(product),
        }
    }

    fn stock(&self) -> Option<&dyn Expansion> {
        Some(&*self.stock)
    }
}

/// The numbers of `operand` by a factor of their type, unless it is 1.
fn times(
    name: &str,
    model: &mut TypedModel,
    operand: OutletId,
    factor: f32,
    datum_type: DatumType,
) -> TractResult<OutletId> {
    if factor == 1.0 {
        return Ok(operand);
    }
    let factor: Tensor = match datum_type {
        DatumType::F16 => tensor0(f16::from_f32(factor)),
        _ => tensor0(f64::from(factor)),
    };
    let factor = model.add_const(format!("{name}.factor"), factor)?;
    both(name, model, math::mul(), &[factor, operand])
}

/// An operator of two tensors, the axes of which are aligned at the end.
fn both(
    name: &str,
    model: &mut TypedModel,
    operator: TypedBinOp,
    inputs: &[OutletId],
) -> TractResult<OutletId> {
    wiring::only(name, &wire_with_rank_broadcast(name, model, operator, inputs)?)
}
