//! What is recorded of exchanges: `[log]`, and what a model or a route says over it.
//!
//! Owns how the levels combine, and the warnings about recordings that will hardly work as meant.
//! Never loosens a redaction: the rules of a level come behind those of the level above.

use std::collections::BTreeMap;

use crate::config::diagnostic::{Code, Finding, Report};
use crate::config::form;
use crate::config::reader::{At, Fields};
use crate::config::scalar::{self, Fault};
use crate::config::source::Place;
use crate::domain::ids::{ModelName, RouteName};
use crate::domain::spec::{
    BodyPolicy, Durability, FieldSource, JsonPointer, Recording, RedactRule, Redaction,
    RedactionKind, RouteSpec, RouteTarget, Secret, Step,
};

use super::settings::bytes;

/// Headers whose values are secrets by their nature.
const SECRET_HEADERS: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

/// The lists of rules, in the order in which they apply within a level.
const LISTS: [(&str, RedactionKind); 3] =
    [("drop", RedactionKind::Drop), ("mask", RedactionKind::Mask), ("hash", RedactionKind::Hash)];

/// What a level is read against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Above<'a> {
    /// What holds where the level says nothing.
    pub(super) recording: &'a Recording,
    /// Bytes of records that may wait for the writer.
    pub(super) queue: usize,
    /// Whether the file has `[feedback]`.
    pub(super) feedback: bool,
}

/// A level that was read.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// What is recorded there.
    pub(super) recording: Recording,
    /// Where its own redaction stands.
    redact: Option<Place>,
}

impl Level {
    /// Warns when rules of this level meet no body, here or at any of the levels `below`.
    fn warn_idle<'a>(&self, report: &Report, below: impl IntoIterator<Item = &'a Recording>) {
        let Some(place) = self.redact else { return };
        let keeps = |one: &Recording| one.captured() > 0 && one.durability != Durability::Off;
        if !keeps(&self.recording) && !below.into_iter().any(keeps) {
            let message = "`redact` has no effect: no body is recorded here";
            let finding = Finding::warning(Code::NoEffect, place, message);
            report.add(finding.help("leave it out, or record bodies: body = \"full\""));
        }
    }
}

/// Warns of redactions that meet no body, at any level.
pub(super) fn warn_idle(
    report: &Report,
    log: &Level,
    models: &BTreeMap<ModelName, Level>,
    routes: &BTreeMap<RouteName, (RouteSpec, Level)>,
) {
    let all_routes = || routes.values().map(|(_, level)| &level.recording);
    log.warn_idle(report, models.values().map(|model| &model.recording).chain(all_routes()));
    for (name, model) in models {
        let mine = routes.values().filter_map(|(route, level)| match &route.target {
            RouteTarget::Model(target, _) if target == name => Some(&level.recording),
            RouteTarget::Model(..) | RouteTarget::Pool(_) => None,
        });
        model.warn_idle(report, mine);
    }
    routes.values().for_each(|(_, level)| level.warn_idle(report, []));
}

/// Reads the keys that `[log]`, `[models.NAME.log]` and `[routes.NAME.log]` share.
pub(super) fn level(fields: &Fields<'_>, above: Above<'_>) -> Level {
    let was = above.recording;
    let sample = fields.fine_ratio("sample");
    let feedback_key = fields.parse("feedback_key", form::field_source);
    let session = fields.parse("session", form::field_source);
    let redact = fields.table("redact", |rules| redaction(&rules, &was.redact));
    let recording = Recording {
        durability: fields.word("durability", Durability::from_word).unwrap_or(was.durability),
        body: body(fields).unwrap_or(was.body),
        body_limit: bytes(fields, "body_limit", was.body_limit),
        head: bytes(fields, "head", was.head),
        headers: headers(fields).unwrap_or_else(|| was.headers.clone()),
        opt_out: fields.flag("opt_out").unwrap_or(was.opt_out),
        redact: redact.unwrap_or_else(|| was.redact.clone()),
        sample: sample.map_or(was.sample, |at| at.value),
        feedback_key: feedback_key
            .as_ref()
            .map_or_else(|| was.feedback_key.clone(), |at| Some(at.value.clone())),
        session: session.as_ref().map_or_else(|| was.session.clone(), |at| Some(at.value.clone())),
    };
    for (name, source) in [("feedback_key", &feedback_key), ("session", &session)] {
        if let Some(source) = source {
            warn_secret(fields, name, source);
        }
    }
    judge_redacted_keys(fields, &recording, (&feedback_key, &session));
    if let Some(sample) = sample
        && sample.value < 1.0
        && recording.feedback_key.is_none()
        && above.feedback
    {
        let message = "most feedback will find no record: only a sample is kept";
        let finding = Finding::warning(Code::LogRisk, sample.place, message);
        fields.add(finding.help("set `feedback_key`: exchanges that have one are always recorded"));
    }
    warn_large(fields, &recording, above.queue);
    let own = |name| fields.key_place(name);
    let redact = own("redact").filter(|_| recording.redact.rules.len() > was.redact.rules.len());
    Level { recording, redact }
}

/// Reads the table `log` of a model or a route.
pub(super) fn nested(fields: &Fields<'_>, above: Above<'_>) -> Level {
    let level = fields.table("log", |fields| level(&fields, above));
    level.unwrap_or_else(|| Level { recording: above.recording.clone(), redact: None })
}

fn body(fields: &Fields<'_>) -> Option<BodyPolicy> {
    let text = fields.text("body")?;
    let size = scalar::size(text.value).is_ok() && !text.hidden;
    if size {
        let why = format!("says what is kept of bodies, not how much: `{}`", text.value);
        let help = format!("write body_limit = \"{}\"", text.value);
        fields.fault("body", &text, Fault::new(why).help(help));
        return None;
    }
    let pick = |word: &str| BodyPolicy::ALL.into_iter().find(|one| one.as_str() == word);
    fields.word("body", pick)
}

fn headers(fields: &Fields<'_>) -> Option<Vec<String>> {
    let headers = fields.list("headers", form::header_name)?;
    for header in &headers {
        if SECRET_HEADERS.contains(&header.value.as_str()) {
            let message = format!("the prediction log will hold the secrets of {}", header.shown());
            fields.add(Finding::warning(Code::LogRisk, header.place, message));
        }
    }
    Some(headers.into_iter().map(|header| header.value).collect())
}

fn redaction(fields: &Fields<'_>, above: &Redaction) -> Redaction {
    let mut own: Vec<(At<JsonPointer>, RedactionKind)> = Vec::new();
    for (name, kind) in LISTS {
        for pointer in fields.list(name, form::pointer).unwrap_or_default() {
            if let Some((first, _)) = own.iter().find(|(first, _)| first.value == pointer.value) {
                let message = format!("{} has two rules", shown(&pointer));
                let finding = Finding::error(Code::Duplicate, pointer.place, message);
                fields.add(finding.also(first.place, "first here").help("keep one of them"));
                continue;
            }
            own.push((pointer, kind));
        }
    }
    // A key that is wrong, or was not looked at, is a key: one mistake is reported once.
    let key = fields.key_place("key").map(|_| {
        fields.secret("key", form::hash_key).unwrap_or_else(|| Secret::new(String::new()))
    });
    let key = key.or_else(|| above.key.clone());
    let hashed = own.iter().find(|(_, kind)| *kind == RedactionKind::Hash);
    if let (Some((hashed, _)), None) = (hashed, &key) {
        let message = format!("{} is hashed without a key", shown(hashed));
        let finding = Finding::error(Code::Missing, hashed.place, message);
        fields.add(finding.help("add key = \"${env:NAME}\" next to `hash`"));
    }
    let own = own.into_iter().map(|(at, kind)| RedactRule { pointer: at.value, kind });
    Redaction { rules: above.rules.iter().cloned().chain(own).collect(), key }
}

fn shown(pointer: &At<JsonPointer>) -> String {
    if pointer.hidden { "(value hidden)".to_owned() } else { format!("`{}`", pointer.value) }
}

/// Warns when a field of the record shows what is not meant to be recorded.
fn warn_secret(fields: &Fields<'_>, name: &str, source: &At<FieldSource>) {
    let FieldSource::Header(header) = &source.value else { return };
    if SECRET_HEADERS.contains(&header.as_str()) {
        let message = format!("`{}` records a value that holds secrets", fields.path_of(name));
        let finding = Finding::warning(Code::LogRisk, source.place, message);
        fields.add(finding.help("choose another header: this field is not redacted"));
    }
}

/// A key that is redacted is recorded in its redacted form. Refuses a feedback key that is then the same
/// for all records, or none: feedback could not find its record. Warns of the others.
fn judge_redacted_keys(
    fields: &Fields<'_>,
    recording: &Recording,
    (feedback_key, session): (&Option<At<FieldSource>>, &Option<At<FieldSource>>),
) {
    let rule = |source: &Option<FieldSource>| match source {
        Some(FieldSource::Request(pointer) | FieldSource::Response(pointer)) => {
            let rules = &recording.redact.rules;
            rules.iter().find(|rule| covers(&rule.pointer, pointer)).map(|rule| rule.kind)
        }
        Some(FieldSource::Header(_)) | None => None,
    };
    // What comes from above was judged there, unless this level has rules of its own.
    let place = |own: &Option<At<FieldSource>>| {
        own.as_ref().map(|at| at.place).or_else(|| fields.key_place("redact"))
    };
    if let (Some(kind), Some(place)) = (rule(&recording.feedback_key), place(feedback_key)) {
        fields.add(match kind {
            RedactionKind::Drop | RedactionKind::Mask => {
                let word = if kind == RedactionKind::Drop { "dropped" } else { "masked" };
                let message = format!("the value of `feedback_key` is {word} by `redact`");
                Finding::error(Code::Choice, place, message).help(
                    "feedback that names a key could never find its record: `hash` it instead, or choose another value",
                )
            }
            RedactionKind::Hash => {
                let message = "`feedback_key` records the hash of its value";
                Finding::warning(Code::LogRisk, place, message).help(
                    "feedback has to name the key as the log has it, `hmac:…`: choose another value if senders cannot",
                )
            }
        });
    }
    let merged = |kind| kind != RedactionKind::Hash;
    if let (true, Some(place)) = (rule(&recording.session).is_some_and(merged), place(session)) {
        let message = "the value of `session` is redacted: it does not tell sessions apart";
        let finding = Finding::warning(Code::LogRisk, place, message);
        fields.add(finding.help("`hash` it instead, or choose another value"));
    }
}

/// Whether `rule` takes the value at `pointer` or something that it lies in.
fn covers(rule: &JsonPointer, pointer: &JsonPointer) -> bool {
    let same = |(rule, step): (&Step, &Step)| *rule == Step::Any || rule == step;
    rule.steps().len() <= pointer.steps().len()
        && rule.steps().iter().zip(pointer.steps()).all(same)
}

fn warn_large(fields: &Fields<'_>, recording: &Recording, queue: usize) {
    let name = match recording.body {
        BodyPolicy::Full => "body_limit",
        BodyPolicy::Head => "head",
        BodyPolicy::Hash | BodyPolicy::None => return,
    };
    let named = [name, "body", "queue"].into_iter().find(|name| fields.key_place(name).is_some());
    if let Some(named) = named.filter(|_| recording.captured().saturating_mul(2) > queue) {
        let message = format!(
            "a record with two bodies of `{}` does not fit into `log.queue`",
            fields.path_of(name)
        );
        let finding = Finding::warning(Code::LogRisk, fields.place(named), message);
        fields.add(
            finding.help(format!("such records would be dropped: lower `{name}` or raise `queue`")),
        );
    }
}
