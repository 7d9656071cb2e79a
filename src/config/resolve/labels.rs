//! The labels of a model.
//!
//! Owns the rules between their keys, and with what is recorded: quality is computed from the prediction log.

use crate::config::diagnostic::{Code, Finding, closest};
use crate::config::form;
use crate::config::reader::{At, Fields};
use crate::config::scalar::Fault;
use crate::domain::spec::{
    BodyPolicy, Durability, FieldSource, LabelPolicy, LabelTask, LabelsSpec, Recording, SliceSource,
};
use crate::domain::stats::detectors;

/// Reads `[models.NAME.labels]`; `None` when it does not say what is predicted.
pub(super) fn read(fields: &Fields<'_>, recording: &Recording) -> Option<LabelsSpec> {
    let task = task(fields)?;
    let text = |name: &str| fields.text(name).map(|at| at.value.to_owned());
    let slice = fields.parse("slice", form::slice_source);
    let policy = fields
        .word("policy", |word| LabelPolicy::ALL.into_iter().find(|policy| policy.as_str() == word));
    let detector = fields.word("detector", |word| {
        detectors::Kind::ALL.iter().copied().find(|kind| kind.as_str() == word)
    });
    if policy == Some(LabelPolicy::Sum) && task != LabelTask::Reward {
        let message = format!("`{}`: only rewards can be added up", fields.path_of("policy"));
        let finding = Finding::error(Code::Choice, fields.place("policy"), message);
        fields.add(finding.help("write \"latest\" or \"first\""));
    }
    needs_recording(fields, recording, &task);
    if let Some(slice) = &slice {
        needs_recorded(fields, recording, slice);
    }
    Some(LabelsSpec {
        task,
        metric: text("metric").unwrap_or_else(|| "label".to_owned()),
        source: text("source"),
        policy: policy.unwrap_or_default(),
        slice: slice.map(|at| at.value),
        slices: fields.integer("slices").unwrap_or(20),
        detector: detector.unwrap_or_default(),
    })
}

fn task(fields: &Fields<'_>) -> Option<LabelTask> {
    const OF_CLASSES: [&str; 4] = ["predicted", "probabilities", "positive", "threshold"];
    const OF_VALUES: [&str; 2] = ["quantile", "tolerance"];
    let output = |name: &str| fields.parse(name, form::output).map(|at| at.value);
    if fields.key_place("classes").is_some() {
        only_with(fields, "value", &OF_VALUES);
        let names = fields.list("classes", prose)?;
        let names: Vec<String> = names.into_iter().map(|name| name.value).collect();
        let positive = fields.text("positive").and_then(|text| positive(fields, &text, &names));
        return Some(LabelTask::Classes {
            predicted: output("predicted"),
            probabilities: output("probabilities"),
            positive,
            threshold: fields.number("threshold").unwrap_or(0.5),
            names,
        });
    }
    only_with(fields, "classes", &OF_CLASSES);
    if fields.key_place("value").is_some() {
        return Some(LabelTask::Value {
            output: output("value")?,
            quantile: fields.number("quantile"),
            tolerance: fields.number("tolerance"),
        });
    }
    only_with(fields, "value", &OF_VALUES);
    match fields.flag("reward") {
        Some(true) => Some(LabelTask::Reward),
        Some(false) => {
            let message = format!("`{}` can only be true", fields.path_of("reward"));
            let finding = Finding::error(Code::Choice, fields.place("reward"), message);
            fields.add(finding.help("leave it out, and write `classes` or `value`"));
            None
        }
        None => None,
    }
}

fn prose(text: &str) -> Result<String, Fault> {
    if text.is_empty() { Err(Fault::new("must not be empty")) } else { Ok(text.to_owned()) }
}

fn positive(fields: &Fields<'_>, text: &At<&str>, names: &[String]) -> Option<u16> {
    if let Some(at) = names.iter().position(|name| name == text.value) {
        return u16::try_from(at).ok();
    }
    let message =
        format!("`{}` is none of the classes: {}", fields.path_of("positive"), text.shown());
    let finding = Finding::error(Code::UnknownReference, text.place, message);
    fields.add(match closest(text.value, names.iter().map(String::as_str)) {
        Some(name) if !text.hidden => finding.help(format!("did you mean \"{name}\"?")),
        _ => finding.help("write one of `classes`"),
    });
    None
}

/// Refuses keys that mean nothing without the key `what`.
fn only_with(fields: &Fields<'_>, what: &str, names: &[&str]) {
    for name in names {
        if let Some(place) = fields.key_place(name) {
            let message = format!("`{}` needs `{what}`", fields.path_of(name));
            let finding = Finding::error(Code::Choice, place, message);
            fields.add(finding.help("leave it out"));
        }
    }
}

/// Labels are held against what the log has of a response.
fn needs_recording(fields: &Fields<'_>, recording: &Recording, task: &LabelTask) {
    let (why, help) = if recording.durability == Durability::Off {
        ("nothing is recorded", "set `durability` in `[log]` or in the model's `log`")
    } else if recording.body != BodyPolicy::Full && *task != LabelTask::Reward {
        ("bodies are not recorded", "set `body = \"full\"` in `[log]` or in the model's `log`")
    } else {
        return;
    };
    let message = format!("`{}` will find no prediction: {why}", fields.path());
    fields.add(Finding::error(Code::Choice, fields.at(), message).help(help));
}

/// What divides predictions must be in the log.
fn needs_recorded(fields: &Fields<'_>, recording: &Recording, slice: &At<SliceSource>) {
    let (missing, help) = match &slice.value {
        SliceSource::Session if recording.session.is_none() => (
            "no session is recorded".to_owned(),
            "set `session` in `[log]` or in the model's `log`".to_owned(),
        ),
        SliceSource::Field(FieldSource::Header(name)) if !recording.headers.contains(name) => (
            format!("the header `{name}` is not recorded"),
            format!("add \"{name}\" to `log.headers`"),
        ),
        SliceSource::Field(FieldSource::Request(_) | FieldSource::Response(_))
            if recording.body != BodyPolicy::Full =>
        {
            ("bodies are not recorded".to_owned(), "set `body = \"full\"`".to_owned())
        }
        SliceSource::Session | SliceSource::Field(_) => return,
    };
    let message = format!("`{}` has no effect: {missing}", fields.path_of("slice"));
    fields.add(Finding::error(Code::Choice, slice.place, message).help(help));
}
