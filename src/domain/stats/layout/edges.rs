//! The cut of a numeric feature into bins.
//!
//! Owns the edges and the search among them, which is what recording a value costs. Never counts.

use std::fmt;

use super::error::LayoutError;
use super::{BINS_MAX, Guard, Place};

/// The edges of a numeric feature.
#[derive(Clone)]
pub struct Edges {
    /// Padded with infinity, so that every search takes the same six steps.
    padded: [f32; BINS_MAX],
    len: usize,
    point_masses: Box<[f32]>,
}

impl Edges {
    /// Cuts at `edges`, and around each point mass, a value so frequent that it gets a bin of its own:
    /// from the value to the next larger float.
    ///
    /// # Errors
    ///
    /// Says which edge or point mass is not finite, not in order, or one too many.
    pub fn new(edges: &[f64], point_masses: &[f64]) -> Result<Self, LayoutError> {
        check_ascending("edges", edges)?;
        check_ascending("point_masses", point_masses)?;
        let points: Box<[f32]> = point_masses.iter().map(|&x| positive_zero(x as f32)).collect();
        let mut cuts: Vec<f32> = edges.iter().map(|&x| positive_zero(x as f32)).collect();
        cuts.extend(points.iter().flat_map(|&x| [x, x.next_up()]));
        cuts.sort_by(f32::total_cmp);
        cuts.dedup();
        if cuts.len() >= BINS_MAX {
            return Err(LayoutError::TooManyBins { bins: cuts.len() + 1 });
        }
        let mut padded = [f32::INFINITY; BINS_MAX];
        for (slot, cut) in padded.iter_mut().zip(&cuts) {
            *slot = *cut;
        }
        Ok(Self { padded, len: cuts.len(), point_masses: points })
    }

    /// How many cuts there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether all numbers share one bin.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All cuts, those of point masses included.
    pub fn cuts(&self) -> &[f32] {
        self.padded.get(..self.len).unwrap_or_default()
    }

    /// The values that have a bin of their own.
    pub fn point_masses(&self) -> &[f32] {
        &self.point_masses
    }

    /// The bin of a finite number. Six steps whatever the number of edges, and no branch.
    pub fn bin(&self, number: f32) -> usize {
        let mut bin = 0;
        for step in [32, 16, 8, 4, 2, 1] {
            // The mask says what holds anyway, so that the compiler leaves the check out.
            let edge = self.padded[(bin + step - 1) & (BINS_MAX - 1)];
            bin += step * usize::from(edge <= number);
        }
        bin
    }

    /// Where `number` belongs.
    pub(super) fn place(&self, number: f32) -> Place {
        if number.is_finite() {
            Place::Number(self.bin(number), number)
        } else {
            Place::Guard(Guard::of(number))
        }
    }
}

impl fmt::Debug for Edges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.cuts()).finish()
    }
}

/// Negative zero and zero are one edge.
fn positive_zero(number: f32) -> f32 {
    if number == 0.0 { 0.0 } else { number }
}

/// Whether the numbers are finite and ascend, at single precision.
fn check_ascending(list: &'static str, numbers: &[f64]) -> Result<(), LayoutError> {
    for (index, &number) in numbers.iter().enumerate() {
        if !(number as f32).is_finite() {
            return Err(LayoutError::NotFinite { list, index, number });
        }
    }
    for (index, pair) in numbers.windows(2).enumerate() {
        if let [before, after] = *pair
            && before as f32 >= after as f32
        {
            return Err(LayoutError::NotAscending { list, index: index + 1, before, after });
        }
    }
    Ok(())
}
