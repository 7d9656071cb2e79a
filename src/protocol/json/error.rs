//! Why a document could not be decoded, and where.
//!
//! Owns the error type of all JSON dialects. Never decides a status: every kind is the client's
//! fault.

use std::fmt;

use crate::protocol::shown::shortened;
use crate::protocol::status::FailureKind;
use crate::protocol::tensor::{BinaryError, Datatype, SHAPE_RANK_MAX, ShapeMismatch, TENSORS_MAX};
use crate::protocol::untyped::ValueError;

/// A document that could not be decoded. One pointer in size, because every element passes by it.
#[derive(Clone, PartialEq)]
pub struct DecodeError(Box<Detail>);

#[derive(Clone, PartialEq)]
struct Detail {
    pointer: String,
    offset: usize,
    kind: DecodeErrorKind,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The document stops in the middle.
    #[error("the JSON ends where {expected} is expected")]
    UnexpectedEnd {
        /// What should come.
        expected: &'static str,
    },
    /// A byte that cannot stand here.
    #[error("{} where {expected} is expected", Byte(*found))]
    UnexpectedByte {
        /// The byte.
        found: u8,
        /// What should come.
        expected: &'static str,
    },
    /// A string that breaks the rules of RFC 8259 section 7.
    #[error("invalid string: {0}")]
    InvalidString(&'static str),
    /// A number that breaks the rules of RFC 8259 section 6.
    #[error("invalid number: {0}")]
    InvalidNumber(&'static str),
    /// Arrays and objects within each other beyond the limit.
    #[error("more than {limit} levels of nesting")]
    TooDeep {
        /// The limit.
        limit: u32,
    },
    /// Something follows the document.
    #[error("{} after the end of the JSON", Byte(*.0))]
    TrailingByte(u8),
    /// A value of the wrong JSON type.
    #[error("{found} where {expected} is expected")]
    WrongType {
        /// What should come.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// An element that the datatype cannot hold.
    #[error("{found} where {datatype} is expected{}", hint(*datatype, found))]
    WrongElement {
        /// The declared datatype.
        datatype: Datatype,
        /// What came.
        found: &'static str,
    },
    /// A number outside of the datatype's range.
    #[error("{text} is out of range for {datatype}")]
    OutOfRange {
        /// The number, shortened.
        text: String,
        /// The declared datatype.
        datatype: Datatype,
    },
    /// A required key is absent.
    #[error("missing key {0:?}")]
    MissingKey(&'static str),
    /// A key of the protocol stands twice in one object.
    #[error("key {0:?} occurs twice")]
    DuplicateKey(&'static str),
    /// A datatype that the protocol does not have.
    #[error(
        "unknown datatype {0:?}, expected one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64, BYTES"
    )]
    UnknownDatatype(String),
    /// A datatype that exists in binary form only.
    #[error("{0} has no JSON form; send FP32")]
    NoJsonForm(Datatype),
    /// A dimension that is not a number from 0 on.
    #[error("a dimension must be an integer from 0 on")]
    InvalidDimension,
    /// A shape has more than [`SHAPE_RANK_MAX`] dimensions.
    #[error("a shape has at most {SHAPE_RANK_MAX} dimensions")]
    TooManyDimensions,
    /// There are more tensors, or more requested outputs, than [`TENSORS_MAX`].
    #[error("there are more than {TENSORS_MAX} tensors or requested outputs")]
    TooManyTensors,
    /// Shape and data disagree.
    #[error(transparent)]
    Shape(#[from] ShapeMismatch),
    /// A parameter that stands twice in one object.
    #[error("a parameter of this name occurs twice")]
    DuplicateParameter,
    /// More parameters than anybody has a use for.
    #[error("there are more than 64 parameters")]
    TooManyParameters,
    /// A parameter that is not a string, a number or a boolean.
    #[error("a parameter must be a string, a number or a boolean, not {0}")]
    InvalidParameter(&'static str),
    /// A parameter whose value makes no sense.
    #[error("parameter '{0}' must be {1}")]
    WrongParameter(&'static str, &'static str),
    /// A parameter that only the server sets.
    #[error(
        "parameter '{0}': keys starting with 'triton_' are reserved and should not be specified"
    )]
    ReservedParameter(String),
    /// A tensor both in the JSON and behind it.
    #[error("there is \"data\" as well as the parameter 'binary_data_size'; send one of them")]
    DataTwice,
    /// Fewer bytes behind the JSON than its tensors have.
    #[error(
        "unexpected size for '{tensor}': binary_data_size is {size}, but {left} bytes are left behind \
         the JSON (is the header Inference-Header-Content-Length right?)"
    )]
    BinaryShort {
        /// The tensor.
        tensor: String,
        /// What it says.
        size: u64,
        /// What is there.
        left: usize,
    },
    /// More bytes behind the JSON than its tensors have.
    #[error("unexpected additional input data: {left} bytes belong to no tensor")]
    BinaryLeft {
        /// How many more.
        left: usize,
    },
    /// Bytes that do not fit the shape and datatype of their tensor.
    #[error("byte size mismatch for '{tensor}': {error}")]
    Binary {
        /// The tensor.
        tensor: String,
        /// How they do not fit.
        error: BinaryError,
    },
    /// A raw binary request for a model whose input has more than one open dimension.
    #[error(
        "the shape of '{tensor}' cannot be told from the length of a raw request, as {open} of its \
         dimensions are open; send a header"
    )]
    RawShape {
        /// The model's input.
        tensor: String,
        /// How many of its dimensions are open.
        open: usize,
    },
    /// Values without types that do not become tensors.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// An extension that is not offered here, and what to do instead.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl DecodeError {
    /// An error at `offset`, not yet known where in the document's structure.
    #[cold]
    pub fn new(offset: usize, kind: impl Into<DecodeErrorKind>) -> Self {
        Self(Box::new(Detail { pointer: String::new(), offset, kind: kind.into() }))
    }

    /// The same error, seen from the object around it. Of a long key the pointer has the beginning.
    #[must_use]
    #[cold]
    pub fn in_key(mut self, key: &str) -> Self {
        let escaped = shortened(key).replace('~', "~0").replace('/', "~1");
        self.0.pointer.insert_str(0, &escaped);
        self.0.pointer.insert(0, '/');
        self
    }

    /// The same error, seen from the array around it.
    #[must_use]
    #[cold]
    pub fn in_index(mut self, index: usize) -> Self {
        self.0.pointer.insert_str(0, &format!("/{index}"));
        self
    }

    /// Where in the structure: a JSON pointer (RFC 6901), empty for the whole document.
    pub fn pointer(&self) -> &str {
        &self.0.pointer
    }

    /// Where in the bytes, from 0.
    pub fn offset(&self) -> usize {
        self.0.offset
    }

    /// What kind of failure this is, by what Triton tells apart: whether the body could be parsed.
    pub fn failure_kind(&self) -> FailureKind {
        match self.0.kind {
            DecodeErrorKind::UnknownDatatype(_)
            | DecodeErrorKind::InvalidParameter(_)
            | DecodeErrorKind::WrongParameter(..)
            | DecodeErrorKind::ReservedParameter(_)
            | DecodeErrorKind::DuplicateParameter
            | DecodeErrorKind::TooManyParameters
            | DecodeErrorKind::DataTwice
            | DecodeErrorKind::BinaryShort { .. }
            | DecodeErrorKind::BinaryLeft { .. }
            | DecodeErrorKind::Binary { .. }
            | DecodeErrorKind::RawShape { .. }
            | DecodeErrorKind::NoJsonForm(_)
            | DecodeErrorKind::Value(_)
            | DecodeErrorKind::Unsupported(_) => FailureKind::InvalidArgument,
            _ => FailureKind::Malformed,
        }
    }

    /// What is wrong and where, for a document that is no request.
    pub fn in_answer(&self) -> impl fmt::Display + '_ {
        Plain(self)
    }

    /// What is wrong.
    pub fn kind(&self) -> &DecodeErrorKind {
        &self.0.kind
    }
}

/// A mistake in a document that is no request.
struct Plain<'e>(&'e DecodeError);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detail { pointer, offset, kind } = &*self.0.0;
        if !pointer.is_empty() {
            write!(f, "at {pointer}: ")?;
        }
        write!(f, "{kind} (byte {offset})")
    }
}

impl std::error::Error for DecodeError {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.0.pointer.is_empty() { ": " } else { " " };
        write!(f, "invalid request{gap}{}", Plain(self))
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows a byte as a character where it is one.
struct Byte(u8);

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() {
            write!(f, "'{}'", char::from(self.0))
        } else {
            write!(f, "byte 0x{:02x}", self.0)
        }
    }
}

/// What to do about the mistakes that are made most.
fn hint(datatype: Datatype, found: &str) -> &'static str {
    match (datatype, found) {
        (Datatype::Fp32 | Datatype::Fp64 | Datatype::Bool | Datatype::Bytes, _) => "",
        (_, "a fraction") => "; integers are written without a fraction or an exponent",
        _ => "",
    }
}
