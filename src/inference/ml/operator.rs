//! What every operator of this folder has in common, and how it becomes a node of tract's.
//!
//! Owns the way from a node of the file to one node of the graph that runs: an operator says what its
//! outputs look like ([`Operator::forms`]) and computes them ([`Operator::run`]); inference, typing,
//! outputs that a file leaves out and sharing between compiled plans follow from that. Never knows what
//! an operator does.

use std::fmt;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    Arc, DatumType, DatumTypeExt as _, OutletId, SpecialOps as _, TValue, TVec, TractError,
    TractResult, TypedFact, TypedModel, tvec,
};
use tract_onnx::tract_hir::infer::{InferenceOp, InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{
    DimLike, EvalContext, EvalOp, Expansion, Op, StaticName, TDim, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, expand, op_as_typed_op, op_out_of_plan};

use super::attributes::Attributes;

/// The element type and the dimensions of a tensor, which are known before its elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inference) struct Form {
    pub(in crate::inference) datum_type: DatumType,
    pub(in crate::inference) shape: TVec<TDim>,
}

/// An input that an operator does not take although its type and shape fit: the fault of whoever sent it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::inference) struct Unacceptable(String);

impl Unacceptable {
    /// Says what is not taken, as a sentence.
    pub(in crate::inference) fn new(reason: String) -> Self {
        Self(reason)
    }
}

/// An operator with everything that its attributes say.
pub(in crate::inference) trait Operator:
    fmt::Debug + Send + Sync + Sized + 'static
{
    /// Its name in the specification.
    const NAME: &'static str;

    /// Reads the attributes of a node. Those that it does not ask for are refused by the caller.
    ///
    /// # Errors
    /// When an attribute has another type than the specification says, or a value that makes no sense.
    fn parse(attributes: &Attributes<'_>) -> TractResult<Self>;

    /// The forms of all outputs.
    ///
    /// # Errors
    /// When the operator takes other inputs.
    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>>;

    /// Computes all outputs. They have the forms that [`Operator::forms`] promised.
    ///
    /// # Errors
    /// When the inputs have other forms than the operator takes.
    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>>;

    /// What it holds in memory, in bytes, if that is worth counting.
    fn held_bytes(&self) -> usize {
        0
    }

    /// The length of the longest text that it makes, of those that its attributes give.
    fn longest_text(&self) -> usize {
        0
    }

    /// The only one of `inputs`.
    fn only<T>(inputs: impl IntoIterator<Item = T>) -> TractResult<T> {
        let mut inputs = inputs.into_iter();
        match (inputs.next(), inputs.next()) {
            (Some(input), None) => Ok(input),
            _ => Err(TractError::msg(format!("{} takes one input", Self::NAME))),
        }
    }
}

/// The number of rows in a tensor of features: one where there is no dimension for it.
///
/// # Errors
/// When the tensor has another rank than 1 or 2, or is known to have another number of features.
pub(super) fn rows<D: DimLike>(name: &str, shape: &[D], features: usize) -> TractResult<D> {
    let (count, columns) = match shape {
        [columns] => (D::one(), columns),
        [rows, columns] => (rows.clone(), columns),
        shape => bail!("{name} takes a tensor of rank 1 or 2, not {}", shape.len()),
    };
    match columns.to_usize() {
        Ok(columns) if columns != features => {
            let reason = format!("{name} takes {features} features, not {columns}");
            Err(Unacceptable::new(reason).into())
        }
        Ok(_) | Err(_) => Ok(count),
    }
}

/// Checks that an attribute with `values` elements fits a tensor: it has one element for all features,
/// or the tensor is one of rows with as many features.
///
/// # Errors
/// When it does not, as far as the dimensions are known.
pub(super) fn check_features<D: DimLike>(
    name: &str,
    shape: &[D],
    values: usize,
) -> TractResult<()> {
    match values {
        1 => Ok(()),
        features => rows(name, shape, features).map(|_count| ()),
    }
}

/// Checks that a tensor holds numbers of the types that the domain has.
///
/// # Errors
/// When it holds anything else.
pub(super) fn check_numbers(name: &str, datum_type: DatumType) -> TractResult<()> {
    match datum_type {
        DatumType::F32 | DatumType::F64 | DatumType::I64 | DatumType::I32 => Ok(()),
        // What tract computes shapes in.
        DatumType::TDim => Ok(()),
        other => bail!("{name} takes numbers (FP32, FP64, INT64 or INT32), not {other:?}"),
    }
}

/// Makes the operator of a node; the form of function that tract registers.
pub(in crate::inference) fn build<O: Operator>(
    context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let own = |domain: &str| domain == node.domain || domain.is_empty() && node.domain == "ai.onnx";
    let import = context.model.opset_import.iter().find(|import| own(&import.domain));
    let operator = parse::<O>(node, import.map_or(1, |import| import.version))?;
    Ok((wrap(operator, node), Vec::new()))
}

/// Puts an operator into the place of a node.
pub(in crate::inference) fn wrap<O: Operator>(
    operator: O,
    node: &NodeProto,
) -> Box<dyn InferenceOp> {
    let wanted = node.output.iter().enumerate().filter(|(_, name)| !name.is_empty());
    let wanted = wanted.map(|(position, _)| position).collect();
    expand(Node { operator: Arc::new(operator), wanted })
}

/// An operator as a node of a typed graph, of whose outputs the first is wanted.
pub(in crate::inference) fn typed<O: Operator>(operator: O) -> Box<dyn TypedOp> {
    Box::new(Node { operator: Arc::new(operator), wanted: tvec!(0) })
}

/// What an operator takes for itself, and what its texts do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    pub(super) held_bytes: usize,
    pub(super) longest_text: usize,
}

/// The operator `O`, if `op` is that.
pub(in crate::inference) fn operator<O: Operator>(op: &dyn TypedOp) -> Option<&O> {
    Some(&op.downcast_ref::<Node<O>>()?.operator)
}

/// What `op` weighs if it is the operator `O`.
pub(super) fn weight<O: Operator>(op: &dyn TypedOp) -> Option<Weight> {
    let operator = operator::<O>(op)?;
    let (held_bytes, longest_text) = (operator.held_bytes(), operator.longest_text());
    Some(Weight { held_bytes, longest_text })
}

/// Reads all attributes of a node.
pub(in crate::inference) fn parse<O: Operator>(node: &NodeProto, version: i64) -> TractResult<O> {
    let attributes = Attributes::new(node, version)?;
    let operator = O::parse(&attributes)?;
    attributes.finish()?;
    Ok(operator)
}

/// The most elements of an output of [`attempt`].
const TRIAL_ELEMENTS_MAX: usize = 1 << 20;

/// Reads a node and runs it on those of `inputs` that it takes, alone and in pairs; whether it can be read.
pub(super) fn attempt<O: Operator>(node: &NodeProto, version: i64, inputs: &[TValue]) -> bool {
    let Ok(operator) = parse::<O>(node, version) else { return false };
    let alone = inputs.iter().map(|input| tvec!(input.clone()));
    let pairs = inputs.windows(2).map(|pair| pair.iter().cloned().collect());
    for inputs in alone.chain(pairs) {
        let form = |input: &TValue| Form {
            datum_type: input.datum_type(),
            shape: input.shape().iter().map(TDim::from).collect(),
        };
        let inputs: TVec<TValue> = inputs;
        let given: Vec<Form> = inputs.iter().map(form).collect();
        let Ok(promised) = operator.forms(&given) else { continue };
        // What a file says may be as large as it likes; only the first look at it has bounds on memory.
        let elements = |form: &Form| {
            let dims = form.shape.iter().map(|dim| dim.to_usize().unwrap_or(usize::MAX));
            dims.fold(1, usize::saturating_mul)
        };
        if promised.iter().any(|form| elements(form) > TRIAL_ELEMENTS_MAX) {
            continue;
        }
        let Ok(outputs) = operator.run(inputs) else { continue };
        let found: TVec<Form> = outputs.iter().map(form).collect();
        assert_eq!(found, promised, "{} keeps what its forms promise", O::NAME);
    }
    true
}

/// An operator in a graph.
#[derive(Debug)]
struct Node<O> {
    /// Shared by all plans that are compiled from the graph.
    operator: Arc<O>,
    /// The positions of the outputs that the file has a name for.
    wanted: TVec<usize>,
}

impl<O: Operator> Node<O> {
    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        self.select(self.operator.forms(inputs)?)
    }

    fn select<T: Clone>(&self, outputs: TVec<T>) -> TractResult<TVec<T>> {
        if self.wanted.iter().copied().eq(0..outputs.len()) {
            return Ok(outputs);
        }
        let output = |position: &usize| {
            outputs.get(*position).cloned().ok_or_else(|| {
                TractError::msg(format!("{} has {} outputs", O::NAME, outputs.len()))
            })
        };
        self.wanted.iter().map(output).collect()
    }
}

impl<O> Clone for Node<O> {
    fn clone(&self) -> Self {
        Self { operator: Arc::clone(&self.operator), wanted: self.wanted.clone() }
    }
}

/// Nodes are equal where they share their operator.
impl<O> PartialEq for Node<O> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.operator, &other.operator) && self.wanted == other.wanted
    }
}

impl<O> Eq for Node<O> {}

/// Becomes one typed node as soon as the types and shapes of its inputs are known.
impl<O: Operator> Expansion for Node<O> {
    fn name(&self) -> StaticName {
        O::NAME.into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.wanted.len())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        solver.given_all(inputs.iter().map(|input| &input.datum_type), move |solver, types| {
            let shapes = inputs.iter().map(|input| &input.shape);
            solver.given_all(shapes, move |solver, shapes| {
                let input = |(&datum_type, shape)| Form { datum_type, shape };
                let inputs: Vec<Form> = types.iter().zip(shapes).map(input).collect();
                for (output, form) in outputs.iter().zip(self.forms(&inputs)?) {
                    solver.equals(&output.datum_type, form.datum_type)?;
                    solver.equals(&output.shape, form.shape)?;
                }
                Ok(())
            })
        })
    }
}

impl<O: Operator> Op for Node<O> {
    fn name(&self) -> StaticName {
        O::NAME.into()
    }

    op_as_typed_op!();
}

impl<O: Operator> EvalOp for Node<O> {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.select(self.operator.run(inputs)?)
    }
}

impl<O: Operator> TypedOp for Node<O> {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let form =
            |fact: &&TypedFact| Form { datum_type: fact.datum_type, shape: fact.shape.to_tvec() };
        let inputs: Vec<Form> = inputs.iter().map(form).collect();
        let outputs = self.forms(&inputs)?.into_iter();
        Ok(outputs.map(|form| form.datum_type.fact(form.shape)).collect())
    }

    as_op!();
}
