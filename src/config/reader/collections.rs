//! Lists, named tables, shares, ratios and headers.
//!
//! Owns the bounds on their sizes and what may be in them once. Never knows what an entry is for.

use std::collections::BTreeMap;

use crate::config::diagnostic::{Code, Finding};
use crate::config::form;
use crate::config::keys::{Form, Kind};
use crate::config::scalar::{self, Fault, show_percent};
use crate::config::source::Place;
use crate::config::tree::{Entry, Node, Value, join};
use crate::domain::ids::{Permille, is_valid_name};
use crate::domain::spec::JsonPointer;

use super::{At, Fields, Named};

/// A table of shares.
#[derive(Debug)]
pub(in crate::config) struct Shares<'t> {
    /// Those that could be read: name, place of the name, share.
    pub(in crate::config) read: Vec<(&'t str, Place, Permille)>,
    /// Whether all could be read.
    pub(in crate::config) complete: bool,
}

impl<'t> Fields<'t> {
    /// The entries of a list that `parse` understands; what it makes equal may be there once.
    pub(in crate::config) fn list<T: PartialEq>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<At<T>>> {
        let entry = self.entry(name)?;
        let Kind::List(form, min, max) = self.kind(name) else { return None };
        let items = match &entry.node.value {
            Value::List(items) => items,
            Value::Unknown => return None,
            other => return self.wrong_type(name, &entry.node, other),
        };
        if items.len() < min || items.len() > max {
            let why = if items.is_empty() {
                format!("`{}` is empty", self.path_of(name))
            } else {
                format!("`{}` has {} entries, more than {max}", self.path_of(name), items.len())
            };
            let code = if items.is_empty() { Code::Missing } else { Code::TooMany };
            let finding = Finding::error(code, entry.node.place, why);
            self.add(finding.help(format!("it is {}", self.kind(name).expected())));
            return None;
        }
        let mut good: Vec<At<T>> = Vec::with_capacity(items.len());
        for item in items {
            good.extend(self.item(name, form, item, &parse, &good));
        }
        Some(good)
    }

    /// The entries of a table of named things. Bad names are reported, and their tables still read.
    pub(in crate::config) fn named(&self, name: &str) -> Vec<Named<'t>> {
        let Some(entry) = self.entry(name) else { return Vec::new() };
        let Kind::Named(_, what, max) = self.kind(name) else { return Vec::new() };
        let Some(table) = self.as_table(name, entry) else { return Vec::new() };
        if table.entries.len() > max {
            let message = format!("{} {what}s, more than {max}", table.entries.len());
            self.add(Finding::error(Code::TooMany, entry.key, message));
        }
        let path = self.path_of(name);
        let mut named = Vec::with_capacity(table.entries.len().min(max));
        for (key, inner) in table.entries.iter().take(max) {
            if !is_valid_name(key) {
                let message = format!("`{}` cannot be the name of a {what}", key.escape_debug());
                self.add(Finding::error(Code::BadName, inner.key, message).help(
                    "a name has 1 to 128 letters, digits, `-`, `_` and `.`, and no dot in front",
                ));
            }
            match &inner.node.value {
                Value::Table(table) => {
                    let path = join(&path, key);
                    named.push(Named { name: key, key: inner.key, path, table });
                }
                Value::Unknown => {}
                other => {
                    let message =
                        format!("`{}` must be a table, not {}", join(&path, key), other.what());
                    let help = format!("write a table: [{}]", join(&path, key));
                    self.add(Finding::error(Code::WrongType, inner.key, message).help(help));
                }
            }
        }
        named
    }

    /// The shares of a table by name.
    pub(in crate::config) fn shares(&self, name: &str) -> Option<Shares<'t>> {
        let table = self.as_table(name, self.entry(name)?)?;
        let path = self.path_of(name);
        let share = |(key, entry): (&'t String, &Entry)| {
            let path = join(&path, key);
            let share = self.share(&path, &entry.node, scalar::percent, scalar::fraction)?;
            Some((key.as_str(), entry.key, share))
        };
        let read: Vec<_> = table.entries.iter().filter_map(share).collect();
        let complete = read.len() == table.entries.len();
        Some(Shares { read, complete })
    }

    /// Other names, and the declared names that they stand for.
    pub(in crate::config) fn aliases(&self, name: &str) -> Vec<(&'t str, Place, At<&'t str>)> {
        let Some(entry) = self.entry(name) else { return Vec::new() };
        let Kind::Aliases(max) = self.kind(name) else { return Vec::new() };
        let Some(table) = self.as_table(name, entry) else { return Vec::new() };
        if table.entries.len() > max {
            let message = format!("{} aliases, more than {max}", table.entries.len());
            self.add(Finding::error(Code::TooMany, entry.key, message));
        }
        let path = self.path_of(name);
        let mut aliases = Vec::new();
        for (key, inner) in table.entries.iter().take(max) {
            if !is_valid_name(key) {
                let message = format!("`{}` cannot be an alias", key.escape_debug());
                self.add(Finding::error(Code::BadName, inner.key, message).help(
                    "a name has 1 to 128 letters, digits, `-`, `_` and `.`, and no dot in front",
                ));
                continue;
            }
            let path = || join(&path, key);
            let expected = || "the name of a version".to_owned();
            let form = Kind::Text(Form::Reference);
            if let Some(text) = self.as_text(&inner.node, &path, form, &expected) {
                aliases.push((key.as_str(), inner.key, text));
            }
        }
        aliases
    }

    /// Header names (lower case) and values.
    pub(in crate::config) fn headers(&self, name: &str) -> Vec<(String, String, Place)> {
        let Some(entry) = self.entry(name) else { return Vec::new() };
        let Kind::Headers(max) = self.kind(name) else { return Vec::new() };
        let Some(table) = self.as_table(name, entry) else { return Vec::new() };
        if table.entries.len() > max {
            let message = format!("{} headers, more than {max}", table.entries.len());
            self.add(Finding::error(Code::TooMany, entry.key, message));
        }
        let path = self.path_of(name);
        let mut headers = Vec::new();
        for (key, inner) in table.entries.iter().take(max) {
            let path = || join(&path, key);
            let header = form::header_name(key);
            if let Err(fault) = &header {
                self.report_fault(&path(), inner.key, false, fault.clone(), "a header name");
            }
            let expected = || "the header's value, a string".to_owned();
            let Some(text) =
                self.as_text(&inner.node, &path, Kind::Text(Form::Reference), &expected)
            else {
                continue;
            };
            match (header, form::header_value(text.value)) {
                (Ok(header), Ok(value)) => headers.push((header, value, inner.key)),
                (_, Err(fault)) => {
                    self.report_fault(&path(), text.place, text.hidden, fault, &expected());
                }
                (Err(_), Ok(_)) => {}
            }
        }
        headers
    }

    /// JSON pointers by the name of what they lead to.
    pub(in crate::config) fn pointers(&self, name: &str) -> BTreeMap<String, JsonPointer> {
        let mut pointers = BTreeMap::new();
        let Some(entry) = self.entry(name) else { return pointers };
        let Kind::Pointers(max) = self.kind(name) else { return pointers };
        let Some(table) = self.as_table(name, entry) else { return pointers };
        if table.entries.len() > max {
            let message = format!("{} pointers, more than {max}", table.entries.len());
            self.add(Finding::error(Code::TooMany, entry.key, message));
        }
        let path = self.path_of(name);
        for (key, inner) in table.entries.iter().take(max) {
            let path = || join(&path, key);
            let expected = || Form::Pointer.expected().to_owned();
            let kind = Kind::Text(Form::Pointer);
            let Some(text) = self.as_text(&inner.node, &path, kind, &expected) else { continue };
            match form::pointer(text.value) {
                Ok(pointer) => drop(pointers.insert(key.clone(), pointer)),
                Err(fault) => {
                    self.report_fault(&path(), text.place, text.hidden, fault, &expected());
                }
            }
        }
        pointers
    }

    fn item<T: PartialEq>(
        &self,
        name: &str,
        form: Form,
        item: &'t Node,
        parse: &impl Fn(&str) -> Result<T, Fault>,
        before: &[At<T>],
    ) -> Option<At<T>> {
        let path = || self.path_of(name);
        let expected = || format!("a list, each entry {}", form.expected());
        let text = self.as_text(item, &path, Kind::Text(form), &expected)?;
        let value = match parse(text.value) {
            Ok(value) => value,
            Err(fault) => {
                self.fault(name, &text, fault);
                return None;
            }
        };
        if let Some(first) = before.iter().find(|first| first.value == value) {
            let message = format!("{} is twice in `{}`", text.shown(), path());
            let finding = Finding::error(Code::Duplicate, item.place, message);
            self.add(finding.also(first.place, "first here").help("leave one of them out"));
            return None;
        }
        Some(At { value, place: item.place, hidden: text.hidden })
    }

    /// A ratio in the key's range, in thousandths.
    pub(in crate::config) fn ratio(&self, name: &str) -> Option<Permille> {
        let Kind::Ratio(min, max) = self.kind(name) else { return None };
        let node = &self.entry(name)?.node;
        let share = self.share(&self.path_of(name), node, scalar::percent, scalar::fraction)?;
        if (min..=max).contains(&share) {
            return Some(share);
        }
        self.out_of_range(name, node.place, &show_percent(min), &show_percent(max));
        None
    }

    /// A ratio above 0 and up to 1, as fine as wished.
    pub(in crate::config) fn fine_ratio(&self, name: &str) -> Option<At<f32>> {
        let node = &self.entry(name)?.node;
        let path = self.path_of(name);
        let value = self.share(&path, node, scalar::fine_percent, scalar::fine_fraction)?;
        Some(At { value, place: node.place, hidden: false })
    }

    fn share<T>(
        &self,
        path: &str,
        node: &Node,
        percent: impl Fn(&str) -> Result<T, Fault>,
        fraction: impl Fn(f64) -> Result<T, Fault>,
    ) -> Option<T> {
        let expected = "a ratio such as \"1%\" or 0.01";
        let (result, hidden) = match &node.value {
            Value::Text(text) => (percent(&text.value), text.hidden),
            Value::Float(number) => (fraction(*number), false),
            Value::Unknown => return None,
            other => {
                let message = format!("`{path}` must be {expected}, not {}", other.what());
                let finding = Finding::error(Code::WrongType, node.place, message);
                self.add(match other {
                    Value::Integer(Some(n @ 0..=100)) => finding.help(format!("write \"{n}%\"")),
                    _ => finding,
                });
                return None;
            }
        };
        match result {
            Ok(share) => Some(share),
            Err(fault) => {
                self.report_fault(path, node.place, hidden, fault, expected);
                None
            }
        }
    }
}
