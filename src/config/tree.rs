//! The spanned tree: TOML text to values that know where they stand, and the merge of several files.
//!
//! Owns what a value is before its key gives it a meaning. Never knows of a key more than whether its
//! value must not be shown.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Finding, Report};
use super::interpolate::{Interpolator, Outcome, Text};
use super::keys;
use super::source::{Place, Sources};

/// The deepest nesting of tables and lists; the deepest key of ours lies at six.
const DEPTH_MAX: usize = 16;

/// The most syntax errors that are shown for one file; more are mostly consequences of the first.
const SYNTAX_ERRORS_MAX: usize = 5;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The value's characters.
    pub(super) place: Place,
    /// The value.
    pub(super) value: Value,
}

/// A value as TOML knows them.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A string, after interpolation.
    Text(Text),
    /// An integer, `None` beyond 64 bits.
    Integer(Option<i64>),
    /// A number with a point or an exponent.
    Float(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A date or a time.
    Datetime,
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
    /// A string that cannot be known: it failed and was reported, or was left alone offline.
    Unknown,
}

impl Value {
    /// What it is, with an article.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Unknown => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Flag(_) => "a boolean",
            Self::Datetime => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// The entries of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// By key.
    pub(super) entries: BTreeMap<String, Entry>,
}

/// One key of a table with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The key's characters.
    pub(super) key: Place,
    /// The value.
    pub(super) node: Node,
}

/// Parses one file. Syntax errors are reported, one for each run of broken lines; what can be understood in spite
/// of them is returned, so that mistakes elsewhere in the file are found as well.
pub(super) fn parse(
    sources: &Sources,
    file: usize,
    interpolator: &mut Interpolator<'_>,
    report: &Report,
) -> Table {
    let (root, errors) = DeTable::parse_recoverable(sources.text(file));
    let (mut last, mut shown) = (None, 0);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let place = Place { file, start: span.start, end: span.end };
        // A key that is there twice leaves everything around it clear; the first one counts.
        let twice = error.message().contains("duplicate key");
        let line = sources.line(place);
        if !twice {
            report.add_broken(file, line);
        }
        // A bracket that is never closed breaks one line after the other: the first one says it.
        let follows = last.is_some_and(|last| line == last || line == last + 1);
        if twice || (!follows && shown < SYNTAX_ERRORS_MAX) {
            let code = if twice { Code::Duplicate } else { Code::Syntax };
            report.add(Finding::error(code, place, format!("not TOML: {}", error.message())));
            shown += usize::from(!twice);
        }
        last = Some(line);
    }
    Walk { sources, file, interpolator, report }.table(root.into_inner(), 1)
}

/// Adds the entries of `from` to `into`; a value that both have is reported.
pub(super) fn merge(into: &mut Table, from: Table, path: &str, report: &Report) {
    for (key, entry) in from.entries {
        let path = join(path, &key);
        match into.entries.entry(key) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
            Slot::Occupied(mut slot) => {
                let first = slot.get_mut();
                match (&mut first.node.value, entry.node.value) {
                    (Value::Table(into), Value::Table(from)) => merge(into, from, &path, report),
                    _ => report.add(
                        Finding::error(
                            Code::Duplicate,
                            entry.key,
                            format!("`{path}` is set twice"),
                        )
                        .also(first.key, "first set here")
                        .help("one file sets a value, so that no order of files matters"),
                    ),
                }
            }
        }
    }
}

/// A dotted path with one more key, quoted where TOML would quote it.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = quoted(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A key as it must be written in TOML.
pub(crate) fn quoted(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_debug())
    }
}

struct Walk<'a, 'e> {
    sources: &'a Sources,
    file: usize,
    interpolator: &'a mut Interpolator<'e>,
    report: &'a Report,
}

impl Walk<'_, '_> {
    fn table(&mut self, table: DeTable<'_>, depth: usize) -> Table {
        let entry = |(key, value): (toml::Spanned<Cow<'_, str>>, toml::Spanned<DeValue<'_>>)| {
            let at = self.place(key.span());
            let place = self.place(value.span());
            if keys::is_secret(key.get_ref()) && self.is_shown(place) {
                self.report.conceal(place);
            }
            let node = Node { place, value: self.value(value.into_inner(), place, depth + 1) };
            (key.into_inner().into_owned(), Entry { key: at, node })
        };
        Table { entries: table.into_iter().map(entry).collect() }
    }

    fn value(&mut self, value: DeValue<'_>, place: Place, depth: usize) -> Value {
        match value {
            DeValue::Table(_) | DeValue::Array(_) if depth > DEPTH_MAX => {
                let message = format!("nested deeper than {DEPTH_MAX} levels");
                self.report.add(Finding::error(Code::TooMany, place, message));
                Value::Unknown
            }
            DeValue::String(text) => self.text(&text, place),
            DeValue::Integer(number) => {
                Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => Value::Flag(flag),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(list) => {
                let node = |item: toml::Spanned<DeValue<'_>>| {
                    let place = self.place(item.span());
                    Node { place, value: self.value(item.into_inner(), place, depth + 1) }
                };
                Value::List(list.into_iter().map(node).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, depth)),
        }
    }

    fn text(&mut self, text: &str, place: Place) -> Value {
        let resolve = |path: &str| self.sources.resolve(self.file, path);
        match self.interpolator.replace(text, resolve) {
            Ok(Outcome::Known(text)) => Value::Text(text),
            Ok(Outcome::Unseen) => Value::Unknown,
            Err(failure) => {
                let finding = Finding::error(Code::Interpolation, place, failure.message);
                self.report.add(match failure.help {
                    Some(help) => finding.help(help),
                    None => finding,
                });
                Value::Unknown
            }
        }
    }

    /// Whether a value stands in the file itself, as a whole or as the default of a replacement.
    fn is_shown(&self, place: Place) -> bool {
        let text = self.sources.text(place.file).get(place.start..place.end).unwrap_or("");
        text.starts_with(['"', '\'']) && (!text.contains("${") || text.contains(":-"))
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place { file: self.file, start: span.start, end: span.end }
    }
}
