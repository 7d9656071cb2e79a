//! Models with their versions and shares, and pools.
//!
//! Owns the rules inside one model or pool. Never looks at routes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::diagnostic::{Code, Finding, closest};
use crate::config::form;
use crate::config::keys;
use crate::config::reader::{At, Fields, Named, listed};
use crate::config::scalar::show_percent;
use crate::config::source::Place;
use crate::config::tree::quoted;
use crate::config::{Checks, card_of, load_card};
use crate::domain::dialect::Dialect;
use crate::domain::ids::{ModelName, Permille, PoolName, VersionName};
use crate::domain::spec::{
    AlarmRules, BackendAddress, BackendsSpec, ModelSpec, OnnxSpec, PoolSpec, SpokenDialect,
    VersionSpec,
};

use super::recording::{self, Above, Level};
use super::{Peer, Rules, alarms, labels, releases, settings};

/// The most versions whose shares are written into a suggested line.
const SUGGESTED_SHARES_MAX: usize = 8;

/// A model or a pool, and where its name stands.
#[derive(Debug)]
pub(super) struct Declared<T> {
    /// What was declared.
    pub(super) spec: T,
    /// The name in the file.
    pub(super) key: Place,
}

impl Rules<'_> {
    /// Reads `[models.*]`.
    pub(super) fn models(
        &mut self,
        top: &Fields<'_>,
        above: Above<'_>,
        above_alarms: &AlarmRules,
    ) -> BTreeMap<ModelName, Declared<(ModelSpec, Level)>> {
        let named = top.named("models");
        let mut models = BTreeMap::new();
        for model in &named {
            let fields = Fields::of(self.context, model, &keys::MODEL);
            let mut spec = self.model(&fields, above);
            let rules = fields.table("alarms", |own| alarms::model(&own, above_alarms.clone()));
            let rules = rules.unwrap_or_else(|| above_alarms.clone());
            spec.0.alarms = alarms::named(rules, Some(model.name));
            models.insert(ModelName::new(model.name), Declared { spec, key: model.key });
        }
        models
    }

    /// Reads `[pools.*]`.
    pub(super) fn pools(&mut self, top: &Fields<'_>) -> BTreeMap<PoolName, Declared<PoolSpec>> {
        let named = top.named("pools");
        let mut pools = BTreeMap::new();
        for pool in &named {
            let fields = Fields::of(self.context, pool, &keys::POOL);
            let spec = PoolSpec {
                backends: self.backends(&fields),
                discovered: self.discovered(&fields),
                http2: fields.flag("http2").unwrap_or_default(),
                balance: settings::balance(&fields),
                timeouts: fields.table("timeouts", settings::timeouts).unwrap_or_default(),
                keep_alive: fields.table("keep_alive", settings::keep_alive).unwrap_or_default(),
            };
            pools.insert(PoolName::new(pool.name), Declared { spec, key: pool.key });
        }
        pools
    }

    /// Whether any version of a model with these in the file is at servers, or may come to be; where there is nothing yet,
    /// anything may come.
    fn may_be_at_servers(&self, versions: &BTreeMap<VersionName, VersionSpec>) -> bool {
        let is_folder = |kind: &Option<&str>| *kind == Some("directory");
        let mut named = versions.values();
        let has_any = !versions.is_empty() || !self.sources.is_empty();
        !has_any
            || named.any(|version| matches!(version, VersionSpec::Backends(_)))
            || self.sources.values().any(|kind| !is_folder(kind))
    }

    fn model(&mut self, fields: &Fields<'_>, above: Above<'_>) -> (ModelSpec, Level) {
        let named = fields.named("versions");
        let lifecycle = releases::read(fields, self.checks);
        let is_released = fields.key_place("release").is_some();
        if !is_released {
            needs_versions(fields, &named);
        }
        let traffic = if is_released { BTreeMap::new() } else { shares(fields, &named) };
        let versions = named.iter().map(|version| {
            let fields = Fields::of(self.context, version, &keys::VERSION);
            (VersionName::new(version.name), self.version(&fields))
        });
        let versions: BTreeMap<_, _> = versions.collect();
        let has_golden = lifecycle.as_ref().is_some_and(|policy| policy.release.golden.is_some());
        if has_golden && !self.may_be_at_servers(&versions) {
            let message = format!("`{}.golden` has no effect", fields.path_of("release"));
            let finding = Finding::warning(Code::NoEffect, fields.place("release"), message);
            fields.add(finding.help(
                "it is for versions at servers, and all of these have folders of their own: put a golden.jsonl there",
            ));
        }
        let level = recording::nested(fields, above);
        let spec = ModelSpec {
            aliases: aliases(fields, &named),
            versions,
            traffic,
            trial: None,
            shadow: None,
            killed: None,
            killed_versions: BTreeMap::new(),
            sticky: fields.parse("sticky", form::sticky).map(|at| at.value),
            balance: settings::balance(fields),
            timeouts: fields.table("timeouts", settings::timeouts).unwrap_or_default(),
            keep_alive: fields.table("keep_alive", settings::keep_alive).unwrap_or_default(),
            execution: fields.table("execution", settings::execution).unwrap_or_default(),
            recording: level.recording.clone(),
            monitor: fields.table("monitor", settings::model_monitor).unwrap_or_default(),
            alarms: AlarmRules::default(),
            labels: fields
                .table("labels", |fields| labels::read(&fields, &level.recording))
                .flatten(),
            lifecycle,
        };
        (spec, level)
    }

    fn version(&mut self, fields: &Fields<'_>) -> VersionSpec {
        let onnx = fields.file("onnx");
        let spec = OnnxSpec {
            digest: fields.parse("digest", form::digest).map(|at| at.value),
            signature: fields.parse("signature", form::public_key).map(|at| at.value),
            ready: fields.flag("ready").unwrap_or_default(),
            batch: fields.table("batch", settings::batch),
            path: onnx.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
        };
        let remote = ["backends", "discovered"].iter().any(|key| fields.key_place(key).is_some());
        if remote {
            needs(fields, "onnx", &["digest", "signature", "ready", "batch"]);
            let remote = |name: &str| fields.parse(name, form::remote_name).map(|at| at.value);
            let dialect = fields.word("dialect", dialect).unwrap_or_default();
            if !matches!(
                dialect,
                SpokenDialect::Asked | SpokenDialect::Declared(Dialect::Sagemaker)
            ) {
                needs(fields, "dialect = \"sagemaker\"", &["sagemaker"]);
            }
            return VersionSpec::Backends(BackendsSpec {
                addresses: self.backends(fields),
                discovered: self.discovered(fields),
                dialect,
                http2: fields.flag("http2").unwrap_or_default(),
                remote_model: remote("remote_model"),
                remote_version: remote("remote_version"),
                raw: fields.table("raw", settings::raw),
                container: fields.table("sagemaker", settings::container).unwrap_or_default(),
            });
        }
        needs(
            fields,
            "backends",
            &["dialect", "http2", "remote_model", "remote_version", "raw", "sagemaker"],
        );
        if let Some(onnx) = &onnx {
            self.model_file(fields, onnx);
        }
        VersionSpec::Onnx(spec)
    }

    fn backends(&mut self, fields: &Fields<'_>) -> Vec<BackendAddress> {
        let backends = fields.list("backends", form::backend).unwrap_or_default();
        let values = backends.iter().map(|backend| backend.value.clone()).collect();
        let peer = |address| Peer { what: "backend", address };
        self.peers.extend(backends.into_iter().map(peer));
        values
    }

    fn model_file(&self, fields: &Fields<'_>, onnx: &At<PathBuf>) {
        if self.checks == Checks::Offline {
            return;
        }
        let why = match fs::metadata(&onnx.value) {
            Ok(kind) if kind.is_file() => return model_card(fields, onnx),
            Ok(kind) if kind.is_dir() => "is a directory".to_owned(),
            Ok(_) => "is not a regular file".to_owned(),
            Err(error) => format!("cannot be opened: {error}"),
        };
        let path = if onnx.hidden {
            "(value hidden)".to_owned()
        } else {
            format!("`{}`", onnx.value.display())
        };
        let finding =
            Finding::error(Code::ModelFile, onnx.place, format!("the model file {path} {why}"));
        fields.add(match neighbour(&onnx.value) {
            Some(name) if !onnx.hidden => finding.help(format!("its directory has `{name}`")),
            _ => finding.help("paths are relative to the file that names them"),
        });
    }
}

fn dialect(word: &str) -> Option<SpokenDialect> {
    match word {
        "ask" => Some(SpokenDialect::Asked),
        _ => Dialect::parse(word).map(SpokenDialect::Declared),
    }
}

/// Without the life cycle, a model is its versions.
fn needs_versions(fields: &Fields<'_>, named: &[Named<'_>]) {
    let path = fields.path_of("versions");
    let (place, message) = match fields.key_place("versions") {
        Some(key) if named.is_empty() => (key, format!("`{path}` is empty")),
        Some(_) => return,
        None if fields.misspelt(&["versions"]) => return,
        None => (fields.at(), format!("`versions` is missing in `{}`", fields.path())),
    };
    let help = format!(
        "add a table: [{path}.v1], or have them discovered: [{}]",
        fields.path_of("release")
    );
    fields.add(Finding::error(Code::Missing, place, message).help(help));
}

/// Refuses keys that mean nothing without the key `what`.
fn needs(fields: &Fields<'_>, what: &str, names: &[&str]) {
    for name in names {
        if let Some(place) = fields.key_place(name) {
            let message = format!("`{}` needs `{what}`", fields.path_of(name));
            let finding = Finding::error(Code::Choice, place, message);
            fields.add(finding.help(format!("only versions that have `{what}` have it")));
        }
    }
}

/// The aliases of a model: none is the name of a version, and each stands for one.
fn aliases(fields: &Fields<'_>, versions: &[Named<'_>]) -> BTreeMap<VersionName, VersionName> {
    let declared = |name: &str| versions.iter().find(|version| version.name == name);
    let mut aliases = BTreeMap::new();
    for (alias, place, version) in fields.aliases("aliases") {
        if let Some(twin) = declared(alias) {
            let message = format!("alias `{alias}` is the name of a version");
            let finding = Finding::error(Code::Duplicate, place, message);
            fields.add(finding.also(twin.key, "declared here").help("give the alias another name"));
        }
        if declared(version.value).is_none() {
            let message = format!("alias `{alias}` stands for {}", version.shown());
            let message = format!("{message}, which is not declared");
            let finding = Finding::error(Code::UnknownReference, version.place, message);
            let names = || versions.iter().map(|version| version.name);
            fields.add(match closest(version.value, names()) {
                Some(close) => finding.help(format!("did you mean `{close}`?")),
                None => finding.help(format!("declared: {}", listed(names().take(20)))),
            });
        }
        aliases.insert(VersionName::new(alias), VersionName::new(version.value));
    }
    aliases
}

/// Reads the card beside a model file; its first mistake stands for all.
fn model_card(fields: &Fields<'_>, onnx: &At<PathBuf>) {
    let Some(path) = card_of(&onnx.value) else { return };
    let Err(found) = load_card(&path) else { return };
    let message = format!("the `model.toml` beside the model file has {} mistakes", found.errors());
    let finding = Finding::error(Code::ModelFile, onnx.place, message);
    fields.add(match found.iter().next() {
        Some(first) if !onnx.hidden => {
            let (line, column) = (first.location.line, first.location.column);
            finding.help(format!("line {line}, column {column}: {}", first.message))
        }
        Some(_) | None => finding,
    });
}

/// Another ONNX file in the directory where `path` is missing.
fn neighbour(path: &Path) -> Option<String> {
    const LOOKED_AT_MAX: usize = 256;
    let entries = fs::read_dir(path.parent()?).ok()?.take(LOOKED_AT_MAX).filter_map(Result::ok);
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".onnx"))
        .collect();
    names.sort();
    names.into_iter().next()
}

/// The share of every version. One version takes everything; several need `traffic`.
fn shares(fields: &Fields<'_>, versions: &[Named<'_>]) -> BTreeMap<VersionName, Permille> {
    let mut traffic: BTreeMap<VersionName, Permille> =
        versions.iter().map(|version| (VersionName::new(version.name), Permille::NONE)).collect();
    if fields.key_place("traffic").is_none() {
        match versions {
            [only] => drop(traffic.insert(VersionName::new(only.name), Permille::ALL)),
            [] => {}
            several => {
                let message =
                    format!("`{}` has {} versions and no `traffic`", fields.path(), several.len());
                let finding = Finding::error(Code::Traffic, fields.at(), message);
                fields.add(finding.help(format!("add: {}", suggestion(several))));
            }
        }
        return traffic;
    }
    let Some(shares) = fields.shares("traffic") else { return traffic };
    for (name, place, share) in &shares.read {
        if !traffic.contains_key(*name) {
            unknown_version(fields, name, *place, versions);
        }
        traffic.insert(VersionName::new(*name), *share);
    }
    let sum: u32 = shares.read.iter().map(|(_, _, share)| u32::from(share.thousandths())).sum();
    if shares.complete && sum != 1000 && !versions.is_empty() {
        let percent = format!("{}.{}", sum / 10, sum % 10);
        let percent = percent.trim_end_matches(".0");
        let message =
            format!("the shares of `{}` add up to {percent} %", fields.path_of("traffic"));
        let finding = Finding::error(Code::Traffic, fields.place("traffic"), message);
        let help = format!("they must add up to 100 %, such as: {}", suggestion(versions));
        fields.add(finding.help(help));
    }
    traffic
}

fn unknown_version(fields: &Fields<'_>, name: &str, place: Place, versions: &[Named<'_>]) {
    let names = || versions.iter().map(|version| version.name);
    let message = format!("version `{}` has traffic but is not declared", name.escape_debug());
    let finding = Finding::error(Code::UnknownReference, place, message);
    fields.add(match closest(name, names()) {
        Some(close) => finding.help(format!("did you mean `{close}`?")),
        None if versions.is_empty() => finding.help("this model declares no version"),
        None => finding.help(format!("declared: {}", listed(names().take(20)))),
    });
}

/// A line that is ready to paste: even shares, or everything to the last of many versions.
fn suggestion(versions: &[Named<'_>]) -> String {
    let count = versions.len();
    let share = |at: usize| match count {
        0..=SUGGESTED_SHARES_MAX => 1000 / count + usize::from(at < 1000 % count),
        _ => 1000 * usize::from(at + 1 == count),
    };
    let entries = versions.iter().enumerate().filter_map(|(at, version)| {
        let share = u16::try_from(share(at)).ok().and_then(Permille::new)?;
        (share != Permille::NONE)
            .then(|| format!("{} = \"{}\"", quoted(version.name), show_percent(share)))
    });
    format!("traffic = {{ {} }}", entries.collect::<Vec<_>>().join(", "))
}
