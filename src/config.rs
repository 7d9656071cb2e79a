//! The configuration: from files to a validated [`Intent`].
//!
//! Owns the way TOML text → spanned tree → merge of included files → interpolation → intent, the
//! diagnostics about it, and the JSON Schema. Never changes anything: reading a configuration has no
//! effect, and a configuration with a mistake yields nothing but the list of all its mistakes.
//!
//! ```text
//! source ─▶ tree (interpolate, merge) ─▶ reader (keys) ─▶ resolve ─▶ Intent
//!                     └───────────── diagnostic ◀───────────┘
//! ```

mod card;
mod diagnostic;
mod form;
mod include;
mod interpolate;
mod keys;
mod reader;
mod render;
mod resolve;
mod scalar;
mod schema;
mod source;
mod tree;

use std::env::VarError;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::domain::discovery::Provenance;
use crate::domain::ids::is_valid_name;
use crate::domain::spec::{BackendAddress, Intent};

pub(crate) use card::provenance_beside;
pub use card::{card_of, load_card};
pub use diagnostic::{Code, Diagnostic, Diagnostics, Location, Related, Severity};
pub(crate) use scalar::{show_duration, show_percent, show_size};
pub use schema::schema;

/// Parses the address of a backend, `http://HOST:PORT`, as the configuration does.
///
/// # Errors
/// What is wrong with it, and what to write.
pub(crate) fn backend_address(text: &str) -> Result<BackendAddress, String> {
    form::backend(text).map_err(|fault| match fault.help {
        Some(help) => format!("the address {}: {help}", fault.why),
        None => format!("the address {}", fault.why),
    })
}

/// Reads what is said of how a version came about, as the model card does.
///
/// # Errors
/// What is wrong with it, and what to write.
pub(crate) fn provenance(
    publisher: Option<&str>,
    trained_at: Option<&str>,
) -> Result<Provenance, String> {
    if let Some(bad) = publisher.filter(|publisher| !is_valid_name(publisher)) {
        let expected = keys::Form::Name.expected();
        return Err(format!("`publisher` must be {expected}, not `{}`", bad.escape_debug()));
    }
    let trained_ms = trained_at.map(form::moment).transpose().map_err(|fault| {
        let help = fault.help.map(|help| format!(": {help}")).unwrap_or_default();
        format!("`trained_at` {}{help}", fault.why)
    })?;
    Ok(Provenance { publisher: publisher.map(str::to_owned), trained_ms })
}

use diagnostic::{Finding, Report};
use interpolate::{Environment, Interpolator};
use reader::Context;
use source::{Place, ReadError, Sources};
use tree::Table;

/// How much of the surroundings is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// Everything that the process will need must be there.
    Full,
    /// Only the files of the configuration itself are read: no model file, no `${file:…}`. The
    /// intent then has defaults in place of what was not looked at, so it is not for running.
    Offline,
}

/// A configuration without a mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What the operator wants.
    pub intent: Intent,
    /// What will hardly work as meant.
    pub warnings: Vec<Diagnostic>,
    /// Every file that was read, the main one first.
    pub files: Vec<PathBuf>,
}

/// Loads the file at `path` and what it includes.
///
/// # Errors
/// All mistakes of all files; that `path` cannot be read is one as well.
pub fn load(path: &Path, checks: Checks) -> Result<Loaded, Diagnostics> {
    load_with(path, checks, &Process)
}

/// [`load`] with an environment of the caller's choice.
pub(crate) fn load_with(
    path: &Path,
    checks: Checks,
    environment: &dyn Environment,
) -> Result<Loaded, Diagnostics> {
    let mut loading = Loading::new(checks, environment);
    match loading.read(path, false) {
        Some(file) => loading.finish(file),
        None => Err(loading.report.finish(&mut loading.sources)),
    }
}

/// The state while files are read.
struct Loading<'e> {
    checks: Checks,
    environment: &'e dyn Environment,
    interpolator: Interpolator<'e>,
    sources: Sources,
    report: Report,
}

impl<'e> Loading<'e> {
    fn new(checks: Checks, environment: &'e dyn Environment) -> Self {
        Self {
            checks,
            environment,
            interpolator: Interpolator::new(environment, checks),
            sources: Sources::default(),
            report: Report::default(),
        }
    }

    /// Reads one file. What is wrong is reported.
    fn read(&mut self, path: &Path, regular: bool) -> Option<usize> {
        let (text, fault) = match source::read_text(path, source::FILE_BYTES_MAX, regular) {
            Ok(text) => return Some(self.sources.add(path, text)),
            Err(ReadError::NotText { lossy, at }) => (lossy, (at, "is not UTF-8 text".to_owned())),
            Err(error) => (String::new(), (0, error.phrase())),
        };
        let (start, phrase) = fault;
        let file = self.sources.add(path, text);
        let place = Place { file, start, end: start };
        let message = format!("the file `{}` {phrase}", path.display());
        self.report.add(Finding::error(Code::File, place, message));
        self.report.add_broken(file, 1);
        None
    }

    /// Parses the main file, follows its `include` and builds the intent.
    fn finish(mut self, main: usize) -> Result<Loaded, Diagnostics> {
        let mut root = self.parse(main);
        for path in include::files(self.context(), main, &root, self.checks) {
            if let Some(file) = self.read(&path, true) {
                let table = self.parse(file);
                let table = include::without_include(self.context(), table);
                tree::merge(&mut root, table, "", &self.report);
            }
        }
        let intent = resolve::intent(self.context(), &root, self.checks, self.environment);
        let errors = self.report.errors();
        let files = self.sources.paths().map(Path::to_owned).collect();
        let found = self.report.finish(&mut self.sources);
        if errors == 0 {
            Ok(Loaded { intent, warnings: found.iter().cloned().collect(), files })
        } else {
            Err(found)
        }
    }

    fn parse(&mut self, file: usize) -> Table {
        tree::parse(&self.sources, file, &mut self.interpolator, &self.report)
    }

    fn context(&self) -> Context<'_> {
        Context { sources: &self.sources, report: &self.report }
    }
}

/// The environment of this process.
struct Process;

impl Environment for Process {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place where the environment is read"
    )]
    fn variable(&self, name: &str) -> Result<String, VarError> {
        std::env::var(name)
    }

    fn variables(&self) -> Vec<(String, String)> {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let mut all: Vec<_> = std::env::vars_os().filter_map(text).collect();
        all.sort_unstable();
        all
    }

    fn host_name(&self) -> String {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        form::node(&name).unwrap_or_else(|_| "pointsman".to_owned())
    }
}

#[cfg(test)]
mod tests;
