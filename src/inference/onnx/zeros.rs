//! `ai.onnx` Mul, Div and PRelu with constants that make zeros out of every finite number.
//!
//! Owns that zero times NaN or an infinity, zero divided by zero and infinity divided by infinity are NaN
//! (IEEE 754, section 6). tract puts a zero in place of the result; exporters use it to make zeros in the shape of
//! an input, and what should show as NaN would pass for a number. Never takes part in any other arithmetic, which
//! stays tract's.

use half::f16;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    Datum, DatumType, IntoTensor as _, OutletId, TValue, TVec, Tensor, TractResult, TypedFact,
    TypedModel, tvec,
};
use tract_onnx::tract_hir::internal::{
    EvalOp as _, Expansion, IntoTValue as _, StaticName, TypedOp, bail,
};
use tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::math;

use super::wiring::{self, Built, Wiring};
use crate::inference::ml::{self, Attributes, Form, Operator};

/// A node of the file.
#[derive(Debug, Clone)]
struct Arithmetic {
    stock: Box<dyn Expansion>,
    ours: fn() -> Box<dyn TypedOp>,
    /// Of which numbers tract makes zeros.
    spoils: fn(f64) -> bool,
}

/// Makes the Mul of a node.
pub(super) fn mul(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let stock = wiring::stock(context, node)?;
    wiring::built(Arithmetic { stock, ours: || ml::typed(Mul), spoils: |x| x == 0.0 })
}

/// Makes the Div of a node.
pub(super) fn div(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let stock = wiring::stock(context, node)?;
    let spoils = |x: f64| x == 0.0 || x.is_infinite();
    wiring::built(Arithmetic { stock, ours: || ml::typed(Div), spoils })
}

/// Makes the PRelu of a node.
pub(super) fn prelu(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let stock = wiring::stock(context, node)?;
    wiring::built(Arithmetic { stock, ours: || ml::typed(PRelu), spoils: |x| x == 0.0 })
}

impl Wiring for Arithmetic {
    fn operator(&self) -> StaticName {
        self.stock.name()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        for input in inputs {
            if is_all(model.outlet_fact(*input)?, self.spoils)? {
                return wiring::node(prefix, model, (self.ours)(), inputs);
            }
        }
        wiring::only(prefix, &self.stock.wire(prefix, model, inputs)?)
    }

    fn stock(&self) -> Option<&dyn Expansion> {
        Some(&*self.stock)
    }
}

/// Whether all numbers of a tensor are known to be `such` floating-point numbers: those of a constant, or one number
/// that fills a shape.
fn is_all(fact: &TypedFact, such: fn(f64) -> bool) -> TractResult<bool> {
    fn all<T: Datum + Copy + Into<f64>>(
        known: &Tensor,
        such: fn(f64) -> bool,
    ) -> TractResult<bool> {
        let numbers = known.try_as_plain_ram()?.as_slice::<T>()?;
        Ok(!numbers.is_empty() && numbers.iter().all(|x| such((*x).into())))
    }
    match fact.konst.as_ref().or(fact.uniform.as_ref()) {
        // What is packed for a processor is none that a file writes.
        Some(known) if known.is_plain_ram() => match known.datum_type() {
            DatumType::F32 => all::<f32>(known, such),
            DatumType::F64 => all::<f64>(known, such),
            DatumType::F16 => all::<f16>(known, such),
            _ => Ok(false),
        },
        Some(_) | None => Ok(false),
    }
}

/// Multiplies and does nothing else.
#[derive(Debug)]
struct Mul;

/// Divides and does nothing else.
#[derive(Debug)]
struct Div;

/// Multiplies what is below zero.
#[derive(Debug)]
struct PRelu;

impl Operator for Mul {
    const NAME: &'static str = "Mul";

    fn parse(_attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        form(Self::NAME, inputs)
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        evaluate(&math::mul(), inputs)
    }
}

impl Operator for Div {
    const NAME: &'static str = "Div";

    fn parse(_attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        form(Self::NAME, inputs)
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        evaluate(&math::div(), inputs)
    }
}

impl Operator for PRelu {
    const NAME: &'static str = "PRelu";

    fn parse(_attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        form(Self::NAME, inputs)
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let Some(input) = inputs.first().cloned() else { bail!("PRelu takes two inputs") };
        let mut outputs = evaluate(&math::mul(), inputs)?;
        let Some(output) = outputs.pop() else { bail!("Mul has an output") };
        let mut output = output.into_tensor();
        if output.shape() != input.shape() {
            bail!("PRelu takes slopes for {:?}, not {:?}", input.shape(), output.shape());
        }
        match output.datum_type() {
            DatumType::F32 => keep::<f32>(&mut output, &input)?,
            DatumType::F64 => keep::<f64>(&mut output, &input)?,
            DatumType::F16 => keep::<f16>(&mut output, &input)?,
            other => bail!("PRelu takes floating-point numbers, not {other:?}"),
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

/// Puts back what is not below zero.
fn keep<T: Datum + Copy + PartialOrd + Default>(
    output: &mut Tensor,
    input: &Tensor,
) -> TractResult<()> {
    let input = input.try_as_plain_ram()?.as_slice::<T>()?;
    let mut plain = output.try_as_plain_ram_mut()?;
    for (output, input) in plain.as_slice_mut::<T>()?.iter_mut().zip(input) {
        if *input >= T::default() {
            *output = *input;
        }
    }
    Ok(())
}

/// The form of the result: both operands have one type.
fn form(name: &str, inputs: &[Form]) -> TractResult<TVec<Form>> {
    let [a, b] = inputs else { bail!("{name} takes two inputs") };
    if a.datum_type != b.datum_type {
        bail!("{name} takes operands of one type, not {:?} and {:?}", a.datum_type, b.datum_type);
    }
    let shape = multi_broadcast(&[&a.shape, &b.shape])?;
    Ok(tvec!(Form { datum_type: a.datum_type, shape }))
}

/// What tract's operator makes of operands of any rank.
fn evaluate(op: &TypedBinOp, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    let rank = inputs.iter().map(|input| input.rank()).max().unwrap_or(0);
    let operands = inputs.into_iter().map(|input| {
        let operand = input.into_tensor().broadcast_into_rank(rank)?;
        Ok(operand.into_tvalue())
    });
    let operands = operands.collect::<TractResult<_>>()?;
    match op.eval_out_of_plan(operands)? {
        Some(outputs) => Ok(outputs),
        None => bail!("an operator needs the plan around it"),
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{IntoArcTensor as _, tensor1};

    use super::*;

    fn run<O: Operator>(operator: &O, a: &[f32], b: &[f32]) -> Vec<f32> {
        let inputs = tvec!(tensor1(a).into_tvalue(), tensor1(b).into_tvalue());
        let outputs = operator.run(inputs).expect("numbers");
        outputs[0].try_as_plain_ram().expect("plain").as_slice::<f32>().expect("f32").to_vec()
    }

    #[test]
    fn zeros_do_not_hide_what_is_missing() {
        let numbers = [1.0, f32::NAN, f32::INFINITY, 0.0];
        let missing = |found: Vec<f32>| found.iter().map(|x| x.is_nan()).collect::<Vec<_>>();
        assert_eq!(missing(run(&Mul, &numbers, &[0.0; 4])), [false, true, true, false]);
        assert_eq!(missing(run(&Div, &[0.0; 4], &numbers)), [false, true, false, true]);
        let infinite = [f32::INFINITY; 4];
        assert_eq!(missing(run(&Div, &numbers, &infinite)), [false, true, true, false]);
    }

    #[test]
    fn zeros_of_all_widths_are_known() {
        for zeros in [tensor1(&[0.0_f32, -0.0]), tensor1(&[0.0_f64]), tensor1(&[f16::ZERO])] {
            let fact = TypedFact::try_from(zeros.into_arc_tensor()).expect("a constant");
            assert!(is_all(&fact, |x| x == 0.0).expect("numbers"), "{fact:?}");
        }
        let ones = TypedFact::try_from(tensor1(&[f16::ONE]).into_arc_tensor()).expect("a constant");
        assert!(!is_all(&ones, |x| x == 0.0).expect("numbers"));
        let halves = [1.0, f32::NAN, f32::INFINITY].map(f16::from_f32);
        let inputs = tvec!(tensor1(&halves).into_tvalue(), tensor1(&[f16::ZERO; 3]).into_tvalue());
        let found = Mul.run(inputs).expect("numbers").remove(0);
        let found = found.try_as_plain_ram().expect("plain").as_slice::<f16>().expect("f16");
        assert_eq!(found.iter().map(|x| x.is_nan()).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn a_slope_of_zero_is_taken_of_negative_numbers_only() {
        let found = run(&PRelu, &[2.0, -3.0, f32::INFINITY], &[0.0; 3]);
        assert_eq!(found, [2.0, 0.0, f32::INFINITY]);
        let found = run(&PRelu, &[f32::NEG_INFINITY, f32::NAN], &[0.0; 2]);
        assert!(found.iter().all(|x| x.is_nan()), "{found:?}");
    }
}
