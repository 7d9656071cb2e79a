//! The one form of a tensor between all wire formats and the models.
//!
//! Owns the datatypes of the Open Inference Protocol, the agreement of a tensor's shape with its data, the
//! binary form of the data and conversions between datatypes. Never knows about JSON, ONNX or a particular
//! model.

use std::fmt;

use half::{bf16, f16};
use smallvec::SmallVec;

use super::parameters::Parameters;

#[cfg(test)]
pub(crate) mod arbitrary;
mod binary;
mod convert;

pub use self::binary::{BinaryError, ElementTooLong, Span};
pub use self::convert::ConvertError;

/// The most dimensions of a tensor that is read: no tensor has more, and errors and records show all of them.
pub const SHAPE_RANK_MAX: usize = 64;
/// The most tensors of one message that is read. Each is far larger in memory than it is on the wire at least.
pub const TENSORS_MAX: usize = 4096;

/// The element type of a tensor, with the names and sizes of the Open Inference Protocol ("Tensor
/// Data Types" in its specification; BF16 is Triton's addition).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant says all there is to say")]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    /// All of them, in the order of the specification.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The datatype with this wire name (names are case-sensitive), `None` for any other text.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|datatype| datatype.as_str() == name)
    }

    /// Bytes per element in binary form, `None` where elements differ in length.
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The dimensions of a tensor, outermost first; empty for a scalar.
pub type Shape = SmallVec<[usize; 4]>;

/// The number of elements of a shape, `None` when it does not fit into memory.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim))
}

/// The elements of a tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant says all there is to say")]
pub enum TensorData {
    Bool(Vec<bool>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Fp16(Vec<f16>),
    Bf16(Vec<bf16>),
    Fp32(Vec<f32>),
    Fp64(Vec<f64>),
    Bytes(Vec<Vec<u8>>),
}

/// Evaluates `$body` with `$values` bound to the typed elements, whichever type they have.
macro_rules! for_each_type {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            $crate::protocol::tensor::TensorData::Bool($values) => $body,
            $crate::protocol::tensor::TensorData::Uint8($values) => $body,
            $crate::protocol::tensor::TensorData::Uint16($values) => $body,
            $crate::protocol::tensor::TensorData::Uint32($values) => $body,
            $crate::protocol::tensor::TensorData::Uint64($values) => $body,
            $crate::protocol::tensor::TensorData::Int8($values) => $body,
            $crate::protocol::tensor::TensorData::Int16($values) => $body,
            $crate::protocol::tensor::TensorData::Int32($values) => $body,
            $crate::protocol::tensor::TensorData::Int64($values) => $body,
            $crate::protocol::tensor::TensorData::Fp16($values) => $body,
            $crate::protocol::tensor::TensorData::Bf16($values) => $body,
            $crate::protocol::tensor::TensorData::Fp32($values) => $body,
            $crate::protocol::tensor::TensorData::Fp64($values) => $body,
            $crate::protocol::tensor::TensorData::Bytes($values) => $body,
        }
    };
}

impl TensorData {
    /// The datatype of the elements.
    pub const fn datatype(&self) -> Datatype {
        match self {
            Self::Bool(_) => Datatype::Bool,
            Self::Uint8(_) => Datatype::Uint8,
            Self::Uint16(_) => Datatype::Uint16,
            Self::Uint32(_) => Datatype::Uint32,
            Self::Uint64(_) => Datatype::Uint64,
            Self::Int8(_) => Datatype::Int8,
            Self::Int16(_) => Datatype::Int16,
            Self::Int32(_) => Datatype::Int32,
            Self::Int64(_) => Datatype::Int64,
            Self::Fp16(_) => Datatype::Fp16,
            Self::Bf16(_) => Datatype::Bf16,
            Self::Fp32(_) => Datatype::Fp32,
            Self::Fp64(_) => Datatype::Fp64,
            Self::Bytes(_) => Datatype::Bytes,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        for_each_type!(self, values => values.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is declared about a tensor: its name, type and dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name by which the model knows it.
    pub name: String,
    /// The datatype of the elements.
    pub datatype: Datatype,
    /// The dimensions, outermost first; -1 where any size will do.
    pub shape: SmallVec<[i64; 4]>,
    /// The names of the places of the last dimension, where they are known; each occurs once.
    pub places: Vec<String>,
    /// Whether its place among the model's tensors means something, so that values without names may be
    /// told apart by it. Not where they were told as a map.
    pub ordered: bool,
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' ({} {:?})", self.name, self.datatype, self.shape.as_slice())
    }
}

/// A named tensor whose shape agrees with its data, and what its sender says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    name: String,
    shape: Shape,
    data: TensorData,
    parameters: Parameters<'static>,
}

/// A shape that does not have as many elements as the data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "shape {shape:?} has {} elements but the data has {actual}",
    expected.map_or_else(|| "too many".to_owned(), |n| n.to_string())
)]
pub struct ShapeMismatch {
    /// The shape.
    pub shape: Shape,
    /// Its number of elements, `None` when that overflows.
    pub expected: Option<usize>,
    /// The number of elements in the data.
    pub actual: usize,
}

impl Tensor {
    /// Joins the parts of a tensor, without parameters.
    ///
    /// # Errors
    /// When the product of the dimensions is not the number of elements.
    pub fn new(
        name: impl Into<String>,
        shape: impl Into<Shape>,
        data: TensorData,
    ) -> Result<Self, ShapeMismatch> {
        let shape = shape.into();
        let (expected, actual) = (element_count(&shape), data.len());
        if expected == Some(actual) {
            Ok(Self { name: name.into(), shape, data, parameters: Parameters::new() })
        } else {
            Err(ShapeMismatch { shape, expected, actual })
        }
    }

    /// The name by which the model knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The datatype of the elements.
    pub const fn datatype(&self) -> Datatype {
        self.data.datatype()
    }

    /// The elements, row-major.
    pub const fn data(&self) -> &TensorData {
        &self.data
    }

    /// The elements, to be changed in place; `None` unless they are FP32.
    pub fn fp32_mut(&mut self) -> Option<&mut [f32]> {
        match &mut self.data {
            TensorData::Fp32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements, to be changed in place; `None` unless they are FP64.
    pub fn fp64_mut(&mut self) -> Option<&mut [f64]> {
        match &mut self.data {
            TensorData::Fp64(values) => Some(values),
            _ => None,
        }
    }

    /// What its sender says about it, for whoever reads it: none of it changes what the tensor is. Dialects without
    /// parameters of tensors leave them out.
    pub const fn parameters(&self) -> &Parameters<'static> {
        &self.parameters
    }

    /// The same tensor with these parameters.
    #[must_use]
    pub fn with_parameters(self, parameters: Parameters<'static>) -> Self {
        Self { parameters, ..self }
    }

    /// Takes the parameters out.
    pub fn take_parameters(&mut self) -> Parameters<'static> {
        std::mem::take(&mut self.parameters)
    }

    /// The same tensor under another name, as when two models name an input differently.
    #[must_use]
    pub fn renamed(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same tensor with its elements in another datatype.
    ///
    /// # Errors
    /// As [`TensorData::convert`].
    pub fn convert(self, datatype: Datatype) -> Result<Self, ConvertError> {
        Ok(Self { data: self.data.convert(datatype)?, ..self })
    }

    /// The elements without their name and shape.
    pub fn into_data(self) -> TensorData {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_names_are_those_of_the_specification_and_parse_back() {
        for datatype in Datatype::ALL {
            assert_eq!(Datatype::parse(datatype.as_str()), Some(datatype));
        }
        assert_eq!(Datatype::parse("fp32"), None);
        assert_eq!(Datatype::parse("FP32 "), None);
    }

    #[test]
    fn a_tensor_cannot_disagree_with_its_shape() {
        let data = || TensorData::Fp32(vec![1.0; 6]);
        assert!(Tensor::new("x", [2, 3].as_slice(), data()).is_ok());
        assert!(Tensor::new("x", [0, 3].as_slice(), TensorData::Int8(vec![])).is_ok());
        assert!(Tensor::new("x", Shape::new(), TensorData::Bool(vec![true])).is_ok());
        let error = Tensor::new("x", [2, 2].as_slice(), data()).expect_err("four is not six");
        assert_eq!(error.to_string(), "shape [2, 2] has 4 elements but the data has 6");
        let huge = [usize::MAX, 3];
        let error = Tensor::new("x", huge.as_slice(), data()).expect_err("overflow");
        assert_eq!(error.expected, None);
        assert_eq!(element_count(&[usize::MAX, usize::MAX, 0]), Some(0));
    }
}
