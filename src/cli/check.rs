//! `pointsman check`: whether a configuration can be run, and what it says.
//!
//! Owns the summary and the exit codes of the command. Never binds, opens or changes anything.

use std::fmt::{self, Write as _};
use std::path::Path;

use crate::config::{self, Checks, Diagnostics, Loaded};
use crate::domain::spec::{
    ModelSpec, PathMatch, PoolSpec, RouteMatch, RouteSpec, RouteTarget, VersionSpec,
};

/// The exit code of a configuration with mistakes: `EX_CONFIG` of sysexits.h.
pub const EXIT_BAD_CONFIG: u8 = 78;

/// The most models, pools or routes that the summary lists.
const LISTED_MAX: usize = 12;

/// The most versions of a model that the summary lists.
const VERSIONS_LISTED_MAX: usize = 8;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs.
    Json,
}

/// What a command prints, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
    /// 0 when the configuration can be run, [`EXIT_BAD_CONFIG`] when not.
    pub code: u8,
}

/// Checks the configuration at `path`. `offline` looks at no other file than the configuration's
/// own; `color` allows escape sequences on standard error. With [`Format::Json`] standard output is
/// one array of diagnostics, empty when there is nothing to say.
pub fn run(path: &Path, offline: bool, format: Format, color: bool) -> Output {
    let checks = if offline { Checks::Offline } else { Checks::Full };
    match config::load(path, checks) {
        Ok(loaded) => accepted(path, &loaded, format, color),
        Err(found) => refused(&found, format, color),
    }
}

/// What `check`, `run` and every other command print for a configuration that cannot be used.
pub fn refused(found: &Diagnostics, format: Format, color: bool) -> Output {
    match format {
        Format::Human => Output {
            stderr: found.render_human(color),
            code: EXIT_BAD_CONFIG,
            stdout: String::new(),
        },
        Format::Json => {
            Output { stdout: found.render_json(), code: EXIT_BAD_CONFIG, stderr: String::new() }
        }
    }
}

fn accepted(path: &Path, loaded: &Loaded, format: Format, color: bool) -> Output {
    let warnings = Diagnostics::from(loaded.warnings.clone());
    match format {
        Format::Json => Output { stdout: warnings.render_json(), ..Output::default() },
        Format::Human => Output {
            stdout: Summary { path, loaded }.to_string(),
            stderr: if warnings.warnings() == 0 {
                String::new()
            } else {
                warnings.render_human(color)
            },
            code: 0,
        },
    }
}

/// One screen about a configuration.
struct Summary<'a> {
    path: &'a Path,
    loaded: &'a Loaded,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let intent = &self.loaded.intent;
        let files = self.loaded.files.len();
        let plural = if files == 1 { "" } else { "s" };
        writeln!(f, "ok: {} ({files} file{plural})", self.path.display())?;
        writeln!(f, "  listen    {}", intent.listen)?;
        writeln!(f, "  admin     {}", intent.admin)?;
        writeln!(f, "  node      {}", intent.node)?;
        match intent.workers {
            Some(workers) => writeln!(f, "  workers   {workers}")?,
            None => writeln!(f, "  workers   one for each core")?,
        }
        writeln!(f, "  data      {}", intent.data_dir.display())?;
        let log = &intent.log;
        let retain = config::show_size(log.retain);
        writeln!(f, "  log       {}, up to {retain}", log.durability.as_str())?;
        let models = intent.models.iter().map(|(name, spec)| (name.as_str(), model(spec)));
        list(f, "models", models)?;
        let pools = intent.pools.iter().map(|(name, spec)| (name.as_str(), pool(spec)));
        list(f, "pools", pools)?;
        let routes = intent.routes.iter().map(|(name, spec)| (name.as_str(), route(spec)));
        list(f, "routes", routes)
    }
}

fn list<'a>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    entries: impl ExactSizeIterator<Item = (&'a str, String)>,
) -> fmt::Result {
    let count = entries.len();
    if count == 0 {
        return Ok(());
    }
    writeln!(f, "{title}")?;
    for (name, text) in entries.take(LISTED_MAX) {
        writeln!(f, "  {name:<9} {text}")?;
    }
    if count > LISTED_MAX {
        writeln!(f, "  … and {} more", count - LISTED_MAX)?;
    }
    Ok(())
}

fn model(spec: &ModelSpec) -> String {
    let version = |(name, target): (&_, &VersionSpec)| {
        let share = spec.traffic.get(name).copied().map(config::show_percent);
        let share = share.unwrap_or_default();
        match target {
            VersionSpec::Onnx(path) => format!("{name} {share} {}", path.display()),
            VersionSpec::Backends(backends) => {
                format!("{name} {share} {}", count(backends.len(), "backend"))
            }
        }
    };
    let mut shown: Vec<String> =
        spec.versions.iter().take(VERSIONS_LISTED_MAX).map(version).collect();
    if spec.versions.len() > VERSIONS_LISTED_MAX {
        shown.push(format!("… and {} more", spec.versions.len() - VERSIONS_LISTED_MAX));
    }
    shown.join("; ")
}

fn pool(spec: &PoolSpec) -> String {
    count(spec.backends.len(), "backend")
}

fn route(spec: &RouteSpec) -> String {
    let target = match &spec.target {
        RouteTarget::Model(model, None) => format!("model {model}"),
        RouteTarget::Model(model, Some(version)) => format!("model {model}, version {version}"),
        RouteTarget::Pool(pool) => format!("pool {pool}"),
    };
    format!("{} → {target}", conditions(&spec.matches))
}

fn conditions(matches: &RouteMatch) -> String {
    let mut text = String::new();
    let mut add = |condition: String| {
        let gap = if text.is_empty() { "" } else { " " };
        // Writing into a `String` cannot fail.
        write!(text, "{gap}{condition}").unwrap_or_default();
    };
    matches.method.iter().for_each(|method| add(method.clone()));
    matches.host.iter().for_each(|host| add(host.clone()));
    match &matches.path {
        Some(PathMatch::Exact(path)) => add(path.clone()),
        Some(PathMatch::Prefix(prefix)) => add(format!("{}/…", prefix.trim_end_matches('/'))),
        None => {}
    }
    matches.headers.keys().for_each(|name| add(format!("{name}: …")));
    if text.is_empty() { "every request".to_owned() } else { text }
}

fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
