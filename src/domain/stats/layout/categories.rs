//! The known values of a categorical feature.
//!
//! Owns the way from a text or an integer to its bin. Never learns a value: what the baseline does not
//! have is `other`.

use std::fmt;

use twox_hash::XxHash3_64;

use super::error::LayoutError;
use super::{CATEGORIES_MAX, NAME_BYTES_MAX};

/// The known values of a categorical feature, found by hash.
#[derive(Clone)]
pub struct Categories {
    values: Box<[Box<str>]>,
    /// Open addressing: one more than the index of a value, 0 where nothing is.
    table: Box<[u16]>,
    /// The values that are integers, in order.
    integers: Box<[(i64, u16)]>,
}

impl Categories {
    /// The values in the order of their bins.
    ///
    /// # Errors
    ///
    /// Says which value is there twice, too long, or one too many.
    pub fn new<S: AsRef<str>>(values: &[S]) -> Result<Self, LayoutError> {
        if values.len() > CATEGORIES_MAX {
            return Err(LayoutError::TooManyCategories { values: values.len() });
        }
        let values: Box<[Box<str>]> = values.iter().map(|value| value.as_ref().into()).collect();
        let mut table = vec![0_u16; (values.len() * 4).next_power_of_two()].into_boxed_slice();
        let mut integers = Vec::new();
        for (number, value) in (1_u16..).zip(&values) {
            if value.len() > NAME_BYTES_MAX {
                return Err(LayoutError::LongCategory { index: usize::from(number) - 1 });
            }
            let mut at = place_of(value, table.len());
            while let Some(&held) = table.get(at)
                && held != 0
            {
                if values.get(usize::from(held) - 1) == Some(value) {
                    return Err(LayoutError::DoubledCategory { value: value.clone() });
                }
                at = (at + 1) & (table.len() - 1);
            }
            if let Some(slot) = table.get_mut(at) {
                *slot = number;
            }
            if let Ok(integer) = value.parse::<i64>()
                && integer.to_string() == **value
            {
                integers.push((integer, number - 1));
            }
        }
        integers.sort_unstable();
        Ok(Self { values, table, integers: integers.into() })
    }

    /// The values, in the order of their bins.
    pub fn values(&self) -> &[Box<str>] {
        &self.values
    }

    /// The bin of a text, if it is a known value.
    pub(super) fn of_text(&self, text: &str) -> Option<usize> {
        let mut at = place_of(text, self.table.len());
        while let Some(&held) = self.table.get(at)
            && held != 0
        {
            let index = usize::from(held) - 1;
            if self.values.get(index).is_some_and(|value| **value == *text) {
                return Some(index);
            }
            at = (at + 1) & (self.table.len() - 1);
        }
        None
    }

    /// The bin of an integer, if its decimal form is a known value.
    pub(super) fn of_integer(&self, integer: i64) -> Option<usize> {
        let found = self.integers.binary_search_by_key(&integer, |&(value, _)| value).ok()?;
        self.integers.get(found).map(|&(_, index)| usize::from(index))
    }
}

impl fmt::Debug for Categories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.values).finish()
    }
}

/// Where to start looking for `text` in a table whose length is a power of two.
fn place_of(text: &str, len: usize) -> usize {
    XxHash3_64::oneshot(text.as_bytes()) as usize & (len - 1)
}
