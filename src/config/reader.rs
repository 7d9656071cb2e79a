//! Typed access to the tables of the tree.
//!
//! Owns the checks that follow from the table of keys alone: unknown and missing keys, types, ranges,
//! choices, names. Every mistake is reported where it stands and reading goes on with the default.
//! Never knows what a key is for.

mod checks;
mod collections;
mod lists;

use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::{Code, Finding, Report, closest};
use super::form;
use super::keys::{Kind, Section};
use super::scalar::{self, Fault, show_duration, show_size};
use super::source::{Place, Sources};
use super::tree::{Entry, Node, Table, Value, join};
use crate::domain::spec::Secret;

/// What every reader shares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'t> {
    /// The files, for relative paths.
    pub(super) sources: &'t Sources,
    /// Where mistakes go.
    pub(super) report: &'t Report,
}

/// A table that is read as a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'t> {
    context: Context<'t>,
    table: &'t Table,
    section: &'static Section,
    path: &'t str,
    at: Place,
}

/// A value that was read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Its characters.
    pub(super) place: Place,
    /// Whether it must not be shown.
    pub(super) hidden: bool,
}

impl<T: AsRef<str>> At<T> {
    /// The value in backticks, or a word that hides it.
    pub(super) fn shown(&self) -> String {
        if self.hidden { "(value hidden)".to_owned() } else { format!("`{}`", self.value.as_ref()) }
    }
}

/// An entry of a table of named things.
#[derive(Debug)]
pub(super) struct Named<'t> {
    /// The name, as written.
    pub(super) name: &'t str,
    /// Where the name stands.
    pub(super) key: Place,
    /// The path of its table.
    path: String,
    table: &'t Table,
}

impl<'t> Fields<'t> {
    /// Reads `table` as `section`, and reports what the section alone can tell.
    pub(super) fn new(
        context: Context<'t>,
        table: &'t Table,
        section: &'static Section,
        path: &'t str,
        at: Place,
    ) -> Self {
        let fields = Self { context, table, section, path, at };
        fields.report_unknown();
        fields.report_missing();
        fields
    }

    /// Reads a few keys of the top of the file ahead of the rest, without reporting on the others.
    pub(super) fn ahead(
        context: Context<'t>,
        table: &'t Table,
        section: &'static Section,
        at: Place,
    ) -> Self {
        Self { context, table, section, path: "", at }
    }

    /// Reads an entry of [`Self::named`] as a section.
    pub(super) fn of(
        context: Context<'t>,
        named: &'t Named<'t>,
        section: &'static Section,
    ) -> Self {
        Self::new(context, named.table, section, &named.path, named.key)
    }

    /// The collector and the files.
    pub(super) fn context(&self) -> Context<'t> {
        self.context
    }

    /// Where the table starts.
    pub(super) fn at(&self) -> Place {
        self.at
    }

    /// The path of the table, as printed.
    pub(super) fn path(&self) -> &'t str {
        self.path
    }

    /// The path of a key, as printed.
    pub(super) fn path_of(&self, name: &str) -> String {
        join(self.path, name)
    }

    /// Where a key stands, if it is there.
    pub(super) fn key_place(&self, name: &str) -> Option<Place> {
        self.table.entries.get(name).map(|entry| entry.key)
    }

    /// The place of a key's value, the key itself or the table, whichever there is.
    pub(super) fn place(&self, name: &str) -> Place {
        self.table.entries.get(name).map_or(self.at, |entry| entry.node.place)
    }

    /// Reports `fault` of the text of `name`.
    pub(super) fn fault<T: AsRef<str>>(&self, name: &str, text: &At<T>, fault: Fault) {
        let expected = match self.kind(name) {
            Kind::List(form, ..) => form.expected().to_owned(),
            kind => kind.expected(),
        };
        self.report_fault(&self.path_of(name), text.place, text.hidden, fault, &expected);
    }

    /// A text, as it is.
    pub(super) fn text(&self, name: &str) -> Option<At<&'t str>> {
        let entry = self.entry(name)?;
        let kind = self.kind(name);
        self.as_text(&entry.node, &|| self.path_of(name), kind, &|| kind.expected())
    }

    /// A text that `parse` understands.
    pub(super) fn parse<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        let text = self.text(name)?;
        match parse(text.value) {
            Ok(value) => Some(At { value, place: text.place, hidden: text.hidden }),
            Err(fault) => {
                self.fault(name, &text, fault);
                None
            }
        }
    }

    /// A secret that `check` accepts. It must come from outside the file; `None` when the key is not
    /// there or its value was not looked at.
    pub(super) fn secret(
        &self,
        name: &str,
        check: impl Fn(&str) -> Result<String, Fault>,
    ) -> Option<Secret> {
        let text = self.text(name)?;
        if !text.hidden {
            let message = format!("`{}` stands in the file for all to read", self.path_of(name));
            let finding = Finding::error(Code::Malformed, text.place, message);
            self.add(finding.help("write \"${env:NAME}\" or \"${file:PATH}\""));
            return None;
        }
        match check(text.value) {
            Ok(value) => Some(Secret::new(value)),
            Err(fault) => {
                self.fault(name, &text, fault);
                None
            }
        }
    }

    /// A path of the file system, relative to the file that names it.
    pub(super) fn file(&self, name: &str) -> Option<At<PathBuf>> {
        let path = self.parse(name, form::file_path)?;
        let value = self.context.sources.resolve(path.place.file, &path.value);
        Some(At { value, place: path.place, hidden: path.hidden })
    }

    /// One of the words of the key, given to `pick`.
    pub(super) fn word<T>(&self, name: &str, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        let Kind::Word(words) = self.kind(name) else { return None };
        let word = self.parse(name, |text| {
            pick(text).filter(|_| words.contains(&text)).ok_or_else(|| {
                let expected = self.kind(name).expected();
                let fault = Fault::new(format!("must be {expected}, not `{text}`"));
                match closest(text, words.iter().copied()) {
                    Some(word) => fault.help(format!("did you mean \"{word}\"?")),
                    None => fault,
                }
            })
        });
        word.map(|word| word.value)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let entry = self.entry(name)?;
        match &entry.node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Unknown => None,
            other => self.wrong_type(name, &entry.node, other),
        }
    }

    /// A whole number in the key's range.
    pub(super) fn integer(&self, name: &str) -> Option<usize> {
        let entry = self.entry(name)?;
        let Kind::Integer(min, max) = self.kind(name) else { return None };
        match &entry.node.value {
            Value::Integer(number) => {
                let good = number.filter(|number| (min..=max).contains(number));
                if good.is_none() {
                    self.out_of_range(name, entry.node.place, &min, &max);
                }
                good.and_then(|number| usize::try_from(number).ok())
            }
            Value::Unknown => None,
            other => self.wrong_type(name, &entry.node, other),
        }
    }

    /// A duration in the key's range.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        let Kind::Duration(min, max) = self.kind(name) else { return None };
        let found = self.parse(name, scalar::duration)?;
        if (min..=max).contains(&found.value) {
            return Some(found.value);
        }
        self.out_of_range(name, found.place, &show_duration(min), &show_duration(max));
        None
    }

    /// A size in bytes, in the key's range.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        let Kind::Size(min, max) = self.kind(name) else { return None };
        let found = self.parse(name, scalar::size)?;
        if (min..=max).contains(&found.value) {
            return Some(found.value);
        }
        self.out_of_range(name, found.place, &show_size(min), &show_size(max));
        None
    }

    /// A table as a section of its own; `None` when it is not there.
    pub(super) fn table<T>(&self, name: &str, read: impl Fn(Fields<'_>) -> T) -> Option<T> {
        let entry = self.entry(name)?;
        let Kind::Table(section) = self.kind(name) else { return None };
        let table = self.as_table(name, entry)?;
        let path = self.path_of(name);
        Some(read(Fields::new(self.context, table, section, &path, entry.key)))
    }

    /// Reports a finding.
    pub(super) fn add(&self, finding: Finding) {
        self.context.report.add(finding);
    }

    fn entry(&self, name: &str) -> Option<&'t Entry> {
        self.table.entries.get(name)
    }

    #[expect(
        clippy::expect_used,
        reason = "readers name keys of their own section; tests read all"
    )]
    fn kind(&self, name: &str) -> Kind {
        self.section.key(name).expect("a key of the section").kind
    }

    fn as_table(&self, name: &str, entry: &'t Entry) -> Option<&'t Table> {
        match &entry.node.value {
            Value::Table(table) => Some(table),
            Value::Unknown => None,
            other => self.wrong_type(name, &entry.node, other),
        }
    }

    fn as_text(
        &self,
        node: &'t Node,
        path: &dyn Fn() -> String,
        kind: Kind,
        expected: &dyn Fn() -> String,
    ) -> Option<At<&'t str>> {
        match &node.value {
            Value::Text(text) => {
                Some(At { value: &text.value, place: node.place, hidden: text.hidden })
            }
            Value::Unknown => None,
            other => {
                let message = format!("`{}` must be {}, not {}", path(), expected(), other.what());
                let finding = Finding::error(Code::WrongType, node.place, message);
                self.add(match remedy(kind, other) {
                    Some(help) => finding.help(help),
                    None => finding,
                });
                None
            }
        }
    }

    fn wrong_type<T>(&self, name: &str, node: &Node, found: &Value) -> Option<T> {
        let kind = self.kind(name);
        let (path, expected) = (self.path_of(name), kind.expected());
        let message = format!("`{path}` must be {expected}, not {}", found.what());
        let finding = Finding::error(Code::WrongType, node.place, message);
        self.add(match remedy(kind, found) {
            Some(help) => finding.help(help),
            None => finding,
        });
        None
    }

    fn out_of_range(
        &self,
        name: &str,
        place: Place,
        min: &dyn std::fmt::Display,
        max: &dyn std::fmt::Display,
    ) {
        let message = format!("`{}` is out of range", self.path_of(name));
        let finding = Finding::error(Code::OutOfRange, place, message);
        self.add(finding.help(format!("the range is {min} to {max}")));
    }

    fn report_fault(&self, path: &str, place: Place, hidden: bool, fault: Fault, expected: &str) {
        if hidden {
            let message = format!("`{path}` must be {expected} (value hidden)");
            self.add(Finding::error(fault.code, place, message));
            return;
        }
        let finding = Finding::error(fault.code, place, format!("`{path}` {}", fault.why));
        self.add(match fault.help {
            Some(help) => finding.help(help),
            None => finding.help(format!("it is {expected}")),
        });
    }
}

/// What to write instead of a value of the wrong type, where that is clear.
fn remedy(kind: Kind, found: &Value) -> Option<String> {
    match (kind, found) {
        (Kind::Duration(..), Value::Integer(Some(n @ 0..))) => {
            Some(format!("write \"{n}s\", or another unit: us, ms, m, h, d"))
        }
        (Kind::Size(..), Value::Integer(Some(n @ 0..))) => {
            Some(format!("write \"{n}B\", or another unit: KiB, MiB, GiB"))
        }
        (Kind::Text(_) | Kind::List(..), Value::Integer(_) | Value::Float(_) | Value::Flag(_)) => {
            Some("put it in quotes".to_owned())
        }
        (Kind::Integer(..) | Kind::Flag, Value::Text(_)) => {
            Some("write it without quotes".to_owned())
        }
        (Kind::List(..), Value::Text(text)) if !text.hidden => {
            Some(format!("write [\"{}\"]", text.value.escape_debug()))
        }
        _ => None,
    }
}

/// `a, b and c` in backticks.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
