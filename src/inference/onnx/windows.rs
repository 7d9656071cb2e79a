//! Convolutions and pools of images that are smaller than their windows.
//!
//! Owns the look at the sizes of an image before tract computes how many windows it has: it takes a number below none
//! for a huge one, and the product of two such numbers is no bound on where it writes
//! (tract-core 0.23.9, `PaddingSpec`). Such an image is the caller's mistake. Where the file says its sizes, the model
//! is refused, and there are no plans for such sizes. Must see a graph before it is simplified.

use tract_onnx::prelude::{TValue, TVec, TractResult, TypedFact, TypedModel, tvec};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, Op, StaticName, TypedModelPatch, TypedNode, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::cnn::{
    Conv, Deconv, MaxPool, PaddingSpec, PoolSpec, SumPool,
};

use super::bodies::bodies_mut;
use super::wiring;
use crate::inference::ml::Unacceptable;

/// Lets an image pass that has room for a window.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Roomy {
    /// Of the operator behind it, whose axes are the last ones of the image.
    windows: Vec<Window>,
}

/// The windows along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    /// From its first place to its last one.
    span: usize,
    /// What is laid around the image, at both ends together.
    border: usize,
}

/// Puts a look at the image in front of the convolutions and pools in `model`, also in the bodies of loops and
/// branches.
///
/// # Errors
/// An image whose sizes the file says has no room for a window.
pub(in crate::inference) fn look(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        if let Some(patch) = looked_at(model, model.node(id))? {
            patch.apply(model)?;
        }
    }
    for node in model.nodes_mut() {
        bodies_mut(&mut *node.op).into_iter().try_for_each(look)?;
    }
    Ok(())
}

/// `node` behind a look at its image, where it has windows and the sizes are open.
fn looked_at(model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
    let Some(roomy) = Roomy::of(&*node.op) else { return Ok(None) };
    let Some(&image) = node.inputs.first() else { return Ok(None) };
    match roomy.against_known(model.outlet_fact(image)?) {
        Some(None) => return Ok(None),
        Some(Some(reason)) => bail!("{reason}"),
        None => {}
    }
    wiring::in_front(model, node, 0, "image", roomy)
}

impl Roomy {
    /// What `op` needs, if it has windows.
    fn of(op: &dyn TypedOp) -> Option<Self> {
        let pool = (op.downcast_ref::<Conv>().map(|op| &op.pool_spec))
            .or_else(|| op.downcast_ref::<MaxPool>().map(|op| &op.pool_spec))
            .or_else(|| op.downcast_ref::<SumPool>().map(|op| &op.pool_spec));
        let windows = match (pool, op.downcast_ref::<Deconv>()) {
            (Some(pool), _) => (0..pool.rank()).map(|axis| Window::along(pool, axis)).collect(),
            (None, Some(op)) => {
                (0..op.pool_spec.rank()).map(|axis| Window::transposed(op, axis)).collect()
            }
            (None, None) => return None,
        };
        Some(Self { windows })
    }

    /// Why an image of this shape has no room, if so.
    fn against(&self, shape: &[usize]) -> Option<String> {
        let first = shape.len().saturating_sub(self.windows.len());
        let axes = shape.iter().skip(first).zip(&self.windows);
        let mut reasons = axes.filter_map(|(places, window)| window.against(*places));
        reasons.next()
    }

    /// The same where the sizes of the image are known; else nothing is.
    fn against_known(&self, image: &TypedFact) -> Option<Option<String>> {
        let first = image.rank().saturating_sub(self.windows.len());
        let sizes = image.shape.iter().skip(first);
        let sizes: Option<Vec<usize>> = sizes.map(|size| size.as_i64()?.try_into().ok()).collect();
        sizes.map(|sizes| self.against(&sizes))
    }
}

impl Window {
    fn along(pool: &PoolSpec, axis: usize) -> Self {
        let span = span(pool, axis);
        match border(pool, axis) {
            Some(border) => Self { span, border },
            // As much as is missing.
            None => Self { span: 1, border: 0 },
        }
    }

    /// Of a transposed convolution: each place becomes a window, and of all together the border is cut off.
    fn transposed(op: &Deconv, axis: usize) -> Self {
        let pool = &op.pool_spec;
        let more = op.adjustments.get(axis).copied().unwrap_or(0);
        let cut = border(pool, axis).unwrap_or(0).saturating_add(1);
        let missing = cut.saturating_sub(span(pool, axis).saturating_add(more));
        Self { span: missing.div_ceil(pool.stride(axis).max(1)).saturating_add(1), border: 0 }
    }

    fn against(self, places: usize) -> Option<String> {
        let Self { span, border } = self;
        (places == 0 || places.saturating_add(border) < span).then(|| {
            format!(
                "the model looks at {span} places of an image or a series at once, and there are {places} \
                 and a border of {border}: the input is too small"
            )
        })
    }
}

/// How many places a window has from its first one to its last one.
pub(in crate::inference) fn span(pool: &PoolSpec, axis: usize) -> usize {
    let places = pool.kernel_shape.get(axis).copied().unwrap_or(1).max(1);
    pool.dilation(axis).saturating_mul(places - 1).saturating_add(1)
}

/// What the file has laid around the image, at both ends together; `None` where that follows from its size.
fn border(pool: &PoolSpec, axis: usize) -> Option<usize> {
    let at = |list: &TVec<usize>| list.get(axis).copied().unwrap_or(0);
    match &pool.padding {
        PaddingSpec::Explicit(before, after) | PaddingSpec::ExplicitOnnxPool(before, after, _) => {
            Some(at(before).saturating_add(at(after)))
        }
        PaddingSpec::Valid => Some(0),
        PaddingSpec::SameUpper | PaddingSpec::SameLower => None,
    }
}

impl Op for Roomy {
    fn name(&self) -> StaticName {
        "Roomy".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Roomy {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [image] = &*inputs else { bail!("one image is looked at") };
        match self.against(image.shape()) {
            Some(reason) => Err(Unacceptable::new(reason).into()),
            None => Ok(inputs),
        }
    }
}

impl TypedOp for Roomy {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [image] = inputs else { bail!("one image is looked at") };
        // Sizes that have no room never come to be known: what follows would be computed with them.
        match self.against_known(image) {
            Some(Some(reason)) => Err(Unacceptable::new(reason).into()),
            Some(None) | None => Ok(tvec!(image.without_value())),
        }
    }

    /// Of a size that has room nothing is left to look at.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let [image] = *node.inputs else { bail!("one image is looked at") };
        match self.against_known(model.outlet_fact(image)?) {
            Some(None) => TypedModelPatch::shunt_one_op(model, node),
            Some(Some(_)) | None => Ok(None),
        }
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_hir::tract_core::ops::cnn::KernelFormat;

    use super::*;

    #[test]
    fn a_window_needs_as_many_places_as_it_spans() {
        let padding = PaddingSpec::Explicit(tvec![1], tvec![0]);
        let spec = |padding| PoolSpec {
            kernel_shape: tvec![3],
            padding,
            dilations: Some(tvec![2]),
            ..PoolSpec::default()
        };
        let fits = |padding, places| Window::along(&spec(padding), 0).against(places).is_none();
        assert!(fits(padding.clone(), 4) && !fits(padding, 3));
        assert!(fits(PaddingSpec::Valid, 5) && !fits(PaddingSpec::Valid, 4));
        assert!(fits(PaddingSpec::SameUpper, 1) && !fits(PaddingSpec::SameUpper, 0));
        let wide = PaddingSpec::Explicit(tvec![9], tvec![9]);
        assert!(fits(wide.clone(), 1) && !fits(wide, 0));
        // Of a window of 5 places for each, 2 apart, and one more, 7 are cut off.
        let cut = PaddingSpec::Explicit(tvec![3], tvec![4]);
        let pool = PoolSpec { strides: Some(tvec![2]), ..spec(cut) };
        let op = Deconv::new(pool, KernelFormat::OIHW, tvec![1], 1);
        assert!(Window::transposed(&op, 0).against(1).is_some());
        assert!(Window::transposed(&op, 0).against(2).is_none());
    }
}
