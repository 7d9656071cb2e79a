//! Whether operators have a function for the types of their inputs.
//!
//! Owns the look at functions of single numbers, and of two, in the graph as tract has rewritten it: tract finds out only
//! when it runs one that it has none for that type. Such a model answers nothing, whatever the sizes are,
//! and is refused by the operator's name. Never looks at texts, and at sizes that tract computes with.

use tract_onnx::prelude::{DatumType, TValue, TVec, TractResult, TypedFact, TypedModel, tensor0};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TypedOp, bail};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;

use super::bodies::bodies;

/// Looks at such operators, also in the bodies of loops and branches.
///
/// # Errors
/// Names the first that has no function for its inputs.
pub(in crate::inference) fn check(model: &TypedModel) -> TractResult<()> {
    for node in model.nodes() {
        for body in bodies(&*node.op) {
            check(body)?;
        }
        if !(node.op_is::<ElementWiseOp>() || node.op_is::<TypedBinOp>()) {
            continue;
        }
        let ones = node.inputs.iter().map(|input| model.outlet_fact(*input).map(one));
        let ones = ones.collect::<TractResult<Option<TVec<TValue>>>>()?;
        if let Some(ones) = ones
            && let Err(error) = run(&*node.op, ones)
        {
            let (operator, name) = (node.op.name(), &node.name);
            bail!("the operator {operator} (node '{name}') cannot compute what it gets: {error}");
        }
    }
    Ok(())
}

fn run(op: &dyn TypedOp, inputs: TVec<TValue>) -> TractResult<()> {
    op.eval_out_of_plan(inputs).map(|_outputs| ())
}

/// A tensor of the number 1 like one of these; `None` where it is none of numbers.
fn one(fact: &TypedFact) -> Option<TValue> {
    let datum_type = fact.datum_type;
    let numbers = datum_type.is_signed() || datum_type.is_unsigned() || datum_type.is_float();
    if datum_type.is_quantized() || !(numbers || datum_type == DatumType::Bool) {
        return None;
    }
    let one = tensor0(1_u8).cast_to_dt(datum_type).ok()?.into_owned();
    Some(one.broadcast_into_rank(fact.rank()).ok()?.into_tvalue())
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{DatumTypeExt as _, SpecialOps as _, tvec};
    use tract_onnx::tract_hir::internal::ToDim as _;
    use tract_onnx::tract_hir::tract_core::ops::math;

    use super::*;

    #[test]
    fn an_operator_without_a_function_for_its_type_is_named() {
        let checked = |op: ElementWiseOp, datum_type: DatumType| {
            let mut model = TypedModel::default();
            let open = model.symbols.sym("N").to_dim();
            let x = model.add_source("x", datum_type.fact([open, 3.to_dim()])).expect("a source");
            model.wire_node("y", op, &[x]).expect("wired");
            check(&model)
        };
        assert!(checked(math::square(), DatumType::F32).is_ok());
        assert!(checked(math::abs(), DatumType::I64).is_ok());
        let error = checked(math::ln(), DatumType::I64).expect_err("no logarithm of integers");
        assert!(error.to_string().contains("the operator Ln (node 'y')"), "{error}");
        let mut model = TypedModel::default();
        let x = model.add_source("x", DatumType::F32.fact([2])).expect("a source");
        let sum = model.wire_node("y", math::add(), &tvec!(x, x)).expect("wired");
        model.select_output_outlets(&sum).expect("an output");
        assert!(check(&model).is_ok());
    }
}
