//! Borders whose width follows from the size of the image: `auto_pad` SAME_UPPER and SAME_LOWER of Conv.
//!
//! Owns that it is the width that the file means. Where only every so many places of what a convolution makes are used,
//! tract has it make no others, with wider steps (`fuse_downsample_into_conv` of tract-core 0.23.9); of wider steps such a border
//! is another. Where the size is known the border is written out. Must see a graph before it is simplified.

use tract_onnx::prelude::{TVec, TractResult, TypedModel};
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, PaddingSpec};

use super::bodies::bodies_mut;

/// Writes such borders in `model` out, also in the bodies of loops and branches.
///
/// # Errors
/// When a convolution takes an image of another rank.
pub(in crate::inference) fn write_out(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let Some(conv) = node.op_as::<Conv>() else { continue };
        let (Some(image), true) = (node.inputs.first(), follows_the_size(&conv.pool_spec.padding))
        else {
            continue;
        };
        let shape = conv.pool_spec.data_format.shape(model.outlet_fact(*image)?.shape.to_tvec())?;
        let sizes = shape.hw_dims().iter().map(|size| size.as_i64()?.try_into().ok());
        let Some(sizes) = sizes.collect::<Option<TVec<usize>>>() else { continue };
        let borders = conv.pool_spec.computed_padding(&sizes);
        let mut conv = conv.clone();
        conv.pool_spec.padding = PaddingSpec::Explicit(
            borders.iter().map(|border| border.pad_before).collect(),
            borders.iter().map(|border| border.pad_after).collect(),
        );
        model.node_mut(id).op = Box::new(conv);
    }
    for node in model.nodes_mut() {
        bodies_mut(&mut *node.op).into_iter().try_for_each(write_out)?;
    }
    Ok(())
}

fn follows_the_size(padding: &PaddingSpec) -> bool {
    matches!(padding, PaddingSpec::SameUpper | PaddingSpec::SameLower)
}
