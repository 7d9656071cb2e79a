//! What operators that reduce along axes have in common.
//!
//! Owns which axes are reduced, what shape is left, and the way from each element to its place in it. Axes are
//! attributes or, in later versions, an input, which must be a constant. Never takes axes that are computed while the
//! model runs.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{Arc, OutletId, TVec, Tensor, TractResult, TypedModel, tvec};
use tract_onnx::tract_hir::internal::{StaticName, TDim, bail};

use super::wiring::{self, Built, Likeness, Wiring, constant, integers};
use crate::inference::ml::{self, Attributes, Form, Operator};

/// An operator that reduces along axes.
pub(super) trait Reduction: Operator + Clone {
    /// Which ones.
    fn axes(&self) -> &Axes;

    /// The operator along these.
    fn along(axes: Axes) -> Self;
}

/// A node of the file.
#[derive(Debug, Clone)]
struct Reducing<R> {
    operator: R,
    /// Whether the axes are an input.
    given: bool,
}

/// Makes the operator of a node.
pub(super) fn build<R: Reduction>(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let operator: R = ml::parse(node, context.onnx_operator_set_version)?;
    let given = node.input.get(1).is_some_and(|name| !name.is_empty());
    wiring::built(Reducing { operator, given })
}

impl<R: Reduction> Wiring for Reducing<R> {
    fn operator(&self) -> StaticName {
        R::NAME.into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [data, rest @ ..] = inputs else { bail!("{} takes data", R::NAME) };
        let axes = match (self.given, rest.first()) {
            (true, Some(axes)) => match constant(model, *axes)? {
                Some(axes) => self.operator.axes().given(&axes)?,
                None => bail!("the axes of {} must be constants", R::NAME),
            },
            _ => self.operator.axes().clone(),
        };
        wiring::node(prefix, model, ml::typed(R::along(axes)), &[*data])
    }

    fn likeness(&self) -> Likeness {
        Likeness::Nothing
    }

    fn deciding(&self) -> TVec<usize> {
        if self.given { tvec!(1) } else { tvec!() }
    }

    fn shape(&self, data: TVec<TDim>, values: &[Arc<Tensor>]) -> TractResult<TVec<TDim>> {
        match values.first() {
            Some(axes) => self.operator.axes().given(axes)?.shape(&data),
            None => self.operator.axes().shape(&data),
        }
    }
}

/// Which axes are reduced.
#[derive(Debug, Clone, Default)]
pub(super) struct Axes {
    /// From the end where negative; `None` for all.
    axes: Option<Vec<i64>>,
    keep: bool,
    /// Whether no axes are none instead of all.
    none_is_none: bool,
}

impl Axes {
    /// These axes; none of them for all.
    #[cfg(test)]
    pub(super) fn new(axes: &[i64], keep: bool) -> Self {
        Self { axes: (!axes.is_empty()).then(|| axes.to_vec()), keep, none_is_none: false }
    }

    /// Those that the attributes name.
    pub(super) fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let axes = attributes.ints("axes")?;
        Ok(Self {
            axes: (!axes.is_empty()).then(|| axes.to_vec()),
            keep: attributes.int("keepdims")?.unwrap_or(1) != 0,
            none_is_none: attributes.int("noop_with_empty_axes")?.unwrap_or(0) != 0,
        })
    }

    /// The same with those that an input names.
    fn given(&self, axes: &Tensor) -> TractResult<Self> {
        Ok(Self { axes: Some(integers(axes)?), ..*self })
    }

    /// For each axis of a tensor of this rank whether it is reduced.
    pub(super) fn reduced(&self, rank: usize) -> TractResult<Vec<bool>> {
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
                None => bail!("the axis {axis} does not exist in a tensor of rank {rank}"),
            }
        }
        Ok(reduced)
    }

    /// The form of the output.
    pub(super) fn form(&self, input: &Form) -> TractResult<Form> {
        Ok(Form { datum_type: input.datum_type, shape: self.shape(&input.shape)? })
    }

    /// The shape of the output.
    fn shape(&self, input: &[TDim]) -> TractResult<TVec<TDim>> {
        let reduced = self.reduced(input.len())?;
        let mut shape: TVec<TDim> = TVec::new();
        for (dim, reduced) in input.iter().zip(&reduced) {
            match (reduced, self.keep) {
                (false, _) => shape.push(dim.clone()),
                (true, true) => shape.push(TDim::from(1)),
                (true, false) => {}
            }
        }
        Ok(shape)
    }

    /// The way from the elements of a tensor of this shape to their places.
    pub(super) fn places(&self, shape: &[usize]) -> TractResult<Places> {
        let reduced = self.reduced(shape.len())?;
        let kept = |(size, reduced): (&usize, &bool)| if *reduced { 1 } else { *size };
        let left: TVec<usize> = shape.iter().zip(&reduced).map(kept).collect();
        let squeezed = left.iter().zip(&reduced).filter(|(_, reduced)| self.keep || !**reduced);
        let output = squeezed.map(|(size, _)| *size).collect();
        Ok(Places { shape: shape.into(), reduced, left, output })
    }
}

/// Where the elements of a tensor go when it is reduced.
#[derive(Debug)]
pub(super) struct Places {
    shape: TVec<usize>,
    reduced: Vec<bool>,
    /// The shape with 1 for what is reduced.
    left: TVec<usize>,
    /// The shape of the output.
    pub(super) output: TVec<usize>,
}

impl Places {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.left.iter().product()
    }

    /// The place of each element, in the order of the elements; without end.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let mut index: TVec<usize> = tvec!(0; self.shape.len());
        std::iter::repeat_with(move || {
            let axes = index.iter().zip(&self.left).zip(&self.reduced);
            let place = axes.fold(0, |place, ((index, size), reduced)| {
                place * size + if *reduced { 0 } else { *index }
            });
            // The next index, the last axis first.
            for (index, size) in index.iter_mut().zip(&self.shape).rev() {
                *index += 1;
                if *index < *size {
                    break;
                }
                *index = 0;
            }
            place
        })
    }
}
