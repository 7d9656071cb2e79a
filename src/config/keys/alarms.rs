//! The sections of alarms.
//!
//! Owns names, ranges, defaults and descriptions. Never does anything with them.
//!
//! Each kind of alarm has a section with the same keys and a few of its own. It may stand in `[alarms]` and
//! in `[models.NAME.alarms]`; what is not set there is what the level above says.

use std::time::Duration;

use super::sections::{DAY, HOUR, MS, key, section};
use super::{Absent, Form, Key, Kind, Section};

const MINUTE: Duration = Duration::from_secs(60);
const MUTES_MAX: usize = 32;
const QUEUE_MAX: i64 = 100_000;

const RUNBOOK: Key = key(
    "runbook",
    Kind::Text(Form::Link),
    Absent::Means("what the level above says, or none"),
    "Where it is written what to do. `{alarm}` and `{model}` stand for their names.",
);

const MUTE: Key = key(
    "mute",
    Kind::List(Form::MuteHours, 0, MUTES_MAX),
    Absent::Means("what the level above says, or never"),
    "Hours (UTC) in which nobody is called: `[\"22:00-06:00\", \"sat-sun 00:00-24:00\"]`. An alarm that is \
     still active when they end is told then.",
);

const ENABLED: Key = key(
    "enabled",
    Kind::Flag,
    Absent::Means("what the level above says, or true"),
    "Whether it is watched.",
);

/// Declares the section of a kind: its own keys, then those that all have, with their defaults.
macro_rules! kind {
    (
        $(#[$doc:meta])* $name:ident $what:literal $help:literal, $severity:literal, $window:literal,
        $samples:literal, $hold:literal, $clear:literal, $cool_down:literal, [$($own:expr),*]
    ) => {
        $(#[$doc])*
        pub(in crate::config) static $name: Section = section($what, $help, &[
            $($own,)*
            ENABLED,
            key(
                "severity",
                Kind::Word(&["info", "warning", "critical"]),
                Absent::Means(concat!("what the level above says, or ", $severity)),
                "How soon someone should look.",
            ),
            key(
                "window",
                Kind::Duration(MINUTE, DAY),
                Absent::Means(concat!("what the level above says, or ", $window)),
                "How much of the time before is looked at together, in whole minutes.",
            ),
            key(
                "samples",
                Kind::Integer(1, 1_000_000_000),
                Absent::Means(concat!("what the level above says, or ", $samples)),
                "With fewer in the window, nothing is decided.",
            ),
            key(
                "for",
                Kind::Duration(MINUTE, DAY),
                Absent::Means(concat!("what the level above says, or ", $hold)),
                "For how long it must be so before the alarm is active; it is looked at once a minute.",
            ),
            key(
                "clear",
                Kind::Duration(MINUTE, DAY),
                Absent::Means(concat!("what the level above says, or ", $clear)),
                "For how long it must not be so before the alarm ends.",
            ),
            key(
                "cool_down",
                Kind::Duration(Duration::ZERO, DAY.saturating_mul(30)),
                Absent::Means(concat!("what the level above says, or ", $cool_down)),
                "The least time from one call to the next.",
            ),
            RUNBOOK,
            MUTE,
        ]);
    };
}

kind! {
    /// `silence = { … }`.
    SILENCE "the silence alarm" "No request for a model, for longer than it is used to.",
    "critical", "10m", "1", "1m", "1m", "1h",
    [key(
        "after",
        Kind::Duration(MINUTE, DAY.saturating_mul(30)),
        Absent::Means("what the level above says, or as long as chance does not explain by like hours, at least `window`"),
        "After so long without a request it is a silence, whatever is usual.",
    )]
}

kind! {
    /// `request_rate = { … }`.
    REQUEST_RATE "the request_rate alarm" "Many times more requests than at like hours, or far fewer.",
    "warning", "5m", "100", "2m", "5m", "1h",
    [key(
        "factor",
        Kind::Integer(2, 1000),
        Absent::Means("what the level above says, or 4"),
        "How many times more, or fewer; half as much again on the first day, when no hour is like another.",
    )]
}

kind! {
    /// `repeated_input = { … }`.
    REPEATED_INPUT "the repeated_input alarm" "One input that comes over and over.",
    "warning", "5m", "200", "1m", "5m", "1h",
    [key(
        "share",
        Kind::Fraction,
        Absent::Means("what the level above says, or 20%"),
        "The share of the requests that one input may have.",
    )]
}

kind! {
    /// `class_share = { … }`.
    CLASS_SHARE "the class_share alarm"
    "A class that is predicted far more often than in the baseline, or never.",
    "warning", "1h", "500", "5m", "10m", "6h",
    [key(
        "factor",
        Kind::Integer(2, 1000),
        Absent::Means("what the level above says, or 4"),
        "How many times the odds of the class in the baseline.",
    )]
}

kind! {
    /// `schema_shape = { … }`.
    SCHEMA_SHAPE "the schema_shape alarm" "A field that went missing or changed its type.",
    "critical", "10m", "100", "2m", "5m", "1h", []
}

kind! {
    /// `drift = { … }`.
    DRIFT "the drift alarm" "Values that no longer lie as in the baseline.",
    "warning", "1h", "100", "1m", "1m", "6h", []
}

kind! {
    /// `error_rate = { … }`.
    ERROR_RATE "the error_rate alarm" "A version whose exchanges fail.",
    "critical", "5m", "50", "2m", "5m", "1h",
    [key(
        "share",
        Kind::Fraction,
        Absent::Means("what the level above says, or 5%"),
        "The share of the exchanges that may fail.",
    )]
}

kind! {
    /// `rejection_rate = { … }`.
    REJECTION_RATE "the rejection_rate alarm" "A version that refuses far more requests than before.",
    "critical", "10m", "20", "2m", "5m", "1h",
    [
        key(
            "share",
            Kind::Fraction,
            Absent::Means("what the level above says, or 20%"),
            "The share of the requests that may be refused (4xx), whatever was usual.",
        ),
        key(
            "factor",
            Kind::Integer(2, 1000),
            Absent::Means("what the level above says, or 4"),
            "How many times the usual odds of a refusal. More than half is never usual.",
        )
    ]
}

kind! {
    /// `latency = { … }`.
    LATENCY "the latency alarm" "Too many requests that take longer than was promised.",
    "critical", "5m", "100", "2m", "5m", "1h",
    [
        key(
            "slo",
            Kind::Duration(MS, HOUR),
            Absent::Means("what the level above says, or nothing is promised"),
            "The time within which requests are answered, from the first byte to the last.",
        ),
        key(
            "target",
            Kind::Fraction,
            Absent::Means("what the level above says, or 99%"),
            "The share of the requests of which that is promised.",
        )
    ]
}

const fn floor(name: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Fraction, Absent::Means("what the level above says, or no floor"), doc)
}

/// The largest number that a metric may be held against.
const NUMBER_MAX: f64 = 1e60;

const fn ceiling(name: &'static str, doc: &'static str) -> Key {
    let absent = Absent::Means("what the level above says, or no ceiling");
    key(name, Kind::Number(0.0, NUMBER_MAX), absent, doc)
}

kind! {
    /// `quality = { … }`.
    QUALITY "the quality alarm" "A metric of delayed ground truth below its floor, or above its ceiling.",
    "warning", "1d", "200", "1m", "5m", "6h",
    [
        floor("accuracy", "The least share of predictions that were right."),
        floor("balanced_accuracy", "The least mean over classes of the share that was found."),
        floor("macro_f1", "The least harmonic mean of precision and recall, over all classes alike."),
        floor("f1", "The least harmonic mean of precision and recall of the positive class."),
        floor("auc", "The least area under the receiver's curve."),
        floor("within_tolerance", "The least share of numbers that were off by no more than `tolerance`."),
        key(
            "reward",
            Kind::Number(-NUMBER_MAX, NUMBER_MAX),
            Absent::Means("what the level above says, or no floor"),
            "The least mean reward."
        ),
        ceiling("log_loss", "The greatest logarithmic loss."),
        ceiling("brier", "The greatest Brier score."),
        ceiling("mae", "The greatest mean distance of numbers from the truth."),
        ceiling("rmse", "The greatest root of the mean squared distance.")
    ]
}

kind! {
    /// `error_change = { … }`.
    ERROR_CHANGE "the error_change alarm" "The errors that labels show have become more.",
    "info", "1d", "1", "1m", "5m", "6h", []
}

kind! {
    /// `labels = { … }`.
    LABELS "the labels alarm" "Labels that come and count for nothing, or that no longer come.",
    "warning", "1h", "100", "1m", "5m", "6h",
    [
        key(
            "lost",
            Kind::Fraction,
            Absent::Means("what the level above says, or 10%"),
            "The share of the statements that may find no prediction, come late, or not be understood."
        ),
        key(
            "factor",
            Kind::Integer(2, 1000),
            Absent::Means("what the level above says, or 2"),
            "How many times lower the odds of a label may be than before."
        )
    ]
}

kind! {
    /// `baseline_missing = { … }`.
    BASELINE_MISSING "the baseline_missing alarm"
    "A version that has no baseline, so that drift cannot be judged.",
    "info", "1h", "100", "10m", "1m", "1d", []
}

kind! {
    /// `stale_pipeline = { … }`.
    STALE_PIPELINE "the stale_pipeline alarm" "No new version for longer than promised.",
    "warning", "1m", "1", "1m", "1m", "1d",
    [key(
        "every",
        Kind::Duration(MINUTE, DAY.saturating_mul(3650)),
        Absent::Means("what the level above says, or nothing is promised"),
        "A new version comes at least this often.",
    )]
}

kind! {
    /// `log_lag = { … }`.
    LOG_LAG "the log_lag alarm" "The prediction log, or its delivery, is behind.",
    "critical", "1m", "1", "2m", "5m", "1h",
    [key(
        "lag",
        Kind::Duration(MS, DAY),
        Absent::Means("5m"),
        "How old what waits may be.",
    )]
}

const fn table(name: &'static str, section: &'static Section) -> Key {
    key(name, Kind::Table(section), Absent::Same("{}"), section.doc)
}

/// Declares a section with the tables of all kinds that concern models, after its own keys.
macro_rules! with_kinds {
    ($(#[$doc:meta])* $name:ident $what:literal $help:literal [$($own:expr),* $(,)?]) => {
        $(#[$doc])*
        pub(in crate::config) static $name: Section = section($what, $help, &[
            $($own,)*
            table("silence", &SILENCE),
            table("request_rate", &REQUEST_RATE),
            table("repeated_input", &REPEATED_INPUT),
            table("class_share", &CLASS_SHARE),
            table("schema_shape", &SCHEMA_SHAPE),
            table("drift", &DRIFT),
            table("error_rate", &ERROR_RATE),
            table("rejection_rate", &REJECTION_RATE),
            table("latency", &LATENCY),
            table("quality", &QUALITY),
            table("error_change", &ERROR_CHANGE),
            table("labels", &LABELS),
            table("baseline_missing", &BASELINE_MISSING),
            table("stale_pipeline", &STALE_PIPELINE),
        ]);
    };
}

with_kinds! {
    /// `[alarms]`.
    ALARMS "the alarms"
    "What someone is called for, and how. What is not said holds for models that say nothing."
    [
        key(
            "webhook",
            Kind::Text(Form::SinkUrl),
            Absent::Means("calls are only logged and counted"),
            "The URL to which calls are posted as JSON.",
        ),
        key(
            "authorization",
            Kind::Text(Form::Secret),
            Absent::Means("no such header"),
            "The value of the header `authorization` of `webhook`.",
        ),
        key(
            "timeout",
            Kind::Duration(MS, HOUR),
            Absent::Same("10s"),
            "How long one attempt to post takes.",
        ),
        key(
            "backoff",
            Kind::Duration(MS, HOUR),
            Absent::Same("1m"),
            "The longest pause between two attempts.",
        ),
        key(
            "queue",
            Kind::Integer(1, QUEUE_MAX),
            Absent::Same("1000"),
            "Calls that may wait for `webhook`; beyond, the oldest one is given up, and counted.",
        ),
        key(
            "events",
            Kind::Word(&["all", "alarms", "none"]),
            Absent::Same("all"),
            "Which events of releases and sources are posted to `webhook` besides alarms: all, those at which \
             somebody should look, or none.",
        ),
        RUNBOOK,
        MUTE,
        table("log_lag", &LOG_LAG),
    ]
}

with_kinds! {
    /// `[models.NAME.alarms]`.
    MODEL_ALARMS "the alarms of a model"
    "What someone is called for about this model, where it differs from `[alarms]`."
    [RUNBOOK, MUTE]
}

/// The sections of all kinds, by their words.
pub(in crate::config) static ALARM_KINDS: [(&str, &Section); 15] = [
    ("silence", &SILENCE),
    ("request_rate", &REQUEST_RATE),
    ("repeated_input", &REPEATED_INPUT),
    ("class_share", &CLASS_SHARE),
    ("schema_shape", &SCHEMA_SHAPE),
    ("drift", &DRIFT),
    ("error_rate", &ERROR_RATE),
    ("rejection_rate", &REJECTION_RATE),
    ("latency", &LATENCY),
    ("quality", &QUALITY),
    ("error_change", &ERROR_CHANGE),
    ("labels", &LABELS),
    ("baseline_missing", &BASELINE_MISSING),
    ("stale_pipeline", &STALE_PIPELINE),
    ("log_lag", &LOG_LAG),
];
