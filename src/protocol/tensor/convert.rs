//! Converts the elements of a tensor to another datatype.
//!
//! For dialects whose bodies do not name datatypes, and for clients and backends that differ in
//! precision. A float is rounded to the nearest value of a narrower type (beyond its range it becomes an
//! infinity, as when it is read from JSON); an integer is never changed, except when it becomes a float.

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use super::{Datatype, TensorData};

/// Elements that do not fit into the datatype that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// One of them is BOOL or BYTES and the other is not the same.
    #[error("{from} cannot be converted to {to}")]
    Kinds {
        /// What the elements are.
        from: Datatype,
        /// What is asked for.
        to: Datatype,
    },
    /// A number that an integer type does not have.
    #[error("element {element} is {value}, which {to} cannot hold")]
    Value {
        /// The element, from 0.
        element: usize,
        /// What it is.
        value: String,
        /// What is asked for.
        to: Datatype,
    },
}

impl TensorData {
    /// The same elements as `to`.
    ///
    /// # Errors
    /// When one of the datatypes is not a number, or an element is outside of the range of an integer
    /// type or has a fraction.
    pub fn convert(self, to: Datatype) -> Result<Self, ConvertError> {
        match (self, to) {
            (data, _) if data.datatype() == to => Ok(data),
            (Self::Fp32(values), Datatype::Fp16) => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(&values);
                Ok(Self::Fp16(halves))
            }
            (Self::Fp32(values), Datatype::Bf16) => {
                let mut halves = vec![bf16::ZERO; values.len()];
                halves.convert_from_f32_slice(&values);
                Ok(Self::Bf16(halves))
            }
            (Self::Fp16(values), Datatype::Fp32) => Ok(Self::Fp32(values.to_f32_vec())),
            (Self::Bf16(values), Datatype::Fp32) => Ok(Self::Fp32(values.to_f32_vec())),
            (Self::Uint8(values), _) => numbers(&values, to),
            (Self::Uint16(values), _) => numbers(&values, to),
            (Self::Uint32(values), _) => numbers(&values, to),
            (Self::Uint64(values), _) => numbers(&values, to),
            (Self::Int8(values), _) => numbers(&values, to),
            (Self::Int16(values), _) => numbers(&values, to),
            (Self::Int32(values), _) => numbers(&values, to),
            (Self::Int64(values), _) => numbers(&values, to),
            (Self::Fp16(values), _) => numbers(&values, to),
            (Self::Bf16(values), _) => numbers(&values, to),
            (Self::Fp32(values), _) => numbers(&values, to),
            (Self::Fp64(values), _) => numbers(&values, to),
            (data @ (Self::Bool(_) | Self::Bytes(_)), _) => {
                Err(ConvertError::Kinds { from: data.datatype(), to })
            }
        }
    }
}

/// Any number, exactly.
#[derive(Debug, Clone, Copy)]
enum Number {
    Integer(i128),
    Float(f64),
}

/// An element type that is a number.
trait Numeric: Copy {
    const DATATYPE: Datatype;
    fn number(self) -> Number;
    /// The nearest value for a float type, the same value or none for an integer type.
    fn from_number(number: Number) -> Option<Self>;
}

macro_rules! integer {
    ($($type:ident $datatype:ident),*) => {$(
        impl Numeric for $type {
            const DATATYPE: Datatype = Datatype::$datatype;
            fn number(self) -> Number {
                Number::Integer(self.into())
            }
            fn from_number(number: Number) -> Option<Self> {
                match number {
                    Number::Integer(value) => value.try_into().ok(),
                    // Exact: every float without a fraction below 2^127 is an i128.
                    Number::Float(value) if value.fract() == 0.0 => (value as i128).try_into().ok(),
                    Number::Float(_) => None,
                }
            }
        }
    )*};
}

macro_rules! float {
    ($($type:ident $datatype:ident, $value:ident => $integer:expr, $float:expr;)*) => {$(
        impl Numeric for $type {
            const DATATYPE: Datatype = Datatype::$datatype;
            fn number(self) -> Number {
                Number::Float(self.into())
            }
            fn from_number(number: Number) -> Option<Self> {
                Some(match number {
                    Number::Integer($value) => $integer,
                    Number::Float($value) => $float,
                })
            }
        }
    )*};
}

integer!(u8 Uint8, u16 Uint16, u32 Uint32, u64 Uint64, i8 Int8, i16 Int16, i32 Int32, i64 Int64);
float! {
    f16 Fp16, value => Self::from_f64(value as f64), Self::from_f64(value);
    bf16 Bf16, value => Self::from_f64(value as f64), Self::from_f64(value);
    f32 Fp32, value => value as Self, value as Self;
    f64 Fp64, value => value as Self, value;
}

fn numbers<T: Numeric>(values: &[T], to: Datatype) -> Result<TensorData, ConvertError> {
    Ok(match to {
        Datatype::Uint8 => TensorData::Uint8(each(values)?),
        Datatype::Uint16 => TensorData::Uint16(each(values)?),
        Datatype::Uint32 => TensorData::Uint32(each(values)?),
        Datatype::Uint64 => TensorData::Uint64(each(values)?),
        Datatype::Int8 => TensorData::Int8(each(values)?),
        Datatype::Int16 => TensorData::Int16(each(values)?),
        Datatype::Int32 => TensorData::Int32(each(values)?),
        Datatype::Int64 => TensorData::Int64(each(values)?),
        Datatype::Fp16 => TensorData::Fp16(each(values)?),
        Datatype::Bf16 => TensorData::Bf16(each(values)?),
        Datatype::Fp32 => TensorData::Fp32(each(values)?),
        Datatype::Fp64 => TensorData::Fp64(each(values)?),
        Datatype::Bool | Datatype::Bytes => {
            return Err(ConvertError::Kinds { from: T::DATATYPE, to });
        }
    })
}

fn each<T: Numeric, U: Numeric>(values: &[T]) -> Result<Vec<U>, ConvertError> {
    let convert = |(element, value): (usize, &T)| {
        let number = value.number();
        U::from_number(number).ok_or_else(|| {
            let value = match number {
                Number::Integer(value) => value.to_string(),
                Number::Float(value) => value.to_string(),
            };
            ConvertError::Value { element, value, to: U::DATATYPE }
        })
    };
    values.iter().enumerate().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_never_changed() {
        let big = TensorData::Int64(vec![9_007_199_254_740_993, -1]);
        let error = big.convert(Datatype::Uint64).expect_err("negative");
        assert_eq!(error.to_string(), "element 1 is -1, which UINT64 cannot hold");
        let same = TensorData::Uint64(vec![9_007_199_254_740_993]);
        let data = TensorData::Int64(vec![9_007_199_254_740_993]);
        assert_eq!(data.convert(Datatype::Uint64), Ok(same));
        let floats = TensorData::Fp64(vec![3.0, -4.0]);
        assert_eq!(floats.convert(Datatype::Int8), Ok(TensorData::Int8(vec![3, -4])));
        for value in [0.5, f64::NAN, f64::INFINITY, 128.0, 1e300, -129.0] {
            let error = TensorData::Fp64(vec![value]).convert(Datatype::Int8);
            assert!(matches!(error, Err(ConvertError::Value { element: 0, .. })), "{value}");
        }
    }

    #[test]
    fn floats_are_rounded_to_nearest_and_overflow_to_infinity() {
        let data = TensorData::Fp32(vec![1.0, 0.1, 1e6, f32::NAN, -0.0]);
        let Ok(TensorData::Fp16(halves)) = data.clone().convert(Datatype::Fp16) else { panic!() };
        assert_eq!(halves[1].to_bits(), 0x2e66);
        assert_eq!(halves[2], f16::INFINITY);
        assert!(halves[3].is_nan());
        assert!(halves[4].is_sign_negative());
        let Ok(TensorData::Bf16(halves)) = data.convert(Datatype::Bf16) else { panic!() };
        assert_eq!(halves[1].to_bits(), 0x3dcd);
        let ints = TensorData::Int32(vec![16_777_217]).convert(Datatype::Fp32);
        assert_eq!(ints, Ok(TensorData::Fp32(vec![16_777_216.0])));
    }

    #[test]
    fn booleans_and_bytes_are_not_numbers() {
        let bools = || TensorData::Bool(vec![true]);
        assert_eq!(bools().convert(Datatype::Bool), Ok(bools()));
        let kinds = |from, to| Err(ConvertError::Kinds { from, to });
        assert_eq!(bools().convert(Datatype::Fp32), kinds(Datatype::Bool, Datatype::Fp32));
        let ints = TensorData::Int8(vec![1]);
        assert_eq!(ints.convert(Datatype::Bytes), kinds(Datatype::Int8, Datatype::Bytes));
    }

    proptest! {
        #[test]
        fn a_wider_type_and_back_is_the_identity(bits: Vec<u16>, ints: Vec<i32>) {
            let there_and_back = |data: &TensorData, wide| {
                let wide = data.clone().convert(wide).expect("fits");
                wide.convert(data.datatype()).expect("fits")
            };
            let halves = |data: &TensorData| match data {
                TensorData::Fp16(values) => values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                TensorData::Bf16(values) => values.iter().map(|v| v.to_bits()).collect(),
                _ => vec![],
            };
            let f16s = TensorData::Fp16(bits.iter().map(|&b| f16::from_bits(b)).filter(|v| !v.is_nan()).collect());
            let bf16s = TensorData::Bf16(bits.iter().map(|&b| bf16::from_bits(b)).filter(|v| !v.is_nan()).collect());
            for wide in [Datatype::Fp32, Datatype::Fp64] {
                for data in [&f16s, &bf16s] {
                    prop_assert_eq!(halves(&there_and_back(data, wide)), halves(data));
                }
            }
            let ints = TensorData::Int32(ints);
            for wide in [Datatype::Int64, Datatype::Fp64] {
                prop_assert_eq!(&there_and_back(&ints, wide), &ints);
            }
        }
    }
}
