//! `ai.onnx` LogSoftmax.
//!
//! Owns `x - max - log(sum(exp(x - max)))` along an axis
//! (<https://onnx.ai/onnx/operators/onnx__LogSoftmax.html>). tract takes the logarithm of the softmax, which
//! is minus infinity for what is only very unlikely. Up to version 12 all axes from the given one on count
//! as one. Never works on anything but FP32 and FP64. Of a Softmax it owns the look at the axis, which tract takes as it
//! is; all else is tract's.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    Datum, DatumType, IntoTensor as _, OutletId, TValue, TVec, Tensor, TractResult, TypedModel,
    tvec,
};
use tract_onnx::tract_hir::internal::{Expansion, IntoTValue as _, StaticName, TypedOp, bail};

use super::wiring::{self, Built, Wiring};
use crate::inference::ml::{self, Attributes, Form, Operator, operator};

/// A Softmax of the file, which has the axis of its logarithm.
#[derive(Debug, Clone)]
struct Softmax {
    stock: Box<dyn Expansion>,
    logarithm: LogSoftmax,
}

/// Makes the Softmax of a node.
pub(super) fn softmax(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let logarithm = ml::parse(node, context.onnx_operator_set_version)?;
    wiring::built(Softmax { stock: wiring::stock(context, node)?, logarithm })
}

impl Wiring for Softmax {
    fn operator(&self) -> StaticName {
        self.stock.name()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [input] = inputs else { bail!("Softmax takes one input") };
        let rank = model.outlet_fact(*input)?.rank();
        if self.logarithm.position(rank).is_err() {
            bail!("Softmax has the axis {}, but its input the rank {rank}", self.logarithm.axis);
        }
        wiring::only(prefix, &self.stock.wire(prefix, model, inputs)?)
    }

    fn stock(&self) -> Option<&dyn Expansion> {
        Some(&*self.stock)
    }
}

/// The axis, from the end where it is negative.
#[derive(Debug, Clone)]
pub(super) struct LogSoftmax {
    axis: i64,
    /// Whether the following axes count as a part of it.
    flat: bool,
}

impl Operator for LogSoftmax {
    const NAME: &'static str = "LogSoftmax";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        const ONE_AXIS_SINCE: i64 = 13;
        let flat = attributes.version() < ONE_AXIS_SINCE;
        let axis = attributes.int("axis")?.unwrap_or(if flat { 1 } else { -1 });
        Ok(Self { axis, flat })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        if !matches!(input.datum_type, DatumType::F32 | DatumType::F64) {
            bail!("LogSoftmax takes FP32 or FP64, not {:?}", input.datum_type);
        }
        self.position(input.shape.len())?;
        Ok(tvec!(input.clone()))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut tensor = Self::only(inputs)?.into_tensor();
        let axis = self.position(tensor.rank())?;
        let shape: TVec<usize> = tensor.shape().into();
        let (_, from_axis) = shape.split_at_checked(axis).unwrap_or((&shape, &[]));
        let (length, inner) = match from_axis {
            [length, inner @ ..] if !self.flat => (*length, inner.iter().product()),
            all => (all.iter().product(), 1),
        };
        match tensor.datum_type() {
            DatumType::F64 => each(&mut tensor, length, inner, |lane: &mut [f64]| {
                let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = lane.iter().map(|x| (x - max).exp()).sum();
                lane.iter_mut().for_each(|x| *x = *x - max - sum.ln());
            })?,
            _ => each(&mut tensor, length, inner, |lane: &mut [f32]| {
                let max = lane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                // Of a long row the sum would lose what is small.
                let sum: f64 = lane.iter().map(|x| f64::from((x - max).exp())).sum();
                let logarithm = sum.ln() as f32;
                lane.iter_mut().for_each(|x| *x = *x - max - logarithm);
            })?,
        }
        Ok(tvec!(tensor.into_tvalue()))
    }
}

/// Whether `op` is this operator and joins the places along `axis` of an input with so many axes.
pub(in crate::inference) fn joins(op: &dyn TypedOp, axis: usize, rank: usize) -> bool {
    let Some(softmax) = operator::<LogSoftmax>(op) else { return false };
    softmax.position(rank).is_ok_and(|at| if softmax.flat { at <= axis } else { at == axis })
}

impl LogSoftmax {
    fn position(&self, rank: usize) -> TractResult<usize> {
        let count = i64::try_from(rank)?;
        let axis = if self.axis < 0 { self.axis + count } else { self.axis };
        // Flattening may start behind the last axis.
        let fits = (0..count + i64::from(self.flat)).contains(&axis) || rank == 0 && axis == 0;
        match usize::try_from(axis) {
            Ok(position) if fits => Ok(position),
            _ => bail!("LogSoftmax has the axis {}, but its input the rank {rank}", self.axis),
        }
    }
}

/// Calls `change` with the elements along an axis of `length`, whose neighbours are `inner` apart.
fn each<T: Datum + Copy>(
    tensor: &mut Tensor,
    length: usize,
    inner: usize,
    change: impl Fn(&mut [T]),
) -> TractResult<()> {
    let mut plain = tensor.try_as_plain_ram_mut()?;
    let elements = plain.as_slice_mut::<T>()?;
    if length == 0 || inner == 0 {
        return Ok(());
    }
    if inner == 1 {
        elements.chunks_exact_mut(length).for_each(change);
        return Ok(());
    }
    let mut lane = Vec::with_capacity(length);
    for block in elements.chunks_exact_mut(length * inner) {
        for offset in 0..inner {
            lane.clear();
            lane.extend(block.iter().skip(offset).step_by(inner).copied());
            change(&mut lane);
            let places = block.iter_mut().skip(offset).step_by(inner);
            places.zip(&lane).for_each(|(place, x)| *place = *x);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(axis: i64, flat: bool, shape: &[usize], elements: &[f32]) -> Vec<f32> {
        let input = Tensor::from_shape(shape, elements).expect("agrees");
        let outputs = LogSoftmax { axis, flat }.run(tvec!(input.into())).expect("runs");
        outputs[0].try_as_plain_ram().expect("plain").as_slice::<f32>().expect("f32").to_vec()
    }

    #[test]
    fn what_is_very_unlikely_keeps_its_logarithm() {
        assert_eq!(applied(-1, false, &[1, 2], &[0.0, -2000.0]), [0.0, -2000.0]);
        assert_eq!(applied(0, false, &[2, 2], &[0.0, 5.0, -2000.0, 5.0])[2], -2000.0);
        let half = -(2_f32.ln());
        assert_eq!(applied(1, false, &[1, 2, 2], &[1.0, 2.0, 1.0, 2.0]), [half; 4]);
        assert_eq!(applied(1, true, &[1, 2, 2], &[0.0; 4]), [-(4_f32.ln()); 4]);
        assert_eq!(applied(-1, false, &[0, 3], &[]), [0.0; 0]);
        assert!(LogSoftmax { axis: 2, flat: false }.position(2).is_err());
    }
}
