//! Two JSON values side by side.
//!
//! Owns the walk, the names of outputs and the pointer to what was found. Never looks at statuses or
//! bytes.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::{Difference, PLACES_MAX, Rules, Sameness, Verdict};
use crate::domain::spec::{JsonPointer, Step};

/// The most characters of a value that are shown.
const SHOWN_CHARS_MAX: usize = 60;
/// The array of an Open Inference answer whose elements are matched by name.
const OUTPUTS: &str = "outputs";
/// The most outputs that are matched by name.
const OUTPUTS_MAX: usize = 1024;

/// How far two numbers are apart, and where.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Deviation {
    /// See [`Rules::deviation`].
    pub(in super::super) amount: f64,
    /// JSON Pointer into the recorded answer.
    pub(in super::super) pointer: String,
}

/// Reads a body. Bare `NaN`, `Infinity` and `-Infinity`, which the gateway and other servers write
/// for numbers that JSON lacks, are taken as texts of that name.
pub(super) fn parse(body: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Some(value);
    }
    serde_json::from_slice(&quoted(body)?).ok()
}

/// The body with bare words for numbers in quotes; `None` when it has none.
fn quoted(body: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(body.len() + 16);
    let (mut at, mut in_text, mut found) = (0, false, false);
    while let Some(byte) = body.get(at) {
        let rest = body.get(at..).unwrap_or_default();
        let word = WORDS.iter().find(|word| !in_text && rest.starts_with(word));
        if let Some(word) = word {
            out.push(b'"');
            out.extend_from_slice(word);
            out.push(b'"');
            at += word.len();
            found = true;
            continue;
        }
        out.push(*byte);
        at += 1;
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                out.extend(body.get(at));
                at += 1;
            }
            _ => {}
        }
    }
    found.then_some(out)
}

/// Compares two answers.
pub(super) fn compare(recorded: &Value, replayed: &Value, rules: &Rules) -> Verdict {
    let places = BTreeSet::new();
    let mut walk = Walk { rules, path: Vec::new(), output: None, worst: None, first: None, places };
    walk.values(recorded, replayed);
    let Walk { worst, first, places, .. } = walk;
    match (first, worst) {
        (Some(difference), worst) => Verdict::Differing(Difference { worst, places, ..difference }),
        (None, Some(worst)) => Verdict::Close(worst),
        (None, None) => Verdict::Equal(Sameness::Json),
    }
}

/// One step from a value to a part of it.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Name(&'a str),
    Index(usize),
}

/// A walk through both values at once.
struct Walk<'a, 'r> {
    rules: &'r Rules,
    path: Vec<Part<'a>>,
    /// The name of the output in which the walk is.
    output: Option<&'a str>,
    worst: Option<Deviation>,
    first: Option<Difference>,
    places: BTreeSet<String>,
}

impl<'a> Walk<'a, '_> {
    fn values(&mut self, old: &'a Value, new: &'a Value) {
        if self.is_ignored() {
            return;
        }
        match (old, new) {
            (Value::Number(old), Value::Number(new)) => self.numbers(old, new),
            (Value::Object(old), Value::Object(new)) => self.objects(old, new),
            (Value::Array(old), Value::Array(new)) => self.arrays(old, new),
            _ if old == new => {}
            _ => self.differ(shown(old), shown(new)),
        }
    }

    /// Whole numbers are labels, counts and indexes: they are equal or not. Others may be close.
    fn numbers(&mut self, old: &Number, new: &Number) {
        let whole = |number: &Number| number.is_i64() || number.is_u64();
        let both_whole = whole(old) && whole(new);
        // Every JSON number has a double next to it.
        let double = |number: &Number| number.as_f64().unwrap_or_default();
        let (a, b) = (double(old), double(new));
        if old == new || !both_whole && a == b {
            return;
        }
        let amount = self.rules.deviation(a, b);
        if self.worst.as_ref().is_none_or(|worst| amount > worst.amount) {
            self.worst = Some(Deviation { amount, pointer: self.pointer() });
        }
        if both_whole || amount > self.rules.tolerance {
            self.differ(old.to_string(), new.to_string());
        }
    }

    fn objects(&mut self, old: &'a Map<String, Value>, new: &'a Map<String, Value>) {
        for (name, value) in old {
            self.path.push(Part::Name(name));
            match new.get(name) {
                Some(other) => self.values(value, other),
                None => self.lacks(value, Which::Replayed),
            }
            self.path.pop();
        }
        for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
            self.path.push(Part::Name(name));
            self.lacks(value, Which::Recorded);
            self.path.pop();
        }
    }

    fn arrays(&mut self, old: &'a [Value], new: &'a [Value]) {
        if matches!(self.path.as_slice(), [Part::Name(OUTPUTS)])
            && let (Some(old_names), Some(new_names)) = (names(old), names(new))
        {
            return self.outputs((old, &old_names), (new, &new_names));
        }
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            self.part(index, |walk| walk.values(old, new));
        }
        let shared = old.len().min(new.len());
        for (index, value) in old.iter().enumerate().skip(shared) {
            self.part(index, |walk| walk.lacks(value, Which::Replayed));
        }
        for (index, value) in new.iter().enumerate().skip(shared) {
            self.part(index, |walk| walk.lacks(value, Which::Recorded));
        }
    }

    fn outputs(&mut self, old: (&'a [Value], &[&'a str]), new: (&'a [Value], &[&'a str])) {
        for (index, (value, name)) in old.0.iter().zip(old.1).enumerate() {
            let other = new.1.iter().position(|other| other == name).and_then(|at| new.0.get(at));
            self.output = Some(name);
            self.part(index, |walk| match other {
                Some(other) => walk.values(value, other),
                None => walk.lacks(value, Which::Replayed),
            });
        }
        for (index, (value, name)) in
            new.0.iter().zip(new.1).enumerate().filter(|(_, (_, name))| !old.1.contains(name))
        {
            self.output = Some(name);
            self.part(index, |walk| walk.lacks(value, Which::Recorded));
        }
        self.output = None;
    }

    fn part(&mut self, index: usize, look: impl FnOnce(&mut Self)) {
        self.path.push(Part::Index(index));
        look(self);
        self.path.pop();
    }

    /// Notes that one side has nothing here.
    fn lacks(&mut self, other: &Value, which: Which) {
        if self.is_ignored() {
            return;
        }
        let nothing = "nothing".to_owned();
        match which {
            Which::Recorded => self.differ(nothing, shown(other)),
            Which::Replayed => self.differ(shown(other), nothing),
        }
    }

    fn differ(&mut self, recorded: String, replayed: String) {
        if self.places.len() < PLACES_MAX {
            self.places.insert(self.place());
        }
        if self.first.is_none() {
            let (pointer, places) = (self.pointer(), BTreeSet::new());
            self.first = Some(Difference { pointer, recorded, replayed, places, worst: None });
        }
    }

    fn is_ignored(&self) -> bool {
        self.rules.ignore.iter().any(|pointer| self.is_at(pointer))
    }

    fn is_at(&self, pointer: &JsonPointer) -> bool {
        let steps = pointer.steps();
        let takes = |(step, part): (&Step, &Part<'_>)| match part {
            Part::Name(name) => step.takes_name(name),
            Part::Index(index) => step.takes_index(*index),
        };
        steps.len() == self.path.len() && steps.iter().zip(&self.path).all(takes)
    }

    /// Where the walk is, as [`Difference::places`] says it.
    fn place(&self) -> String {
        if self.path.is_empty() {
            return "body".to_owned();
        }
        let mut output = self.output;
        let part = |part: &Part<'a>| match part {
            Part::Name(name) => format!("/{name}"),
            // The first index is that of the output.
            Part::Index(_) => format!("/{}", output.take().unwrap_or("*")),
        };
        self.path.iter().map(part).collect()
    }

    fn pointer(&self) -> String {
        let part = |part: &Part<'_>| match part {
            Part::Name(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            Part::Index(index) => format!("/{index}"),
        };
        self.path.iter().map(part).collect()
    }
}

/// Which side has nothing.
#[derive(Clone, Copy)]
enum Which {
    Recorded,
    Replayed,
}

/// The names of outputs, if every one has its own.
fn names(outputs: &[Value]) -> Option<Vec<&str>> {
    if outputs.len() > OUTPUTS_MAX {
        return None;
    }
    let mut names: Vec<&str> = Vec::with_capacity(outputs.len());
    for output in outputs {
        let name = output.get("name")?.as_str()?;
        if names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

/// The beginning of a value.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.split_at(at).0),
        None => text,
    }
}
