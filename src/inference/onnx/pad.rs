//! `ai.onnx` Pad from version 2 on.
//!
//! Owns which places a border repeats (<https://onnx.ai/onnx/operators/onnx__Pad.html>), for all modes, and that the
//! value to pad with counts in the mode "constant" only. Pads below 0 take places away first. tract pads with the
//! value in any mode, has no "wrap", and panics where a border is wider than what it mirrors; a border of a
//! value, which its optimiser knows, is left to it. Never pads by what is computed while the model runs.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    Arc, Datum, DatumType, OutletId, TValue, TVec, Tensor, TractResult, TypedFact, TypedModel, f16,
    tensor0, tensor1, tvec,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue as _, Op, StaticName, TDim, TypedOp,
};
use tract_onnx::tract_hir::internal::{
    as_op, bail, dispatch_datum, op_as_typed_op, op_out_of_plan,
};
use tract_onnx::tract_hir::tract_core::ops::array::{Pad as Padding, PadMode};

use super::stock;
use super::wiring::{self, Built, Likeness, Wiring, constant, integers};
use crate::inference::ml::Unacceptable;

/// From version 2 on the attributes are as they are now.
const SINCE: i64 = 2;
/// From version 11 on the pads are inputs.
const INPUTS_SINCE: i64 = 11;

/// A node of the file; its inputs by position among those that are given.
#[derive(Debug, Clone)]
struct Pad {
    mode: Mode,
    given: Given,
}

/// What is at the places of a border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A value.
    Constant,
    /// What is as far away from the edge on the other side of it.
    Reflect,
    /// What is at the edge.
    Edge,
    /// What is at the other end.
    Wrap,
}

/// Where pads and value are from.
#[derive(Debug, Clone)]
enum Given {
    Attributes { pads: Vec<i64>, value: Arc<Tensor> },
    Inputs { value: Option<usize>, axes: Option<usize> },
}

/// Makes borders, or takes places away, along any dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Border {
    mode: Mode,
    /// What is added before and after each dimension.
    pads: Vec<[i64; 2]>,
    /// What to pad with, of the type of the data, if it is not zero.
    value: Option<Arc<Tensor>>,
}

/// Makes the operator of a node.
pub(super) fn build(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let version = context.onnx_operator_set_version;
    if version < SINCE {
        return stock(context, node);
    }
    let mode = match node.get_attr_opt::<&str>("mode")?.unwrap_or("constant") {
        "constant" => Mode::Constant,
        "reflect" => Mode::Reflect,
        "edge" => Mode::Edge,
        "wrap" => Mode::Wrap,
        other => bail!("the mode '{other}' of Pad is not supported"),
    };
    let given = if version < INPUTS_SINCE {
        let value = node.get_attr_opt::<f32>("value")?.unwrap_or(0.0);
        Given::Attributes { pads: node.get_attr_vec("pads")?, value: Arc::new(tensor0(value)) }
    } else {
        let has = |position: usize| node.input.get(position).is_some_and(|name| !name.is_empty());
        let (value, axes) = (has(2), has(3));
        Given::Inputs { value: value.then_some(2), axes: axes.then_some(2 + usize::from(value)) }
    };
    wiring::built(Pad { mode, given })
}

/// What is added before and after each of `rank` dimensions.
fn pads_of(pads: &[i64], axes: Option<&[i64]>, rank: usize) -> TractResult<Vec<[i64; 2]>> {
    let count = i64::try_from(rank)?;
    let every: Vec<i64> = (0..count).collect();
    let axes = axes.unwrap_or(&every);
    if pads.len() != 2 * axes.len() {
        bail!("Pad has {} pads for {} axes", pads.len(), axes.len());
    }
    let (before, after) = pads.split_at(axes.len());
    let mut all = vec![[0; 2]; rank];
    for (axis, (before, after)) in axes.iter().zip(before.iter().zip(after)) {
        let place = if *axis < 0 { axis.saturating_add(count) } else { *axis };
        match usize::try_from(place).ok().and_then(|place| all.get_mut(place)) {
            Some(pads) => *pads = [*before, *after],
            None => bail!("Pad has the axis {axis} of a tensor of rank {rank}"),
        }
    }
    Ok(all)
}

impl Pad {
    /// What is added to each of `rank` dimensions, by the values that decide it.
    fn pads(&self, values: &[Arc<Tensor>], rank: usize) -> TractResult<Vec<[i64; 2]>> {
        match (&self.given, values) {
            (Given::Attributes { pads, .. }, _) => pads_of(pads, None, rank),
            (Given::Inputs { .. }, [pads, axes @ ..]) => {
                let axes = axes.first().map(|axes| integers(axes)).transpose()?;
                pads_of(&integers(pads)?, axes.as_deref(), rank)
            }
            (Given::Inputs { .. }, []) => bail!("Pad takes data and pads"),
        }
    }

    /// The value to pad with, as a scalar of the type of the data, if it is not zero.
    fn value(
        &self,
        model: &TypedModel,
        inputs: &[OutletId],
        of: DatumType,
    ) -> TractResult<Option<Arc<Tensor>>> {
        let value = match &self.given {
            _ if self.mode != Mode::Constant => None,
            Given::Attributes { value, .. } => Some(Arc::clone(value)),
            Given::Inputs { value: None, .. } => None,
            Given::Inputs { value: Some(value), .. } => {
                let Some(value) = inputs.get(*value) else { bail!("Pad has no value") };
                let fact = model.outlet_fact(*value)?;
                if fact.datum_type != of {
                    bail!("Pad has a value of type {:?} for data of {of:?}", fact.datum_type);
                }
                match &fact.konst {
                    Some(value) => Some(Arc::clone(value)),
                    None => bail!("the value of Pad must be a constant"),
                }
            }
        };
        match value {
            None => Ok(None),
            Some(value) if value.len() == 1 => {
                let value = Tensor::clone(&value).into_shape(&[])?;
                Ok(Some(Arc::new(value.cast_to_dt(of)?.into_owned())))
            }
            Some(value) => bail!("Pad takes one value to pad with, not {}", value.len()),
        }
    }
}

impl Wiring for Pad {
    fn operator(&self) -> StaticName {
        "Pad".into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [data, ..] = inputs else { bail!("Pad takes data") };
        let deciding = self.deciding();
        let values =
            deciding.iter().filter_map(|at| inputs.get(*at)).map(|input| {
                match constant(model, *input)? {
                    Some(constant) => Ok(constant),
                    None => bail!("the pads and axes of Pad must be constants"),
                }
            });
        let values = values.collect::<TractResult<Vec<_>>>()?;
        let fact = model.outlet_fact(*data)?;
        let (rank, datum_type) = (fact.rank(), fact.datum_type);
        let pads = self.pads(&values, rank)?;
        let value = self.value(model, inputs, datum_type)?;
        let border = Border { mode: self.mode, pads, value };
        match border.known_to_tract(datum_type) {
            Some(padding) => wiring::node(prefix, model, padding, &[*data]),
            None => wiring::node(prefix, model, border, &[*data]),
        }
    }

    fn likeness(&self) -> Likeness {
        Likeness::Rank
    }

    fn deciding(&self) -> TVec<usize> {
        match &self.given {
            Given::Attributes { .. } => tvec!(),
            Given::Inputs { axes, .. } => [Some(1), *axes].into_iter().flatten().collect(),
        }
    }

    fn shape(&self, data: TVec<TDim>, values: &[Arc<Tensor>]) -> TractResult<TVec<TDim>> {
        sizes(&data, &self.pads(values, data.len())?)
    }
}

/// The shape with what is added.
fn sizes(shape: &[TDim], pads: &[[i64; 2]]) -> TractResult<TVec<TDim>> {
    let sizes = shape.iter().zip(pads).map(|(size, [before, after])| {
        let size = size.clone() + *before + *after;
        match size.as_i64() {
            Some(size) if size < 0 => bail!("Pad takes away more places than there are"),
            _ => Ok(size),
        }
    });
    sizes.collect()
}

impl Border {
    /// The same as tract's own operator, which has borders of numbers.
    fn known_to_tract(&self, datum_type: DatumType) -> Option<Padding> {
        let number = datum_type.is_number() && datum_type != DatumType::TDim;
        if self.mode != Mode::Constant || !number {
            return None;
        }
        let added = |pad: i64| usize::try_from(pad).ok();
        let pads = self.pads.iter().map(|[before, after]| Some((added(*before)?, added(*after)?)));
        let pads = pads.collect::<Option<_>>()?;
        let mode = self.value.clone().map_or_else(PadMode::default, PadMode::Constant);
        Some(Padding { mode, pads })
    }

    /// For each place of a dimension with these pads the one of `len` that it repeats, if it repeats one.
    fn sources(&self, axis: usize, len: usize) -> TractResult<Vec<Option<usize>>> {
        let [before, after] = self.pads.get(axis).copied().unwrap_or_default();
        let size = i64::try_from(len)?;
        let unacceptable = |why: &str| {
            let reason = format!(
                "the model adds {before} places before and {after} after a dimension that has {len}: {why}"
            );
            Unacceptable::new(reason)
        };
        let Ok(count) = usize::try_from(size.saturating_add(before).saturating_add(after)) else {
            return Err(unacceptable("it has fewer").into());
        };
        // What is left when places have been taken away.
        let (first, end) = (before.min(0).saturating_neg(), size.saturating_add(after.min(0)));
        let left = end - first;
        if self.mode != Mode::Constant && left < 1 && count > 0 {
            return Err(unacceptable("there is nothing to repeat").into());
        }
        if self.mode == Mode::Reflect && before.max(after) >= left {
            return Err(unacceptable("there is too little to mirror").into());
        }
        // Counted from the first that is left.
        let source = |place: i64| match self.mode {
            _ if (0..left).contains(&place) => Some(place),
            Mode::Constant => None,
            Mode::Reflect if place < 0 => Some(-place),
            Mode::Reflect => Some(2 * (left - 1) - place),
            Mode::Edge => Some(place.clamp(0, left - 1)),
            Mode::Wrap => Some(place.rem_euclid(left)),
        };
        let places = (-before.max(0)..).take(count);
        let sources = places.map(|place| match source(place) {
            Some(source) => usize::try_from(source + first).ok(),
            None => None,
        });
        Ok(sources.collect())
    }

    /// The elements with all borders.
    fn padded<T: Datum + Clone>(&self, input: &Tensor) -> TractResult<Tensor> {
        let value = match &self.value {
            Some(value) => value.try_as_plain_ram()?.to_scalar::<T>()?.clone(),
            None => T::default(),
        };
        let mut shape: TVec<usize> = input.shape().into();
        let mut elements = input.try_as_plain_ram()?.as_slice::<T>()?.to_vec();
        for axis in 0..shape.len() {
            let Some((len, inner)) = shape.get(axis..).and_then(<[usize]>::split_first) else {
                break;
            };
            if self.pads.get(axis) == Some(&[0, 0]) {
                continue;
            }
            let (len, inner) = (*len, inner.iter().product::<usize>());
            let outer: usize = shape.iter().take(axis).product();
            let sources = self.sources(axis, len)?;
            let mut padded = Vec::with_capacity(outer * sources.len() * inner);
            for block in (0..outer).map(|block| block * len) {
                for source in &sources {
                    let from = source.map(|source| (block + source) * inner);
                    match from.and_then(|from| elements.get(from..from + inner)) {
                        Some(part) => padded.extend_from_slice(part),
                        None => padded.extend(std::iter::repeat_n(value.clone(), inner)),
                    }
                }
            }
            elements = padded;
            if let Some(size) = shape.get_mut(axis) {
                *size = sources.len();
            }
        }
        tensor1(&elements).into_shape(&shape)
    }
}

impl Op for Border {
    fn name(&self) -> StaticName {
        "Pad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Border {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("Pad takes one input") };
        let output = dispatch_datum!(Self::padded(input.datum_type())(self, input))?;
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Border {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("Pad takes one input") };
        let mut fact = input.without_value();
        for (axis, size) in sizes(&input.shape.to_tvec(), &self.pads)?.into_iter().enumerate() {
            fact.shape.set(axis, size);
        }
        Ok(tvec!(fact))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{IntoTensor as _, tensor2};

    use super::*;

    fn border<T: Datum>(mode: Mode, pads: &[[i64; 2]], value: T) -> Border {
        Border { mode, pads: pads.to_vec(), value: Some(Arc::new(tensor0(value))) }
    }

    fn run(border: &Border, input: Tensor) -> TractResult<Tensor> {
        let outputs = border.eval(&EvalContext::out_of_plan(), tvec!(input.into_tvalue()));
        Ok(outputs?.remove(0).into_tensor())
    }

    fn row(mode: Mode, pads: [i64; 2]) -> Option<Vec<i64>> {
        let found = match run(&border(mode, &[pads], 9_i64), tensor1(&[0_i64, 1, 2])) {
            Ok(found) => found,
            Err(error) => {
                assert!(error.root_cause().is::<Unacceptable>(), "{mode:?} {pads:?}: {error}");
                return None;
            }
        };
        Some(found.try_as_plain_ram().expect("plain").as_slice::<i64>().expect("integers").to_vec())
    }

    #[test]
    fn pads_belong_to_the_axes_that_are_named() {
        let pads = pads_of(&[1, 2, 3, 4], Some(&[-1, 0]), 3).expect("fits");
        assert_eq!(pads, [[2, 4], [0, 0], [1, 3]]);
        assert!(pads_of(&[0, 0], None, 2).is_err());
        assert!(pads_of(&[0, 0], Some(&[2]), 2).is_err());
        assert!(pads_of(&[0, 0], Some(&[-3]), 2).is_err());
    }

    #[test]
    fn each_mode_repeats_its_places() {
        let found = |mode, pads| row(mode, pads).expect("fits");
        assert_eq!(found(Mode::Reflect, [2, 2]), [2, 1, 0, 1, 2, 1, 0]);
        assert_eq!(found(Mode::Edge, [4, 1]), [0, 0, 0, 0, 0, 1, 2, 2]);
        assert_eq!(found(Mode::Wrap, [4, 5]), [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(found(Mode::Constant, [1, 2]), [9, 0, 1, 2, 9, 9]);
    }

    #[test]
    fn places_are_taken_away_before_a_border_is_added() {
        let found = |mode, pads| row(mode, pads).expect("fits");
        assert_eq!(found(Mode::Edge, [-1, 3]), [1, 2, 2, 2, 2]);
        assert_eq!(found(Mode::Wrap, [3, -1]), [1, 0, 1, 0, 1]);
        assert_eq!(found(Mode::Reflect, [1, -1]), [1, 0, 1]);
        assert_eq!(found(Mode::Edge, [-2, 4]), [2; 5]);
        assert_eq!(found(Mode::Constant, [-1, 1]), [1, 2, 9]);
        // More than there are: the border fills what is missing.
        assert_eq!(found(Mode::Constant, [-4, 6]), [9; 5]);
        assert_eq!(found(Mode::Constant, [3, -5]), [9]);
    }

    #[test]
    fn a_border_without_anything_to_repeat_is_the_callers_mistake() {
        for pads in [[3, 0], [0, 3], [-1, 2], [-3, 4], [-2, 1]] {
            assert_eq!(row(Mode::Reflect, pads), None, "{pads:?}");
        }
        assert_eq!((row(Mode::Edge, [-3, 1]), row(Mode::Wrap, [1, -3])), (None, None));
        assert_eq!(row(Mode::Constant, [-4, 0]), None);
        let empty = Tensor::zero::<f32>(&[0]).expect("empty");
        assert!(run(&border(Mode::Edge, &[[1, 1]], 0_f32), empty).is_err());
    }

    #[test]
    fn every_dimension_and_type_has_borders() {
        let found =
            run(&border(Mode::Wrap, &[[1, 0], [0, 1]], 0_i64), tensor2(&[[1_i64, 2], [3, 4]]));
        assert_eq!(found.expect("fits"), tensor2(&[[3_i64, 4, 3], [1, 2, 1], [3, 4, 3]]));
        let texts = tensor1(&["a".to_owned(), "b".to_owned()]);
        let found = run(&border(Mode::Reflect, &[[1, 1]], String::new()), texts).expect("fits");
        assert_eq!(found, tensor1(&["b", "a", "b", "a"].map(str::to_owned)));
    }
}
