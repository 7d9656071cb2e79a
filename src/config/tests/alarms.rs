//! Alarms: defaults, and which level has the last word.

use std::time::Duration;

use super::*;
use crate::config::keys::{ALARM_KINDS, Absent, Section};
use crate::config::scalar::show_duration;
use crate::domain::ids::ModelName;
use crate::domain::spec::{AlarmLimits, AlarmRules, CalledEvents};
use crate::domain::stats::alarm::{AlarmKind, Severity};

/// What a key of a section says about its default: the words after the last `or`.
fn default_of(section: &Section, key: &str) -> String {
    match section.key(key).expect(key).absent {
        Absent::Means(text) => text.rsplit_once("or ").expect(text).1.to_owned(),
        Absent::Same(_) | Absent::Error => panic!("{key} has levels"),
    }
}

#[test]
fn the_defaults_that_the_keys_name_are_those_of_the_domain() {
    let rules = AlarmRules::default();
    assert_eq!(ALARM_KINDS.len(), AlarmKind::ALL.len());
    let minutes = |count: u32| show_duration(Duration::from_secs(u64::from(count) * 60));
    for kind in AlarmKind::ALL {
        let named = ALARM_KINDS.iter().find(|(word, _)| *word == kind.as_str());
        let section = named.expect("every kind has a section").1;
        let rule = rules.rule(*kind).expect("every kind is on");
        let expected = [
            ("severity", rule.severity.as_str().to_owned()),
            ("window", minutes(rule.window)),
            ("samples", rule.samples.to_string()),
            ("for", minutes(rule.hold)),
            ("clear", minutes(rule.clear)),
            ("cool_down", minutes(rule.cool_down)),
        ];
        for (key, value) in expected {
            assert_eq!(default_of(section, key), value, "{kind:?} {key}");
        }
    }
    let limits = AlarmLimits::default();
    let section = |kind: AlarmKind| {
        ALARM_KINDS.iter().find(|(word, _)| *word == kind.as_str()).expect("a section").1
    };
    let percent = |share: f64| format!("{}%", share * 100.0);
    let expected = [
        (AlarmKind::RequestRate, "factor", limits.rate_factor.to_string()),
        (AlarmKind::ClassShare, "factor", limits.class_factor.to_string()),
        (AlarmKind::RepeatedInput, "share", percent(limits.repeat_share)),
        (AlarmKind::ErrorRate, "share", percent(limits.error_share)),
        (AlarmKind::RejectionRate, "share", percent(limits.rejected_share)),
        (AlarmKind::RejectionRate, "factor", limits.rejected_factor.to_string()),
        (AlarmKind::Latency, "target", percent(limits.slo_target)),
    ];
    for (kind, key, value) in expected {
        assert_eq!(default_of(section(kind), key), value, "{kind:?} {key}");
    }
    assert_eq!(limits.log_lag, Duration::from_secs(300));
}

const LEVELS: &str = r#"
[alarms]
webhook = "http://127.0.0.1:9/hook"
runbook = "https://wiki/{model}/{alarm}"
mute = ["22:00-06:00"]
events = "alarms"
[alarms.drift]
severity = "critical"
window = "90s"
cool_down = "2h"
[alarms.error_rate]
share = "1%"
enabled = false
[models.sound.alarms]
mute = []
silence = { after = "15m" }
[models.sound.alarms.drift]
severity = "info"
[models.sound.alarms.error_rate]
enabled = true
[models.sound.alarms.quality]
accuracy = "99.5%"
"#;

#[test]
fn a_model_has_the_last_word_over_the_gateway_over_the_defaults() {
    let bench = Bench::new();
    bench.write("main.toml", format!("{SMALL}{}", LEVELS.replace("sound", "iris")));
    let intent = bench.load(Checks::Full).unwrap_or_else(|found| panic!("{found}")).intent;
    let iris = &intent.models[&ModelName::new("iris")].alarms;
    let drift = iris.rule(AlarmKind::Drift).expect("on");
    assert_eq!((drift.severity, drift.window, drift.cool_down), (Severity::Info, 2, 120));
    assert_eq!(drift.runbook.as_deref(), Some("https://wiki/iris/drift"));
    assert!(drift.mute.is_empty());
    assert!(iris.rule(AlarmKind::ErrorRate).is_some());
    let limits = &iris.limits;
    assert_eq!((limits.error_share, limits.silence_after), (0.01, Some(15)));
    assert_eq!(limits.floors.accuracy, Some(0.995));
    let gateway = &intent.alarms.rules;
    assert!(gateway.rule(AlarmKind::ErrorRate).is_none());
    let lag = gateway.rule(AlarmKind::LogLag).expect("on");
    assert_eq!(lag.runbook.as_deref(), Some("https://wiki/gateway/log_lag"));
    assert_eq!(lag.mute.len(), 1);
    let webhook = intent.alarms.webhook.expect("a webhook");
    assert_eq!((webhook.queue, webhook.timeout), (1000, Duration::from_secs(10)));
    assert_eq!(webhook.events, CalledEvents::Alarms);
}

#[test]
fn a_webhook_that_is_this_gateway_is_refused() {
    let bench = Bench::new();
    let hook = "[alarms]\nwebhook = \"http://127.0.0.1:8080/x\"\n";
    bench.write("main.toml", format!("{SMALL}{hook}"));
    let found = bench.load(Checks::Full).expect_err("it calls itself").to_string();
    assert!(found.contains("the webhook is this gateway's own `listen` address"), "{found}");
}
