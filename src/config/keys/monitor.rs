//! The sections of the monitor.
//!
//! Owns names, ranges, defaults and descriptions. Never does anything with them.

use std::time::Duration;

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
            "Bytes of all windows that are kept. Beyond, the oldest windows are forgotten first; those of the last ten minutes stay.",
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
            Absent::Same("3%"),
            "The share of one core that looking into bodies may take. Where that is too little, a half, \
             a quarter, … of the exchanges is looked into.",
        ),
        key("drift", Kind::Table(&DRIFT), Absent::Same("{}"), "How drift is judged."),
    ],
);

/// `[monitor.drift]`.
pub(in crate::config) static DRIFT: Section = section(
    "drift",
    "When traffic counts as different from its baseline.",
    &[
        key(
            "window",
            Kind::Word(&["minute", "hour", "day"]),
            Absent::Same("hour"),
            "The windows that are judged. Shorter ones see large changes sooner; where one has too few \
             values, several are judged together.",
        ),
        key(
            "margin",
            Kind::Ratio(Permille::saturating(1), Permille::ALL),
            Absent::Same("2%"),
            "The population stability index that does not matter. 2% is a shift by a seventh of a \
             standard deviation.",
        ),
        key(
            "quiet",
            Kind::Duration(
                Duration::from_secs(24 * 60 * 60),
                Duration::from_secs(3660 * 24 * 60 * 60),
            ),
            Absent::Same("90d"),
            "The time in which one false alarm of a model is accepted, over all of its features.",
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
