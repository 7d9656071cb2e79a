//! What was concluded, and from what.
//!
//! Owns the three outcomes and the evidence that each carries. `Insufficient` is never a pass: whoever
//! needs evidence and finds none has to wait or to go back.

/// What was concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// There was too little to tell.
    Insufficient,
    /// Nothing speaks against it.
    Pass,
    /// The promise is broken.
    Breach,
}

impl Outcome {
    /// The word in answers, metrics and alarms.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insufficient => "insufficient",
            Self::Pass => "pass",
            Self::Breach => "breach",
        }
    }
}

/// A conclusion with its evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What was concluded.
    pub outcome: Outcome,
    /// From what.
    pub evidence: Evidence,
}

impl Verdict {
    /// Whether the promise is broken.
    pub const fn is_breach(&self) -> bool {
        matches!(self.outcome, Outcome::Breach)
    }
}

/// The numbers behind a verdict. What does not apply is absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// How `value` is computed.
    pub definition: &'static str,
    /// The bins that it is computed on.
    pub bins: Option<usize>,
    /// How much was observed.
    pub n: f64,
    /// What it was held against.
    pub m: f64,
    /// What was measured.
    pub value: Option<f64>,
    /// What it may be and still pass.
    pub margin: Option<f64>,
    /// Where the truth lies, for certain or with the stated confidence.
    pub interval: Option<(f64, f64)>,
    /// The probability of so large a value if the truth is at the margin.
    pub p: Option<f64>,
    /// The evidence of this window against the margin, as an e-value.
    pub e_value: Option<f64>,
    /// The evidence that has come together.
    pub score: Option<f64>,
    /// The score that makes a breach.
    pub threshold: Option<f64>,
}
