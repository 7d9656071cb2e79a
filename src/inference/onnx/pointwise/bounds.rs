//! Functions of one number whose other inputs are constants: Clip between bounds, and a power that is a square root.
//!
//! Owns the look at those inputs, however the file has made them. Bounds that are computed while the model runs, or
//! that are no floating-point numbers, are `extreme`'s; all other powers, and numbers that follow from shapes, are
//! tract's.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{DatumType, OutletId, TractResult, TypedModel};
use tract_onnx::tract_hir::internal::{Expansion, StaticName, bail};
use tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast;

use super::{Bound, Pointwise};
use crate::inference::ml;
use crate::inference::onnx::extreme;
use crate::inference::onnx::wiring::{self, Built, Wiring, constant};

/// The Pow of the file, as tract has it.
#[derive(Debug, Clone)]
pub(super) struct Pow(pub(super) Box<dyn Expansion>);

/// A Clip of the file whose bounds are inputs, by position among those that are given.
#[derive(Debug, Clone)]
struct Clip {
    stock: Box<dyn Expansion>,
    low: Option<usize>,
    high: Option<usize>,
}

/// Makes the Clip of a node whose bounds are inputs.
pub(super) fn clip(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let has = |position: usize| node.input.get(position).is_some_and(|name| !name.is_empty());
    let (low, high) = (has(1), has(2));
    wiring::built(Clip {
        stock: wiring::stock(context, node)?,
        low: low.then_some(1),
        high: high.then_some(1 + usize::from(low)),
    })
}

impl Wiring for Pow {
    fn operator(&self) -> StaticName {
        self.0.name()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [base, exponent, ..] = inputs else { bail!("Pow takes a base and an exponent") };
        let (base, exponent) = (model.outlet_fact(*base)?, model.outlet_fact(*exponent)?);
        let root = match &exponent.uniform {
            Some(exponent) if exponent.datum_type().is_float() && base.datum_type.is_float() => {
                exponent.cast_to_scalar::<f64>()? == 0.5
            }
            Some(_) | None => false,
        };
        if root && multi_broadcast(&[&base.shape, &exponent.shape])?.as_slice() == &*base.shape {
            return Pointwise::Root.wire(prefix, model, inputs);
        }
        wiring::only(prefix, &self.0.wire(prefix, model, inputs)?)
    }

    fn stock(&self) -> Option<&dyn Expansion> {
        Some(&*self.0)
    }
}

impl Clip {
    /// The bound at a position, `None` where it is no floating-point constant.
    fn bound(
        model: &TypedModel,
        inputs: &[OutletId],
        position: Option<usize>,
    ) -> TractResult<Option<Bound>> {
        let Some(position) = position else { return Ok(Some(Bound::OfType)) };
        let Some(input) = inputs.get(position) else { bail!("Clip has no input {position}") };
        match constant(model, *input)? {
            Some(bound) if bound.len() == 1 && bound.datum_type().is_float() => {
                let bound = bound.cast_to_scalar::<f64>()?;
                Ok((!bound.is_nan()).then_some(Bound::At(bound)))
            }
            Some(_) | None => Ok(None),
        }
    }
}

impl Wiring for Clip {
    fn operator(&self) -> StaticName {
        "Clip".into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let Some(numbers) = inputs.first() else { bail!("Clip takes numbers") };
        if model.outlet_fact(*numbers)?.datum_type == DatumType::TDim {
            return wiring::only(prefix, &self.stock.wire(prefix, model, inputs)?);
        }
        let low = Self::bound(model, inputs, self.low)?;
        let high = Self::bound(model, inputs, self.high)?;
        match (low, high) {
            (Some(low), Some(high)) => Pointwise::Clip { low, high }.wire(prefix, model, inputs),
            _ => {
                let clip = extreme::Clip { low: self.low.is_some() };
                wiring::node(prefix, model, ml::typed(clip), inputs)
            }
        }
    }
}
