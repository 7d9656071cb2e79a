//! Squares and square roots of integers, which `Mul(x, x)`, `Pow(x, 2)`, ReduceSumSquare and ReduceL2 consist of.
//!
//! Owns that squares wrap around at the end of their type, and that roots are cut off to whole numbers, as in
//! onnxruntime; of a sum that has wrapped below zero the root is 0 here, and the least integer there. tract makes a square of every product of a tensor with itself, and has none for integers: such a model
//! answered nothing. Floating-point numbers stay tract's.

use tract_onnx::prelude::{Datum, DatumType, Tensor, TractResult};
use tract_onnx::tract_hir::internal::{TypedOp, bail};
use tract_onnx::tract_hir::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::tract_core::ops::math;

/// A function of one integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Square,
    Root,
}

/// What stands for `op`, if it is such a function of integers.
pub(super) fn instead_of(op: &dyn TypedOp, datum_type: DatumType) -> Option<ElementWiseOp> {
    if !(datum_type.is_signed() || datum_type.is_unsigned()) || datum_type.is_quantized() {
        return None;
    }
    let found = &op.downcast_ref::<ElementWiseOp>()?.0;
    let function = if found.is::<math::Square>() {
        Whole::Square
    } else if found.is::<math::Sqrt>() {
        Whole::Root
    } else {
        return None;
    };
    Some(ElementWiseOp(Box::new(function), None))
}

/// Replaces each number.
fn each<T: Datum + Copy>(tensor: &mut Tensor, function: impl Fn(T) -> T) -> TractResult<()> {
    let mut plain = tensor.try_as_plain_ram_mut()?;
    plain.as_slice_mut::<T>()?.iter_mut().for_each(|x| *x = function(*x));
    Ok(())
}

impl ElementWiseMiniOp for Whole {
    fn name(&self) -> String {
        match self {
            Self::Square => "Square",
            Self::Root => "Sqrt",
        }
        .to_owned()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        let root = |x: f64| x.sqrt();
        match (tensor.datum_type(), self) {
            (DatumType::I64, Self::Square) => each(tensor, |x: i64| x.wrapping_mul(x)),
            (DatumType::I32, Self::Square) => each(tensor, |x: i32| x.wrapping_mul(x)),
            (DatumType::I16, Self::Square) => each(tensor, |x: i16| x.wrapping_mul(x)),
            (DatumType::I8, Self::Square) => each(tensor, |x: i8| x.wrapping_mul(x)),
            (DatumType::U64, Self::Square) => each(tensor, |x: u64| x.wrapping_mul(x)),
            (DatumType::U32, Self::Square) => each(tensor, |x: u32| x.wrapping_mul(x)),
            (DatumType::U16, Self::Square) => each(tensor, |x: u16| x.wrapping_mul(x)),
            (DatumType::U8, Self::Square) => each(tensor, |x: u8| x.wrapping_mul(x)),
            (DatumType::I64, Self::Root) => each(tensor, |x: i64| root(x as f64) as i64),
            (DatumType::I32, Self::Root) => each(tensor, |x: i32| root(x.into()) as i32),
            (DatumType::I16, Self::Root) => each(tensor, |x: i16| root(x.into()) as i16),
            (DatumType::I8, Self::Root) => each(tensor, |x: i8| root(x.into()) as i8),
            (DatumType::U64, Self::Root) => each(tensor, |x: u64| root(x as f64) as u64),
            (DatumType::U32, Self::Root) => each(tensor, |x: u32| root(x.into()) as u32),
            (DatumType::U16, Self::Root) => each(tensor, |x: u16| root(x.into()) as u16),
            (DatumType::U8, Self::Root) => each(tensor, |x: u8| root(x.into()) as u8),
            (other, _) => bail!("{} of integers, not of {other:?}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    fn of(function: Whole, mut numbers: Tensor) -> Tensor {
        function.eval_in_place(&mut numbers, None).expect("integers");
        numbers
    }

    #[test]
    fn squares_wrap_around_at_the_end_of_their_type() {
        let found = of(Whole::Square, tensor1(&[3_i64, -4, 1 << 32, i64::MAX]));
        assert_eq!(found, tensor1(&[9_i64, 16, 0, 1]));
        let found = of(Whole::Square, tensor1(&[46_341_i32, i32::MIN]));
        assert_eq!(found, tensor1(&[-2_147_479_015_i32, 0]));
        assert_eq!(of(Whole::Square, tensor1(&[17_u8])), tensor1(&[33_u8]));
    }

    #[test]
    fn roots_are_cut_off() {
        let found = of(Whole::Root, tensor1(&[0_i64, 15, 16, 1 << 62]));
        assert_eq!(found, tensor1(&[0_i64, 3, 4, 1 << 31]));
    }

    #[test]
    fn only_functions_of_integers_are_replaced() {
        let replaced = |op: ElementWiseOp, datum_type| instead_of(&op, datum_type).is_some();
        assert!(replaced(math::square(), DatumType::I64) && replaced(math::sqrt(), DatumType::U8));
        assert!(!replaced(math::square(), DatumType::F32));
        assert!(!replaced(math::square(), DatumType::TDim));
        assert!(!replaced(math::abs(), DatumType::I64));
    }
}
