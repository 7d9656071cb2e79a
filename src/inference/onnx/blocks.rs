//! `com.microsoft` MatMulNBits and GatherBlockQuantized: weights of a few bits with a scale for each block.
//!
//! Owns the refusal of scales that would be rounded
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>): tract holds those of
//! blocks of 32 in 16 bits, which is exact for what was quantised in FP16. Never touches other blocks, whose
//! scales stay as they are.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{OutletId, Tensor, TractResult, TypedModel, f16};
use tract_onnx::tract_hir::internal::{Expansion, StaticName, bail};

use super::stock;
use super::wiring::{self, Built, Wiring, constant};

/// The blocks that tract has a packed form for.
const PACKED: i64 = 32;

/// A node of the file whose blocks tract packs.
#[derive(Debug, Clone)]
struct Packed(Box<dyn Expansion>);

/// Makes MatMulNBits. Weights of 2 bits are packed for any multiple of the block.
pub(super) fn mat_mul(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let block: i64 = node.get_attr("block_size")?;
    let columns: i64 = node.get_attr("K")?;
    let narrow = node.get_attr_opt::<i64>("bits")? == Some(2);
    let packed = block == PACKED || narrow && block % PACKED == 0;
    build(context, node, packed && columns % PACKED == 0)
}

/// Makes GatherBlockQuantized.
pub(super) fn gather(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let packed = node.get_attr_opt::<i64>("block_size")? == Some(PACKED);
    build(context, node, packed)
}

/// Makes a node whose third input are scales.
fn build(context: &ParsingContext<'_>, node: &NodeProto, packed: bool) -> Built {
    if packed { wiring::built(Packed(wiring::stock(context, node)?)) } else { stock(context, node) }
}

impl Wiring for Packed {
    fn operator(&self) -> StaticName {
        self.0.name()
    }

    /// Refuses scales that do not stay what they are.
    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        if let Some(scales) = inputs.get(2)
            && let Some(scales) = constant(model, *scales)?
            && let Some(scale) = rounded(&scales)?
        {
            bail!(
                "{} has the scale {scale}, which 16 bits do not hold and for blocks of {PACKED} must; quantise \
                 the weights in FP16, or in blocks of another size",
                self.0.name()
            );
        }
        wiring::only(prefix, &self.0.wire(prefix, model, inputs)?)
    }

    fn stock(&self) -> Option<&dyn Expansion> {
        Some(&*self.0)
    }
}

/// The first scale that 16 bits do not hold.
fn rounded(scales: &Tensor) -> TractResult<Option<f32>> {
    let scales = scales.cast_to::<f32>()?;
    let mut scales = scales.try_as_plain_ram()?.as_slice::<f32>()?.iter().copied();
    Ok(scales.find(|scale| f16::from_f32(*scale).to_f32().to_bits() != scale.to_bits()))
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    #[test]
    fn scales_of_sixteen_bits_are_told_from_others() {
        let halves = [0.0_f32, -0.0, 0.5, 1.0 / 1024.0, 65_504.0, f16::from_f32(0.1).to_f32()];
        assert_eq!(rounded(&tensor1(&halves)).expect("numbers"), None);
        for scale in [0.1_f32, 70_000.0, 1e-9] {
            assert_eq!(rounded(&tensor1(&[1.0, scale])).expect("numbers"), Some(scale));
        }
    }
}
