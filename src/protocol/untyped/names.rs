//! The names of columns, in their order.
//!
//! Owns the way from a name to its place: by looking through a few names, by a search tree through
//! many, so that a client cannot make it slow by sending thousands.

use std::collections::BTreeMap;

/// As many names as are looked through one by one.
const FEW: usize = 16;

/// Names in order, and where each stands. The first of equal ones counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    list: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl Names {
    /// The place of `name`.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        if self.list.len() <= FEW {
            return self.list.iter().position(|own| own == name);
        }
        self.places.get(name).copied()
    }

    /// Adds a name at the end.
    pub(super) fn push(&mut self, name: String) {
        if self.list.len() == FEW {
            for (place, name) in self.list.iter().enumerate() {
                self.places.entry(name.clone()).or_insert(place);
            }
        }
        if self.list.len() >= FEW {
            self.places.entry(name.clone()).or_insert(self.list.len());
        }
        self.list.push(name);
    }

    /// All of them.
    pub(super) fn list(&self) -> &[String] {
        &self.list
    }
}

impl<S: Into<String>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.push(name.into()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_names_are_found_and_the_first_of_equal_ones_counts() {
        for count in [1, FEW, FEW + 1, 100] {
            let mut names: Names = (0..count).map(|n| n.to_string()).collect();
            names.push("0".to_owned());
            assert_eq!(names.position("0"), Some(0));
            let last = count - 1;
            assert_eq!(names.position(&last.to_string()), Some(last));
            assert_eq!(names.position("x"), None);
            assert_eq!(names.list().len(), count + 1);
        }
    }
}
