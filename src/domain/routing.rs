//! Routing: which target answers a request, and why.
//!
//! Owns matching, splitting traffic over versions, and the explanation of both. [`decide`] is pure
//! and total: the same table, view and entropy always give the same decision, and [`explain`] runs
//! the same code while it takes notes. Never knows addresses, connections or load: it names a
//! target by its index, and whoever holds the runtime half of the snapshot follows it.
//!
//! ```text
//! view ─▶ routes, most specific first ─┬─▶ pool ────────────────────────────────────▶ target
//!         built-in model paths ────────┴─▶ model ─▶ pin ─────────────────────────────▶ target
//!                                              └──▶ on trial? ─▶ else split, by key ─▶ target
//! ```

pub mod buckets;
mod matcher;
mod split;
mod table;
mod view;

#[cfg(test)]
mod tests;

use std::fmt;

use twox_hash::XxHash3_64;

pub use self::buckets::Arm;
use self::split::Key;
pub use self::table::{
    ModelEntry, ModelIx, RouteEntry, RouteIx, RoutingTable, TableError, TargetEntry, TargetIx,
    TargetKind, TrialEntry,
};
pub use self::view::{HeaderSource, ModelCall, RequestView, VERSION_HEADER};
use super::ids::{Entropy, VersionName};
use super::spec::{KillScope, KillSpec, StickyKey};

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
    /// The version is on trial, and the caller or the request fell into its share.
    Candidate,
    /// A version is on trial, and the request belongs to the slice that it is compared with.
    Control,
    /// A version is on trial, and the request belongs to neither slice.
    Rest,
    /// A copy of a request that another version answers.
    Shadow,
    /// Whoever the request fell to gave no answer, and the other one of champion and version on trial was asked; or there
    /// is nobody to ask for the champion.
    Fallback,
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
            Self::Candidate => "candidate",
            Self::Control => "control",
            Self::Rest => "rest",
            Self::Shadow => "shadow",
            Self::Fallback => "fallback",
        }
    }

    /// The part of the requests in a trial; `None` where the request is no part of one.
    pub const fn arm(self) -> Option<Arm> {
        match self {
            Self::Candidate => Some(Arm::Candidate),
            Self::Control => Some(Arm::Control),
            Self::Rest => Some(Arm::Rest),
            Self::Only
            | Self::Weight
            | Self::Sticky
            | Self::Pin
            | Self::Pool
            | Self::Shadow
            | Self::Fallback => None,
        }
    }

    /// Whether the split chose the version, and not whoever asks or an operator's rule.
    pub const fn is_of_the_split(self) -> bool {
        matches!(self, Self::Only | Self::Weight | Self::Sticky | Self::Control | Self::Rest)
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
    /// A kill switch cuts off what was asked for.
    Killed(ModelIx, KillScope),
}

impl NoRoute {
    /// The model that was asked for, if it exists.
    pub fn model(&self) -> Option<ModelIx> {
        match self {
            Self::UnknownVersion(model)
            | Self::NoReadyVersion(model)
            | Self::TwoVersions(model)
            | Self::Killed(model, _) => Some(*model),
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
            Self::Killed(_, KillScope::Version) => "the version is cut off by its kill switch",
            Self::Killed(_, KillScope::Model) => "the model is cut off by its kill switch",
            Self::Killed(_, KillScope::Gateway) => {
                "all models are cut off by the kill switch of the gateway"
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
    if let Some(killed) = &entry.killed {
        return Err(cut_off(model, killed, trace));
    }
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
    let (target, reason) = match pin {
        Some(pin) => (pinned(table, model, pin, trace)?, Reason::Pin),
        None => drawn(table, view, entropy, model, trace)?,
    };
    Ok(Decision { route, model: Some(model), target, reason })
}

/// The version that is asked for, where it can answer.
fn pinned(
    table: &RoutingTable,
    model: ModelIx,
    pin: &str,
    trace: &mut impl Trace,
) -> Result<TargetIx, NoRoute> {
    let Some(target) = table.model(model).version_named(pin) else {
        trace.note(|| format!("version `{pin}` is asked for and does not exist"));
        return Err(NoRoute::UnknownVersion(model));
    };
    trace.note(|| format!("version `{pin}` is asked for"));
    let entry = table.target(target);
    if let Some(killed) = &entry.killed {
        return Err(cut_off(model, killed, trace));
    }
    if !entry.ready {
        trace.note(|| "it is not ready".to_owned());
        return Err(NoRoute::NoReadyVersion(model));
    }
    Ok(target)
}

/// The version that the trial or the split gives the request to.
fn drawn<H: HeaderSource>(
    table: &RoutingTable,
    view: &RequestView<'_, H>,
    entropy: Entropy,
    model: ModelIx,
    trace: &mut impl Trace,
) -> Result<(TargetIx, Reason), NoRoute> {
    let entry = table.model(model);
    let trial = entry.trial.as_ref();
    match (entry.split.shares(), trial) {
        ([], None) => return Err(nobody(table, model, trace)),
        ([only], None) => {
            trace.note(|| format!("{} is the only one", table.target(only.target).kind));
            return Ok((only.target, Reason::Only));
        }
        (_, _) => {}
    }
    let sticky = entry.sticky.as_ref().and_then(|sticky| view.sticky_value(sticky));
    let key = sticky.as_deref().map_or(Key::Entropy(entropy), Key::Sticky);
    let (target, reason) = match (trial, trial.map(|trial| trial.buckets.of(key)), key) {
        (Some(trial), Some(Arm::Candidate), _) => (trial.target, Reason::Candidate),
        // The version on trial keeps its share, and answers the rest as well rather than nobody, unless it is held.
        (Some(trial), ..) if entry.split.shares().is_empty() && trial.stands_in => {
            (trial.target, Reason::Fallback)
        }
        _ if entry.split.shares().is_empty() => return Err(nobody(table, model, trace)),
        (_, Some(Arm::Control), _) => (entry.split.pick(key), Reason::Control),
        (_, Some(_), _) => (entry.split.pick(key), Reason::Rest),
        (_, None, Key::Sticky(_)) => (entry.split.pick(key), Reason::Sticky),
        (_, None, Key::Entropy(_)) => (entry.split.pick(key), Reason::Weight),
    };
    trace.note(|| sentence(table, entry, target, reason, key));
    Ok((target, reason))
}

/// A refusal where no version with traffic can answer.
fn nobody(table: &RoutingTable, model: ModelIx, trace: &mut impl Trace) -> NoRoute {
    // One that could answer may be cut off: that is the reason then.
    let targets = table.model(model).versions().map(|(_, target)| table.target(target));
    let mut killed = targets.filter(|it| it.ready).filter_map(|it| it.killed.as_ref());
    if let Some(killed) = killed.next() {
        return cut_off(model, killed, trace);
    }
    trace.note(|| "no version with traffic is ready".to_owned());
    NoRoute::NoReadyVersion(model)
}

/// A refusal by a kill switch.
fn cut_off(model: ModelIx, killed: &KillSpec, trace: &mut impl Trace) -> NoRoute {
    trace.note(|| format!("the {} is cut off: {}", killed.scope.as_str(), killed.why));
    NoRoute::Killed(model, killed.scope)
}

/// A hash of what identifies the caller of a model; `None` where nothing does.
pub fn caller_of<H: HeaderSource>(
    table: &RoutingTable,
    view: &RequestView<'_, H>,
    model: ModelIx,
) -> Option<u64> {
    let key = view.sticky_value(table.model(model).sticky.as_ref()?)?;
    Some(XxHash3_64::oneshot(key.as_bytes()))
}

/// Who answers for a version on trial that could not: whoever the split gives a request without a caller to.
pub fn champion_of(table: &RoutingTable, model: ModelIx, entropy: Entropy) -> Option<TargetIx> {
    let split = &table.model(model).split;
    (!split.shares().is_empty()).then(|| split.pick(Key::Entropy(entropy)))
}

/// Who answers for a champion that cannot be reached: the version on trial, if it may.
pub fn stand_in_of(table: &RoutingTable, model: ModelIx) -> Option<TargetIx> {
    let trial = table.model(model).trial.as_ref()?;
    trial.stands_in.then_some(trial.target)
}

/// Whether a version that was chosen by the table `then` for a second try may be asked as things are `now`: it is there,
/// and neither it nor its model is cut off. One that is on trial must still stand in, or have become the champion.
pub fn may_still_answer(
    now: &RoutingTable,
    then: &RoutingTable,
    model: ModelIx,
    target: TargetIx,
) -> bool {
    let kind = &then.target(target).kind;
    let TargetKind::Version(_, version) = kind else { return false };
    let Some(index) = now.model_named(then.model(model).name.as_str()) else { return false };
    let entry = now.model(index);
    let Some(target_now) = entry.version_named(version.as_str()) else { return false };
    let found = now.target(target_now);
    let was_on_trial = then.model(model).trial.as_ref().is_some_and(|it| it.target == target);
    let is_champion = entry.split.shares().iter().any(|share| share.target == target_now);
    let may_stand_in = !was_on_trial || is_champion || stand_in_of(now, index) == Some(target_now);
    entry.killed.is_none() && found.kind == *kind && found.serves() && may_stand_in
}

/// Whether two names stand for different versions; an alias may be one of them.
fn differ(entry: &ModelEntry, one: &str, other: &str) -> bool {
    let target = entry.version_named(one);
    one != other && (target.is_none() || target != entry.version_named(other))
}

/// One sentence about a drawn version.
fn sentence(
    table: &RoutingTable,
    entry: &ModelEntry,
    target: TargetIx,
    reason: Reason,
    key: Key<'_>,
) -> String {
    let name = &table.target(target).kind;
    let how = match (key, &entry.sticky) {
        (Key::Entropy(_), _) => "at random".to_owned(),
        (Key::Sticky(_), Some(StickyKey::Header(name))) => format!("by header `{name}`"),
        (Key::Sticky(_), Some(StickyKey::Cookie(name))) => format!("by cookie `{name}`"),
        (Key::Sticky(_), Some(StickyKey::Query(name))) => format!("by query parameter `{name}`"),
        (Key::Sticky(_), Some(StickyKey::ClientAddress) | None) => {
            "by the client's address".to_owned()
        }
    };
    if let (Some(arm), Some(trial)) = (reason.arm(), &entry.trial) {
        let (candidate, share) = (&table.target(trial.target).kind, trial.share.thousandths());
        return match arm {
            Arm::Candidate => {
                format!("{name} is on trial with {share} of 1000 and was drawn {how}")
            }
            Arm::Control => format!(
                "{name} answers the slice that {candidate}, on trial with {share} of 1000, is \
                 compared with; it was drawn {how}"
            ),
            Arm::Rest => format!(
                "{name} answers the rest: neither {candidate}, on trial with {share} of 1000, nor \
                 the slice that it is compared with was drawn {how}"
            ),
        };
    }
    if reason == Reason::Fallback {
        return format!("{name}, on trial, answers for the champion, which cannot");
    }
    let mut shares = entry.split.shares().iter();
    let share = shares.find(|share| share.target == target);
    let weight = share.map_or(0, |share| share.weight.thousandths());
    format!("{name} was drawn {how} with weight {weight} of 1000")
}
