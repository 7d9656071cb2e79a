//! The releases of a model: `release`, `evict` and `guard` as one policy.
//!
//! Owns the rules between their keys. Never decides about a version.

use std::fs;
use std::path::PathBuf;

use crate::config::Checks;
use crate::config::diagnostic::{Code, Finding};
use crate::config::form;
use crate::config::reader::{At, Fields};
use crate::domain::ids::Permille;
use crate::domain::lifecycle::evidence::Metric;
use crate::domain::lifecycle::policy::{
    EvictPolicy, GuardPolicy, LatencyObjective, Mode, Policy, ReleasePolicy, ShadowPolicy, Step,
};

/// Reads the policy of a model; `None` where versions and shares are those of the configuration.
pub(super) fn read(fields: &Fields<'_>, checks: Checks) -> Option<Policy> {
    let release = fields.table("release", |own| release(&own, checks));
    let evict = fields.table("evict", |own| evict(&own));
    let guard = fields.table("guard", |own| guard(&own));
    let Some(release) = release else {
        // A `release` that cannot be read is one mistake, not three.
        if fields.key_place("release").is_none() {
            ["evict", "guard"].into_iter().for_each(|name| needs_release(fields, name));
        }
        return None;
    };
    if let Some(place) = fields.key_place("traffic") {
        let message = format!("`{}` and `release` exclude each other", fields.path_of("traffic"));
        let finding = Finding::error(Code::Choice, place, message);
        fields.add(finding.help("leave `traffic` out: evidence decides who answers"));
    }
    let (evict, guard) = (evict.unwrap_or_default(), guard.unwrap_or_default());
    Some(Policy { release, evict, guard })
}

fn needs_release(fields: &Fields<'_>, name: &str) {
    if let Some(place) = fields.key_place(name) {
        let message = format!("`{}` needs `release`", fields.path_of(name));
        let finding = Finding::error(Code::Choice, place, message);
        let help = format!("add a table: [{}]", fields.path_of("release"));
        fields.add(finding.help(help));
    }
}

fn release(fields: &Fields<'_>, checks: Checks) -> ReleasePolicy {
    let default = ReleasePolicy::default();
    let duration = |name: &str, default| fields.duration(name).unwrap_or(default);
    let count = |name: &str, default: u32| small(fields.integer(name)).unwrap_or(default);
    let mode = fields.word("mode", |word| match word {
        "automatic" => Some(Mode::Automatic),
        "manual" => Some(Mode::Manual),
        _ => None,
    });
    let required = fields.list("required", form::check);
    ReleasePolicy {
        mode: mode.unwrap_or(default.mode),
        incomplete: duration("incomplete", default.incomplete),
        fetch_attempts: count("fetch_attempts", default.fetch_attempts),
        required: required.map_or(default.required, values),
        golden: golden(fields, checks),
        validating: duration("validating", default.validating),
        warming: duration("warming", default.warming),
        shadow: fields.table("shadow", |own| shadow(&own)).unwrap_or_default(),
        steps: steps(fields, default.steps),
        dwell: duration("dwell", default.dwell),
        patience: count("patience", default.patience),
        undo: duration("undo", default.undo),
        standbys: fields.integer("standbys").unwrap_or(default.standbys),
        between: duration("between", default.between),
        daily: fields.integer("daily").unwrap_or(default.daily),
        superseded: count("superseded", default.superseded),
        protected: fields.ratio("protected").unwrap_or(default.protected),
        failures: count("failures", default.failures),
        deaths: count("deaths", default.deaths),
        unproven: fields.flag("unproven").unwrap_or(default.unproven),
        proving: duration("proving", default.proving),
        absence: duration("absence", default.absence),
    }
}

/// The file of the golden set. What stands in it is not for the configuration to read.
fn golden(fields: &Fields<'_>, checks: Checks) -> Option<PathBuf> {
    let file = fields.file("golden")?;
    if checks == Checks::Full {
        let why = match fs::metadata(&file.value) {
            Ok(kind) if kind.is_file() => return Some(file.value),
            Ok(_) => "is not a regular file".to_owned(),
            Err(error) => format!("cannot be opened: {error}"),
        };
        let path = if file.hidden {
            "(value hidden)".to_owned()
        } else {
            format!("`{}`", file.value.display())
        };
        let message = format!("the golden set {path} {why}");
        let finding = Finding::error(Code::ModelFile, file.place, message);
        fields.add(finding.help("paths are relative to the file that names them"));
    }
    Some(file.value)
}

/// The steps: shares that grow, and for each the responses that it must have seen.
fn steps(fields: &Fields<'_>, default: Vec<Step>) -> Vec<Step> {
    let shares = fields.list("steps", form::step_share);
    if let Some(shares) = &shares {
        let falls = shares.windows(2).find_map(|pair| match pair {
            [before, after] if after.value <= before.value => Some(after),
            _ => None,
        });
        if let Some(after) = falls {
            let message = format!("`{}` must grow from one to the next", fields.path_of("steps"));
            let finding = Finding::error(Code::OutOfRange, after.place, message);
            fields.add(finding.help("a caller who met the candidate keeps it to the end"));
        }
    }
    let mut steps = match shares {
        Some(shares) => shares.into_iter().map(|share| Step::usual(share.value)).collect(),
        None => default,
    };
    responses(fields, &mut steps);
    steps
}

fn responses(fields: &Fields<'_>, steps: &mut [Step]) {
    const RESPONSES_MAX: f64 = 1e9;
    if fields.key_place("responses").is_none() {
        return;
    }
    let wanted = fields.numbers("responses");
    let refuse = |message: String, help: &str| {
        let finding = Finding::error(Code::OutOfRange, fields.place("responses"), message);
        fields.add(finding.help(help));
    };
    if wanted.len() != steps.len() {
        let (path, n) = (fields.path_of("responses"), wanted.len());
        let message = format!("`{path}` has {n} entries, and there are {} steps", steps.len());
        refuse(message, "write one number for each step");
        return;
    }
    for (step, wanted) in steps.iter_mut().zip(wanted) {
        if wanted.fract() != 0.0 || !(1.0..=RESPONSES_MAX).contains(&wanted) {
            let message = format!("`{}` must hold whole numbers", fields.path_of("responses"));
            refuse(message, "the range is 1 to 1000000000");
            return;
        }
        // Whole and in range: checked above.
        step.responses = wanted as u64;
    }
}

fn shadow(fields: &Fields<'_>) -> ShadowPolicy {
    let default = ShadowPolicy::default();
    let pairs = fields.integer("pairs").and_then(|pairs| u64::try_from(pairs).ok());
    ShadowPolicy {
        pairs: pairs.unwrap_or(default.pairs),
        agreement: ratio(fields, "agreement").unwrap_or(default.agreement),
        shift: ratio(fields, "shift").unwrap_or(default.shift),
        slower: fields.number("slower").unwrap_or(default.slower),
        drops: ratio(fields, "drops").unwrap_or(default.drops),
        limit: fields.duration("limit").unwrap_or(default.limit),
    }
}

fn evict(fields: &Fields<'_>) -> EvictPolicy {
    let default = EvictPolicy::default();
    EvictPolicy {
        ttl: fields.duration("ttl"),
        max_age: fields.duration("max_age"),
        idle: fields.duration("idle"),
        keep_proven: fields.integer("keep_proven").unwrap_or(default.keep_proven),
        quarantine: fields.duration("quarantine").or(default.quarantine),
        grace: fields.duration("grace").unwrap_or(default.grace),
        disk: fields.size("disk"),
        memory: fields.size("memory"),
        cool_down: fields.duration("cool_down").unwrap_or(default.cool_down),
        hourly: fields.integer("hourly").unwrap_or(default.hourly),
        dry_run: fields.flag("dry_run").unwrap_or(default.dry_run),
        clock_doubt: default.clock_doubt,
        clock_step: default.clock_step,
    }
}

fn guard(fields: &Fields<'_>) -> GuardPolicy {
    let default = GuardPolicy::default();
    let count = |name: &str| fields.integer(name).and_then(|count| u64::try_from(count).ok());
    let rates = fields.table("error_ratio", |own| (own.number("alpha"), ratio(&own, "margin")));
    let (alpha, margin) = rates.unwrap_or_default();
    GuardPolicy {
        alpha: alpha.unwrap_or(default.alpha),
        required: rates_of(fields).unwrap_or(default.required),
        margin: margin.unwrap_or(default.margin),
        latency: fields.table("latency", |own| latency(&own)).flatten(),
        first_failures: count("first_failures").unwrap_or(default.first_failures),
        sample_ratio: fields.number("sample_ratio").unwrap_or(default.sample_ratio),
        fresh: fields.duration("fresh").unwrap_or(default.fresh),
        golden: fields.duration("golden").unwrap_or(default.golden),
        golden_margin: ratio(fields, "golden_margin").unwrap_or(default.golden_margin),
        samples: count("samples").unwrap_or(default.samples),
        standby_copies: fields.ratio("standby_copies").unwrap_or(default.standby_copies),
    }
}

/// The rates without which nothing is promoted. One that no trial can have would stop every release.
fn rates_of(fields: &Fields<'_>) -> Option<Vec<Metric>> {
    let required = fields.list("required", form::metric)?;
    for At { value, place, .. } in &required {
        let (why, help) = match value {
            Metric::Labels => (
                "a trial compares no labels, so that nothing would ever be promoted",
                "leave it out: predictions that labels prove wrong count once a version is live",
            ),
            Metric::Slow if fields.key_place("latency").is_none() => (
                "nothing says which responses are slow, so that nothing would ever be promoted",
                "add what is slow: latency = { slo = \"50ms\" }",
            ),
            Metric::Errors | Metric::Invalid | Metric::Slow => continue,
        };
        let message = format!("`{}` in `{}`: {why}", value.as_str(), fields.path_of("required"));
        fields.add(Finding::error(Code::Choice, *place, message).help(help));
    }
    Some(values(required))
}

fn latency(fields: &Fields<'_>) -> Option<LatencyObjective> {
    let target = fields.ratio("target").unwrap_or(Permille::saturating(990));
    Some(LatencyObjective { slo: fields.duration("slo")?, target })
}

fn ratio(fields: &Fields<'_>, name: &str) -> Option<f64> {
    fields.ratio(name).map(|share| f64::from(share.thousandths()) / 1000.0)
}

fn small(count: Option<usize>) -> Option<u32> {
    count.and_then(|count| u32::try_from(count).ok())
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}
