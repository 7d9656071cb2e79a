//! `ai.onnx` Resize of version 10.
//!
//! Owns that its nearest pixel is the one below (<https://onnx.ai/onnx/operators/onnx__Resize.html>), where tract takes
//! the one that later versions take; for smaller pictures nothing says which, so that they are refused. Never touches
//! later versions.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::prelude::{OutletId, Tensor, TractResult, TypedModel};
use tract_onnx::tract_hir::internal::{Expansion, StaticName, bail};

use super::wiring::{self, Built, Wiring, constant};

/// From here on a node says which pixel it takes.
const NEAREST_MODE_SINCE: i64 = 11;

/// A node of the file that takes the pixels below.
#[derive(Debug, Clone)]
struct Floor(Box<dyn Expansion>);

/// Makes the operator of a node.
pub(super) fn build(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let nearest = node.get_attr_opt::<&str>("mode")?.unwrap_or("nearest") == "nearest";
    if context.onnx_operator_set_version >= NEAREST_MODE_SINCE || !nearest {
        return super::stock(context, node);
    }
    let mut node = node.clone();
    node.attribute.push(AttributeProto {
        name: "nearest_mode".to_owned(),
        r#type: AttributeType::String.into(),
        s: b"floor".to_vec(),
        ..AttributeProto::default()
    });
    wiring::built(Floor(wiring::stock(context, &node)?))
}

/// Whether no dimension becomes smaller.
fn grows(scales: &Tensor) -> TractResult<bool> {
    let scales = scales.cast_to::<f32>()?;
    Ok(scales.try_as_plain_ram()?.as_slice::<f32>()?.iter().all(|scale| *scale >= 1.0))
}

impl Wiring for Floor {
    fn operator(&self) -> StaticName {
        self.0.name()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let scales = match inputs.get(1) {
            Some(scales) => constant(model, *scales)?,
            None => bail!("Resize takes a picture and scales"),
        };
        if !scales.map(|scales| grows(&scales)).transpose()?.unwrap_or(false) {
            bail!(
                "version 10 of Resize does not say which pixels of a smaller picture are the nearest"
            );
        }
        wiring::only(prefix, &self.0.wire(prefix, model, inputs)?)
    }

    fn stock(&self) -> Option<&dyn Expansion> {
        Some(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    #[test]
    fn a_picture_that_becomes_smaller_is_told_from_others() {
        assert!(grows(&tensor1(&[1.0_f32, 1.0, 2.5])).expect("numbers"));
        assert!(!grows(&tensor1(&[1.0_f32, 0.5])).expect("numbers"));
        assert!(!grows(&tensor1(&[f32::NAN])).expect("numbers"));
    }
}
