//! What happens in a simulation, in the words that are counted.

use crate::domain::lifecycle::event::Alert;
use crate::domain::lifecycle::proof::Gate;

/// What must have happened somewhere.
pub(super) const EXPECTED: &[&str] = &[
    "alert: correlated",
    "alert: deaths",
    "alert: incomplete",
    "alert: no way back",
    "alert: not ready",
    "alert: overdue",
    "alert: publisher held",
    "alert: ratio",
    "alert: republished",
    "alert: would evict",
    "clock set",
    "deleted",
    "died",
    "evicted",
    "exposed",
    "extended",
    "first",
    "killed mid-write",
    "promoted",
    "promoted by absence",
    "promoted by order",
    "proven by living",
    "quarantined after deaths",
    "quarantined at admission",
    "quarantined for want of evidence",
    "quarantined in canary",
    "quarantined in shadow",
    "quarantined while standby",
    "recovered",
    "restored",
    "retried",
    "rolled back",
    "stepped",
    "stepped after more time",
    "superseded",
    "unloaded",
];

/// Where a version was stopped.
pub(super) fn gate_word(gate: Gate) -> &'static str {
    match gate {
        Gate::Fetch => "quarantined while fetching",
        Gate::Known => "quarantined at discovery",
        Gate::Admission => "quarantined at admission",
        Gate::WarmUp => "quarantined at warm-up",
        Gate::Shadow => "quarantined in shadow",
        Gate::Canary => "quarantined in canary",
        Gate::Insufficient => "quarantined for want of evidence",
        Gate::Live => "quarantined while live",
        Gate::Standby => "quarantined while standby",
        Gate::Operator => "quarantined by an operator",
        Gate::Deaths => "quarantined after deaths",
    }
}

/// What was told.
pub(super) fn alert_word(alert: &Alert) -> &'static str {
    match alert {
        Alert::Incomplete(_) => "alert: incomplete",
        Alert::Republished(_) => "alert: republished",
        Alert::Overdue(_) => "alert: overdue",
        Alert::NoWayBack(_) => "alert: no way back",
        Alert::Correlated(_) => "alert: correlated",
        Alert::Ratio(_) => "alert: ratio",
        Alert::PublisherHeld(_) => "alert: publisher held",
        Alert::TooMany => "alert: too many",
        Alert::WouldEvict(_) => "alert: would evict",
        Alert::Deaths(_) => "alert: deaths",
        Alert::NotReady(_) => "alert: not ready",
        Alert::Golden => "alert: golden",
    }
}
