//! The binary form of a tensor's elements.
//!
//! Owns the layout that the binary tensor extension of REST and the raw contents of gRPC share: row-major
//! and little-endian, a boolean as one byte, an element of BYTES as its length in four bytes and then
//! itself. Numbers are copied once when they are read and not at all when they are written (on machines
//! that are little-endian themselves).

use std::borrow::Cow;

use bytes::Bytes;
use half::{bf16, f16};
use smallvec::SmallVec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Datatype, TensorData};

/// The bytes in front of each element of BYTES.
const LENGTH_BYTES: usize = 4;

/// Consecutive bytes that may lie in several pieces, as a body does that came off a socket.
#[derive(Debug, Clone, Default)]
pub struct Span<'a> {
    pieces: SmallVec<[&'a [u8]; 2]>,
    len: usize,
}

impl<'a> Span<'a> {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: &'a [u8]) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    /// The number of bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many elements of BYTES there are, with one that goes beyond the end.
    pub fn texts(&self) -> usize {
        let (mut texts, mut length, mut seen, mut left) = (0usize, [0; LENGTH_BYTES], 0, 0usize);
        for mut piece in self.pieces.iter().copied() {
            while let [first, rest @ ..] = piece {
                if left > 0 {
                    let skipped = left.min(piece.len());
                    left -= skipped;
                    piece = piece.get(skipped..).unwrap_or_default();
                    continue;
                }
                if let Some(byte) = length.get_mut(seen) {
                    *byte = *first;
                }
                texts += usize::from(seen == 0);
                seen = (seen + 1) % LENGTH_BYTES;
                if seen == 0 {
                    left = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
                }
                piece = rest;
            }
        }
        texts
    }

    /// All bytes in one piece; copied if there are several.
    pub fn joined(&self) -> Cow<'a, [u8]> {
        match *self.pieces {
            [] => Cow::Borrowed(&[]),
            [piece] => Cow::Borrowed(piece),
            _ => Cow::Owned(self.pieces.concat()),
        }
    }
}

impl<'a> From<&'a [u8]> for Span<'a> {
    fn from(piece: &'a [u8]) -> Self {
        let mut span = Self::default();
        span.push(piece);
        span
    }
}

/// Bytes that are not the elements of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// Too few or too many bytes for the shape.
    #[error("expected {expected} bytes, got {actual}")]
    Size {
        /// What the shape and the datatype need.
        expected: usize,
        /// What there is.
        actual: usize,
    },
    /// The shape has more elements than memory can hold.
    #[error("the shape has too many elements")]
    TooMany,
    /// An element of BYTES, or its length, goes beyond the end.
    #[error("element {element} goes beyond the end of the {actual} bytes")]
    Truncated {
        /// The element, from 0.
        element: usize,
        /// The length of all data.
        actual: usize,
    },
    /// Too few or too many elements of BYTES for the shape.
    #[error("expected {expected} elements, got {actual}")]
    Count {
        /// What the shape says.
        expected: usize,
        /// What there is; one more than expected stands for any larger number.
        actual: usize,
    },
}

/// An element of BYTES that is too long for its length to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("element {element} has {length} bytes, which is more than the binary form allows")]
pub struct ElementTooLong {
    /// The element, from 0.
    pub element: usize,
    /// Its length.
    pub length: usize,
}

impl TensorData {
    /// Reads `count` elements, which must be all there is in `span`.
    ///
    /// # Errors
    /// When the bytes are not exactly as many elements. Nothing is allocated beyond the size of `span`.
    pub fn from_binary(
        datatype: Datatype,
        count: usize,
        span: &Span<'_>,
    ) -> Result<Self, BinaryError> {
        if let Some(size) = datatype.size() {
            let expected = count.checked_mul(size).ok_or(BinaryError::TooMany)?;
            if expected != span.len() {
                return Err(BinaryError::Size { expected, actual: span.len() });
            }
        }
        Ok(match datatype {
            Datatype::Bool => Self::Bool(numbers::<u8>(span).iter().map(|&b| b != 0).collect()),
            Datatype::Uint8 => Self::Uint8(numbers(span)),
            Datatype::Uint16 => Self::Uint16(numbers(span)),
            Datatype::Uint32 => Self::Uint32(numbers(span)),
            Datatype::Uint64 => Self::Uint64(numbers(span)),
            Datatype::Int8 => Self::Int8(numbers(span)),
            Datatype::Int16 => Self::Int16(numbers(span)),
            Datatype::Int32 => Self::Int32(numbers(span)),
            Datatype::Int64 => Self::Int64(numbers(span)),
            Datatype::Fp16 => Self::Fp16(numbers::<f16>(span)),
            Datatype::Bf16 => Self::Bf16(numbers::<bf16>(span)),
            Datatype::Fp32 => Self::Fp32(numbers(span)),
            Datatype::Fp64 => Self::Fp64(numbers(span)),
            Datatype::Bytes => Self::Bytes(elements(&span.joined(), count)?),
        })
    }

    /// The length of the binary form.
    pub fn binary_len(&self) -> usize {
        match self {
            Self::Bytes(elements) => elements.iter().map(|e| LENGTH_BYTES + e.len()).sum(),
            numbers => numbers.len() * numbers.datatype().size().unwrap_or_default(),
        }
    }

    /// The elements in binary form.
    ///
    /// # Errors
    /// When an element of BYTES is longer than 4 GiB.
    pub fn into_binary(self) -> Result<Bytes, ElementTooLong> {
        Ok(match self {
            Self::Bool(values) => Bytes::from_owner(Owned(values)),
            Self::Uint8(values) => Bytes::from(values),
            Self::Uint16(values) => little_endian(values),
            Self::Uint32(values) => little_endian(values),
            Self::Uint64(values) => little_endian(values),
            Self::Int8(values) => little_endian(values),
            Self::Int16(values) => little_endian(values),
            Self::Int32(values) => little_endian(values),
            Self::Int64(values) => little_endian(values),
            Self::Fp16(values) => little_endian(values),
            Self::Bf16(values) => little_endian(values),
            Self::Fp32(values) => little_endian(values),
            Self::Fp64(values) => little_endian(values),
            Self::Bytes(ref elements) => {
                let mut out = Vec::with_capacity(self.binary_len());
                for (element, bytes) in elements.iter().enumerate() {
                    let length = u32::try_from(bytes.len());
                    let too_long = |_| ElementTooLong { element, length: bytes.len() };
                    out.extend_from_slice(&length.map_err(too_long)?.to_le_bytes());
                    out.extend_from_slice(bytes);
                }
                Bytes::from(out)
            }
        })
    }
}

/// Elements whose memory is their binary form.
trait Plain: FromBytes + IntoBytes + Immutable + Copy + Send + 'static {}
impl<T: FromBytes + IntoBytes + Immutable + Copy + Send + 'static> Plain for T {}

/// Copies numbers; the length of `span` is a multiple of their size.
fn numbers<T: Plain>(span: &Span<'_>) -> Vec<T> {
    let mut values = vec![T::new_zeroed(); span.len() / size_of::<T>()];
    let mut rest = values.as_mut_bytes();
    for piece in &span.pieces {
        let (front, back) = rest.split_at_mut(piece.len().min(rest.len()));
        front.copy_from_slice(piece.get(..front.len()).unwrap_or_default());
        rest = back;
    }
    swap_if_big_endian(&mut values);
    values
}

/// The memory of `values` as bytes, which keep it alive.
fn little_endian<T: Plain>(mut values: Vec<T>) -> Bytes {
    swap_if_big_endian(&mut values);
    Bytes::from_owner(Owned(values))
}

fn swap_if_big_endian<T: Plain>(values: &mut [T]) {
    if cfg!(target_endian = "big") {
        for value in values.as_mut_bytes().chunks_exact_mut(size_of::<T>()) {
            value.reverse();
        }
    }
}

/// Numbers that are looked at as bytes.
struct Owned<T>(Vec<T>);

impl<T: IntoBytes + Immutable> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Reads the elements of BYTES.
fn elements(bytes: &[u8], count: usize) -> Result<Vec<Vec<u8>>, BinaryError> {
    // An element takes at least the bytes of its length, so that no shape can allocate more.
    let mut elements = Vec::with_capacity(count.min(bytes.len() / LENGTH_BYTES));
    let mut rest = bytes;
    while !rest.is_empty() {
        if elements.len() == count {
            return Err(BinaryError::Count { expected: count, actual: count + 1 });
        }
        let truncated = || BinaryError::Truncated { element: elements.len(), actual: bytes.len() };
        let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or_else(truncated)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (element, after) = after.split_at_checked(length).ok_or_else(truncated)?;
        elements.push(element.to_vec());
        rest = after;
    }
    if elements.len() == count {
        Ok(elements)
    } else {
        Err(BinaryError::Count { expected: count, actual: elements.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(datatype: Datatype, count: usize, bytes: &[u8]) -> Result<TensorData, BinaryError> {
        TensorData::from_binary(datatype, count, &bytes.into())
    }

    #[test]
    fn texts_are_counted_wherever_they_are_cut() {
        let whole =
            [&3_u32.to_le_bytes()[..], b"abc", &[0; 8], &9_u32.to_le_bytes(), b"cut"].concat();
        for cut in 0..whole.len() {
            let (front, back) = whole.split_at(cut);
            let mut span = Span::from(front);
            span.push(back);
            assert_eq!(span.texts(), 4, "{cut}");
        }
        assert_eq!(Span::default().texts(), 0);
        assert_eq!(Span::from(&[0; 9][..]).texts(), 3);
    }

    #[test]
    fn numbers_are_little_endian_and_booleans_are_bytes() {
        let cases = [
            (TensorData::Bool(vec![true, false]), vec![1, 0]),
            (TensorData::Int8(vec![-1]), vec![0xff]),
            (TensorData::Uint16(vec![0x0102]), vec![2, 1]),
            (TensorData::Int32(vec![1, -2]), vec![1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff]),
            (TensorData::Fp32(vec![1.0]), vec![0, 0, 0x80, 0x3f]),
            (TensorData::Fp16(vec![f16::ONE]), vec![0, 0x3c]),
            (TensorData::Bf16(vec![bf16::ONE]), vec![0x80, 0x3f]),
            (TensorData::Fp64(vec![-0.0]), vec![0, 0, 0, 0, 0, 0, 0, 0x80]),
            (TensorData::Bytes(vec![b"hi".to_vec(), vec![]]), b"\x02\0\0\0hi\0\0\0\0".to_vec()),
        ];
        for (data, bytes) in cases {
            let (datatype, count) = (data.datatype(), data.len());
            assert_eq!(data.binary_len(), bytes.len());
            assert_eq!(read(datatype, count, &bytes), Ok(data.clone()));
            assert_eq!(data.into_binary().expect("short"), bytes, "{datatype}");
        }
        assert_eq!(read(Datatype::Bool, 1, &[7]), Ok(TensorData::Bool(vec![true])));
    }

    #[test]
    fn a_wrong_size_is_said() {
        let error = read(Datatype::Fp32, 3, &[0; 8]).expect_err("short");
        assert_eq!(error.to_string(), "expected 12 bytes, got 8");
        assert_eq!(read(Datatype::Fp32, usize::MAX / 2, &[]), Err(BinaryError::TooMany));
        let truncated = |element, actual| Err(BinaryError::Truncated { element, actual });
        assert_eq!(read(Datatype::Bytes, 1, &[1, 0, 0]), truncated(0, 3));
        assert_eq!(read(Datatype::Bytes, 2, b"\0\0\0\0\xff\xff\xff\xffx"), truncated(1, 9));
        let count = |expected, actual| Err(BinaryError::Count { expected, actual });
        assert_eq!(read(Datatype::Bytes, usize::MAX, b"\0\0\0\0"), count(usize::MAX, 1));
        assert_eq!(read(Datatype::Bytes, 1, &[0; 12]), count(1, 2));
    }

    #[test]
    fn elements_may_lie_across_pieces() {
        let bytes: Vec<u8> = (0..24).collect();
        let whole = read(Datatype::Uint64, 3, &bytes);
        let text = TensorData::Bytes(vec![b"a text".to_vec(), b"another".to_vec()]);
        let text_bytes = text.clone().into_binary().expect("short");
        for cut in 0..bytes.len() {
            let mut span = Span::default();
            span.push(&bytes[..cut]);
            span.push(&bytes[cut..]);
            assert_eq!(TensorData::from_binary(Datatype::Uint64, 3, &span), whole);
            let cut = cut.min(text_bytes.len());
            let mut span = Span::default();
            span.push(&text_bytes[..cut]);
            span.push(&[]);
            span.push(&text_bytes[cut..]);
            assert_eq!(TensorData::from_binary(Datatype::Bytes, 2, &span), Ok(text.clone()));
        }
    }
}
