//! Whether indices and updates have sizes that there is room for.
//!
//! Owns what GatherElements, ScatterElements, GatherND and ScatterND say about the sizes of their inputs
//! (<https://onnx.ai/onnx/operators/onnx__ScatterND.html>): where a file leaves some open, it is the caller's mistake if they
//! do not fit. tract panics there, or leaves out what is too much. Never looks at values.

use tract_onnx::prelude::TractResult;

use crate::inference::ml::Unacceptable;

/// Looks at indices of elements, which stand along `axis` and have no more places than the data along the others, and at
/// what is written there.
pub(super) fn elements(
    data: &[usize],
    indices: &[usize],
    axis: usize,
    updates: Option<&[usize]>,
) -> TractResult<()> {
    let mut others = data.iter().zip(indices).enumerate().filter(|(at, _)| *at != axis);
    if data.len() != indices.len() || others.any(|(_, (size, wanted))| wanted > size) {
        return refused(format!(
            "indices of the shape {indices:?} are too many along another axis than {axis} of data of the shape {data:?}"
        ));
    }
    match updates {
        Some(updates) if updates != indices => refused(format!(
            "there are updates of the shape {updates:?} for indices of the shape {indices:?}"
        )),
        _ => Ok(()),
    }
}

/// Looks at the dimensions that data and indices have in common.
pub(super) fn batch(data: &[usize], indices: &[usize], dims: usize) -> TractResult<()> {
    if data.get(..dims).is_some() && data.get(..dims) == indices.get(..dims) {
        return Ok(());
    }
    refused(format!(
        "indices of the shape {indices:?} do not have the first {dims} dimensions of data of the shape {data:?}"
    ))
}

/// Looks at what is written at indices that have several parts each: as much as there is at each of them.
pub(super) fn updates(data: &[usize], indices: &[usize], updates: &[usize]) -> TractResult<()> {
    let Some((parts, places)) = indices.split_last() else {
        return refused("an index has no parts".to_owned());
    };
    let Some(each) = data.get(*parts..) else { return Err(too_deep(*parts, data).into()) };
    if updates.iter().eq(places.iter().chain(each)) {
        return Ok(());
    }
    refused(format!(
        "there are updates of the shape {updates:?} for indices of the shape {indices:?} and data of the shape {data:?}"
    ))
}

/// That an index has more parts than there are dimensions.
pub(super) fn too_deep(parts: usize, data: &[usize]) -> Unacceptable {
    Unacceptable::new(format!("an index has {parts} parts, and the data have the shape {data:?}"))
}

fn refused(reason: String) -> TractResult<()> {
    Err(Unacceptable::new(reason).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_there_is_room_for_pass() {
        assert!(elements(&[2, 5], &[1, 9], 1, None).is_ok());
        assert!(elements(&[2, 5], &[2, 5], 0, Some(&[2, 5])).is_ok());
        assert!(batch(&[2, 3, 4], &[2, 1], 1).is_ok() && batch(&[3], &[2, 1], 0).is_ok());
        assert!(updates(&[4, 5], &[2, 1], &[2, 5]).is_ok());
        assert!(updates(&[4, 5], &[2, 2], &[2]).is_ok() && updates(&[4], &[0, 1], &[0]).is_ok());
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        for (refused, clue) in [
            (elements(&[2, 5], &[3, 2], 1, None), "the shape [3, 2] are too many"),
            (elements(&[2, 5], &[1, 2], 1, Some(&[2, 2])), "updates of the shape [2, 2]"),
            (batch(&[2, 3], &[1, 1], 1), "the first 1 dimensions"),
            (batch(&[2], &[2, 1], 2), "the first 2 dimensions"),
            (updates(&[4, 5], &[2, 1], &[3, 5]), "updates of the shape [3, 5]"),
            (updates(&[4, 5], &[2, 1], &[2, 4]), "updates of the shape [2, 4]"),
            (updates(&[4], &[2, 2], &[2]), "an index has 2 parts"),
            (updates(&[4], &[], &[2]), "no parts"),
        ] {
            let error = refused.expect_err(clue);
            assert!(error.root_cause().is::<Unacceptable>(), "{error}");
            assert!(error.to_string().contains(clue), "{error}");
        }
    }
}
