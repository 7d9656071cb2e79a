//! What a section alone can tell: unknown keys, missing keys, keys that exclude each other.
//!
//! Owns these rules and their suggestions. Never looks at a value.

use crate::config::diagnostic::{Code, Finding, closest};
use crate::config::keys::{Absent, Form, Key, Kind, homes_of};
use crate::config::source::Place;

use super::{Fields, listed};

impl Fields<'_> {
    pub(super) fn report_unknown(&self) {
        let names = || self.section.keys.iter().map(|key| key.name);
        for (name, entry) in &self.table.entries {
            if self.section.key(name).is_some() {
                continue;
            }
            let message = match self.path {
                "" => format!("unknown key `{}`", name.escape_debug()),
                path => format!("unknown key `{}` in `{path}`", name.escape_debug()),
            };
            let help = match (homes_of(name), closest(name, names())) {
                (homes, _) if !homes.is_empty() => {
                    format!("`{name}` belongs into {}", homes.join(", or into "))
                }
                (_, Some(key)) => format!("did you mean `{key}`?"),
                (_, None) => {
                    format!("the keys of {} are {}", self.section.what, listed(names()))
                }
            };
            self.add(Finding::error(Code::UnknownKey, entry.key, message).help(help));
        }
    }

    pub(super) fn report_missing(&self) {
        let has = |name: &str| self.table.entries.contains_key(name);
        for key in self.section.keys {
            if matches!(key.absent, Absent::Error) && !has(key.name) && !self.misspelt(&[key.name])
            {
                let message = match self.path {
                    "" => format!("`{}` is missing", key.name),
                    path => format!("`{}` is missing in `{path}`", key.name),
                };
                let help = self.how_to_add(key);
                self.add(Finding::error(Code::Missing, self.at, message).help(help));
            }
        }
        let (one, most) = (self.section.exactly_one, self.section.at_most_one);
        let present = |names: &[&'static str]| -> Vec<&'static str> {
            names.iter().copied().filter(|name| has(name)).collect()
        };
        if !one.is_empty() && present(one).is_empty() && !self.misspelt(one) {
            let message = format!("`{}` needs {}", self.path, either(one));
            let help = format!("add exactly one of them to {}", self.section.what);
            self.add(Finding::error(Code::Choice, self.at, message).help(help));
        }
        for names in [one, most] {
            if let [first, second, ..] = *present(names) {
                let message = format!("`{}` has both `{first}` and `{second}`", self.path);
                let finding = Finding::error(Code::Choice, self.key_or_at(second), message);
                let finding = finding.also(self.key_or_at(first), "the other one is here");
                self.add(finding.help(format!("keep {}", either(names))));
            }
        }
    }

    /// Whether an unknown key is nearly one of `names`: it has been reported, and is one mistake, not
    /// two.
    pub(in crate::config) fn misspelt(&self, names: &[&str]) -> bool {
        let near = |name: &String| {
            self.section.key(name).is_none() && closest(name, names.iter().copied()).is_some()
        };
        self.table.entries.keys().any(near)
    }

    fn key_or_at(&self, name: &str) -> Place {
        self.key_place(name).unwrap_or(self.at)
    }

    fn how_to_add(&self, key: &Key) -> String {
        match key.kind {
            Kind::Text(Form::Address) => format!("add {} = \"127.0.0.1:8080\"", key.name),
            Kind::List(Form::Backend, ..) => {
                format!("add {} = [\"http://127.0.0.1:9001\"]", key.name)
            }
            Kind::Named(..) => format!("add a table: [{}.v1]", self.path_of(key.name)),
            kind => format!("`{}` is {}", key.name, kind.expected()),
        }
    }
}

fn either(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}
