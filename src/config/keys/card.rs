//! The sections of `model.toml`, which stands beside a model file.
//!
//! Owns names, ranges and descriptions. Never does anything with them.

use super::sections::{key, section};
use super::{Absent, Form, Kind, Section};

/// The most inputs and outputs that are described.
const TENSORS_MAX: usize = 1000;
/// The most places of one tensor that are described.
const PLACES_MAX: usize = 100_000;

/// The top of `model.toml`.
pub(in crate::config) static CARD: Section = section(
    "the model card",
    "What is known about a model beyond its graph.",
    &[
        key(
            "description",
            Kind::Text(Form::Prose),
            Absent::Means("nothing is said"),
            "One sentence for people.",
        ),
        key(
            "interface",
            Kind::Integer(0, 1_000_000),
            Absent::Means("nothing is promised"),
            "The number of the contract with callers; versions that share it can replace each other.",
        ),
        key(
            "publisher",
            Kind::Text(Form::Name),
            Absent::Means("nobody is known"),
            "Who makes it, such as the name of a pipeline: after `release.failures` failed releases of one \
             publisher its next ones wait for an operator.",
        ),
        key(
            "trained_at",
            Kind::Text(Form::Moment),
            Absent::Means("it is not known"),
            "When it was trained: what `evict.max_age` counts from.",
        ),
        key(
            "inputs",
            Kind::Tensors(&CARD_INPUT, "input", TENSORS_MAX),
            Absent::Same("{}"),
            "Inputs by their name in the graph.",
        ),
        key(
            "outputs",
            Kind::Tensors(&CARD_OUTPUT, "output", TENSORS_MAX),
            Absent::Same("{}"),
            "Outputs by their name in the graph.",
        ),
    ],
);

/// `[inputs.NAME]`.
pub(in crate::config) static CARD_INPUT: Section = section(
    "an input",
    "What is known about an input.",
    &[
        key(
            "names",
            Kind::Texts(PLACES_MAX),
            Absent::Same("[]"),
            "What the places of the last dimension mean.",
        ),
        key(
            "units",
            Kind::Texts(PLACES_MAX),
            Absent::Same("[]"),
            "The units of the places of the last dimension.",
        ),
        key(
            "scale",
            Kind::Numbers(PLACES_MAX),
            Absent::Same("[]"),
            "What values are multiplied by; one number for all places or one for each.",
        ),
        key(
            "offset",
            Kind::Numbers(PLACES_MAX),
            Absent::Same("[]"),
            "What is added after that; one number for all places or one for each.",
        ),
        key(
            "sample",
            Kind::Numbers(PLACES_MAX),
            Absent::Same("[]"),
            "One row as clients send it, on which the model is tried out and measured.",
        ),
    ],
);

/// `[outputs.NAME]`.
pub(in crate::config) static CARD_OUTPUT: Section = section(
    "an output",
    "What is known about an output.",
    &[
        key(
            "labels",
            Kind::Texts(PLACES_MAX),
            Absent::Same("[]"),
            "What the places of the last dimension mean, or the numbers of a label.",
        ),
        key(
            "unit",
            Kind::Text(Form::Prose),
            Absent::Means("none is known"),
            "The unit of the values.",
        ),
    ],
);
