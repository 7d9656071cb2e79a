//! Is the candidate's rate of failures higher than the control's? An answer that may be looked at after every
//! request.
//!
//! Owns the one-sided e-process for two Bernoulli streams (Turner, Ly, Grünwald, "Generic E-variables for exact
//! sequential k-sample tests", 2024). While both rates are equal, whatever they are, the chance that
//! [`TwoByTwo::evidence`] ever reaches `1/alpha` is at most `alpha`, at any number of looks and with any rule for
//! stopping. Never decides what to do about it.
//!
//! ```text
//! counts of a window ─▶ TwoByTwo: ln E += … ─▶ evidence
//! ```

mod known;

pub use self::known::{evidence_above, score_above};

/// Failures among outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Outcomes that were failures.
    pub failures: u64,
    /// All outcomes.
    pub total: u64,
}

impl Tally {
    /// `failures` among `total` outcomes; no more than all are failures.
    pub fn new(failures: u64, total: u64) -> Self {
        Self { failures: failures.min(total), total }
    }

    /// Counts one outcome.
    pub fn count(&mut self, failed: bool) {
        self.failures += u64::from(failed);
        self.total += 1;
    }

    /// Counts the outcomes of another tally.
    pub fn merge(&mut self, other: Self) {
        self.failures += other.failures;
        self.total += other.total;
    }

    /// The share of failures; `None` without outcomes.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn share(self) -> Option<f64> {
        (self.total > 0).then(|| self.failures as f64 / self.total as f64)
    }
}

/// What is believed before the first outcome. It costs power where it is wrong, never validity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// The rate of failures, best taken from the champion's past; above 0 and below 1.
    pub rate: f64,
    /// The candidate's outcomes that this belief is worth.
    pub weight: f64,
    /// Control outcomes to each of the candidate.
    pub ratio: f64,
}

impl Prior {
    /// A belief in `rate`, for tests with `ratio` control outcomes to each of the candidate.
    pub fn of(rate: f64, ratio: f64) -> Self {
        Self { rate, ratio, ..Self::default() }
    }
}

impl Default for Prior {
    /// Two failures in a hundred, worth 1.8 outcomes, nine control outcomes to one.
    fn default() -> Self {
        Self { rate: 0.02, weight: 1.8, ratio: 9.0 }
    }
}

/// The test.
#[derive(Debug, Clone, PartialEq)]
pub struct TwoByTwo {
    prior: Prior,
    control: Tally,
    candidate: Tally,
    ln_evidence: f64,
    ln_evidence_max: f64,
}

impl TwoByTwo {
    /// A test that has seen nothing. A prior out of range is taken to the nearest that makes sense.
    pub fn new(prior: Prior) -> Self {
        let or = |x: f64, fallback: f64| if x.is_finite() { x } else { fallback };
        let default = Prior::default();
        let prior = Prior {
            rate: or(prior.rate, default.rate).clamp(1e-6, 1.0 - 1e-6),
            weight: or(prior.weight, default.weight).clamp(1e-3, 1e6),
            ratio: or(prior.ratio, default.ratio).clamp(1e-3, 1e3),
        };
        let none = Tally::default();
        Self { prior, control: none, candidate: none, ln_evidence: 0.0, ln_evidence_max: 0.0 }
    }

    /// Takes a block of outcomes. How many there are of each must not depend on how they came out: a minute's
    /// counts are such a block.
    ///
    /// The rates that the block is judged with are those of the blocks before it, the candidate's being at least
    /// the control's.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn observe(&mut self, control: Tally, candidate: Tally) {
        let Prior { rate, weight, ratio } = self.prior;
        let plug_in = |seen: Tally, weight: f64| {
            rate.mul_add(weight, seen.failures as f64) / (seen.total as f64 + weight)
        };
        let a = plug_in(self.control, weight * ratio);
        let b = plug_in(self.candidate, weight).max(a);
        let (of_a, of_b) = (control.total as f64, candidate.total as f64);
        if control.total > 0 && candidate.total > 0 {
            let pooled = (of_a * a + of_b * b) / (of_a + of_b);
            let gain = |tally: Tally, p: f64| {
                let (failures, total) = (tally.failures as f64, tally.total as f64);
                failures * (p / pooled).ln()
                    + (total - failures) * ((1.0 - p) / (1.0 - pooled)).ln()
            };
            self.ln_evidence += gain(control, a) + gain(candidate, b);
            self.ln_evidence_max = self.ln_evidence_max.max(self.ln_evidence);
        }
        // Outcomes of one side alone say nothing against equal rates, but they sharpen the guess.
        self.control.merge(control);
        self.candidate.merge(candidate);
    }

    /// The e-value: how many times better "the candidate fails more often" explains what was seen, against equal
    /// rates.
    pub fn evidence(&self) -> f64 {
        self.ln_evidence.exp()
    }

    /// The natural logarithm of [`Self::evidence`], which never overflows.
    pub fn ln_evidence(&self) -> f64 {
        self.ln_evidence
    }

    /// A p-value that holds at any time: one over the highest evidence so far (Ville's inequality).
    pub fn p_value(&self) -> f64 {
        (-self.ln_evidence_max).exp()
    }

    /// Whether the evidence has ever reached `1/alpha`.
    pub fn rejects(&self, alpha: f64) -> bool {
        self.ln_evidence_max >= -alpha.ln()
    }

    /// What was seen of the control.
    pub fn control(&self) -> Tally {
        self.control
    }

    /// What was seen of the candidate.
    pub fn candidate(&self) -> Tally {
        self.candidate
    }
}

#[cfg(test)]
mod tests;
