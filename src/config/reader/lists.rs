//! Lists whose entries need no form and may be there twice, and tables by the names of tensors.
//!
//! Owns the bounds on their sizes. Never knows what an entry is for.

use crate::config::diagnostic::{Code, Finding};
use crate::config::keys::Kind;
use crate::config::tree::{Node, Value, join};

use super::{Fields, Named};

impl<'t> Fields<'t> {
    /// The texts of a list; none when it is not there.
    pub(in crate::config) fn texts(&self, name: &str) -> Vec<String> {
        let Kind::Texts(max) = self.kind(name) else { return Vec::new() };
        let text = |node: &Node| match &node.value {
            Value::Text(text) => Some(text.value.clone()),
            _ => None,
        };
        self.entries(name, max, "a text", text)
    }

    /// A number in the key's range.
    pub(in crate::config) fn number(&self, name: &str) -> Option<f64> {
        let entry = self.entry(name)?;
        let Kind::Number(min, max) = self.kind(name) else { return None };
        let number = match &entry.node.value {
            #[expect(clippy::cast_precision_loss, reason = "as any reader of such a number does")]
            Value::Integer(number) => number.map(|number| number as f64),
            Value::Float(number) => Some(*number),
            Value::Unknown => return None,
            other => return self.wrong_type(name, &entry.node, other),
        };
        let good = number.filter(|number| (min..=max).contains(number));
        if good.is_none() {
            self.out_of_range(name, entry.node.place, &min, &max);
        }
        good
    }

    /// The finite numbers of a list; none when it is not there.
    pub(in crate::config) fn numbers(&self, name: &str) -> Vec<f64> {
        let Kind::Numbers(max) = self.kind(name) else { return Vec::new() };
        let number = |node: &Node| match &node.value {
            #[expect(clippy::cast_precision_loss, reason = "as any reader of such a number does")]
            Value::Integer(Some(number)) => Some(*number as f64),
            Value::Float(number) if number.is_finite() => Some(*number),
            _ => None,
        };
        self.entries(name, max, "a finite number", number)
    }

    fn entries<T>(
        &self,
        name: &str,
        max: usize,
        what: &str,
        read: impl Fn(&Node) -> Option<T>,
    ) -> Vec<T> {
        let Some(entry) = self.entry(name) else { return Vec::new() };
        let items = match &entry.node.value {
            Value::List(items) => items,
            Value::Unknown => return Vec::new(),
            other => return self.wrong_type(name, &entry.node, other).unwrap_or_default(),
        };
        if items.len() > max {
            let path = self.path_of(name);
            let message = format!("`{path}` has {} entries, more than {max}", items.len());
            self.add(Finding::error(Code::TooMany, entry.node.place, message));
            return Vec::new();
        }
        let mut good = Vec::with_capacity(items.len());
        for item in items {
            match read(item) {
                Some(value) => good.push(value),
                // What could not be known has been reported.
                None if matches!(item.value, Value::Unknown) => {}
                None => {
                    let path = self.path_of(name);
                    let message = format!("an entry of `{path}` is not {what}");
                    let finding = Finding::error(Code::WrongType, item.place, message);
                    self.add(finding.help(format!("it is {}", self.kind(name).expected())));
                }
            }
        }
        good
    }

    /// The entries of a table by the names of tensors, which may have any characters.
    pub(in crate::config) fn tensors(&self, name: &str) -> Vec<Named<'t>> {
        let Some(entry) = self.entry(name) else { return Vec::new() };
        let Kind::Tensors(_, what, max) = self.kind(name) else { return Vec::new() };
        let Some(table) = self.as_table(name, entry) else { return Vec::new() };
        if table.entries.len() > max {
            let message = format!("{} {what}s, more than {max}", table.entries.len());
            self.add(Finding::error(Code::TooMany, entry.key, message));
        }
        let path = self.path_of(name);
        let mut named = Vec::with_capacity(table.entries.len().min(max));
        for (key, inner) in table.entries.iter().take(max) {
            match &inner.node.value {
                Value::Table(table) => {
                    let path = join(&path, key);
                    named.push(Named { name: key, key: inner.key, path, table });
                }
                Value::Unknown => {}
                other => {
                    let path = join(&path, key);
                    let message = format!("`{path}` must be a table, not {}", other.what());
                    let help = format!("write a table: [{path}]");
                    self.add(Finding::error(Code::WrongType, inner.key, message).help(help));
                }
            }
        }
        named
    }
}
