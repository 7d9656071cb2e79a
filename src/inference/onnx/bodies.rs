//! Graphs within a graph: the body of a loop, and those of a branch.
//!
//! Owns which operators of tract have some. Never looks into them.

use tract_onnx::prelude::TypedModel;
use tract_onnx::tract_hir::internal::TypedOp;
use tract_onnx::tract_hir::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_hir::tract_core::ops::scan::Scan;

/// The graphs that `op` runs.
pub(in crate::inference) fn bodies(op: &dyn TypedOp) -> Vec<&TypedModel> {
    if let Some(scan) = op.downcast_ref::<Scan>() {
        return vec![&scan.body];
    }
    let branch = op.downcast_ref::<IfThenElse>();
    branch.map_or_else(Vec::new, |branch| vec![&branch.then_body, &branch.else_body])
}

/// The same, to be changed.
pub(super) fn bodies_mut(op: &mut dyn TypedOp) -> Vec<&mut TypedModel> {
    if op.is::<Scan>() {
        return op.downcast_mut::<Scan>().map(|scan| &mut scan.body).into_iter().collect();
    }
    match op.downcast_mut::<IfThenElse>() {
        Some(branch) => vec![&mut branch.then_body, &mut branch.else_body],
        None => Vec::new(),
    }
}
