//! Operators of tract whose answer depends on values being in range: Gather, GatherElements, GatherND,
//! ScatterElements, ScatterND, OneHot, slices ([`parts`]), and divisions of integers; those that compare numbers of
//! which some are missing ([`missing`], [`arg_extreme`]); sums that are too narrow ([`sum`]); squares of integers ([`whole`]); and
//! functions that tract approximates ([`pointwise::exact`]).
//!
//! Owns the look at those values, and at the sizes of indices ([`fits`]), before tract sees them, in the graph as tract has
//! rewritten it. It panics on an index that is out of range, or takes
//! the element of another row, and panics on a division by zero; here that is the caller's mistake and says so.
//! For OneHot such an index means a row without the value
//! (<https://onnx.ai/onnx/operators/onnx__OneHot.html>). Constants that tract has folded are left alone.

use tract_onnx::prelude::{
    DatumType, IntoTensor as _, TValue, TVec, Tensor, TractResult, TypedFact, TypedModel, tvec,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue as _, Op, StaticName, TypedModelPatch, TypedNode, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::array::{
    Gather, GatherElements, GatherNd, OneHot, ScatterElements, ScatterNd, ScatterReduction, Topk,
};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cnn::{MaxPool, OptMaxPool};
use tract_onnx::tract_hir::tract_core::ops::math::{Div, Rem};

use super::bodies::bodies_mut;
use super::{arg_extreme, fits, missing, parts, pointwise, sum, whole};
use crate::inference::ml::Unacceptable;

/// An operator whose values are looked at first.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Guarded {
    Gather(Gather),
    GatherElements(GatherElements),
    GatherNd(GatherNd),
    ScatterElements(ScatterElements),
    ScatterNd(ScatterNd),
    OneHot(OneHot),
    /// Of integers.
    Division(TypedBinOp),
    MaxPool(Box<MaxPool>),
    OptMaxPool(Box<OptMaxPool>),
    Topk(Topk),
}

/// Has the values of such operators looked at, also in the bodies of loops and branches.
pub(in crate::inference) fn guard(model: &mut TypedModel) {
    let guarded: Vec<Option<Guarded>> = (0..model.nodes().len())
        .map(|node| {
            let node = model.nodes().get(node)?;
            let facts = node.inputs.iter().map(|input| model.outlet_fact(*input).ok());
            let facts = facts.collect::<Option<Vec<_>>>()?;
            let guarded = Guarded::of(&*node.op, facts.first()?.datum_type)?;
            // Constants were looked at when the model was tried.
            let constant = facts.get(1).is_some_and(|fact| fact.konst.is_some());
            let settled = constant && guarded.has_sizes(&facts);
            (guarded.compares() || !settled).then_some(guarded)
        })
        .collect();
    let others: Vec<Option<Box<dyn TypedOp>>> = (0..model.nodes().len())
        .map(|node| {
            let node = model.nodes().get(node)?;
            let fact = model.outlet_fact(*node.inputs.first()?).ok()?;
            let function = || -> Option<Box<dyn TypedOp>> {
                let whole = whole::instead_of(&*node.op, fact.datum_type);
                Some(Box::new(whole.or_else(|| pointwise::exact(&*node.op, fact.datum_type))?))
            };
            let place = || arg_extreme::instead_of(&*node.op, fact);
            sum::instead_of(&*node.op, fact).or_else(place).or_else(function)
        })
        .collect();
    let changes = guarded.into_iter().zip(others);
    for (node, (guarded, other)) in model.nodes_mut().iter_mut().zip(changes) {
        if let Some(guarded) = guarded {
            node.op = Box::new(guarded);
        } else if let Some(other) = other {
            node.op = other;
        } else {
            bodies_mut(&mut *node.op).into_iter().for_each(guard);
        }
    }
    parts::check(model);
}

impl Guarded {
    fn of(op: &dyn TypedOp, first: DatumType) -> Option<Self> {
        fn as_a<O: TypedOp + Clone>(
            op: &dyn TypedOp,
            guarded: fn(O) -> Guarded,
        ) -> Option<Guarded> {
            op.downcast_ref::<O>().cloned().map(guarded)
        }
        let divides = |op: &TypedBinOp| {
            first.is_integer() && first != DatumType::TDim && (op.0.is::<Div>() || op.0.is::<Rem>())
        };
        as_a(op, Self::Gather)
            .or_else(|| as_a(op, Self::GatherElements))
            .or_else(|| as_a(op, Self::GatherNd))
            .or_else(|| as_a(op, Self::ScatterElements))
            .or_else(|| as_a(op, Self::ScatterNd))
            .or_else(|| as_a(op, Self::OneHot))
            .or_else(|| as_a(op, |op| Self::MaxPool(Box::new(op))))
            .or_else(|| as_a(op, Self::Topk))
            .or_else(|| {
                let op = op.downcast_ref::<TypedBinOp>().filter(|op| divides(op))?;
                Some(Self::Division(op.clone()))
            })
    }

    fn inner(&self) -> &dyn TypedOp {
        match self {
            Self::Gather(op) => op,
            Self::GatherElements(op) => op,
            Self::GatherNd(op) => op,
            Self::ScatterElements(op) => op,
            Self::ScatterNd(op) => op,
            Self::OneHot(op) => op,
            Self::Division(op) => op,
            Self::MaxPool(op) => &**op,
            Self::OptMaxPool(op) => &**op,
            Self::Topk(op) => op,
        }
    }

    /// Whether the sizes that it looks at are known, whatever a request has.
    fn has_sizes(&self, inputs: &[&TypedFact]) -> bool {
        match self {
            Self::Division(_) => true,
            Self::Gather(Gather { axis, .. }) => {
                let size = inputs.first().and_then(|data| data.shape.get(*axis));
                size.is_some_and(|size| size.as_i64().is_some())
            }
            _ => inputs.iter().all(|input| input.shape.is_concrete()),
        }
    }

    /// Which extreme of the numbers at one place it writes, if it does.
    fn reduction(&self) -> ScatterReduction {
        match self {
            Self::ScatterElements(op) => op.reduction,
            Self::ScatterNd(op) => op.reduction,
            _ => ScatterReduction::None,
        }
    }

    /// Whether it compares numbers.
    fn compares(&self) -> bool {
        let extremes = matches!(self.reduction(), ScatterReduction::Min | ScatterReduction::Max);
        extremes || matches!(self, Self::MaxPool(_) | Self::OptMaxPool(_) | Self::Topk(_))
    }

    /// Looks at the second input, and at the sizes of all.
    fn check(&self, inputs: &[TValue]) -> TractResult<()> {
        if matches!(self, Self::OneHot(_) | Self::MaxPool(_) | Self::OptMaxPool(_)) {
            return Ok(());
        }
        let [data, second, ..] = inputs else { bail!("{} takes two inputs", self.inner().name()) };
        let shape = data.shape();
        let updates = inputs.get(2).map(|updates| updates.shape());
        match self {
            Self::Gather(Gather { axis, .. })
            | Self::GatherElements(GatherElements { axis })
            | Self::ScatterElements(ScatterElements { axis, .. }) => {
                if !matches!(self, Self::Gather(_)) {
                    fits::elements(shape, second.shape(), *axis, updates)?;
                }
                within(second, &[shape.get(*axis).copied().unwrap_or(0)])
            }
            Self::GatherNd(GatherNd { batch_dims }) => {
                fits::batch(shape, second.shape(), *batch_dims)?;
                within_nd(second, shape, *batch_dims)
            }
            Self::ScatterNd(_) => {
                fits::updates(shape, second.shape(), updates.unwrap_or_default())?;
                within_nd(second, shape, 0)
            }
            Self::Division(_) => divisible(second),
            Self::Topk(Topk { axis, .. }) => {
                countable(second, shape.get(*axis).copied().unwrap_or(0))
            }
            Self::OneHot(_) | Self::MaxPool(_) | Self::OptMaxPool(_) => Ok(()),
        }
    }
}

/// Refuses indices that are out of range. Along the last dimension they belong to `sizes` in turn.
fn within(indices: &Tensor, sizes: &[usize]) -> TractResult<()> {
    let indices = indices.cast_to::<i64>()?;
    let indices = indices.try_as_plain_ram()?.as_slice::<i64>()?;
    for (index, &size) in indices.iter().zip(sizes.iter().cycle()) {
        let limit = i64::try_from(size).unwrap_or(i64::MAX);
        if !(-limit..limit).contains(index) {
            let reason = format!("the index {index} is out of range, there are {size} places");
            return Err(Unacceptable::new(reason).into());
        }
    }
    Ok(())
}

/// The same for indices that have several parts each, one for each dimension from `first` on.
fn within_nd(indices: &Tensor, shape: &[usize], first: usize) -> TractResult<()> {
    let parts = indices.shape().last().copied().unwrap_or(0);
    match shape.get(first..first + parts) {
        Some(sizes) => within(indices, sizes),
        None => Err(fits::too_deep(parts, shape).into()),
    }
}

/// Refuses to look for more places than there are, of which tract would make so many.
fn countable(count: &Tensor, size: usize) -> TractResult<()> {
    let count = count.cast_to_scalar::<i64>()?;
    if usize::try_from(count).is_ok_and(|count| count <= size) {
        return Ok(());
    }
    let reason = format!("the first {count} are asked for in an order of {size}");
    Err(Unacceptable::new(reason).into())
}

/// Refuses a divisor of zero.
fn divisible(divisors: &Tensor) -> TractResult<()> {
    let divisors = divisors.cast_to::<i64>()?;
    if divisors.try_as_plain_ram()?.as_slice::<i64>()?.contains(&0) {
        return Err(Unacceptable::new("an integer is divided by zero".to_owned()).into());
    }
    Ok(())
}

/// Sets one place in each row, or none: indices that are out of range go to a place beyond the last one,
/// which is cut off.
fn one_hot(op: &OneHot, context: &EvalContext<'_>, indices: &Tensor) -> TractResult<TVec<TValue>> {
    let limit = i64::try_from(op.dim)?;
    let mut places = indices.cast_to::<i64>()?.into_owned();
    for place in places.try_as_plain_ram_mut()?.as_slice_mut::<i64>()? {
        *place = match *place {
            index if (0..limit).contains(&index) => index,
            index if (-limit..0).contains(&index) => index + limit,
            _ => limit,
        };
    }
    // Of floating-point numbers a missing one has become 0.
    if missing::any(indices)? {
        let indices = indices.cast_to::<f64>()?;
        let indices = indices.try_as_plain_ram()?.as_slice::<f64>()?;
        let mut plain = places.try_as_plain_ram_mut()?;
        let pairs = plain.as_slice_mut::<i64>()?.iter_mut().zip(indices);
        pairs.filter(|(_, index)| index.is_nan()).for_each(|(place, _)| *place = limit);
    }
    let wider = OneHot { dim: op.dim + 1, ..op.clone() };
    let rows = wider.eval(context, tvec!(places.into_tvalue()))?;
    let rows = rows.into_iter().map(|rows| rows.into_tensor().slice(op.axis, 0, op.dim));
    rows.map(|rows| rows.map(Tensor::into_tvalue)).collect()
}

impl Op for Guarded {
    fn name(&self) -> StaticName {
        self.inner().name()
    }

    op_as_typed_op!();
}

impl EvalOp for Guarded {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.check(&inputs)?;
        let op = self.inner();
        let least = self.reduction() == ScatterReduction::Min;
        match (self, &*inputs) {
            (Self::OneHot(op), [indices]) => one_hot(op, context, indices),
            (Self::Topk(_), _) => missing::ordered(op, context, inputs),
            (Self::MaxPool(_) | Self::OptMaxPool(_), _) => {
                missing::spread(op, context, inputs, &[0], false)
            }
            _ if self.compares() => missing::spread(op, context, inputs, &[0, 2], least),
            _ => op.eval(context, inputs),
        }
    }
}

impl TypedOp for Guarded {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.inner().output_facts(inputs)
    }

    /// Makes what tract does for windows of known sizes.
    fn codegen(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let Self::MaxPool(op) = self else { return Ok(None) };
        let Some(mut patch) = op.codegen(model, node)? else { return Ok(None) };
        for node in patch.model.nodes_mut() {
            if let Some(op) = node.op.downcast_ref::<OptMaxPool>() {
                node.op = Box::new(Self::OptMaxPool(Box::new(op.clone())));
            }
        }
        Ok(Some(patch))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor0, tensor1, tensor2};
    use tract_onnx::tract_hir::internal::ToDim as _;
    use tract_onnx::tract_hir::tract_core::ops::math::div;

    use super::*;

    fn run(op: &Guarded, inputs: &[Tensor]) -> TractResult<Tensor> {
        let inputs = inputs.iter().map(|input| input.clone().into_tvalue()).collect();
        let mut outputs = op.eval(&EvalContext::out_of_plan(), inputs)?;
        Ok(outputs.remove(0).into_tensor())
    }

    fn refused(op: &Guarded, inputs: &[Tensor]) -> bool {
        let error = run(op, inputs).expect_err("it is out of range");
        error.root_cause().downcast_ref::<Unacceptable>().is_some()
    }

    #[test]
    fn an_index_out_of_range_is_the_callers_mistake() {
        let data = tensor2(&[[1_f32, 2.0], [3.0, 4.0]]);
        let gather = Guarded::Gather(Gather::new(1));
        let found = run(&gather, &[data.clone(), tensor1(&[-1_i64, 0])]).expect("in range");
        assert_eq!(found, tensor2(&[[2_f32, 1.0], [4.0, 3.0]]));
        for index in [2_i64, 3, 9, -3, i64::MIN, i64::MAX] {
            assert!(refused(&gather, &[data.clone(), tensor1(&[index])]), "{index}");
            let elements = Guarded::GatherElements(GatherElements::new(0));
            assert!(refused(&elements, &[data.clone(), tensor2(&[[0, index]])]), "{index}");
            let nd = Guarded::GatherNd(GatherNd::new(0));
            assert!(refused(&nd, &[data.clone(), tensor2(&[[0, index]])]), "{index}");
        }
    }

    #[test]
    fn indices_of_another_size_than_there_is_room_for_are_the_callers_mistake() {
        let data = Tensor::zero::<f32>(&[2, 5]).expect("small");
        let indices = |shape: &[usize]| Tensor::zero::<i64>(shape).expect("small");
        let floats = |shape: &[usize]| Tensor::zero::<f32>(shape).expect("small");
        let gather = Guarded::GatherElements(GatherElements::new(1));
        assert!(run(&gather, &[data.clone(), indices(&[2, 9])]).is_ok());
        assert!(refused(&gather, &[data.clone(), indices(&[3, 2])]));
        let scatter = Guarded::ScatterElements(ScatterElements::new(1, ScatterReduction::None));
        let fits = [data.clone(), indices(&[1, 2]), floats(&[1, 2])];
        assert!(run(&scatter, &fits).is_ok());
        assert!(refused(&scatter, &[data.clone(), indices(&[3, 2]), floats(&[3, 2])]));
        assert!(refused(&scatter, &[data.clone(), indices(&[1, 2]), floats(&[1, 3])]));
        let nd = Guarded::ScatterNd(ScatterNd::new(ScatterReduction::None));
        assert!(run(&nd, &[data.clone(), indices(&[2, 1]), floats(&[2, 5])]).is_ok());
        for rows in [1, 3] {
            assert!(refused(&nd, &[data.clone(), indices(&[2, 1]), floats(&[rows, 5])]), "{rows}");
        }
        assert!(refused(&nd, &[data.clone(), indices(&[2, 3]), floats(&[2])]), "too deep");
        let rows = Guarded::GatherNd(GatherNd::new(1));
        assert!(run(&rows, &[data.clone(), indices(&[2, 1])]).is_ok());
        assert!(refused(&rows, &[data, indices(&[3, 1])]));
    }

    #[test]
    fn a_division_by_zero_is_the_callers_mistake() {
        let divide = Guarded::Division(div());
        let found = run(&divide, &[tensor1(&[7_i64, -7]), tensor1(&[2_i64, 2])]);
        assert_eq!(found.expect("divisible"), tensor1(&[3_i64, -3]));
        assert!(refused(&divide, &[tensor1(&[7_i64]), tensor1(&[0_i64])]));
    }

    #[test]
    fn more_places_than_there_are_is_the_callers_mistake() {
        let op = Topk { axis: 0, largest: true, fallback_k: 2.to_dim() };
        let numbers = tensor1(&[1_f32, 3.0, 2.0]);
        let find = |count: i64| [numbers.clone(), tensor1(&[count])];
        let found = run(&Guarded::Topk(op.clone()), &find(2)).expect("there are");
        assert_eq!(found, tensor1(&[3_f32, 2.0]));
        for count in [4, 1_000_000_000_000, -1, i64::MIN] {
            assert!(refused(&Guarded::Topk(op.clone()), &find(count)), "{count}");
        }
    }

    #[test]
    fn one_hot_leaves_a_row_without_the_value_where_the_index_is_out_of_range() {
        let (off, on) = (tensor0(0_f32).into(), tensor0(1_f32).into());
        let one_hot = Guarded::OneHot(OneHot { axis: 1, dim: 2, off, on });
        let found = run(&one_hot, &[tensor1(&[0_i64, -1, 2, -3, i64::MAX])]).expect("in any range");
        let expected = [[1_f32, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]];
        assert_eq!(found, tensor2(&expected));
        let found = run(&one_hot, &[tensor1(&[f32::NAN, 1.0])]).expect("in any range");
        assert_eq!(found, tensor2(&[[0_f32, 0.0], [0.0, 1.0]]));
    }
}
