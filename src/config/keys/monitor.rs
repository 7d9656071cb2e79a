//! The sections of the monitor.
//!
//! Owns names, ranges, defaults and descriptions. Never does anything with them.

use super::sections::{GIB, KIB, MIB, key, section};
use super::{Absent, Kind, Section};
use crate::domain::ids::Permille;

/// The most features, and the most outputs, for which pointers are declared.
const POINTERS_MAX: usize = 1000;

/// `[monitor]`.
pub(in crate::config) static MONITOR: Section = section(
    "the monitor",
    "What is counted about versions, window by window.",
    &[
        key("enabled", Kind::Flag, Absent::Same("true"), "Whether anything is monitored."),
        key(
            "memory",
            Kind::Size(MIB, 64 * GIB),
            Absent::Same("64MiB"),
            "Bytes of all windows that are kept. The oldest minutes are forgotten first.",
        ),
        key(
            "queue",
            Kind::Size(64 * KIB, 16 * GIB),
            Absent::Same("16MiB"),
            "Bytes of bodies of proxied versions that wait to be looked into; beyond, they are not seen, \
             and counted.",
        ),
        key(
            "cpu",
            Kind::Ratio(Permille::saturating(1), Permille::ALL),
            Absent::Same("10%"),
            "The share of one core that looking into bodies may take. Where that is too little, a half, \
             a quarter, … of the exchanges is looked into.",
        ),
    ],
);

/// `monitor = { … }` of a model.
pub(in crate::config) static MODEL_MONITOR: Section = section(
    "the monitor of a model",
    "Where the monitor finds the features and outputs of a model.",
    &[
        key("enabled", Kind::Flag, Absent::Same("true"), "Whether the model is monitored."),
        key(
            "features",
            Kind::Pointers(POINTERS_MAX),
            Absent::Means("the inputs, as the dialect names them"),
            "Where features are in the JSON body of a request: `features = { age = \"/rows/*/age\" }`.",
        ),
        key(
            "outputs",
            Kind::Pointers(POINTERS_MAX),
            Absent::Means("the outputs, as the dialect names them"),
            "Where outputs are in the JSON body of a response: `outputs = { score = \"/scores/*\" }`.",
        ),
    ],
);
