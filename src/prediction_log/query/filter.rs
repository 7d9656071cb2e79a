//! Which rows are asked for.
//!
//! Owns the conditions that commands offer as options, and how their values are written. Pure: `now` is
//! an argument. Conditions of one kind are alternatives, those of different kinds must all hold.

use std::ops::RangeInclusive;

use super::column::{Column, Value};
use super::expression::Expression;
use super::text::parse_timestamp;
use crate::domain::ids::RecordId;
use crate::domain::record::{Entry, Kind, Outcome};
use crate::prediction_log::Row;

/// Conditions on rows; the default takes all of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The earliest `ts`, in microseconds since the Unix epoch.
    pub since_us: Option<u64>,
    /// The `ts` before which a row must lie, in microseconds since the Unix epoch.
    pub until_us: Option<u64>,
    /// Models.
    pub models: Vec<String>,
    /// Versions.
    pub versions: Vec<String>,
    /// Routes.
    pub routes: Vec<String>,
    /// Statuses.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Outcomes.
    pub outcomes: Vec<Outcome>,
    /// Kinds of rows.
    pub kinds: Vec<Kind>,
    /// Record ids.
    pub ids: Vec<RecordId>,
    /// Request ids.
    pub request_ids: Vec<String>,
    /// Trace ids, in lower-case hexadecimal.
    pub trace_ids: Vec<String>,
    /// Feedback keys.
    pub feedback_keys: Vec<String>,
    /// Anything else.
    pub expression: Option<Expression>,
}

impl Filter {
    /// Whether `row` is asked for.
    pub fn takes(&self, row: &Row<'_>) -> bool {
        let ts_us = ts_us(&row.entry);
        if self.since_us.is_some_and(|since| ts_us < since)
            || self.until_us.is_some_and(|until| ts_us >= until)
        {
            return false;
        }
        if !self.takes_identity(row) || !self.takes_routing(row) {
            return false;
        }
        self.expression.as_ref().is_none_or(|expression| expression.takes(row))
    }

    fn takes_identity(&self, row: &Row<'_>) -> bool {
        let id = match &row.entry {
            Entry::Prediction(record) => Some(record.record_id),
            Entry::Feedback(feedback) => Some(feedback.record_id),
            Entry::Gap(_) => None,
        };
        (self.ids.is_empty() || id.is_some_and(|id| self.ids.contains(&id)))
            && (is_one_of(&self.request_ids, row, Column::RequestId)
                || is_target(&self.request_ids, row, Column::TargetRequestId))
            && is_one_of(&self.trace_ids, row, Column::TraceId)
            && (is_one_of(&self.feedback_keys, row, Column::FeedbackKey)
                || is_target(&self.feedback_keys, row, Column::TargetFeedbackKey))
    }

    fn takes_routing(&self, row: &Row<'_>) -> bool {
        let (kind, outcome, status) = match &row.entry {
            Entry::Prediction(record) => (record.kind, Some(record.outcome), Some(record.status)),
            Entry::Feedback(_) => (Kind::Feedback, None, None),
            Entry::Gap(_) => (Kind::Gap, None, None),
        };
        let in_range = |status| self.statuses.iter().any(|range| range.contains(&status));
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (self.outcomes.is_empty() || outcome.is_some_and(|o| self.outcomes.contains(&o)))
            && (self.statuses.is_empty() || status.is_some_and(in_range))
            && is_one_of(&self.models, row, Column::Model)
            && is_one_of(&self.versions, row, Column::ModelVersion)
            && is_one_of(&self.routes, row, Column::Route)
    }

    /// Whether places where something is missing are asked for: they have none of the properties that
    /// rows are chosen by.
    pub fn takes_gaps(&self) -> bool {
        let by_kind = self.kinds.is_empty() || self.kinds.contains(&Kind::Gap);
        let texts = [
            &self.models,
            &self.versions,
            &self.routes,
            &self.request_ids,
            &self.trace_ids,
            &self.feedback_keys,
        ];
        by_kind
            && texts.iter().all(|list| list.is_empty())
            && self.statuses.is_empty()
            && self.outcomes.is_empty()
            && self.ids.is_empty()
            && self.expression.is_none()
    }

    /// The first and the last `ts` that can be taken, in microseconds since the Unix epoch.
    pub fn ts_us(&self) -> Option<(u64, u64)> {
        if self.since_us.is_none() && self.until_us.is_none() {
            return None;
        }
        let last = self.until_us.map_or(u64::MAX, |until| until.saturating_sub(1));
        Some((self.since_us.unwrap_or(0), last))
    }
}

/// When a row happened, in microseconds since the Unix epoch.
pub fn ts_us(entry: &Entry<'_>) -> u64 {
    match entry {
        Entry::Prediction(record) => record.ts_us,
        Entry::Feedback(feedback) => feedback.ts_us,
        Entry::Gap(gap) => gap.ts_us,
    }
}

fn is_one_of(list: &[String], row: &Row<'_>, column: Column) -> bool {
    list.is_empty() || is_target(list, row, column)
}

fn is_target(list: &[String], row: &Row<'_>, column: Column) -> bool {
    if list.is_empty() {
        return false;
    }
    match column.value(row) {
        Value::Text(text) => list.iter().any(|wanted| *wanted == text),
        _ => false,
    }
}

/// Why a value of an option is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is {wanted}")]
pub struct FilterError {
    text: String,
    wanted: &'static str,
}

/// Reads a point in time: RFC 3339, or how long before `now_us` as in `15m`, `2h` or `1d`.
///
/// # Errors
/// When it is neither.
pub fn parse_time(text: &str, now_us: u64) -> Result<u64, FilterError> {
    let ago = || {
        let unit = text.chars().last()?;
        let seconds: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return None,
        };
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(now_us.saturating_sub(count.checked_mul(seconds)?.checked_mul(1_000_000)?))
    };
    ago().or_else(|| parse_timestamp(text)).ok_or_else(|| FilterError {
        text: text.to_owned(),
        wanted: "no time: write `2026-01-31T12:00:00Z`, or `15m`, `2h` or `1d` for so long ago",
    })
}

/// Reads a status `404`, a class `5xx` or a range `400-499`.
///
/// # Errors
/// When it is none of them.
pub fn parse_status(text: &str) -> Result<RangeInclusive<u16>, FilterError> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|status| *status <= 999);
    let range = match (text.split_once('-'), text.strip_suffix("xx")) {
        (Some((first, last)), _) => number(first).zip(number(last)),
        (None, Some(class)) => {
            number(class).filter(|class| *class <= 9).map(|class| (class * 100, class * 100 + 99))
        }
        (None, None) => number(text).map(|status| (status, status)),
    };
    match range {
        Some((first, last)) if first <= last => Ok(first..=last),
        _ => Err(FilterError {
            text: text.to_owned(),
            wanted: "no status: write `404`, `5xx` or `400-499`",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prediction_log::tests::sample::record;

    #[test]
    fn times_and_statuses_are_read() {
        let now = 10 * 24 * 3600 * 1_000_000;
        assert_eq!(parse_time("1d", now), Ok(9 * 24 * 3600 * 1_000_000));
        assert_eq!(parse_time("90s", now), Ok(now - 90_000_000));
        assert_eq!(parse_time("99999d", now), Ok(0));
        assert_eq!(parse_time("1970-01-01T00:00:01Z", now), Ok(1_000_000));
        for bad in ["", "m", "1w", "-1d", "yesterday", "9999999999999999d"] {
            assert!(parse_time(bad, now).is_err(), "{bad}");
        }
        assert_eq!(parse_status("200"), Ok(200..=200));
        assert_eq!(parse_status("5xx"), Ok(500..=599));
        assert_eq!(parse_status("400-499"), Ok(400..=499));
        assert_eq!(parse_status("0"), Ok(0..=0));
        for bad in ["", "xx", "55xx", "4-", "500-400", "abc", "70000"] {
            assert!(parse_status(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_kinds_of_conditions_must_hold_and_one_of_each_kind() {
        let row = Row {
            lsn: 1,
            node: "",
            schema_version: 1,
            entry: Entry::Prediction(record(1000, b"")),
        };
        let takes = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter.takes(&row)
        };
        assert!(takes(|_| {}));
        assert!(takes(|f| (f.since_us, f.until_us) = (Some(1000), Some(1001))));
        assert!(!takes(|f| f.until_us = Some(1000)));
        assert!(takes(|f| f.models = vec!["x".to_owned(), "iris".to_owned()]));
        assert!(!takes(|f| f.routes = vec!["x".to_owned()]));
        assert!(takes(|f| f.statuses = vec![500..=599, 200..=200]));
        assert!(takes(|f| f.ids = vec![RecordId::from_parts(1000, [7; 10])]));
        assert!(!takes(|f| f.ids = vec![RecordId::from_parts(1001, [7; 10])]));
        assert!(takes(|f| f.trace_ids = vec!["03".repeat(16)]));
        assert!(takes(|f| f.feedback_keys = vec!["order-1".to_owned()]));
        assert!(!takes(|f| f.request_ids = vec!["order-1".to_owned()]));
        assert!(!takes(|f| f.kinds = vec![Kind::Gap]));
        assert!(!takes(|f| {
            f.outcomes = vec![Outcome::Ok];
            f.expression = Expression::parse("status > 200").ok();
        }));
        assert!(Filter::default().takes_gaps());
    }
}
