//! What is wrong with a configuration, in the words of the person who wrote it.
//!
//! Owns the codes, the collector that every stage reports to, and the finished diagnostics. Never
//! stops at the first mistake, and never holds a value that came from the environment or a secret file.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::render;
use super::source::{Excerpt, Place, Sources};

/// The most diagnostics that are kept; the rest is counted.
const DIAGNOSTICS_MAX: usize = 1000;

/// The most names that a word is compared with.
const CANDIDATES_MAX: usize = 1000;

/// The kind of a mistake. The number never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A file of the configuration cannot be read, is too large, or is not text.
    File,
    /// The text is not TOML.
    Syntax,
    /// A key that nothing reads.
    UnknownKey,
    /// A value of the wrong type.
    WrongType,
    /// A key that must be there is not.
    Missing,
    /// A value of the right type that does not say what it should.
    Malformed,
    /// A value outside its range.
    OutOfRange,
    /// A name that cannot name a model, version, route or pool.
    BadName,
    /// A reference to something that is not declared.
    UnknownReference,
    /// The same thing twice.
    Duplicate,
    /// Keys that exclude each other, or none of several of which one is needed.
    Choice,
    /// Shares of traffic that are missing or do not add up.
    Traffic,
    /// A `${…}` that cannot be replaced.
    Interpolation,
    /// An `include` that cannot be followed.
    Include,
    /// A backend address that is not `http://HOST:PORT`.
    Backend,
    /// Addresses that collide.
    AddressConflict,
    /// A model file or a golden set that is not there, is not a file, or cannot be read.
    ModelFile,
    /// More entries or deeper nesting than the limits allow.
    TooMany,
    /// Something that has no effect.
    NoEffect,
    /// Something that would put secrets or losses into the prediction log.
    LogRisk,
    /// Something that this build leaves out.
    Unavailable,
}

impl Code {
    /// The code as printed, such as `PM-C003`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "PM-C001",
            Self::Syntax => "PM-C002",
            Self::UnknownKey => "PM-C003",
            Self::WrongType => "PM-C004",
            Self::Missing => "PM-C005",
            Self::Malformed => "PM-C006",
            Self::OutOfRange => "PM-C007",
            Self::BadName => "PM-C008",
            Self::UnknownReference => "PM-C009",
            Self::Duplicate => "PM-C010",
            Self::Choice => "PM-C011",
            Self::Traffic => "PM-C012",
            Self::Interpolation => "PM-C013",
            Self::Include => "PM-C014",
            Self::Backend => "PM-C015",
            Self::AddressConflict => "PM-C016",
            Self::ModelFile => "PM-C017",
            Self::TooMany => "PM-C018",
            Self::NoEffect => "PM-C019",
            Self::LogRisk => "PM-C020",
            Self::Unavailable => "PM-C021",
        }
    }
}

/// Whether the configuration can be used in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but hardly as meant.
    Warning,
}

impl Severity {
    /// The word that is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of mistake.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where.
    pub location: Location,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that matter, such as the first of two definitions.
    pub related: Vec<Related>,
}

impl Diagnostic {
    /// A mistake in a line of a file that the configuration names, and does not read itself.
    pub fn of_named_file(file: &Path, line: usize, message: String, help: &str) -> Self {
        let excerpt = Excerpt { text: String::new(), offset: 0, width: 1 };
        let location = Location { file: file.to_owned(), line, column: 1, excerpt };
        Self {
            code: Code::ModelFile,
            severity: Severity::Error,
            message,
            location,
            help: Some(help.to_owned()),
            related: Vec::new(),
        }
    }
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The path, as it was named or found.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    pub(super) excerpt: Excerpt,
}

/// Another place that matters for a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Why it matters.
    pub message: String,
    /// Where.
    pub location: Location,
}

/// All mistakes of a configuration, in the order of the files and lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    left_out: usize,
}

impl Diagnostics {
    /// The diagnostics, by file, line and column.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error) + self.left_out
    }

    /// The number of warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// Mistakes beyond the limit on how many are kept.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Renders for people: each mistake with `FILE:LINE:COL`, the line, a mark below it and help;
    /// then the totals. Escape sequences only with `color`.
    pub fn render_human(&self, color: bool) -> String {
        render::human(self, color)
    }

    /// Renders one JSON array of objects with `code`, `severity`, `file`, `line`, `column`, `message`,
    /// `help`, `source` and `related`.
    pub fn render_json(&self) -> String {
        render::json(self)
    }

    fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|found| found.severity == severity).count()
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(list: Vec<Diagnostic>) -> Self {
        Self { list, left_out: 0 }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render_human(false))
    }
}

impl std::error::Error for Diagnostics {}

/// A mistake whose place is not yet a line and a column.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    code: Code,
    severity: Severity,
    place: Place,
    message: String,
    help: Option<String>,
    related: Vec<(Place, String)>,
}

impl Finding {
    /// An error.
    pub(super) fn error(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, place, message.into())
    }

    /// A warning.
    pub(super) fn warning(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, place, message.into())
    }

    fn new(code: Code, severity: Severity, place: Place, message: String) -> Self {
        Self { code, severity, place, message, help: None, related: Vec::new() }
    }

    /// Adds what to do about it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place.
    pub(super) fn also(mut self, place: Place, message: impl Into<String>) -> Self {
        self.related.push((place, message.into()));
        self
    }
}

/// The collector that every stage of loading reports to.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: RefCell<Vec<Finding>>,
    errors: Cell<usize>,
    /// Lines of files that could not be understood.
    broken: RefCell<BTreeMap<usize, BTreeSet<usize>>>,
    left_out: Cell<usize>,
    /// Secrets that stand in a file, where they should not.
    concealed: RefCell<Vec<Place>>,
}

impl Report {
    /// Takes a finding.
    pub(super) fn add(&self, finding: Finding) {
        let error = finding.severity == Severity::Error;
        self.errors.set(self.errors.get() + usize::from(error));
        let mut findings = self.findings.borrow_mut();
        if findings.len() < DIAGNOSTICS_MAX {
            findings.push(finding);
        } else if error {
            self.left_out.set(self.left_out.get() + 1);
        }
    }

    /// Remembers a line that could not be understood, so that consequences are not taken for mistakes.
    pub(super) fn add_broken(&self, file: usize, line: usize) {
        self.broken.borrow_mut().entry(file).or_default().insert(line);
    }

    /// Remembers a value that no excerpt may show.
    pub(super) fn conceal(&self, place: Place) {
        self.concealed.borrow_mut().push(place);
    }

    /// The number of errors so far.
    pub(super) fn errors(&self) -> usize {
        self.errors.get()
    }

    /// Sorts the findings by place, drops mere consequences of text that could not be understood,
    /// and turns places into lines and columns.
    pub(super) fn finish(self, sources: &mut Sources) -> Diagnostics {
        self.concealed.into_inner().into_iter().for_each(|place| sources.conceal(place));
        let sources = &*sources;
        let mut findings = self.findings.into_inner();
        without_consequences(&mut findings, &self.broken.into_inner(), sources);
        findings.sort_by_key(|found| (found.place, found.severity));
        let locate = |place: Place| {
            let at = sources.position(place);
            Location { file: at.file, line: at.line, column: at.column, excerpt: at.excerpt }
        };
        let diagnostic = |found: Finding| Diagnostic {
            code: found.code,
            severity: found.severity,
            message: found.message,
            location: locate(found.place),
            help: found.help,
            related: found
                .related
                .into_iter()
                .map(|(place, message)| Related { message, location: locate(place) })
                .collect(),
        };
        Diagnostics {
            list: findings.into_iter().map(diagnostic).collect(),
            left_out: self.left_out.get(),
        }
    }
}

/// Drops what may be a mere consequence of text that could not be understood: findings that
/// something is not there, and findings in lines that the parser may have put into the wrong table.
fn without_consequences(
    findings: &mut Vec<Finding>,
    broken: &BTreeMap<usize, BTreeSet<usize>>,
    sources: &Sources,
) {
    if broken.is_empty() {
        return;
    }
    findings.retain(|found| match found.code {
        Code::Syntax | Code::File => true,
        Code::Missing | Code::Choice | Code::Traffic | Code::UnknownReference | Code::NoEffect => {
            false
        }
        _ => broken.get(&found.place.file).is_none_or(|lines| {
            let line = sources.line(found.place);
            certain(line, lines, sources.text(found.place.file))
        }),
    });
}

/// Whether `line` means what it seems to mean, though `broken` lines could not be parsed.
fn certain(line: usize, broken: &BTreeSet<usize>, text: &str) -> bool {
    let Some(first) = broken.first().copied() else { return true };
    if line < first {
        return true;
    }
    // Several broken lines are mostly one bracket that was never closed; then nothing is certain.
    if line == first || broken.len() > 1 {
        return false;
    }
    // A single line may have hidden a table header: the next one makes things clear again.
    let mut between = text.lines().skip(first - 1).take(line - first);
    let hides_header = between.next().is_some_and(|broken| broken.contains('['));
    !hides_header || between.any(|line| line.trim_start().starts_with('['))
}

/// The candidate that `word` was most likely meant to be, if any is close.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 4 && *candidate != word)
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_close_or_absent() {
        let keys = ["traffic", "sticky", "balance"];
        assert_eq!(closest("trafic", keys), Some("traffic"));
        assert_eq!(closest("Sticky", keys), Some("sticky"));
        assert_eq!(closest("blaance", keys), Some("balance"));
        assert_eq!(closest("colour", keys), None);
        assert_eq!(closest("", keys), None);
        assert_eq!(closest("v2", ["v1"]), Some("v1"));
    }

    #[test]
    fn a_flood_of_mistakes_is_bounded_and_counted() {
        let report = Report::default();
        for _ in 0..DIAGNOSTICS_MAX + 7 {
            report.add(Finding::error(Code::Syntax, Place::top(0), "x"));
        }
        let all = report.finish(&mut Sources::default());
        assert_eq!(all.iter().count(), DIAGNOSTICS_MAX);
        assert_eq!((all.left_out(), all.errors()), (7, DIAGNOSTICS_MAX + 7));
    }
}
