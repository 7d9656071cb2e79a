//! Which cell of a table belongs to which place of the one tensor that takes them all.
//!
//! Owns the agreement of the names of the cells with those of the places, where the model's are known. Never
//! sees a value.

use super::ValueError;
use super::names::Names;
use crate::protocol::shown::shortened;

/// Where the cells of each row go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placement {
    /// To a tensor each: its position, by cell.
    Each(Vec<usize>),
    /// To the one tensor: which cell comes next, by place; `None` for the order in which they stand.
    One(Option<Vec<usize>>),
}

/// Which cell belongs to each of `places`; `None` where no places are known.
///
/// # Errors
/// When the names of the cells are not exactly those of the places.
pub(super) fn order<S: AsRef<str>>(
    places: &[String],
    names: &[S],
) -> Result<Option<Vec<usize>>, ValueError> {
    if places.is_empty() {
        return Ok(None);
    }
    let known: Names = places.iter().cloned().collect();
    let mut cells = vec![None; places.len()];
    for (cell, name) in names.iter().enumerate() {
        let column = || shortened(name.as_ref());
        match known.position(name.as_ref()).and_then(|place| cells.get_mut(place)) {
            Some(taken @ None) => *taken = Some(cell),
            Some(Some(_)) => return Err(ValueError::DuplicateColumn { column: column() }),
            None => {
                return Err(ValueError::UnexpectedColumn {
                    column: column(),
                    takes: places.to_vec(),
                });
            }
        }
    }
    let missing = |place: &String| ValueError::MissingColumn { column: shortened(place) };
    let cells =
        cells.into_iter().zip(places).map(|(cell, place)| cell.ok_or_else(|| missing(place)));
    cells.collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn cells_are_put_into_the_order_of_the_places_or_told_apart() {
        let places = texts(&["a", "b", "c"]);
        assert_eq!(order(&[], &["x"]), Ok(None));
        assert_eq!(order(&places, &["c", "a", "b"]), Ok(Some(vec![1, 2, 0])));
        let wrong = |names: &[&str]| order(&places, names).unwrap_err().to_string();
        assert!(wrong(&["a", "b"]).contains("column 'c' is missing"));
        assert!(wrong(&["a", "b", "b"]).contains("column 'b' occurs twice"));
        assert!(wrong(&["a", "b", "c", "d"]).contains("unexpected column 'd'"));
    }
}
