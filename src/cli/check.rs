//! `pointsman check`: whether a configuration can be run, and what it says.
//!
//! Owns the summary and the exit codes of the command. Never binds, opens or changes anything.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::config::{self, Checks, Diagnostic, Diagnostics, Loaded};
use crate::control::admission::mistake_in_golden;
use crate::domain::ids::SourceName;
use crate::domain::spec::{
    BackendAddress, BodyPolicy, Durability, LogSpec, ModelSpec, PathMatch, PoolSpec, Recording,
    RouteMatch, RouteSpec, RouteTarget, SinkSpec, SinkTarget, VersionSpec,
};

/// The exit code of a configuration with mistakes: `EX_CONFIG` of sysexits.h.
pub(super) const EXIT_BAD_CONFIG: u8 = 78;

/// The most models, pools or routes that the summary lists.
const LISTED_MAX: usize = 12;

/// The most versions of a model that the summary lists.
const VERSIONS_LISTED_MAX: usize = 8;

use super::args::Format;

/// What a command prints, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Output {
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
pub(super) fn run(path: &Path, offline: bool, format: Format, color: bool) -> Output {
    let checks = if offline { Checks::Offline } else { Checks::Full };
    match config::load(path, checks) {
        Ok(loaded) => match mistakes_in_golden_sets(&loaded, checks) {
            found if found.errors() > 0 => refused(&found, format, color),
            _none => accepted(path, &loaded, format, color),
        },
        Err(found) => refused(&found, format, color),
    }
}

/// What is wrong in the golden sets that models name for versions at servers. A start goes on without them: no such
/// version is admitted until they are mended.
fn mistakes_in_golden_sets(loaded: &Loaded, checks: Checks) -> Diagnostics {
    if checks == Checks::Offline {
        return Diagnostics::default();
    }
    let policies = loaded.intent.models.values().filter_map(|model| model.lifecycle.as_ref());
    let named: BTreeSet<&PathBuf> =
        policies.filter_map(|policy| policy.release.golden.as_ref()).collect();
    let mistakes = named.into_iter().filter_map(|file| {
        let (line, what) = mistake_in_golden(file)?;
        let help = "every line is one request, as in the golden.jsonl of a version";
        Some(Diagnostic::of_named_file(file, line, what, help))
    });
    Diagnostics::from(mistakes.chain(loaded.warnings.iter().cloned()).collect::<Vec<_>>())
}

/// What `check`, `run` and every other command print for a configuration that cannot be used.
pub(super) fn refused(found: &Diagnostics, format: Format, color: bool) -> Output {
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
        writeln!(f, "  log       {}", log(&intent.log))?;
        let own = |recording: &Recording| own(recording, &intent.log.recording);
        let models = intent
            .models
            .iter()
            .map(|(name, spec)| (name.as_str(), model(spec) + &own(&spec.recording)));
        list(f, "models", models)?;
        let pools = intent.pools.iter().map(|(name, spec)| (name.as_str(), pool(spec)));
        list(f, "pools", pools)?;
        let routes = intent.routes.iter().map(|(name, spec)| (name.as_str(), route(spec)));
        list(f, "routes", routes)?;
        let sinks = intent.sinks.iter().map(|(name, spec)| (name.as_str(), sink(spec)));
        list(f, "sinks", sinks)?;
        let sources = intent.discovery.iter();
        let sources = sources.map(|(name, spec)| (name.as_str(), spec.place.kind().to_owned()));
        list(f, "discovery", sources)
    }
}

/// What is recorded, and how much of it stays.
fn log(spec: &LogSpec) -> String {
    let recording = &spec.recording;
    let mut text = recording.durability.as_str().to_owned();
    match recording.body {
        _ if recording.durability == Durability::Off => {}
        BodyPolicy::Full => {
            text += &format!(", bodies to {}", config::show_size(recording.body_limit as u64));
        }
        BodyPolicy::Head => {
            text += &format!(", {} of bodies", config::show_size(recording.head as u64));
        }
        BodyPolicy::Hash | BodyPolicy::None => text += ", no bodies",
    }
    if recording.sample < 1.0 {
        text += &format!(", a sample of {}", recording.sample);
    }
    if !recording.redact.rules.is_empty() {
        text += &format!(", {}", count(recording.redact.rules.len(), "redaction"));
    }
    text += &format!(", up to {}", config::show_size(spec.retain));
    if let Some(age) = spec.retain_age {
        text += &format!(" and {}", config::show_duration(age));
    }
    if spec.parquet.enabled { text + ", Parquet" } else { text }
}

/// What a model records differently from the log.
fn own(recording: &Recording, log: &Recording) -> String {
    match recording {
        same if same == log => String::new(),
        other if other.durability != log.durability => {
            format!("; log {}", other.durability.as_str())
        }
        _ => "; log of its own".to_owned(),
    }
}

/// Where a sink delivers; never a path or a query, which may hold a secret.
fn sink(spec: &SinkSpec) -> String {
    let target = match &spec.target {
        SinkTarget::Http { url, .. } => {
            let rest = url.strip_prefix("http://").unwrap_or_default();
            format!("http://{}", rest.split(['/', '?']).next().unwrap_or_default())
        }
        SinkTarget::S3 { bucket, .. } => format!("bucket {bucket}"),
    };
    if spec.required { format!("{target}, required") } else { target }
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
            VersionSpec::Onnx(onnx) => format!("{name} {share} {}", onnx.path.display()),
            VersionSpec::Backends(backends) => {
                format!("{name} {share} {}", members(&backends.addresses, &backends.discovered))
            }
        }
    };
    let mut shown: Vec<String> =
        spec.versions.iter().take(VERSIONS_LISTED_MAX).map(version).collect();
    if spec.versions.len() > VERSIONS_LISTED_MAX {
        shown.push(format!("… and {} more", spec.versions.len() - VERSIONS_LISTED_MAX));
    }
    if spec.lifecycle.is_some() {
        shown.push("released by evidence".to_owned());
    }
    shown.join("; ")
}

fn pool(spec: &PoolSpec) -> String {
    members(&spec.backends, &spec.discovered)
}

fn members(listed: &[BackendAddress], discovered: &Option<SourceName>) -> String {
    match discovered {
        Some(source) => format!("backends of {source}"),
        None => count(listed.len(), "backend"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, format: Format) -> Output {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("main.toml");
        std::fs::write(&path, text).expect("a file");
        let mut output = run(&path, true, format, false);
        let dir = format!("{}/", dir.path().display());
        output.stdout = output.stdout.replace(&dir, "");
        output.stderr = output.stderr.replace(&dir, "");
        output
    }

    const SOUND: &str = r#"
        listen = "127.0.0.1:8080"
        node = "edge-1"
        data_dir = "/srv"
        [models.fraud]
        traffic = { v1 = "99.5%", v2 = "0.5%" }
        versions.v1.onnx = "fraud.onnx"
        versions.v2.backends = ["http://a:1", "http://b:1"]
        [pools.web]
        backends = ["http://c:1"]
        [routes.api]
        method = "POST"
        host = "api.example.com"
        path_prefix = "/score"
        headers = { x-tenant = "acme" }
        model = "fraud"
        version = "v2"
        [routes.rest]
        pool = "web"
        [log]
        redact.mask = ["/card"]
        retain_age = "90d"
        [models.fraud.log]
        durability = "sync"
        [sinks.hub]
        http = "http://hub:8080/events?token=secret"
        required = true
    "#;

    #[test]
    fn a_sound_file_is_summed_up_and_exits_with_0() {
        let output = check(SOUND, Format::Human);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        insta::assert_snapshot!(output.stdout, @r#"
        ok: main.toml (1 file)
          listen    127.0.0.1:8080
          admin     127.0.0.1:9901
          node      edge-1
          workers   one for each core
          data      /srv
          log       async, bodies to 256KiB, 1 redaction, up to 20GiB and 90d, Parquet
        models
          fraud     v1 99.5% fraud.onnx; v2 0.5% 2 backends; log sync
        pools
          web       1 backend
        routes
          api       POST api.example.com /score/… x-tenant: … → model fraud, version v2
          rest      every request → pool web
        sinks
          hub       http://hub:8080, required
        "#);
        let output = check(SOUND, Format::Json);
        assert_eq!((output.code, output.stdout.as_str()), (0, "[]\n"));
    }

    #[test]
    fn a_golden_set_that_cannot_be_read_is_a_mistake_in_its_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let (main, golden) = (dir.path().join("main.toml"), dir.path().join("truths.jsonl"));
        let text = "listen = \"127.0.0.1:1\"\n[models.m.release]\ngolden = \"truths.jsonl\"\n";
        std::fs::write(&main, text).expect("a file");
        let case =
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}],"labels":[0]}"#;
        std::fs::write(&golden, format!("{case}\n{{\"inputs\":[]}}\n")).expect("a file");
        let output = run(&main, false, Format::Human, false);
        assert_eq!((output.code, output.stdout.as_str()), (78, ""));
        assert!(output.stderr.contains("truths.jsonl:2:1"), "{}", output.stderr);
        assert!(output.stderr.contains("`inputs` is empty"), "{}", output.stderr);
        assert_eq!(run(&main, true, Format::Human, false).code, 0, "it is not looked at offline");
        std::fs::write(&golden, case).expect("a file");
        assert_eq!(run(&main, false, Format::Human, false).code, 0);
        std::fs::remove_file(&golden).expect("gone");
        let output = run(&main, false, Format::Human, false);
        assert!(output.stderr.contains("main.toml:3:10"), "{}", output.stderr);
        assert_eq!(output.code, 78);
    }

    #[test]
    fn mistakes_go_to_standard_error_and_exit_with_78() {
        let output = check("listen = 1", Format::Human);
        assert_eq!((output.code, output.stdout.as_str()), (78, ""));
        assert!(output.stderr.contains("main.toml:1:10"), "{}", output.stderr);
        let output = check("listen = 1", Format::Json);
        assert_eq!((output.code, output.stderr.as_str()), (78, ""));
        let array: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        assert_eq!(array[0]["line"], 1);
    }

    #[test]
    fn warnings_do_not_change_the_exit_code() {
        let output = check("listen = \"127.0.0.1:1\"", Format::Human);
        assert_eq!(output.code, 0);
        assert!(output.stderr.contains("warning[PM-C019]"), "{}", output.stderr);
        assert!(check("listen = \"127.0.0.1:1\"", Format::Json).stdout.contains("PM-C019"));
    }

    #[test]
    fn a_thousand_models_fit_on_one_screen() {
        let model = |n| format!("[models.m{n}.versions.v1]\nonnx = \"m.onnx\"\n");
        let models: String = (0..1000).map(model).collect();
        let output = check(&format!("listen = \"127.0.0.1:1\"\n{models}"), Format::Human);
        assert!(output.stdout.lines().count() < 24, "{}", output.stdout);
        assert!(output.stdout.contains("… and 988 more"), "{}", output.stdout);
    }
}
