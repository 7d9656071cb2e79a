//! `model.toml`, the card beside a model file.
//!
//! Owns the way from its text to a [`ModelCard`], with the same strictness and the same diagnostics as
//! the configuration. Nothing in it is replaced from the environment. Never looks at the model.

use std::env::VarError;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostics, Finding};
use super::interpolate::Environment;
use super::reader::Fields;
use super::source::Place;
use super::{Checks, Loading, form, keys};
use crate::domain::discovery::Provenance;
use crate::domain::spec::{InputCard, ModelCard, OutputCard};

/// The name of the card.
const NAME: &str = "model.toml";

/// Where the card of the model file at `model` is, if there is one.
pub fn card_of(model: &Path) -> Option<PathBuf> {
    let path = model.with_file_name(NAME);
    // What is there and no file is found to be so when it is read.
    path.symlink_metadata().is_ok().then_some(path)
}

/// What the card of the model file at `model` says of how it came about. One with mistakes says nothing: loading it
/// tells of them.
pub(crate) fn provenance_beside(model: &Path) -> Provenance {
    let card = card_of(model).and_then(|path| load_card(&path).ok());
    card.map(|card| card.provenance).unwrap_or_default()
}

/// Reads the card at `path`.
///
/// # Errors
/// All its mistakes.
pub fn load_card(path: &Path) -> Result<ModelCard, Diagnostics> {
    let mut loading = Loading::new(Checks::Full, &Nothing);
    let Some(file) = loading.read(path, true) else {
        return Err(loading.report.finish(&mut loading.sources));
    };
    let root = loading.parse(file);
    let top = Fields::new(loading.context(), &root, &keys::CARD, "", Place::top(file));
    let inputs = top.tensors("inputs");
    let outputs = top.tensors("outputs");
    let card = ModelCard {
        description: top.parse("description", form::some_text).map(|at| at.value),
        interface: top.integer("interface").and_then(|number| u32::try_from(number).ok()),
        provenance: Provenance {
            publisher: top.parse("publisher", form::name).map(|at| at.value),
            trained_ms: top.parse("trained_at", form::moment).map(|at| at.value),
        },
        inputs: inputs
            .iter()
            .map(|named| {
                let fields = Fields::of(loading.context(), named, &keys::CARD_INPUT);
                (named.name.to_owned(), input(&fields))
            })
            .collect(),
        outputs: outputs
            .iter()
            .map(|named| {
                let fields = Fields::of(loading.context(), named, &keys::CARD_OUTPUT);
                let labels = fields.texts("labels");
                let unit = fields.parse("unit", form::some_text).map(|at| at.value);
                (named.name.to_owned(), OutputCard { labels, unit })
            })
            .collect(),
    };
    if loading.report.errors() == 0 {
        Ok(card)
    } else {
        Err(loading.report.finish(&mut loading.sources))
    }
}

fn input(fields: &Fields<'_>) -> InputCard {
    let card = InputCard {
        names: fields.texts("names"),
        units: fields.texts("units"),
        scale: fields.numbers("scale"),
        offset: fields.numbers("offset"),
        sample: fields.numbers("sample"),
    };
    // Two lists that are about the same places must be of one length.
    let mut longest: Option<(&str, usize)> = None;
    for (name, length) in [
        ("names", card.names.len()),
        ("units", card.units.len()),
        ("scale", card.scale.len()),
        ("offset", card.offset.len()),
    ] {
        let counts = length > usize::from(matches!(name, "scale" | "offset"));
        match longest {
            Some((first, expected)) if counts && length != expected => {
                let message = format!(
                    "`{}` has {length} entries, but `{first}` has {expected}",
                    fields.path_of(name),
                );
                let code = super::Code::Malformed;
                let finding = Finding::error(code, fields.place(name), message);
                let also = (fields.place(first), "the other list is here");
                fields.add(finding.also(also.0, also.1).help("each describes the same places"));
            }
            None if counts => longest = Some((name, length)),
            Some(_) | None => {}
        }
    }
    card
}

/// A card travels with its model; what it says must not depend on where it is read.
struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _name: &str) -> Result<String, VarError> {
        Err(VarError::NotPresent)
    }

    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn host_name(&self) -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ModelCard, Diagnostics> {
        let dir = tempfile::tempdir().expect("a directory");
        let model = dir.path().join("model.onnx");
        assert_eq!(card_of(&model), None);
        std::fs::write(dir.path().join("model.toml"), text).expect("a file");
        load_card(&card_of(&model).expect("a card"))
    }

    #[test]
    fn every_key_is_read() {
        let card = read(
            r#"
            description = "Which iris it is"
            interface = 2
            publisher = "nightly"
            trained_at = "1970-01-01T00:00:07Z"
            [inputs."in:0"]
            names  = ["a", "b"]
            units  = ["cm", "cm"]
            scale  = [0.5]
            offset = [-1, 2.5e1]
            sample = [5, 3.5]
            [outputs.label]
            labels = ["setosa", "setosa"]
            unit   = "class"
            "#,
        );
        let card = card.unwrap_or_else(|found| panic!("{found}"));
        let input = &card.inputs["in:0"];
        assert_eq!(
            (input.units.as_slice(), card.interface),
            (&["cm".into(), "cm".into()][..], Some(2))
        );
        assert_eq!(
            (input.scale.as_slice(), input.offset.as_slice()),
            (&[0.5][..], &[-1.0, 25.0][..])
        );
        assert_eq!((input.names.len(), input.sample.as_slice()), (2, &[5.0, 3.5][..]));
        assert_eq!(card.outputs["label"].labels, ["setosa", "setosa"]);
        assert_eq!(card.outputs["label"].unit.as_deref(), Some("class"));
        assert_eq!(card.description.as_deref(), Some("Which iris it is"));
        let provenance =
            Provenance { publisher: Some("nightly".to_owned()), trained_ms: Some(7000) };
        assert_eq!(card.provenance, provenance);
        assert_eq!(read("").unwrap_or_default(), ModelCard::default());
    }

    #[test]
    fn every_mistake_has_its_place() {
        let found = read(
            r#"
interfase = 1
trained_at = "today"
[inputs.x]
names = ["a", 2]
scale = [1, "2"]
offset = 3
sample = [nan]
[inputs.y]
names = ["a", "b"]
offset = [1, 2, 3]
[outputs.z]
labels = "one"
unit = "${env:HOME}"
"#,
        );
        let found = found.expect_err("mistakes").to_string();
        for (line, clue) in [
            (2, "did you mean `interface`?"),
            (3, "`trained_at` must be a moment"),
            (5, "`inputs.x.names`"),
            (6, "`inputs.x.scale`"),
            (7, "`inputs.x.offset` must be a list of numbers"),
            (8, "`inputs.x.sample`"),
            (11, "`inputs.y.offset` has 3 entries, but `names` has 2"),
            (13, "`outputs.z.labels` must be a list of texts"),
            (14, "HOME"),
        ] {
            assert!(found.contains(clue), "no {clue} in {found}");
            assert!(found.contains(&format!("model.toml:{line}:")), "no line {line} in {found}");
        }
    }
}
