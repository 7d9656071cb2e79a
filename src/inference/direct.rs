//! Convolutions and products with constant weights, on kernels of our own.
//!
//! Owns which operators of a graph become ours when it is compiled for this processor: convolutions of 32-bit
//! numbers in one group along one or two axes ([`conv`]), and products of the last axes of 32-bit numbers
//! ([`dense`]), both with constant weights. Ours read the input where it lies, where tract copies it into the order of
//! its matrix kernels first, and take the bias, Relu or Clip that follows with them. What is neither, and what a
//! processor without wide registers runs, is left to tract. Never changes what a graph means: the products of a sum are
//! added in another order, NaN stays.

mod conv;
mod dense;
mod kernel;
#[cfg(test)]
mod tests;

use tract_onnx::prelude::{Arc, DatumType, OutletId, Tensor, TractResult, TypedFact, TypedModel};
use tract_onnx::tract_hir::internal::{InOut, ToDim as _, TypedModelPatch, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::math::Add;
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

use self::conv::DirectConv;
use self::dense::Dense;
use self::kernel::Panels;
use super::onnx;

/// The most numbers of weights. Of more than that, what takes the time is that they come from memory, and they would
/// have to be laid out when the model is loaded.
const WEIGHTS_MAX: usize = 4 * 1024 * 1024;

/// Puts ours into the place of what they can do, in a graph that is not optimised yet.
pub(super) fn lower(model: &mut TypedModel) -> TractResult<()> {
    let Some(lanes) = kernel::lanes() else { return Ok(()) };
    let candidates = model.nodes().iter();
    let candidates = candidates.filter(|node| node.op_is::<Conv>() || node.op_is::<EinSum>());
    let candidates: Vec<usize> = candidates.map(|node| node.id).collect();
    for id in &candidates {
        let node = model.node(*id);
        let patch = match convolution(model, node, lanes)? {
            None => product(model, node, lanes)?,
            patch => patch,
        };
        if let Some(patch) = patch {
            patch.apply(model)?;
        }
    }
    if !candidates.is_empty() {
        model.compact()?;
    }
    Ok(())
}

/// What the convolution of a node becomes, if it is to be ours.
fn convolution(
    model: &TypedModel,
    node: &TypedNode,
    lanes: usize,
) -> TractResult<Option<TypedModelPatch>> {
    let Some(conv) = node.op_as::<Conv>() else { return Ok(None) };
    let [input, weights, bias] = *node.inputs else { return Ok(None) };
    let outputs = conv.output_channels();
    let taken = conv.q_params.is_none()
        && conv.group == 1
        && conv.kernel_fmt == KernelFormat::OIHW
        && matches!(conv.pool_spec.data_format, DataFormat::NCHW | DataFormat::CHW)
        && matches!(conv.pool_spec.rank(), 1 | 2)
        && conv::is_compact(&conv.pool_spec);
    let single = model.outlet_fact(input)?.datum_type == DatumType::F32;
    if !taken || !single || !is_enough(outputs, lanes) {
        return Ok(None);
    }
    let (Some(weights), Some(bias)) = (numbers(model, weights)?, numbers(model, bias)?) else {
        return Ok(None);
    };
    let (weights, bias) = (weights.try_as_plain_ram()?, bias.try_as_plain_ram()?);
    let panels = Panels::new(weights.as_slice::<f32>()?, bias.as_slice::<f32>()?, outputs, lanes);
    let Some(panels) = panels else { return Ok(None) };
    let mut last = node;
    let bounds = clip(model, &mut last)?;
    let ours = DirectConv::new(conv.pool_spec.clone(), panels.within(bounds));
    let mut patch = TypedModelPatch::new("direct convolution");
    let tap = patch.tap_model(model, input)?;
    let output = patch.wire_node(&last.name, ours, &[tap])?;
    put(model, patch, last, &output)
}

/// What the product of a node becomes, if it is to be ours.
fn product(
    model: &TypedModel,
    node: &TypedNode,
    lanes: usize,
) -> TractResult<Option<TypedModelPatch>> {
    let Some(product) = node.op_as::<EinSum>() else { return Ok(None) };
    let [left, right] = *node.inputs else { return Ok(None) };
    if product.q_params.is_some() || product.operating_dt != DatumType::F32 {
        return Ok(None);
    }
    let (slot, input, weights) = match (numbers(model, left)?, numbers(model, right)?) {
        (None, Some(weights)) => (0, left, weights),
        (Some(weights), None) => (1, right, weights),
        _ => return Ok(None),
    };
    let fact = model.outlet_fact(input)?;
    let Some(layout) = Layout::of(product, slot, fact, &weights) else { return Ok(None) };
    let outputs = weights.shape().get(layout.outer).copied().unwrap_or(0);
    if fact.datum_type != DatumType::F32 || !is_enough(outputs, lanes) {
        return Ok(None);
    }
    let rows = weights.to_plain_array_view::<f32>()?.permuted_axes(layout.order());
    let rows: Vec<f32> = rows.iter().copied().collect();
    let mut last = node;
    let bias = bias(model, &mut last, outputs)?;
    let zero = [0.0];
    let Some(panels) = Panels::new(&rows, bias.as_deref().unwrap_or(&zero), outputs, lanes) else {
        return Ok(None);
    };
    let ours = Dense::new(layout.kept, panels.within(clip(model, &mut last)?));
    let mut patch = TypedModelPatch::new("product with weights");
    let tap = patch.tap_model(model, input)?;
    let output = patch.wire_node(&last.name, ours, &[tap])?;
    put(model, patch, last, &output)
}

/// Which axis of a product is which, where the last axes of one operand are added up, its first ones are kept, and
/// the other operand is weights.
struct Layout {
    /// How many axes are kept.
    kept: usize,
    /// Those of the weights that are added up, in the order in which the operand has them.
    inner: Vec<usize>,
    /// That of the weights which is kept.
    outer: usize,
    /// Those of the weights that have one place.
    rest: Vec<usize>,
}

impl Layout {
    /// Of a product with `weights`, if it is one; the operand is in position `slot`.
    fn of(product: &EinSum, slot: usize, input: &TypedFact, weights: &Tensor) -> Option<Self> {
        let length = |place: &usize| weights.shape().get(*place).copied();
        let (mut inner, mut outer, mut kept, mut rest) = (Vec::new(), None, 0, Vec::new());
        for axis in product.axes.iter_all_axes() {
            let of_input = axis.inputs.get(slot)?.as_slice();
            let of_weights = axis.inputs.get(1 - slot)?.as_slice();
            let of_output = axis.outputs.first()?.as_slice();
            match (of_input, of_weights, of_output) {
                ([axis], [place], []) => {
                    if input.shape.get(*axis)? != &length(place)?.to_dim() {
                        return None;
                    }
                    inner.push((*axis, *place));
                }
                ([], [place], [axis]) if outer.is_none() => outer = Some((*axis, *place)),
                ([axis], [], []) if input.shape.get(*axis)?.is_one() => {}
                ([axis], places, [same]) if axis == same => {
                    if places.iter().any(|place| length(place) != Some(1)) {
                        return None;
                    }
                    rest.extend(places);
                    kept += 1;
                }
                ([], [place], []) if length(place)? == 1 => rest.push(*place),
                _ => return None,
            }
        }
        inner.sort_unstable();
        let (last, outer) = outer?;
        // What is kept comes first then, on either side.
        let after = inner.iter().all(|(axis, _)| *axis >= kept);
        let ends = last == kept && product.axes.rank(InOut::Out(0)) == kept + 1;
        let inner: Vec<usize> = inner.into_iter().map(|(_, place)| place).collect();
        (after && ends && !inner.is_empty()).then_some(Self { kept, inner, outer, rest })
    }

    /// The axes of the weights with those of an output side by side.
    fn order(&self) -> Vec<usize> {
        [&[self.outer][..], &self.inner, &self.rest].concat()
    }
}

/// Whether there are so many outputs that most of a register is used.
fn is_enough(outputs: usize, lanes: usize) -> bool {
    outputs * 2 >= lanes
}

/// The single-precision numbers that an outlet always has, where they are not too many.
fn numbers(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Arc<Tensor>>> {
    let constant = model.outlet_fact(outlet)?.konst.clone();
    let taken = |numbers: &Arc<Tensor>| {
        numbers.is_plain_ram()
            && numbers.datum_type() == DatumType::F32
            && numbers.len() <= WEIGHTS_MAX
    };
    Ok(constant.filter(taken))
}

/// The node that alone takes what `node` makes.
fn next<'a>(model: &'a TypedModel, node: &TypedNode) -> TractResult<Option<&'a TypedNode>> {
    let outlet = OutletId::from(node.id);
    let seen = model.output_outlets()?.contains(&outlet);
    match *model.outlet_successors(outlet) {
        [next] if !seen => Ok(Some(model.node(next.node))),
        _ => Ok(None),
    }
}

/// The bounds of the Clip that follows the node `last`, which is the Clip then.
fn clip<'a>(model: &'a TypedModel, last: &mut &'a TypedNode) -> TractResult<Option<(f32, f32)>> {
    let Some(next) = next(model, last)? else { return Ok(None) };
    let bounds = onnx::clip_bounds(next.op.as_ref());
    if bounds.is_some() {
        *last = next;
    }
    Ok(bounds)
}

/// The constants that the node after `last` adds to each output, which is the addition then.
fn bias<'a>(
    model: &'a TypedModel,
    last: &mut &'a TypedNode,
    outputs: usize,
) -> TractResult<Option<Vec<f32>>> {
    let Some(next) = next(model, last)? else { return Ok(None) };
    let adds = next.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Add>() && op.1.is_none());
    let others = next.inputs.iter().filter(|input| input.node != last.id);
    let [other] = *others.copied().collect::<Vec<_>>() else { return Ok(None) };
    let Some(numbers) = numbers(model, other)? else { return Ok(None) };
    let [.., along] = *numbers.shape() else { return Ok(None) };
    let same = model.outlet_fact(last.id.into())?.shape == model.outlet_fact(next.id.into())?.shape;
    if !adds || !same || along != outputs || numbers.len() != outputs {
        return Ok(None);
    }
    *last = next;
    Ok(Some(numbers.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
}

/// Has a patch stand for everything up to the node `last`.
fn put(
    model: &TypedModel,
    mut patch: TypedModelPatch,
    last: &TypedNode,
    outputs: &[OutletId],
) -> TractResult<Option<TypedModelPatch>> {
    let [output] = *outputs else { return Ok(None) };
    patch.shunt_outside(model, last.id.into(), output)?;
    Ok(Some(patch))
}
