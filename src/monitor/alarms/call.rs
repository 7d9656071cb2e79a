//! How a call looks: as a log line, and as the body of a webhook.
//!
//! Owns the form: the one in which Prometheus' Alertmanager calls webhooks (its documentation,
//! `webhook_config`, version 4), because receivers of many makers understand it. Each alert has its
//! evidence in addition.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::told::Told;
use crate::domain::stats::alarm::{AlarmKey, Evidence, Notice, Severity, Word};

/// The end of what is not over.
const NOT_OVER: &str = "0001-01-01T00:00:00Z";

/// What one activity of an alarm is known by, so that receivers can tell a repetition.
pub(super) fn fingerprint(key: &AlarmKey, since: u64) -> String {
    format!("{}:{}:{}:{since}", key.alarm.as_str(), key.model, key.version)
}

/// A minute since the Unix epoch as a date, RFC 3339.
pub fn date(minute: u64) -> String {
    let seconds = i64::try_from(minute.saturating_mul(60)).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| minute.to_string(), |date| date.to_string())
}

/// One sentence.
fn summary(notice: &Notice) -> String {
    let AlarmKey { model, version, alarm } = &notice.key;
    let subject = match (model.is_empty(), version.is_empty()) {
        (true, _) => "gateway".to_owned(),
        (false, true) => model.clone(),
        (false, false) => format!("{model}/{version}"),
    };
    let alarm = alarm.as_str();
    match (&notice.word, &notice.evidence) {
        (Word::Resolved, _) => format!("{alarm} of {subject} is over"),
        (Word::Firing, Some(evidence)) => format!("{alarm} of {subject}: {}", sentence(evidence)),
        (Word::Firing, None) => format!("{alarm} of {subject}"),
    }
}

fn sentence(evidence: &Evidence) -> String {
    let Evidence { definition, value, limit, samples, .. } = evidence;
    let mut text = format!("{definition}: {value:.4} (limit {limit:.4}, {samples} samples)");
    for finding in evidence.findings.iter().take(3) {
        text.push_str(&format!("; {}: {}", finding.subject, finding.what));
    }
    text
}

/// The body of a webhook.
pub(super) fn body(notice: &Notice, node: &str) -> Value {
    let AlarmKey { model, version, alarm } = &notice.key;
    let labels = json!({
        "alertname": alarm.as_str(),
        "severity": notice.severity.as_str(),
        "model": model,
        "version": version,
        "node": node,
    });
    let mut annotations = json!({ "summary": summary(notice) });
    if let Some(runbook) = &notice.runbook {
        annotations["runbook_url"] = runbook.as_str().into();
    }
    let ends = match notice.word {
        Word::Firing => NOT_OVER.to_owned(),
        Word::Resolved => date(notice.minute),
    };
    let group = format!("{}:{model}:{version}", alarm.as_str());
    json!({
        "version": "4",
        "groupKey": group,
        "truncatedAlerts": 0,
        "status": notice.word.as_str(),
        "receiver": "pointsman",
        "groupLabels": { "alertname": alarm.as_str(), "model": model, "version": version },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": notice.word.as_str(),
            "labels": labels,
            "annotations": annotations,
            "startsAt": date(notice.since),
            "endsAt": ends,
            "generatorURL": "",
            "fingerprint": fingerprint(&notice.key, notice.since),
            "evidence": notice.evidence,
        }],
    })
}

/// The body of a webhook for an event. It fires once, and is never over: each event is an alert of its own.
pub(super) fn event_body(told: &Told, node: &str) -> Value {
    let severity = match (told.is_alarm, told.is_critical) {
        (_, true) => Severity::Critical,
        (true, false) => Severity::Warning,
        (false, false) => Severity::Info,
    };
    let mut labels = json!({
        "alertname": told.kind,
        "severity": severity.as_str(),
        "about": told.about,
        "node": node,
    });
    if told.kind.starts_with("release.") {
        let (model, version) = told.about.split_once('/').unwrap_or((&told.about, ""));
        labels["model"] = model.into();
        labels["version"] = version.into();
    }
    let annotations = json!({ "summary": told.words });
    let number = told.number;
    json!({
        "version": "4",
        "groupKey": format!("{}:{}", told.kind, told.about),
        "truncatedAlerts": 0,
        "status": Word::Firing.as_str(),
        "receiver": "pointsman",
        "groupLabels": { "alertname": told.kind, "about": told.about },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": Word::Firing.as_str(),
            "labels": labels,
            "annotations": annotations,
            "startsAt": date_of_ms(told.at_ms),
            "endsAt": NOT_OVER,
            "generatorURL": "",
            "fingerprint": format!("event:{node}:{number}"),
        }],
    })
}

fn date_of_ms(at_ms: u64) -> String {
    let ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).map_or_else(|_| at_ms.to_string(), |date| date.to_string())
}

/// Writes a call to the log.
pub(super) fn log(notice: &Notice) {
    let AlarmKey { model, version, alarm } = &notice.key;
    let (alarm, since, severity) = (alarm.as_str(), date(notice.since), notice.severity.as_str());
    let runbook = notice.runbook.as_deref().unwrap_or_default();
    let summary = summary(notice);
    macro_rules! say {
        ($level:ident, $words:literal) => {
            tracing::$level!(alarm, model, version, severity, since, summary, runbook, $words)
        };
    }
    match (notice.word, notice.severity) {
        (Word::Resolved, _) => say!(info, "an alarm is over"),
        (Word::Firing, Severity::Info) => say!(info, "an alarm is active"),
        (Word::Firing, Severity::Warning) => say!(warn, "an alarm is active"),
        (Word::Firing, Severity::Critical) => say!(error, "an alarm is active"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::stats::alarm::{AlarmKind, Finding};

    #[test]
    fn a_call_has_the_form_of_alertmanager_and_the_evidence() {
        let key = AlarmKey {
            model: "fraud".to_owned(),
            version: "v7".to_owned(),
            alarm: AlarmKind::Drift,
        };
        let finding =
            Finding { subject: "age".to_owned(), what: "moved".to_owned(), value: 0.3, limit: 0.1 };
        let evidence = Evidence {
            definition: "psi".to_owned(),
            value: 0.3,
            limit: 0.1,
            samples: 500,
            minutes: (10, 20),
            p: Some(1e-9),
            findings: vec![finding],
        };
        let mut notice = Notice {
            minute: 25_000_000,
            key,
            word: Word::Firing,
            since: 24_999_999,
            severity: Severity::Warning,
            runbook: Some("https://wiki/drift".to_owned()),
            evidence: Some(evidence),
        };
        let call = body(&notice, "edge-1");
        let alert = &call["alerts"][0];
        assert_eq!((&call["version"], &call["status"]), (&json!("4"), &json!("firing")));
        assert_eq!(alert["labels"]["alertname"], "drift");
        assert_eq!(alert["startsAt"], "2017-07-14T02:39:00Z");
        assert_eq!(alert["annotations"]["runbook_url"], "https://wiki/drift");
        assert_eq!(
            alert["annotations"]["summary"],
            "drift of fraud/v7: psi: 0.3000 (limit 0.1000, 500 samples); age: moved"
        );
        assert_eq!(alert["evidence"]["p"], 1e-9);
        let told = Told {
            number: 3,
            at_ms: 1_500_000_000_123,
            kind: "release.moved".to_owned(),
            is_alarm: false,
            is_critical: false,
            about: "fraud/v7".to_owned(),
            words: "fraud: v7 is live: it is not worse.".to_owned(),
        };
        let event = &event_body(&told, "edge-1")["alerts"][0];
        assert_eq!(event["labels"]["version"], "v7");
        assert_eq!(event["labels"]["severity"], "info");
        assert_eq!(event["startsAt"], "2017-07-14T02:40:00.123Z");
        assert_eq!(event["annotations"]["summary"], told.words);
        let critical = Told { is_alarm: true, is_critical: true, ..told };
        let event = &event_body(&critical, "edge-1")["alerts"][0];
        assert_eq!(event["labels"]["severity"], "critical");
        notice.word = Word::Resolved;
        let over = &body(&notice, "edge-1")["alerts"][0];
        assert_eq!(over["endsAt"], "2017-07-14T02:40:00Z");
        assert_eq!(over["fingerprint"], alert["fingerprint"]);
    }
}
