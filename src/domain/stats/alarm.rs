//! Alarms: what is watched, what a look at it says, and what follows for the one who is called.
//!
//! Owns the kinds of alarms, their rules, their evidence and their state from look to look. Never
//! measures anything, reads a clock or delivers: a reading comes in, events and notices come out, and the
//! state can be kept and taken up again.
//!
//! ```text
//!            bad for `hold` looks              told, unless muted or within the cool-down
//! quiet ─────────────────────────────▶ active ──────────────────────────────────────────▶ told
//!   ▲                                    │                                                  │
//!   └────────────────────────────────────┴──────── good for `clear` looks ──────────────────┘
//! ```
//!
//! A look that could not decide ([`Reading::Insufficient`]) moves nothing: absence of evidence neither
//! calls anyone nor calls off.

mod board;
mod mute;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::board::{Board, Change, Event, Notice, Standing, Step, Watch, Word};
pub use self::mute::{MuteError, MuteHours};

/// The most findings that evidence names.
pub const FINDINGS_MAX: usize = 10;

/// Declares the kinds with their words.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $word:literal,)+) => {
        /// What is watched.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum AlarmKind { $($(#[$doc])* $variant,)+ }

        impl AlarmKind {
            /// All kinds, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in the configuration, in metrics, log lines and notices.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

kinds! {
    /// No request for a model, for longer than it is used to.
    Silence "silence",
    /// Many times more requests than at like hours, or far fewer.
    RequestRate "request_rate",
    /// One input that comes over and over.
    RepeatedInput "repeated_input",
    /// A class that is predicted far more often than in the baseline, or never.
    ClassShare "class_share",
    /// A field that went missing or changed its type.
    SchemaShape "schema_shape",
    /// Values that no longer lie as in the baseline.
    Drift "drift",
    /// A version whose exchanges fail.
    ErrorRate "error_rate",
    /// A version that refuses far more requests than before.
    RejectionRate "rejection_rate",
    /// Too many exchanges that take longer than was promised.
    Latency "latency",
    /// A metric of delayed ground truth below its floor, or above its ceiling.
    Quality "quality",
    /// The errors that labels show have become more.
    ErrorChange "error_change",
    /// Labels that come and count for nothing, or that no longer come.
    Labels "labels",
    /// A version that has no baseline, so that drift cannot be judged.
    BaselineMissing "baseline_missing",
    /// No new version for longer than promised.
    StalePipeline "stale_pipeline",
    /// The prediction log, or its delivery, is behind.
    LogLag "log_lag",
}

/// How soon someone should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// To be looked at in working hours.
    Warning,
    /// To be looked at now.
    Critical,
}

impl Severity {
    /// All, from the mildest.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The word in the configuration and in notices.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// When an alarm begins, ends and calls. Times are in minutes, the step of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// How soon someone should look.
    pub severity: Severity,
    /// The closed minutes that one look takes together.
    pub window: u32,
    /// Below so many samples in the window a look does not decide.
    pub samples: u64,
    /// Looks in a row that must be bad before the alarm is active.
    pub hold: u32,
    /// Looks in a row that must be good before it ends.
    pub clear: u32,
    /// The least time from one call to the next.
    pub cool_down: u32,
    /// Where it is written what to do.
    pub runbook: Option<String>,
    /// When nobody is called.
    pub mute: Vec<MuteHours>,
}

impl Rule {
    /// Whether nobody is to be called in this minute.
    pub fn is_mute(&self, minute: u64) -> bool {
        self.mute.iter().any(|hours| hours.contains(minute))
    }
}

/// What an alarm is about. An empty name stands for all: the gateway, or all versions of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlarmKey {
    /// The model, empty for the gateway itself.
    pub model: String,
    /// The version, empty for the model as a whole.
    pub version: String,
    /// What is watched.
    pub alarm: AlarmKind,
}

/// What one look found.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// Too little was seen to decide.
    Insufficient,
    /// Nothing is wrong.
    Good,
    /// Something is wrong.
    Bad(Evidence),
    /// As [`Self::Bad`], against what is a stopgap: told as [`Severity::Info`], whatever the rule says.
    Noted(Evidence),
}

/// Why a look was bad, in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What `value` is and how it was decided.
    pub definition: String,
    /// What was measured.
    pub value: f64,
    /// What it was held against.
    pub limit: f64,
    /// How many samples it rests on.
    pub samples: u64,
    /// The minutes that were looked at: the first, and the one after the last, since the Unix epoch.
    pub minutes: (u64, u64),
    /// A bound on the chance of this without anything being wrong, where the decision rests on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// What it is about in detail (features, classes, inputs), the worst first, at most [`FINDINGS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// One part of what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// A feature, a class, an input's hash, a consumer of the log.
    pub subject: String,
    /// In a few words.
    pub what: String,
    /// What was measured.
    pub value: f64,
    /// What it was held against.
    pub limit: f64,
}
