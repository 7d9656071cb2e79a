//! `ai.onnx` Cast and CastLike.
//!
//! Owns casts between texts and numbers, and those to integers
//! (<https://onnx.ai/onnx/operators/onnx__Cast.html>). tract makes symbolic dimensions of everything that is
//! cast to INT64, by way of 32 bits; here a number stays one, and only what is symbolic already stays so, also where
//! exporters compute sizes in INT32.
//! Where the specification says "undefined", onnxruntime on x86-64 is followed: a number that a 64-bit or
//! 32-bit integer cannot hold, NaN among them, becomes its least value, of unsigned ones 0 or the middle, and narrower
//! ones are cut off. Texts
//! of numbers have 8 significant digits, as there. Never casts to or from anything but what requests carry.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    Datum, DatumType, DatumTypeExt as _, OutletId, TValue, TVec, Tensor, TractError, TractResult,
    TypedFact, TypedModel, tensor1, tvec,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue as _, Op, StaticName, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::cast::cast;

use super::wiring::{self, Built, Wiring};
use crate::inference::ml::Unacceptable;

/// Changes the element type.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cast {
    to: DatumType,
}

/// Makes the operator of a node.
pub(super) fn build(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    wiring::built(Cast { to: node.get_attr::<DatumType>("to")? })
}

/// Makes the operator of a CastLike, which has the type from its second input.
pub(super) fn like(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    wiring::built(CastLike)
}

/// What stands for a type: symbolic numbers are integers.
fn whole(datum_type: DatumType) -> DatumType {
    if datum_type == DatumType::TDim { DatumType::I64 } else { datum_type }
}

/// Changes the element type to that of another tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CastLike;

impl Wiring for CastLike {
    fn operator(&self) -> StaticName {
        "CastLike".into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [input, like] = inputs else { bail!("CastLike takes two inputs") };
        let to = whole(model.outlet_fact(*like)?.datum_type);
        Cast { to }.wire(prefix, model, &[*input])
    }

    fn datum_type(&self, inputs: &[DatumType]) -> TractResult<DatumType> {
        let [from, to] = inputs else { bail!("CastLike takes two inputs") };
        Ok(Cast { to: whole(*to) }.result(*from))
    }
}

impl Cast {
    /// What the elements become: symbolic ones stay what they are where that is an integer that sizes are kept in.
    fn result(&self, from: DatumType) -> DatumType {
        let of_sizes = matches!(self.to, DatumType::I64 | DatumType::I32);
        if from == DatumType::TDim && of_sizes { from } else { self.to }
    }

    /// Whether tract's own operator does the same.
    fn is_stock(&self, from: DatumType) -> bool {
        let text = from == DatumType::String || self.to == DatumType::String;
        let cut = from.is_float() && self.to.is_integer();
        from == DatumType::TDim || !(text || cut)
    }
}

impl Wiring for Cast {
    fn operator(&self) -> StaticName {
        Op::name(self)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [input] = inputs else { bail!("Cast takes one input") };
        let from = model.outlet_fact(*input)?.datum_type;
        if self.result(from) == from {
            return Ok(*input);
        }
        if self.is_stock(from) {
            return wiring::node(prefix, model, cast(self.to), inputs);
        }
        wiring::node(prefix, model, self.clone(), inputs)
    }

    fn datum_type(&self, inputs: &[DatumType]) -> TractResult<DatumType> {
        let [from] = inputs else { bail!("Cast takes one input") };
        Ok(self.result(*from))
    }
}

impl Op for Cast {
    fn name(&self) -> StaticName {
        "Cast".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Cast {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("Cast takes one input") };
        let output = convert(input, self.to)?.into_shape(input.shape())?;
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Cast {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("Cast takes one input") };
        Ok(tvec!(self.to.fact(input.shape.clone())))
    }

    as_op!();
}

/// The elements as another type, in a tensor of rank 1.
fn convert(input: &Tensor, to: DatumType) -> TractResult<Tensor> {
    let plain = input.try_as_plain_ram()?;
    match (input.datum_type(), to) {
        (DatumType::String, _) => parse(plain.as_slice::<String>()?, to),
        (DatumType::F32 | DatumType::F64, DatumType::String) => {
            let wide = input.cast_to::<f64>()?;
            let numbers = wide.try_as_plain_ram()?.as_slice::<f64>()?;
            Ok(tensor1(&numbers.iter().map(|number| text_of(*number)).collect::<Vec<_>>()))
        }
        (DatumType::U64, DatumType::String) => {
            let numbers = plain.as_slice::<u64>()?;
            Ok(tensor1(&numbers.iter().map(ToString::to_string).collect::<Vec<_>>()))
        }
        (_, DatumType::String) => {
            let wide = input.cast_to::<i64>()?;
            let numbers = wide.try_as_plain_ram()?.as_slice::<i64>()?;
            Ok(tensor1(&numbers.iter().map(ToString::to_string).collect::<Vec<_>>()))
        }
        _ => {
            let wide = input.cast_to::<f64>()?;
            cut(wide.try_as_plain_ram()?.as_slice::<f64>()?, to)
        }
    }
}

/// Numbers without their fractions.
fn cut(numbers: &[f64], to: DatumType) -> TractResult<Tensor> {
    fn all<T: Datum>(numbers: &[f64], one: impl Fn(f64) -> T) -> Tensor {
        tensor1(&numbers.iter().map(|number| one(*number)).collect::<Vec<T>>())
    }
    Ok(match to {
        DatumType::I64 => all(numbers, long),
        DatumType::I32 => all(numbers, int),
        DatumType::I16 => all(numbers, |number| int(number) as i16),
        DatumType::I8 => all(numbers, |number| int(number) as i8),
        DatumType::U16 => all(numbers, |number| int(number) as u16),
        DatumType::U8 => all(numbers, |number| int(number) as u8),
        DatumType::U32 => all(numbers, unsigned_int),
        DatumType::U64 => all(numbers, unsigned_long),
        other => bail!("Cast to {other:?} is not supported"),
    })
}

fn long(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

fn int(number: f64) -> i32 {
    i32::try_from(long(number)).unwrap_or(i32::MIN)
}

/// As processors do it that have no such instruction: numbers from the middle of the range on are moved down to be
/// converted, and back.
fn unsigned_long(number: f64) -> u64 {
    const MIDDLE: u64 = 1 << 63;
    let middle = MIDDLE as f64;
    if number >= middle { long(number - middle) as u64 ^ MIDDLE } else { long(number) as u64 }
}

fn unsigned_int(number: f64) -> u32 {
    const MIDDLE: u32 = 1 << 31;
    let middle = f64::from(MIDDLE);
    if number >= middle { int(number - middle) as u32 ^ MIDDLE } else { int(number) as u32 }
}

/// Texts as numbers. Rust reads what the specification lists: signs, exponents, `NaN`, `INF`, in any case.
fn parse(texts: &[String], to: DatumType) -> TractResult<Tensor> {
    let unacceptable =
        |text: &str| TractError::from(Unacceptable::new(format!("the text '{text}' is no number")));
    let float = |text: &String| text.trim().parse::<f64>().map_err(|_error| unacceptable(text));
    let single = |text: &String| text.trim().parse::<f32>().map_err(|_error| unacceptable(text));
    let integer = |text: &String| match text.trim().parse::<i64>() {
        Ok(integer) => Ok(integer),
        Err(_fraction) => float(text).map(long),
    };
    Ok(match to {
        DatumType::F32 => tensor1(&texts.iter().map(single).collect::<TractResult<Vec<_>>>()?),
        DatumType::F64 => tensor1(&texts.iter().map(float).collect::<TractResult<Vec<_>>>()?),
        _ if to.is_integer() => {
            let integers = texts.iter().map(integer).collect::<TractResult<Vec<_>>>()?;
            tensor1(&integers).cast_to_dt(to)?.into_owned()
        }
        other => bail!("Cast from texts to {other:?} is not supported"),
    })
}

/// A number with up to 8 significant digits, as C's `%.8g` writes it.
fn text_of(number: f64) -> String {
    const DIGITS: i32 = 8;
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    let scientific = format!("{number:.7e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let stripped = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        stripped(&format!("{number:.decimals$}"))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", stripped(mantissa), exponent.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_eight_digits() {
        for (number, text) in [
            (1.0, "1"),
            (f64::from(0.1_f32), "0.1"),
            (1e10, "1e+10"),
            (123_456_789.0, "1.2345679e+08"),
            (1e-7, "1e-07"),
            (1.0 / 3.0, "0.33333333"),
            (-12.5, "-12.5"),
            (99_999_999.9, "1e+08"),
            (0.0, "0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-INF"),
        ] {
            assert_eq!(text_of(number), text);
        }
    }

    #[test]
    fn what_no_integer_holds_becomes_the_least() {
        let wild = [f64::NAN, 1e30, -1.7, 300.0];
        let cast = |to| cut(&wild, to).expect("an integer");
        assert_eq!(cast(DatumType::I64), tensor1(&[i64::MIN, i64::MIN, -1, 300]));
        assert_eq!(cast(DatumType::I32), tensor1(&[i32::MIN, i32::MIN, -1, 300]));
        assert_eq!(cast(DatumType::U8), tensor1(&[0_u8, 0, 255, 44]));
        assert_eq!(cast(DatumType::U32), tensor1(&[1_u32 << 31, 0, u32::MAX, 300]));
        assert_eq!(cast(DatumType::U64), tensor1(&[1_u64 << 63, 0, u64::MAX, 300]));
        let large = cut(&[1.8e19, 3e9, 9.3e18], DatumType::U64).expect("an integer");
        assert_eq!(
            large,
            tensor1(&[18_000_000_000_000_000_000_u64, 3_000_000_000, 9_300_000_000_000_000_000])
        );
        assert_eq!(cut(&[3e9], DatumType::U32).expect("one"), tensor1(&[3_000_000_000_u32]));
    }

    #[test]
    fn texts_are_read_as_numbers_or_refused() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let parsed =
            parse(&texts(&["1.5", "INF", "-inf", " 2 "]), DatumType::F32).expect("numbers");
        assert_eq!(parsed, tensor1(&[1.5_f32, f32::INFINITY, f32::NEG_INFINITY, 2.0]));
        let parsed = parse(&texts(&["9007199254740993", "7.5"]), DatumType::I64).expect("integers");
        assert_eq!(parsed, tensor1(&[9_007_199_254_740_993_i64, 7]));
        let error = parse(&texts(&["x"]), DatumType::F32).expect_err("no number");
        assert!(error.root_cause().is::<Unacceptable>(), "{error}");
    }
}
