//! Routing: which target answers a request, and why.
//!
//! Owns matching, splitting traffic over versions, and the explanation of both. [`decide`] is pure
//! and total: the same table, view and entropy always give the same decision, and [`explain`] runs
//! the same code while it takes notes. Never knows addresses, connections or load: it names a
//! target by its index, and whoever holds the runtime half of the snapshot follows it.
//!
//! ```text
//! view ─▶ routes, most specific first ─┬─▶ pool ───────────────────────────▶ target
//!         built-in model paths ────────┴─▶ model ─▶ pin, or split by key ──▶ target
//! ```

pub mod buckets;
mod matcher;
mod split;
mod table;
mod view;

#[cfg(test)]
mod tests;

use std::fmt;

use self::split::Key;
pub use self::table::{
    ModelEntry, ModelIx, RouteEntry, RouteIx, RoutingTable, TableError, TargetEntry, TargetIx,
    TargetKind,
};
pub use self::view::{HeaderSource, ModelCall, RequestView, VERSION_HEADER};
use super::ids::{Entropy, VersionName};
use super::spec::StickyKey;

/// The outcome of routing one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The rule that matched; `None` where a built-in path named the model.
    pub route: Option<RouteIx>,
    /// The model, unless the target is a plain pool.
    pub model: Option<ModelIx>,
    /// Who answers.
    pub target: TargetIx,
    /// Why this target.
    pub reason: Reason,
}

/// Why a target was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There was one candidate.
    Only,
    /// Drawn by the weights of the split.
    Weight,
    /// Drawn by the weights, from what identifies the caller.
    Sticky,
    /// Named by the path, a header or the route.
    Pin,
    /// The route leads to a pool.
    Pool,
}

impl Reason {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::Weight => "weight",
            Self::Sticky => "sticky",
            Self::Pin => "pin",
            Self::Pool => "pool",
        }
    }
}

/// Why no target was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// No rule and no built-in path takes this request.
    NoRoute,
    /// The path names a model that does not exist.
    UnknownModel,
    /// The model has no version of the name that was asked for.
    UnknownVersion(ModelIx),
    /// The version that was asked for is not ready, or none is.
    NoReadyVersion(ModelIx),
    /// The pool has no member yet: none was discovered.
    EmptyPool,
    /// The request asks for two versions.
    TwoVersions(ModelIx),
}

impl NoRoute {
    /// The model that was asked for, if it exists.
    pub fn model(&self) -> Option<ModelIx> {
        match self {
            Self::UnknownVersion(model)
            | Self::NoReadyVersion(model)
            | Self::TwoVersions(model) => Some(*model),
            Self::NoRoute | Self::UnknownModel | Self::EmptyPool => None,
        }
    }
}

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoute => "no route takes this request",
            Self::UnknownModel => "there is no model of this name",
            Self::UnknownVersion(_) => "the model has no version of this name",
            Self::NoReadyVersion(_) => "the model has no version that is ready",
            Self::EmptyPool => "no member of the pool has been discovered yet",
            Self::TwoVersions(_) => {
                "the path or the message names one version and the header another; name one"
            }
        })
    }
}

/// Chooses the target of a request.
///
/// # Errors
///
/// [`NoRoute`] names what was missing.
pub fn decide<H: HeaderSource>(
    table: &RoutingTable,
    view: &RequestView<'_, H>,
    entropy: Entropy,
) -> Result<Decision, NoRoute> {
    route(table, view, entropy, &mut ())
}

/// The rule that takes a request, whether or not it leads anywhere now.
pub fn route_of<H: HeaderSource>(
    table: &RoutingTable,
    view: &RequestView<'_, H>,
) -> Option<RouteIx> {
    let takes = |route: &RouteEntry| matcher::matches(&route.matches, view).is_ok();
    table.routes().iter().position(takes).map(RouteIx::new)
}

/// Chooses as [`decide`] does and tells every step.
pub fn explain<H: HeaderSource>(
    table: &RoutingTable,
    view: &RequestView<'_, H>,
    entropy: Entropy,
) -> Explanation {
    let mut steps = Vec::new();
    let result = route(table, view, entropy, &mut steps);
    Explanation { result, steps }
}

/// A decision with the way that led to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The decision.
    pub result: Result<Decision, NoRoute>,
    /// One sentence a step, in order.
    pub steps: Vec<String>,
}

/// Takes notes of a decision; `()` takes none and costs nothing.
trait Trace {
    fn note(&mut self, step: impl FnOnce() -> String);
}

impl Trace for () {
    fn note(&mut self, _step: impl FnOnce() -> String) {}
}

impl Trace for Vec<String> {
    fn note(&mut self, step: impl FnOnce() -> String) {
        self.push(step());
    }
}

fn route<H: HeaderSource>(
    table: &RoutingTable,
    view: &RequestView<'_, H>,
    entropy: Entropy,
    trace: &mut impl Trace,
) -> Result<Decision, NoRoute> {
    for (index, route) in table.routes().iter().enumerate() {
        if let Err(refusal) = matcher::matches(&route.matches, view) {
            trace.note(|| format!("route `{}` does not match: {refusal}", route.name));
            continue;
        }
        trace.note(|| format!("route `{}` matches", route.name));
        let index = Some(RouteIx::new(index));
        return match &route.leads_to {
            table::LeadsTo::Pool(target) if !table.target(*target).ready => {
                trace.note(|| "its pool has no member".to_owned());
                Err(NoRoute::EmptyPool)
            }
            table::LeadsTo::Pool(target) => {
                Ok(Decision { route: index, model: None, target: *target, reason: Reason::Pool })
            }
            table::LeadsTo::Model(model, pin) => {
                version_of(table, view, entropy, index, *model, pin.as_ref(), trace)
            }
        };
    }
    let Some(call) = &view.call else {
        trace.note(|| "no built-in model path matches either".to_owned());
        return Err(NoRoute::NoRoute);
    };
    let Some(model) = table.model_named(&call.model) else {
        trace.note(|| format!("the path names model `{}`, which does not exist", call.model));
        return Err(NoRoute::UnknownModel);
    };
    trace.note(|| format!("the path names model `{}`", call.model));
    version_of(table, view, entropy, None, model, None, trace)
}

/// Chooses the version of a model: a pin by the route, the path or the header, else the split.
fn version_of<H: HeaderSource>(
    table: &RoutingTable,
    view: &RequestView<'_, H>,
    entropy: Entropy,
    route: Option<RouteIx>,
    model: ModelIx,
    route_pin: Option<&VersionName>,
    trace: &mut impl Trace,
) -> Result<Decision, NoRoute> {
    let entry = table.model(model);
    let pin = match route_pin {
        Some(pin) => Some(pin.as_str()),
        None => match (view.call_version(), view.version_pin()) {
            (Some(named), Some(header)) if differ(entry, named, header) => {
                trace.note(|| format!("versions `{named}` and `{header}` are asked for at once"));
                return Err(NoRoute::TwoVersions(model));
            }
            (named, header) => named.or(header),
        },
    };
    if let Some(pin) = pin {
        let Some(target) = entry.version_named(pin) else {
            trace.note(|| format!("version `{pin}` is asked for and does not exist"));
            return Err(NoRoute::UnknownVersion(model));
        };
        if !table.target(target).ready {
            trace.note(|| format!("version `{pin}` is asked for and not ready"));
            return Err(NoRoute::NoReadyVersion(model));
        }
        trace.note(|| format!("version `{pin}` is asked for"));
        return Ok(Decision { route, model: Some(model), target, reason: Reason::Pin });
    }

    let shares = entry.split.shares();
    let (target, reason) = match shares {
        [] => {
            trace.note(|| "no version with traffic is ready".to_owned());
            return Err(NoRoute::NoReadyVersion(model));
        }
        [only] => (only.target, Reason::Only),
        _ => {
            let key = entry.sticky.as_ref().and_then(|sticky| view.sticky_value(sticky));
            match key {
                Some(key) => (entry.split.pick(Key::Sticky(&key)), Reason::Sticky),
                None => (entry.split.pick(Key::Entropy(entropy)), Reason::Weight),
            }
        }
    };
    trace.note(|| sentence(table, entry, target, reason));
    Ok(Decision { route, model: Some(model), target, reason })
}

/// Whether two names stand for different versions; an alias may be one of them.
fn differ(entry: &ModelEntry, one: &str, other: &str) -> bool {
    let target = entry.version_named(one);
    one != other && (target.is_none() || target != entry.version_named(other))
}

/// One sentence about a drawn version.
fn sentence(table: &RoutingTable, entry: &ModelEntry, target: TargetIx, reason: Reason) -> String {
    let name = &table.target(target).kind;
    let weight = entry
        .split
        .shares()
        .iter()
        .find(|share| share.target == target)
        .map_or(0, |share| share.weight.thousandths());
    match reason {
        Reason::Sticky => {
            let key = match &entry.sticky {
                Some(StickyKey::Header(name)) => format!("header `{name}`"),
                Some(StickyKey::Cookie(name)) => format!("cookie `{name}`"),
                Some(StickyKey::Query(name)) => format!("query parameter `{name}`"),
                Some(StickyKey::ClientAddress) | None => "the client's address".to_owned(),
            };
            format!("{name} was drawn by {key} with weight {weight} of 1000")
        }
        Reason::Weight => format!("{name} was drawn at random with weight {weight} of 1000"),
        Reason::Only | Reason::Pin | Reason::Pool => format!("{name} is the only one"),
    }
}
