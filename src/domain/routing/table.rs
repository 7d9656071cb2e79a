//! The routing table: immutable, resolved to indexes, checked when it is built.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::buckets::Buckets;
use super::matcher::Specificity;
use super::split::Split;
use crate::domain::ids::{ModelName, Permille, PoolName, RouteName, VersionName};
use crate::domain::spec::{Intent, KillSpec, ModelSpec, RouteMatch, RouteTarget, StickyKey};

/// Declares an index into one of the table's lists.
macro_rules! index_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(u32);

        impl $name {
            #[expect(clippy::cast_possible_truncation, reason = "lists are bounded far below 2^32")]
            pub(super) fn new(index: usize) -> Self {
                Self(index as u32)
            }

            /// The position in the list.
            pub fn position(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index_type!(
    /// The position of a route.
    RouteIx
);
index_type!(
    /// The position of a model.
    ModelIx
);
index_type!(
    /// The position of a target; the runtime half of the snapshot has the same positions.
    TargetIx
);

/// Where every request goes.
#[derive(Debug, PartialEq)]
pub struct RoutingTable {
    routes: Box<[RouteEntry]>,
    models: Box<[ModelEntry]>,
    targets: Box<[TargetEntry]>,
    by_name: HashMap<ModelName, ModelIx>,
}

/// A routing rule.
#[derive(Debug, PartialEq)]
pub struct RouteEntry {
    /// The rule's name.
    pub name: RouteName,
    pub(super) matches: RouteMatch,
    pub(super) leads_to: LeadsTo,
}

/// A resolved route target.
#[derive(Debug, PartialEq)]
pub(super) enum LeadsTo {
    Pool(TargetIx),
    Model(ModelIx, Option<VersionName>),
}

/// A model and its versions.
#[derive(Debug, PartialEq)]
pub struct ModelEntry {
    /// The model's name.
    pub name: ModelName,
    /// What keeps a caller on a version.
    pub sticky: Option<StickyKey>,
    /// Who gets how much.
    pub split: Split,
    /// Who is on trial beside the split.
    pub trial: Option<TrialEntry>,
    /// Who gets copies of what the split answers.
    pub shadow: Option<TargetIx>,
    /// Why nobody answers.
    pub killed: Option<KillSpec>,
    versions: BTreeMap<VersionName, TargetIx>,
    aliases: BTreeMap<VersionName, TargetIx>,
}

impl ModelEntry {
    /// The target of the version of this name, or of which this is another name.
    pub fn version_named(&self, name: &str) -> Option<TargetIx> {
        self.versions.get(name).or_else(|| self.aliases.get(name)).copied()
    }

    /// The other names of versions.
    pub fn aliases(&self) -> impl Iterator<Item = (&VersionName, TargetIx)> {
        self.aliases.iter().map(|(name, target)| (name, *target))
    }

    /// All versions, by name.
    pub fn versions(&self) -> impl Iterator<Item = (&VersionName, TargetIx)> {
        self.versions.iter().map(|(name, target)| (name, *target))
    }
}

/// A version that answers a share on trial, compared with an equal slice of the split.
#[derive(Debug, PartialEq)]
pub struct TrialEntry {
    /// The version's target.
    pub target: TargetIx,
    /// Its share.
    pub share: Permille,
    /// Whose request is whose.
    pub buckets: Buckets,
    /// Whether it is asked for what the split cannot answer.
    pub stands_in: bool,
}

/// Something that can answer: a version of a model, or a pool.
#[derive(Debug, PartialEq)]
pub struct TargetEntry {
    /// What it is.
    pub kind: TargetKind,
    /// Whether it may be chosen.
    pub ready: bool,
    /// Why it is cut off.
    pub killed: Option<KillSpec>,
}

impl TargetEntry {
    /// Whether it can answer now.
    pub(super) fn serves(&self) -> bool {
        self.ready && self.killed.is_none()
    }
}

/// The identity of a target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetKind {
    /// A version of a model.
    Version(ModelName, VersionName),
    /// A pool of plain backends.
    Pool(PoolName),
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(model, version) => write!(f, "{model}/{version}"),
            Self::Pool(pool) => write!(f, "pool {pool}"),
        }
    }
}

/// Why a table could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The weights of a model do not add up.
    #[error("the traffic of model `{model}` adds up to {sum} of 1000")]
    Weights {
        /// The model.
        model: ModelName,
        /// What its weights add up to.
        sum: u32,
    },
    /// An alias stands for a version that does not exist.
    #[error("alias `{alias}` of model `{model}` stands for a version that does not exist")]
    DanglingAlias {
        /// The model.
        model: ModelName,
        /// The alias.
        alias: VersionName,
    },
    /// A version on trial, or one that gets copies, is none.
    #[error("version `{version}`, on trial for model `{model}`, {wrong}")]
    Trial {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A route leads nowhere.
    #[error("route `{route}` leads to {target}, which does not exist")]
    DanglingRoute {
        /// The route.
        route: RouteName,
        /// What it names.
        target: String,
    },
}

impl RoutingTable {
    /// Builds the table of an intent; `ready` says which targets may be chosen.
    ///
    /// # Errors
    ///
    /// [`TableError`] when an invariant does not hold: weights of a model add up to 1000 and every
    /// route leads to something that exists. A validated intent never fails.
    pub fn build(intent: &Intent, ready: impl Fn(&TargetKind) -> bool) -> Result<Self, TableError> {
        let mut targets = Vec::new();
        let mut models = Vec::new();
        let mut by_name = HashMap::new();
        for (name, spec) in &intent.models {
            by_name.insert(name.clone(), ModelIx::new(models.len()));
            models.push(model(name, spec, &mut targets, &ready)?);
        }
        let mut add = |kind: TargetKind| {
            let ready = ready(&kind);
            targets.push(TargetEntry { kind, ready, killed: None });
            TargetIx::new(targets.len() - 1)
        };
        let pools: BTreeMap<_, _> = intent
            .pools
            .keys()
            .map(|name| (name.clone(), add(TargetKind::Pool(name.clone()))))
            .collect();
        let routes = routes(intent, &by_name, &models, &pools)?;
        Ok(Self { routes, models: models.into(), targets: targets.into(), by_name })
    }

    /// The routes, most specific first.
    pub fn routes(&self) -> &[RouteEntry] {
        &self.routes
    }

    /// The models, by name.
    pub fn models(&self) -> &[ModelEntry] {
        &self.models
    }

    /// The targets; positions are those of [`TargetIx`].
    pub fn targets(&self) -> &[TargetEntry] {
        &self.targets
    }

    /// One route.
    pub fn route(&self, index: RouteIx) -> &RouteEntry {
        &self.routes[index.position()]
    }

    /// One model.
    pub fn model(&self, index: ModelIx) -> &ModelEntry {
        &self.models[index.position()]
    }

    /// One target.
    pub fn target(&self, index: TargetIx) -> &TargetEntry {
        &self.targets[index.position()]
    }

    /// The model of this name.
    pub fn model_named(&self, name: &str) -> Option<ModelIx> {
        self.by_name.get(name).copied()
    }
}

/// Resolves a model; its versions are added to `targets`.
fn model(
    name: &ModelName,
    spec: &ModelSpec,
    targets: &mut Vec<TargetEntry>,
    ready: impl Fn(&TargetKind) -> bool,
) -> Result<ModelEntry, TableError> {
    let sum: u32 = spec.traffic.values().map(|w| u32::from(w.thousandths())).sum();
    if sum != 1000 && !spec.traffic.is_empty() {
        return Err(TableError::Weights { model: name.clone(), sum });
    }
    let mut versions = BTreeMap::new();
    let mut shares = Vec::new();
    for version in spec.versions.keys() {
        let kind = TargetKind::Version(name.clone(), version.clone());
        let killed = spec.killed_versions.get(version).cloned();
        let entry = TargetEntry { ready: ready(&kind), kind, killed };
        let target = TargetIx::new(targets.len());
        versions.insert(version.clone(), target);
        if let Some(weight) = spec.traffic.get(version).filter(|_| entry.serves()) {
            shares.push((version.as_str(), target, *weight));
        }
        targets.push(entry);
    }
    let mut aliases = BTreeMap::new();
    for (alias, version) in &spec.aliases {
        let dangling = || TableError::DanglingAlias { model: name.clone(), alias: alias.clone() };
        aliases.insert(alias.clone(), *versions.get(version).ok_or_else(dangling)?);
    }
    let split = Split::new(shares.into_iter());
    let tried = |version: &VersionName| {
        let wrong = |wrong| {
            let (model, version) = (name.clone(), version.clone());
            Err(TableError::Trial { model, version, wrong })
        };
        let Some(&target) = versions.get(version) else { return wrong("does not exist") };
        if spec.traffic.contains_key(version) {
            return wrong("has a share of the traffic already");
        }
        let serves = targets.get(target.position()).is_some_and(TargetEntry::serves);
        Ok(Some(target).filter(|_| serves))
    };
    // Where the champion is named and cannot answer, nobody is tried; where none is named, one that has its share
    // keeps it.
    let has_champion = !split.shares().is_empty();
    let is_headless = !has_champion && !spec.traffic.is_empty();
    let trial = match spec.trial.as_ref().filter(|trial| trial.share > Permille::NONE) {
        Some(trial) => tried(&trial.candidate)?.filter(|_| !is_headless).map(|target| TrialEntry {
            target,
            share: trial.share,
            buckets: Buckets::new(trial.salt, trial.share),
            stands_in: trial.stands_in,
        }),
        None => None,
    };
    let shadow = match &spec.shadow {
        Some(shadow) => tried(&shadow.version)?.filter(|_| has_champion),
        None => None,
    };
    Ok(ModelEntry {
        name: name.clone(),
        sticky: spec.sticky.clone(),
        split,
        trial,
        shadow,
        killed: spec.killed.clone(),
        versions,
        aliases,
    })
}

/// Resolves the routes and sorts them, most specific first, by name among equals.
fn routes(
    intent: &Intent,
    by_name: &HashMap<ModelName, ModelIx>,
    models: &[ModelEntry],
    pools: &BTreeMap<PoolName, TargetIx>,
) -> Result<Box<[RouteEntry]>, TableError> {
    let mut routes = Vec::with_capacity(intent.routes.len());
    for (name, spec) in &intent.routes {
        let dangling = |target: String| TableError::DanglingRoute { route: name.clone(), target };
        let leads_to = match &spec.target {
            RouteTarget::Pool(pool) => pools
                .get(pool)
                .map(|target| LeadsTo::Pool(*target))
                .ok_or_else(|| dangling(format!("pool `{pool}`")))?,
            RouteTarget::Model(model, version) => {
                let index =
                    *by_name.get(model).ok_or_else(|| dangling(format!("model `{model}`")))?;
                if let Some(version) = version
                    && !models[index.position()].versions.contains_key(version)
                {
                    return Err(dangling(format!("version `{version}` of model `{model}`")));
                }
                LeadsTo::Model(index, version.clone())
            }
        };
        routes.push(RouteEntry { name: name.clone(), matches: spec.matches.clone(), leads_to });
    }
    routes.sort_by_key(|route| std::cmp::Reverse(Specificity::of(&route.matches)));
    Ok(routes.into())
}
