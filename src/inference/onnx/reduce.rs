//! What operators that reduce along axes have in common.
//!
//! Owns which axes are reduced, what shape is left, and the way from each element to its place in it. Never
//! takes axes that are computed while the model runs: those nodes are left to tract, which refuses them.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{TVec, TractResult, tvec};
use tract_onnx::tract_hir::internal::{TDim, bail};

use crate::inference::ml::{Attributes, Form};

/// Which axes are reduced.
#[derive(Debug, Default)]
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

    /// Takes those that the second input names, as later versions have it; says whether they are known now.
    pub(super) fn take_input(
        &mut self,
        context: &ParsingContext<'_>,
        node: &NodeProto,
    ) -> TractResult<bool> {
        if let Some(name) = node.input.get(1).filter(|name| !name.is_empty()) {
            let Some(axes) = super::constant(context, name)? else { return Ok(false) };
            self.axes = Some(axes.try_as_plain_ram()?.as_slice::<i64>()?.to_vec());
        }
        Ok(true)
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
        let reduced = self.reduced(input.shape.len())?;
        let mut shape: TVec<TDim> = TVec::new();
        for (dim, reduced) in input.shape.iter().zip(&reduced) {
            match (reduced, self.keep) {
                (false, _) => shape.push(dim.clone()),
                (true, true) => shape.push(TDim::from(1)),
                (true, false) => {}
            }
        }
        Ok(Form { datum_type: input.datum_type, shape })
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
