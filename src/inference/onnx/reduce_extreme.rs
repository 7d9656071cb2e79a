//! `ai.onnx` ReduceMax and ReduceMin.
//!
//! Owns the largest or smallest element along axes, infinities and NaN included
//! (<https://onnx.ai/onnx/operators/onnx__ReduceMax.html>). tract starts from the largest finite number, so
//! that a row of nothing but minus infinity, as masks have them, gets a number. Never takes axes that are
//! computed while the model runs: those are left to tract, which refuses them.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::{Datum, DatumType, TValue, TVec, Tensor, TractResult, tensor1, tvec};
use tract_onnx::tract_hir::infer::InferenceOp;
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim, bail};

use crate::inference::ml::{self, Attributes, Form, Operator};

/// The largest of the elements along some axes, or the smallest.
#[derive(Debug)]
pub(super) struct ReduceExtreme<const LARGEST: bool> {
    /// From the end where negative; `None` for all.
    axes: Option<Vec<i64>>,
    keep: bool,
    /// Whether no axes are none instead of all.
    none_is_none: bool,
}

/// Makes the operator of a node.
pub(super) fn build<const LARGEST: bool>(
    context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let mut operator: ReduceExtreme<LARGEST> = ml::parse(node, context.onnx_operator_set_version)?;
    if let Some(name) = node.input.get(1).filter(|name| !name.is_empty()) {
        let constant = context.parent_graphs.iter().find_map(|graph| constant(graph, name));
        let Some(constant) = constant else { return super::stock(context, node) };
        let axes = context.load_tensor(constant)?;
        operator.axes = Some(axes.try_as_plain_ram()?.as_slice::<i64>()?.to_vec());
    }
    Ok((ml::wrap(operator, node), Vec::new()))
}

/// The constant of that name.
fn constant<'a>(graph: &'a GraphProto, name: &str) -> Option<&'a tract_onnx::pb::TensorProto> {
    let initializer = graph.initializer.iter().find(|tensor| tensor.name == name);
    initializer.or_else(|| {
        let is_it = |node: &&NodeProto| node.op_type == "Constant" && node.output == [name];
        let node = graph.node.iter().find(is_it)?;
        node.attribute.iter().find(|attribute| attribute.name == "value")?.t.as_ref()
    })
}

impl<const LARGEST: bool> Operator for ReduceExtreme<LARGEST> {
    const NAME: &'static str = if LARGEST { "ReduceMax" } else { "ReduceMin" };

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let axes = attributes.ints("axes")?;
        Ok(Self {
            axes: (!axes.is_empty()).then(|| axes.to_vec()),
            keep: attributes.int("keepdims")?.unwrap_or(1) != 0,
            none_is_none: attributes.int("noop_with_empty_axes")?.unwrap_or(0) != 0,
        })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let Some(input) = inputs.first() else { bail!("{} takes an input", Self::NAME) };
        let reduced = self.reduced(input.shape.len())?;
        let mut shape: TVec<TDim> = TVec::new();
        for (dim, reduced) in input.shape.iter().zip(&reduced) {
            match (reduced, self.keep) {
                (false, _) => shape.push(dim.clone()),
                (true, true) => shape.push(TDim::from(1)),
                (true, false) => {}
            }
        }
        Ok(tvec!(Form { datum_type: input.datum_type, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let Some(input) = inputs.first() else { bail!("{} takes an input", Self::NAME) };
        let reduced = self.reduced(input.rank())?;
        let output = match input.datum_type() {
            DatumType::F32 => self.reduce(input, &reduced, f32::NEG_INFINITY, f32::INFINITY),
            DatumType::F64 => self.reduce(input, &reduced, f64::NEG_INFINITY, f64::INFINITY),
            DatumType::I64 => self.reduce(input, &reduced, i64::MIN, i64::MAX),
            DatumType::I32 => self.reduce(input, &reduced, i32::MIN, i32::MAX),
            DatumType::I16 => self.reduce(input, &reduced, i16::MIN, i16::MAX),
            DatumType::I8 => self.reduce(input, &reduced, i8::MIN, i8::MAX),
            DatumType::U64 => self.reduce(input, &reduced, u64::MIN, u64::MAX),
            DatumType::U32 => self.reduce(input, &reduced, u32::MIN, u32::MAX),
            DatumType::U16 => self.reduce(input, &reduced, u16::MIN, u16::MAX),
            DatumType::U8 => self.reduce(input, &reduced, u8::MIN, u8::MAX),
            DatumType::Bool => self.reduce(input, &reduced, false, true),
            DatumType::TDim => {
                let concrete = input.cast_to::<i64>()?;
                let output = self.reduce(&concrete, &reduced, i64::MIN, i64::MAX)?;
                Ok(output.cast_to::<TDim>()?.into_owned())
            }
            other => bail!("{} takes numbers, not {other:?}", Self::NAME),
        };
        Ok(tvec!(output?.into_tvalue()))
    }
}

impl<const LARGEST: bool> ReduceExtreme<LARGEST> {
    /// For each axis whether it is reduced.
    fn reduced(&self, rank: usize) -> TractResult<Vec<bool>> {
        let axes = match self.axes.as_deref() {
            None | Some([]) => return Ok(vec![!self.none_is_none; rank]),
            Some(axes) => axes,
        };
        let count = i64::try_from(rank)?;
        let mut reduced = vec![false; rank];
        for &axis in axes {
            let position = if axis < 0 { axis + count } else { axis };
            match usize::try_from(position).ok().and_then(|position| reduced.get_mut(position)) {
                Some(place) => *place = true,
                None => bail!("{} has the axis {axis}, but its input the rank {rank}", Self::NAME),
            }
        }
        Ok(reduced)
    }

    fn reduce<T: Datum + Copy + PartialOrd>(
        &self,
        input: &Tensor,
        reduced: &[bool],
        least: T,
        most: T,
    ) -> TractResult<Tensor> {
        let kept = |(size, reduced): (&usize, &bool)| if *reduced { 1 } else { *size };
        let shape: TVec<usize> = input.shape().iter().zip(reduced).map(kept).collect();
        let mut places = vec![if LARGEST { least } else { most }; shape.iter().product()];
        let elements = input.try_as_plain_ram()?.as_slice::<T>()?;
        let mut index: TVec<usize> = tvec!(0; shape.len());
        for &element in elements {
            let axes = index.iter().zip(&shape).zip(reduced);
            let place = axes.fold(0, |place, ((index, size), reduced)| {
                place * size + if *reduced { 0 } else { *index }
            });
            if let Some(place) = places.get_mut(place)
                && exceeds::<T, LARGEST>(element, *place)
            {
                *place = element;
            }
            // The next index, the last axis first.
            for (index, size) in index.iter_mut().zip(input.shape()).rev() {
                *index += 1;
                if *index < *size {
                    break;
                }
                *index = 0;
            }
        }
        let squeezed = shape.iter().zip(reduced).filter(|(_, reduced)| self.keep || !**reduced);
        let shape: TVec<usize> = squeezed.map(|(size, _)| *size).collect();
        tensor1(&places).into_shape(&shape)
    }
}

/// Whether `element` takes the place of `best`. NaN takes any and gives none away.
fn exceeds<T: PartialOrd, const LARGEST: bool>(element: T, best: T) -> bool {
    #[expect(clippy::eq_op, reason = "what does not equal itself is NaN")]
    let (element_is_nan, best_is_nan) = (element != element, best != best);
    !best_is_nan && (element_is_nan || if LARGEST { element > best } else { element < best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(
        axes: &[i64],
        keep: bool,
        shape: &[usize],
        elements: &[f32],
    ) -> (Vec<usize>, Vec<f32>) {
        let operator =
            ReduceExtreme::<true> { axes: Some(axes.to_vec()), keep, none_is_none: false };
        let input = Tensor::from_shape(shape, elements).expect("agrees");
        let outputs = operator.run(tvec!(input.into())).expect("runs");
        let plain = outputs[0].try_as_plain_ram().expect("plain");
        (outputs[0].shape().to_vec(), plain.as_slice::<f32>().expect("f32").to_vec())
    }

    #[test]
    fn infinities_and_nan_come_through() {
        let rows = [f32::NEG_INFINITY, f32::NEG_INFINITY, 1.0, f32::NAN, -1.0, 3.0];
        let (shape, maxima) = largest(&[-1], true, &[3, 2], &rows);
        assert_eq!((shape, maxima[0], maxima[2]), (vec![3, 1], f32::NEG_INFINITY, 3.0));
        assert!(maxima[1].is_nan());
        assert_eq!(largest(&[0], false, &[2, 2], &[1.0, 4.0, 3.0, 2.0]), (vec![2], vec![3.0, 4.0]));
        assert_eq!(largest(&[], false, &[2, 2], &[1.0, 4.0, 3.0, 2.0]), (vec![], vec![4.0]));
        assert_eq!(largest(&[1], false, &[2, 0], &[]), (vec![2], vec![f32::NEG_INFINITY; 2]));
        let smallest = ReduceExtreme::<false> { axes: None, keep: false, none_is_none: false };
        let input = tensor1(&[3_i64, -2, 5]);
        let outputs = smallest.run(tvec!(input.into())).expect("runs");
        assert_eq!(outputs[0].cast_to_scalar::<i64>().expect("one"), -2);
        assert!(
            smallest.reduced(1).is_ok()
                && ReduceExtreme::<true> { axes: Some(vec![1]), keep: true, none_is_none: false }
                    .reduced(1)
                    .is_err()
        );
    }
}
