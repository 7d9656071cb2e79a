//! The compiled forms that a model can have.
//!
//! Owns the choice between a plan for any sizes and plans for certain ones. Never compiles anything.

use std::sync::Arc;
use std::time::Instant;

use tract_onnx::prelude::{TValue, TVec, TractResult};

use super::by_size::{BySize, Held, Secured, Unplanned};
use super::plans::Plans;
use super::shapes::Sizes;

/// What runs the requests of a model.
#[derive(Debug)]
pub(super) enum Form {
    /// Plans of which one takes all sizes.
    AnySize(Arc<Plans>),
    /// A plan for each size.
    BySize(Arc<BySize>),
}

impl Form {
    /// Runs a request of these sizes, whose tensors may take `limit` bytes, with the plan that it holds.
    pub(super) fn run(
        &self,
        sizes: &Sizes,
        values: TVec<TValue>,
        limit: u64,
        held: Option<&Held>,
    ) -> TractResult<TVec<TValue>> {
        match self {
            Self::AnySize(plans) => plans.run(sizes, values, limit),
            Self::BySize(plans) => plans.run(sizes, values, limit, held),
        }
    }

    /// Has the plan made that a request of these sizes cannot do without, which is waited for until then.
    pub(super) fn secure(&self, sizes: &Sizes, until: Instant) -> Result<Secured, Unplanned> {
        match self {
            Self::AnySize(_) => Ok(Secured::Held(Held::default())),
            Self::BySize(plans) => plans.secure(sizes, until),
        }
    }

    /// The size of an open dimension at which the model is tried.
    pub(super) fn ordinary(&self, number: usize) -> usize {
        match self {
            Self::AnySize(_) => 1,
            Self::BySize(plans) => plans.ordinary().get(number).copied().unwrap_or(1),
        }
    }

    /// Whether a request of these sizes waits for nothing before it runs.
    pub(super) fn is_at_hand(&self, sizes: &Sizes) -> bool {
        match self {
            Self::AnySize(_) => true,
            Self::BySize(plans) => plans.is_at_hand(sizes),
        }
    }

    /// Whether values decide the size of a tensor, so that nothing tells what a run will take.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::AnySize(plans) => plans.is_open(),
            Self::BySize(plans) => plans.is_open(),
        }
    }

    /// An estimate of what the plans take, in bytes.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Self::AnySize(plans) => plans.memory(),
            Self::BySize(plans) => plans.memory(),
        }
    }

    /// Plans that are held.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::AnySize(plans) => plans.held(),
            Self::BySize(plans) => plans.held(),
        }
    }

    /// Plans made for sizes since the model was loaded.
    pub(super) fn made(&self) -> u64 {
        match self {
            Self::AnySize(plans) => plans.made(),
            Self::BySize(plans) => plans.made(),
        }
    }

    /// Requests that waited for a plan.
    pub(super) fn waited(&self) -> u64 {
        match self {
            Self::AnySize(_) => 0,
            Self::BySize(plans) => plans.waited(),
        }
    }

    /// Requests that were turned away because too many waited for plans.
    pub(super) fn crowded(&self) -> u64 {
        match self {
            Self::AnySize(_) => 0,
            Self::BySize(plans) => plans.crowded(),
        }
    }
}
