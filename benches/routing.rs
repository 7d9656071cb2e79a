//! What a routing decision costs, as tables grow.

#![expect(clippy::expect_used, reason = "a benchmark may end where its own set-up is wrong")]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pointsman::domain::ids::{Entropy, ModelName, Permille, PoolName, RouteName, VersionName};
use pointsman::domain::routing::{
    HeaderSource, ModelCall, RequestView, RoutingTable, decide, explain,
};
use pointsman::domain::spec::{
    Drain, Forwarding, Intent, Limits, LogSpec, ModelSpec, OnnxSpec, PathMatch, PoolSpec,
    RouteMatch, RouteSpec, RouteTarget, StickyKey, TelemetrySpec, TrialSpec, VersionSpec,
};

/// As many headers as a prediction client sends.
struct Headers([(&'static str, &'static str); 6]);

const HEADERS: Headers = Headers([
    ("host", "predict.example.org"),
    ("user-agent", "bench/1"),
    ("content-type", "application/json"),
    ("content-length", "88"),
    ("accept", "*/*"),
    ("x-user-id", "user-1234567"),
]);

impl HeaderSource for Headers {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// A model of `count` versions. Weights are in thousandths, so that at most 1000 take traffic.
fn model(count: usize, sticky: Option<StickyKey>) -> ModelSpec {
    let name = |index: usize| VersionName::new(format!("v{index}"));
    let sharing = count.min(1000);
    let share = |index: usize| (1000 / sharing + usize::from(index < 1000 % sharing)) as u16;
    ModelSpec {
        versions: (0..count)
            .map(|i| (name(i), VersionSpec::Onnx(OnnxSpec::new("model.onnx"))))
            .collect(),
        aliases: Default::default(),
        traffic: (0..sharing)
            .map(|i| (name(i), Permille::new(share(i)).expect("at most 1000")))
            .collect(),
        trial: None,
        shadow: None,
        killed: None,
        killed_versions: Default::default(),
        sticky,
        balance: Default::default(),
        timeouts: Default::default(),
        keep_alive: Default::default(),
        execution: Default::default(),
        recording: Default::default(),
        monitor: Default::default(),
        alarms: Default::default(),
        labels: None,
        lifecycle: None,
    }
}

fn table(
    models: impl Iterator<Item = (String, ModelSpec)>,
    routes: impl Iterator<Item = (String, RouteMatch)>,
) -> RoutingTable {
    let pool = PoolSpec {
        backends: Vec::new(),
        discovered: None,
        http2: false,
        balance: Default::default(),
        timeouts: Default::default(),
        keep_alive: Default::default(),
    };
    let target = || RouteTarget::Pool(PoolName::new("web"));
    let intent = Intent {
        node: "bench".into(),
        listen: "127.0.0.1:8080".parse().expect("an address"),
        admin: "127.0.0.1:9901".parse().expect("an address"),
        data_dir: "data".into(),
        workers: None,
        models: models.map(|(name, spec)| (ModelName::new(name), spec)).collect(),
        pools: BTreeMap::from([(PoolName::new("web"), pool)]),
        routes: routes
            .map(|(name, matches)| {
                let recording = Default::default();
                (RouteName::new(name), RouteSpec { matches, target: target(), recording })
            })
            .collect(),
        limits: Limits::default(),
        protocols: Default::default(),
        forwarding: Forwarding::default(),
        inference: Default::default(),
        log: LogSpec::default(),
        sinks: Default::default(),
        discovery: Default::default(),
        feedback: Default::default(),
        monitor: Default::default(),
        alarms: Default::default(),
        drain: Drain::default(),
        telemetry: TelemetrySpec::default(),
    };
    RoutingTable::build(&intent, |_| true).expect("a sound table")
}

fn view<'a>(path: &'a str, call: Option<(&'a str, Option<&'a str>)>) -> RequestView<'a, Headers> {
    RequestView {
        method: "POST",
        host: Some("predict.example.org"),
        path,
        query: None,
        headers: &HEADERS,
        client: [192, 0, 2, 7].into(),
        call: call.map(|(model, version)| ModelCall {
            model: model.into(),
            version: version.map(Into::into),
        }),
    }
}

/// Decides with fresh entropy every time.
fn decide_with(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: String,
    table: &RoutingTable,
    view: &RequestView<'_, Headers>,
) {
    decide(table, view, Entropy(0)).expect("a target");
    let mut entropy = 0u64;
    group.bench_function(name, |b| {
        b.iter(|| {
            entropy = entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
            decide(black_box(table), black_box(view), Entropy(entropy))
        });
    });
}

fn models(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    for count in [1, 100, 10_000] {
        let names = (0..count).map(|i| (format!("model-{i}"), model(2, None)));
        let table = table(names, std::iter::empty());
        let name = format!("model-{}", count / 2);
        let view = view("/v2/models/m/infer", Some((&name, None)));
        decide_with(&mut group, format!("{count} models of 2 versions"), &table, &view);
    }
    for count in [1, 2, 100, 10_000] {
        let one = |sticky| {
            table([("fraud".to_owned(), model(count, sticky))].into_iter(), std::iter::empty())
        };
        let split = view("/v2/models/fraud/infer", Some(("fraud", None)));
        decide_with(&mut group, format!("{count} versions, by weight"), &one(None), &split);
        let sticky = one(Some(StickyKey::Header("x-user-id".into())));
        decide_with(&mut group, format!("{count} versions, sticky"), &sticky, &split);
        if count > 1 {
            let mut tried = model(count - 1, Some(StickyKey::Header("x-user-id".into())));
            let candidate = VersionName::new("candidate");
            let onnx = VersionSpec::Onnx(OnnxSpec::new("model.onnx"));
            tried.versions.insert(candidate.clone(), onnx);
            let share = Permille::new(50).expect("at most 1000");
            tried.trial = Some(TrialSpec { candidate, share, salt: 7, step: 1, stands_in: true });
            let tried = table([("fraud".to_owned(), tried)].into_iter(), std::iter::empty());
            decide_with(&mut group, format!("{count} versions, one on trial"), &tried, &split);
        }
        let pinned = view("/v2/models/fraud/infer", Some(("fraud", Some("v0"))));
        decide_with(&mut group, format!("{count} versions, pinned"), &sticky, &pinned);
    }
    group.finish();
}

fn routes(c: &mut Criterion) {
    let prefix = |i: usize| RouteMatch {
        path: Some(PathMatch::Prefix(format!("/team-{i}/portal"))),
        ..RouteMatch::default()
    };
    let rules = (0..100).map(|i| (format!("route-{i:03}"), prefix(i)));
    let table = table([("fraud".to_owned(), model(2, None))].into_iter(), rules);
    let mut group = c.benchmark_group("decide, 100 routes");
    decide_with(&mut group, "the first takes it".into(), &table, &view("/team-99/portal/x", None));
    decide_with(&mut group, "the last takes it".into(), &table, &view("/team-0/portal/x", None));
    let call = view("/v2/models/fraud/infer", Some(("fraud", None)));
    decide_with(&mut group, "none does, a model path".into(), &table, &call);
    group.bench_function("explained", |b| {
        b.iter(|| explain(black_box(&table), black_box(&call), Entropy(7)));
    });
    group.finish();
}

criterion_group!(benches, models, routes);
criterion_main!(benches);
