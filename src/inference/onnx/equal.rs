//! `ai.onnx` Equal of sizes.
//!
//! Owns that whether two sizes are the same is not decided before a request tells them
//! (<https://onnx.ai/onnx/operators/onnx__Equal.html>): tract holds the expressions against each other when a graph is loaded,
//! so that an open size would never be 1, and `If` and Where would take the other branch. A size is the same as
//! another where neither is larger, which tract leaves open for as long as it cannot prove it. Never compares anything else.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{DatumType, OutletId, TractResult, TypedModel};
use tract_onnx::tract_hir::internal::{Expansion, StaticName, bail};
use tract_onnx::tract_hir::ops::binary::InferenceBinOp;
use tract_onnx::tract_hir::tract_core::ops::logic::{And, CompLTE};

use super::wiring::{self, Built, Wiring};

/// A node of the file.
#[derive(Debug, Clone)]
struct Equal {
    stock: Box<dyn Expansion>,
}

/// Makes the operator of a node.
pub(super) fn build(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    wiring::built(Equal { stock: wiring::stock(context, node)? })
}

impl Wiring for Equal {
    fn operator(&self) -> StaticName {
        "Equal".into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [a, b] = *inputs else { bail!("Equal takes two inputs") };
        let mut of_sizes = false;
        for input in [a, b] {
            of_sizes |= model.outlet_fact(input)?.datum_type == DatumType::TDim;
        }
        if !of_sizes {
            return wiring::only(prefix, &self.stock.wire(prefix, model, inputs)?);
        }
        let mut at_most = |name: &str, sides: [OutletId; 2]| {
            let name = format!("{prefix}.{name}");
            let op = InferenceBinOp(Box::new(CompLTE));
            wiring::only(&name, &op.wire(&name, model, &sides)?)
        };
        let sides = [at_most("at_most", [a, b])?, at_most("at_least", [b, a])?];
        let both = InferenceBinOp(Box::new(And));
        wiring::only(prefix, &both.wire(prefix, model, &sides)?)
    }

    fn stock(&self) -> Option<&dyn Expansion> {
        Some(&*self.stock)
    }
}
