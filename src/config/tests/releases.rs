//! Releases of models: what each key sets, and every mistake where it stands.

use std::time::Duration;

use super::*;
use crate::config::diagnostic::Code;
use crate::config::keys::{Absent, EVICT, GUARD, Key, Kind, RELEASE, Section};
use crate::domain::ids::Permille;
use crate::domain::lifecycle::evidence::{CheckKind, Metric};
use crate::domain::lifecycle::policy::{LatencyObjective, Mode, Policy, Step};

fn policy(text: &str) -> Policy {
    let text = format!("listen = \"127.0.0.1:1\"\n{text}");
    let loaded = load_text(&text).unwrap_or_else(|found| panic!("{}", found.render_human(false)));
    let mut models = loaded.intent.models.into_values();
    models.next().and_then(|model| model.lifecycle).expect("a policy")
}

fn mistakes(text: &str) -> Vec<(Code, String)> {
    let text = format!("listen = \"127.0.0.1:1\"\n{text}");
    let found = load_text(&text).expect_err("not sound");
    found.iter().map(|one| (one.code, one.message.clone())).collect()
}

/// Every default of the table of keys, written out.
fn written(section: &Section, header: &str, out: &mut String) {
    out.push_str(&format!("[{header}]\n"));
    let same = |key: &&Key| matches!(key.absent, Absent::Same(_));
    for key in section.keys.iter().filter(same) {
        match (key.kind, key.absent) {
            (
                Kind::Flag | Kind::Integer(..) | Kind::Number(..) | Kind::List(..),
                Absent::Same(text),
            ) => out.push_str(&format!("{} = {text}\n", key.name)),
            (Kind::Table(_), _) => {}
            (_, Absent::Same(text)) => out.push_str(&format!("{} = \"{text}\"\n", key.name)),
            _ => {}
        }
    }
    for key in section.keys.iter().filter(same) {
        if let Kind::Table(inner) = key.kind {
            written(inner, &format!("{header}.{}", key.name), out);
        }
    }
}

#[test]
fn defaults_in_the_table_are_those_of_the_policy() {
    let mut text = String::new();
    for (section, name) in [(&RELEASE, "release"), (&EVICT, "evict"), (&GUARD, "guard")] {
        written(section, &format!("models.m.{name}"), &mut text);
    }
    assert!(text.matches('=').count() > 35, "{text}");
    assert_eq!(policy(&text), Policy::default());
    assert_eq!(policy("[models.m.release]\n"), Policy::default());
}

#[test]
fn every_key_of_a_release_sets_its_field() {
    let set = policy(
        "[models.m.release]\nmode = \"manual\"\nshadow = { pairs = 7, agreement = \"70%\", shift = \"3%\", \
         slower = 2, drops = 0.1, limit = \"3s\" }\nsteps = [\"2%\", \"10%\"]\nresponses = [3, 4]\ndwell = \"5s\"\n\
         patience = 6\nrequired = [\"golden\"]\ngolden = \"model.onnx\"\nvalidating = \"7s\"\nwarming = \"8s\"\nunproven = true\n\
         proving = \"9s\"\nabsence = \"19s\"\nundo = \"10s\"\nstandbys = 3\nbetween = \"11s\"\ndaily = 12\nsuperseded = 13\n\
         protected = \"14%\"\nfailures = 15\ndeaths = 18\nincomplete = \"16s\"\nfetch_attempts = 17\n",
    )
    .release;
    let share =
        |thousandths, responses| Step { share: Permille::saturating(thousandths), responses };
    let seconds = Duration::from_secs;
    assert_eq!((set.mode, set.steps), (Mode::Manual, vec![share(20, 3), share(100, 4)]));
    assert_eq!((set.shadow.pairs, set.shadow.limit), (7, seconds(3)));
    assert_eq!((set.shadow.agreement, set.shadow.slower, set.shadow.drops), (0.7, 2.0, 0.1));
    assert_eq!(set.shadow.shift, 0.03);
    assert_eq!((set.dwell, set.patience, set.required), (seconds(5), 6, vec![CheckKind::Golden]));
    assert_eq!(
        set.golden.and_then(|path| Some(path.file_name()?.to_owned())),
        Some("model.onnx".into())
    );
    assert_eq!((set.validating, set.warming, set.unproven), (seconds(7), seconds(8), true));
    assert_eq!((set.proving, set.undo, set.standbys), (seconds(9), seconds(10), 3));
    assert_eq!((set.between, set.daily, set.superseded), (seconds(11), 12, 13));
    assert_eq!((set.protected, set.failures), (Permille::saturating(140), 15));
    assert_eq!((set.deaths, set.absence), (18, seconds(19)));
    assert_eq!((set.incomplete, set.fetch_attempts), (seconds(16), 17));
}

#[test]
fn every_key_of_evictions_and_guards_sets_its_field() {
    let Policy { evict, guard, .. } = policy(
        "[models.m.release]\n[models.m.evict]\nttl = \"1s\"\nmax_age = \"2s\"\nidle = \"3s\"\n\
         keep_proven = 4\nquarantine = \"5s\"\ngrace = \"6s\"\ndisk = \"7MiB\"\nmemory = \"8MiB\"\n\
         cool_down = \"9s\"\nhourly = 10\ndry_run = true\n[models.m.guard]\nerror_ratio = { alpha = 0.1, \
         margin = \"3%\" }\nlatency = { slo = \"50ms\", target = \"95%\" }\nrequired = [\"errors\", \
         \"slow\"]\nfirst_failures = 11\nsample_ratio = 0.2\nfresh = \"12s\"\ngolden = \"13s\"\n\
         golden_margin = \"4%\"\nsamples = 14\nstandby_copies = \"1.5%\"\n",
    );
    let seconds = Duration::from_secs;
    let times = (evict.ttl, evict.max_age, evict.idle, evict.quarantine);
    let some = |n| Some(seconds(n));
    assert_eq!(times, (some(1), some(2), some(3), some(5)));
    assert_eq!((evict.keep_proven, evict.grace, evict.cool_down), (4, seconds(6), seconds(9)));
    assert_eq!((evict.disk, evict.memory), (Some(7 << 20), Some(8 << 20)));
    assert_eq!((evict.hourly, evict.dry_run), (10, true));
    assert_eq!((guard.alpha, guard.margin, guard.sample_ratio), (0.1, 0.03, 0.2));
    let slo = Duration::from_millis(50);
    assert_eq!(guard.latency, Some(LatencyObjective { slo, target: Permille::saturating(950) }));
    assert_eq!(guard.required, [Metric::Errors, Metric::Slow]);
    assert_eq!((guard.first_failures, guard.samples), (11, 14));
    assert_eq!((guard.fresh, guard.golden), (seconds(12), seconds(13)));
    assert_eq!((guard.golden_margin, guard.standby_copies), (0.04, Permille::saturating(15)));
}

#[test]
fn steps_without_responses_get_the_usual_ones() {
    let steps =
        policy("[models.m.release]\nsteps = [\"4.9%\", \"10%\", \"25%\", \"50%\"]\n").release.steps;
    let responses: Vec<u64> = steps.iter().map(|step| step.responses).collect();
    assert_eq!(responses, [200, 500, 1000, 2000]);
}

#[test]
fn each_mistake_is_found() {
    let cases = [
        (
            Code::Choice,
            "[models.m]\ntraffic = { v1 = \"100%\" }\n[models.m.release]\n[models.m.versions.v1]\nonnx = \"model.onnx\"",
        ),
        (
            Code::Choice,
            "[models.m.evict]\nttl = \"1s\"\n[models.m.versions.v1]\nonnx = \"model.onnx\"",
        ),
        (
            Code::Choice,
            "[models.m.guard]\nsamples = 5\n[models.m.versions.v1]\nonnx = \"model.onnx\"",
        ),
        (Code::OutOfRange, "[models.m.release]\nsteps = [\"5%\", \"1%\"]"),
        (Code::OutOfRange, "[models.m.release]\nsteps = [\"60%\"]"),
        (Code::Duplicate, "[models.m.release]\nsteps = [\"5%\", \"5%\"]"),
        (Code::OutOfRange, "[models.m.release]\nresponses = [1]"),
        (Code::OutOfRange, "[models.m.release]\nsteps = [\"5%\"]\nresponses = [1.5]"),
        (Code::Malformed, "[models.m.release]\nrequired = [\"identiti\"]"),
        (Code::Malformed, "[models.m.release]\n[models.m.guard]\nrequired = [\"speed\"]"),
        (Code::Missing, "[models.m.release]\n[models.m.guard]\nlatency = { target = \"99%\" }"),
        (Code::Choice, "[models.m.release]\n[models.m.guard]\nrequired = [\"errors\", \"labels\"]"),
        (Code::Choice, "[models.m.release]\n[models.m.guard]\nrequired = [\"slow\"]"),
        (Code::Missing, "[models.m]\nsticky = \"client\""),
        (Code::UnknownKey, "[models.m.release]\nshadow = { pears = 3 }"),
    ];
    for (code, text) in cases {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text}\n{found:?}");
        assert_eq!(found[0].0, code, "{text}\n{found:?}");
    }
}

#[test]
fn a_golden_set_for_servers_of_a_model_that_has_none_is_warned_of() {
    let release = "[models.m.release]\ngolden = \"model.onnx\"\n";
    let folder = "[discovery.store]\ndirectory = \".\"\n";
    let registers = "[discovery.register]\nlease = \"30s\"\n";
    let file = "[models.m.versions.v1]\nonnx = \"model.onnx\"\n";
    let servers = "[models.m.versions.v2]\nbackends = [\"http://127.0.0.1:9\"]\n";
    let cases = [
        (vec![folder], true),
        (vec![file], true),
        (vec![folder, file], true),
        (vec![], false),
        (vec![registers, folder], false),
        (vec![folder, file, servers], false),
    ];
    for (more, warns) in cases {
        let text = format!("listen = \"127.0.0.1:1\"\n{release}{}", more.concat());
        let loaded = load_text(&text);
        let loaded = loaded.unwrap_or_else(|found| panic!("{text}{}", found.render_human(false)));
        let told = loaded.warnings.iter().any(|one| one.message.contains("has no effect"));
        assert_eq!(told, warns, "{text}");
    }
}
