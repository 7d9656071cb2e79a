//! The shape of nested arrays, found while they are read.
//!
//! Owns the rule that arrays are rectangular; never sees an element.

use smallvec::SmallVec;

use super::ValueError;
use crate::protocol::json::{DecodeError, Reader, Token};
use crate::protocol::tensor::Shape;

/// What is known about the values of one column. Every value must have the shape of the first.
#[derive(Debug, Clone, Default)]
pub(super) struct ValueShape {
    /// The length of the arrays at each level, once the first of them ended.
    lengths: SmallVec<[Option<usize>; 4]>,
    /// The level of the elements, once the first was seen.
    rank: Option<usize>,
}

impl ValueShape {
    /// An array begins at `level`.
    pub(super) fn open(&self, level: usize) -> Result<(), ValueError> {
        if self.rank.is_some_and(|rank| level >= rank) {
            return Err(ValueError::Deeper);
        }
        Ok(())
    }

    /// An array of `length` at `level` has ended.
    pub(super) fn close(&mut self, level: usize, length: usize) -> Result<(), ValueError> {
        if self.lengths.len() <= level {
            self.lengths.resize(level + 1, None);
        }
        match self.lengths.get_mut(level) {
            Some(Some(expected)) if *expected != length => {
                Err(ValueError::Ragged { expected: *expected, found: length })
            }
            Some(expected) => {
                *expected = Some(length);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// An element stands at `level`.
    #[inline]
    pub(super) fn element(&mut self, level: usize) -> Result<(), ValueError> {
        match self.rank {
            Some(rank) if rank == level => Ok(()),
            None if self.lengths.len() <= level => {
                self.rank = Some(level);
                Ok(())
            }
            Some(_) | None => Err(ValueError::Flatter),
        }
    }

    /// The dimensions of one value.
    pub(super) fn dims(&self) -> impl Iterator<Item = usize> + '_ {
        self.lengths.iter().map(|length| length.unwrap_or(0))
    }
}

/// Reads a value or nested arrays of values, and hands each value that is not an array to `element`.
/// The recursion is as deep as the reader allows arrays to be nested.
pub(super) fn read_nested(
    reader: &mut Reader<'_>,
    shape: &mut ValueShape,
    level: usize,
    element: &mut impl FnMut(&mut Reader<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let is_array = reader.peek()? == Token::Array;
    let start = reader.offset();
    let at = |error: ValueError| DecodeError::new(start, error);
    if !is_array {
        shape.element(level).map_err(at)?;
        return element(reader);
    }
    shape.open(level).map_err(at)?;
    let mut length = 0;
    reader.array(|reader| {
        length += 1;
        read_nested(reader, shape, level + 1, element)
    })?;
    shape.close(level, length).map_err(at)
}

/// The shape in which a model can take data of `found`, if it can: as it is, with or without
/// dimensions of one at the end, or with or without a batch dimension of one where `batch` says that
/// it may be implied.
pub(super) fn fit(found: &[usize], expected: &[i64], batch: bool) -> Option<Shape> {
    let matches = |shape: &[usize]| {
        shape.len() == expected.len()
            && shape.iter().zip(expected).all(|(&size, &expected)| {
                expected < 0 || usize::try_from(expected).is_ok_and(|expected| expected == size)
            })
    };
    let mut shape = Shape::from_slice(found);
    if matches(&shape) {
        return Some(shape);
    }
    if batch && found.len() + 1 == expected.len() {
        shape.insert(0, 1);
        if matches(&shape) {
            return Some(shape);
        }
        shape = Shape::from_slice(found);
    }
    while shape.len() < expected.len() {
        shape.push(1);
    }
    while shape.len() > expected.len() && shape.last() == Some(&1) {
        shape.pop();
    }
    if matches(&shape) {
        return Some(shape);
    }
    match found.split_first() {
        Some((1, rest)) if batch && matches(rest) => Some(Shape::from_slice(rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(Vec<usize>, usize), DecodeError> {
        let mut shape = ValueShape::default();
        let mut count = 0;
        read_nested(&mut Reader::new(json.as_bytes()), &mut shape, 0, &mut |reader| {
            count += 1;
            reader.skip()
        })?;
        Ok((shape.dims().collect(), count))
    }

    #[test]
    fn rectangles_have_a_shape() {
        let cases: [(&str, &[usize], usize); 8] = [
            ("1", &[], 1),
            ("[]", &[0], 0),
            ("[1,2]", &[2], 2),
            ("[[1,2],[3,4],[5,6]]", &[3, 2], 6),
            ("[[],[]]", &[2, 0], 0),
            ("[[[]],[[]]]", &[2, 1, 0], 0),
            ("[[[1]],[[2]]]", &[2, 1, 1], 2),
            ("{\"b64\":\"\"}", &[], 1),
        ];
        for (json, shape, count) in cases {
            assert_eq!(read(json), Ok((shape.to_vec(), count)), "{json}");
        }
    }

    #[test]
    fn anything_else_is_refused_where_it_differs() {
        let cases = [
            ("[[1,2],[3]]", "/1", "an array of 1 where the arrays before it have 2"),
            ("[[1],2]", "/1", "a value where the values before it are arrays"),
            ("[1,[2]]", "/1", "an array where the values before it are not"),
            ("[[],[1]]", "/1", "an array of 1 where the arrays before it have 0"),
            ("[[[]],[1]]", "/1/0", "a value where the values before it are arrays"),
        ];
        for (json, pointer, message) in cases {
            let error = read(json).expect_err(json);
            assert_eq!(error.pointer(), pointer, "{json}");
            assert!(error.to_string().contains(message), "{json}: {error}");
        }
        let deep = "[".repeat(70);
        assert!(read(&deep).is_err(), "the reader bounds the recursion");
    }

    #[test]
    fn a_shape_fits_with_ones_added_or_removed() {
        let fits = |found: &[usize], expected: &[i64], batch| {
            fit(found, expected, batch).map(|shape| shape.to_vec())
        };
        assert_eq!(fits(&[2, 4], &[-1, 4], false), Some(vec![2, 4]));
        assert_eq!(fits(&[2, 5], &[-1, 4], false), None);
        assert_eq!(fits(&[3], &[-1, 1], false), Some(vec![3, 1]));
        assert_eq!(fits(&[3, 1], &[-1], false), Some(vec![3]));
        assert_eq!(fits(&[4], &[-1, 4], false), None);
        assert_eq!(fits(&[4], &[-1, 4], true), Some(vec![1, 4]));
        assert_eq!(fits(&[1, 4], &[4], true), Some(vec![4]));
        assert_eq!(fits(&[2, 4], &[4], true), None);
        assert_eq!(fits(&[], &[], false), Some(vec![]));
    }
}
