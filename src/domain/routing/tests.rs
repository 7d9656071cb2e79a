//! What routing promises: the right target, exact shares, minimal movement, and an explanation that
//! agrees with the decision.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::domain::ids::{ModelName, Permille, PoolName, RouteName};
use crate::domain::spec::{
    Intent, ModelSpec, OnnxSpec, PathMatch, PoolSpec, RouteMatch, RouteSpec, RouteTarget,
    ShadowSpec, TrialSpec, VersionSpec, examples,
};

struct Headers(Vec<(String, String)>);

impl HeaderSource for Headers {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn headers(pairs: &[(&str, &str)]) -> Headers {
    Headers(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

fn model(shares: &[(&str, u16)], sticky: Option<StickyKey>) -> ModelSpec {
    let names = |(name, _): &(&str, u16)| VersionName::new(*name);
    ModelSpec {
        versions: shares
            .iter()
            .map(|share| (names(share), VersionSpec::Onnx(OnnxSpec::new("model.onnx"))))
            .collect(),
        traffic: shares
            .iter()
            .map(|share| (names(share), Permille::new(share.1).unwrap()))
            .collect(),
        sticky,
        ..examples::model()
    }
}

fn intent(models: &[(&str, ModelSpec)], routes: &[(&str, RouteMatch, RouteTarget)]) -> Intent {
    let pool = PoolSpec {
        backends: Vec::new(),
        discovered: None,
        http2: false,
        balance: Default::default(),
        timeouts: Default::default(),
        keep_alive: Default::default(),
    };
    Intent {
        models: models.iter().map(|(n, spec)| (ModelName::new(*n), spec.clone())).collect(),
        pools: BTreeMap::from([(PoolName::new("web"), pool)]),
        routes: routes
            .iter()
            .map(|(n, matches, target)| {
                let (matches, target) = (matches.clone(), target.clone());
                let spec = RouteSpec { matches, target, recording: Default::default() };
                (RouteName::new(*n), spec)
            })
            .collect(),
        ..examples::intent()
    }
}

fn view<'a>(
    path: &'a str,
    call: Option<&'a str>,
    headers: &'a Headers,
) -> RequestView<'a, Headers> {
    RequestView {
        method: "POST",
        host: Some("Example.org"),
        path,
        query: Some("a=1&user=q7"),
        headers,
        client: IpAddr::from([192, 0, 2, 1]),
        call: call.map(|model| ModelCall { model: model.into(), version: None }),
    }
}

fn all_ready(intent: &Intent) -> RoutingTable {
    RoutingTable::build(intent, |_| true).unwrap()
}

fn version(table: &RoutingTable, decision: Decision) -> String {
    table.target(decision.target).kind.to_string()
}

#[test]
fn the_most_specific_route_wins_whatever_the_names() {
    let prefix = |p: &str| RouteMatch {
        path: Some(PathMatch::Prefix(p.to_owned())),
        ..RouteMatch::default()
    };
    let exact = RouteMatch { path: Some(PathMatch::Exact("/a/b/c".into())), ..Default::default() };
    let with_host = RouteMatch { host: Some("example.org".into()), ..prefix("/a/b") };
    let pool = || RouteTarget::Pool(PoolName::new("web"));
    let intent = intent(
        &[],
        &[
            ("a-short", prefix("/a"), pool()),
            ("b-long", prefix("/a/b"), pool()),
            ("c-host", with_host, pool()),
            ("d-exact", exact, pool()),
        ],
    );
    let table = all_ready(&intent);
    let none = headers(&[]);
    let route = |path: &str| {
        let decision = decide(&table, &view(path, None, &none), Entropy(0)).ok()?;
        Some(table.route(decision.route?).name.to_string())
    };
    assert_eq!(route("/a/b/c").as_deref(), Some("d-exact"));
    assert_eq!(route("/a/b/x").as_deref(), Some("c-host"));
    assert_eq!(route("/a/x").as_deref(), Some("a-short"));
    assert_eq!(route("/ab"), None, "prefixes end at a segment");
    let mut other_host = view("/a/b/x", None, &none);
    other_host.host = Some("example.com");
    let decision = decide(&table, &other_host, Entropy(0)).unwrap();
    assert_eq!(table.route(decision.route.unwrap()).name.as_str(), "b-long");
}

#[test]
fn methods_and_headers_are_conditions_too() {
    let matches = RouteMatch {
        method: Some("POST".into()),
        headers: BTreeMap::from([("x-tenant".to_owned(), "acme".to_owned())]),
        ..RouteMatch::default()
    };
    let intent = intent(&[], &[("r", matches, RouteTarget::Pool(PoolName::new("web")))]);
    let table = all_ready(&intent);
    let acme = headers(&[("x-tenant", "acme")]);
    assert!(decide(&table, &view("/", None, &acme), Entropy(0)).is_ok());
    let other = headers(&[("x-tenant", "other")]);
    assert_eq!(decide(&table, &view("/", None, &other), Entropy(0)), Err(NoRoute::NoRoute));
    let mut get = view("/", None, &acme);
    get.method = "GET";
    assert_eq!(decide(&table, &get, Entropy(0)), Err(NoRoute::NoRoute));
}

#[test]
fn pins_beat_weights_and_unknown_names_say_what_is_missing() {
    let intent = intent(&[("iris", model(&[("v1", 1000), ("v2", 0)], None))], &[]);
    let table = all_ready(&intent);
    let none = headers(&[]);
    let decision = decide(&table, &view("/", Some("iris"), &none), Entropy(1)).unwrap();
    assert_eq!((version(&table, decision).as_str(), decision.reason), ("iris/v1", Reason::Only));

    let pinned = headers(&[("x-pointsman-version", "v2")]);
    let decision = decide(&table, &view("/", Some("iris"), &pinned), Entropy(1)).unwrap();
    assert_eq!((version(&table, decision).as_str(), decision.reason), ("iris/v2", Reason::Pin));

    let mut by_path = view("/", Some("iris"), &none);
    by_path.call.as_mut().unwrap().version = Some("v2".into());
    let decision = decide(&table, &by_path, Entropy(1)).unwrap();
    assert_eq!((version(&table, decision).as_str(), decision.reason), ("iris/v2", Reason::Pin));

    let unknown = headers(&[("x-pointsman-version", "v9")]);
    let error = decide(&table, &view("/", Some("iris"), &unknown), Entropy(1)).unwrap_err();
    assert!(matches!(error, NoRoute::UnknownVersion(_)));
    let error = decide(&table, &view("/", Some("nope"), &none), Entropy(1)).unwrap_err();
    assert_eq!(error, NoRoute::UnknownModel);
}

#[test]
fn versions_that_are_not_ready_take_no_traffic() {
    let intent = intent(&[("m", model(&[("a", 500), ("b", 500)], None))], &[]);
    let none = headers(&[]);
    let is_b = |kind: &TargetKind| matches!(kind, TargetKind::Version(_, v) if v.as_str() == "b");
    let table = RoutingTable::build(&intent, is_b).unwrap();
    for entropy in 0..200 {
        let decision = decide(&table, &view("/", Some("m"), &none), Entropy(entropy)).unwrap();
        assert_eq!(version(&table, decision), "m/b");
    }
    let table = RoutingTable::build(&intent, |_| false).unwrap();
    let error = decide(&table, &view("/", Some("m"), &none), Entropy(0)).unwrap_err();
    assert!(matches!(error, NoRoute::NoReadyVersion(_)));
}

#[test]
fn every_sticky_key_is_found_and_its_absence_falls_back_to_chance() {
    let keys = [
        StickyKey::Header("x-user".into()),
        StickyKey::Cookie("user".into()),
        StickyKey::Query("user".into()),
        StickyKey::ClientAddress,
    ];
    let carried = headers(&[("x-user", "q7"), ("cookie", "a=b; user=q7; z=1")]);
    for sticky in keys {
        let intent = intent(&[("m", model(&[("a", 500), ("b", 500)], Some(sticky.clone())))], &[]);
        let table = all_ready(&intent);
        let draws: Vec<_> = (0..50)
            .map(|e| decide(&table, &view("/", Some("m"), &carried), Entropy(e)).unwrap())
            .collect();
        assert!(draws.iter().all(|d| *d == draws[0] && d.reason == Reason::Sticky), "{sticky:?}");
    }
    let sticky = Some(StickyKey::Header("x-user".into()));
    let intent = intent(&[("m", model(&[("a", 500), ("b", 500)], sticky))], &[]);
    let table = all_ready(&intent);
    let empty = headers(&[("x-user", "")]);
    let decision = decide(&table, &view("/", Some("m"), &empty), Entropy(0)).unwrap();
    assert_eq!(decision.reason, Reason::Weight);
}

#[test]
fn the_table_refuses_an_intent_that_breaks_its_invariants() {
    let bad = intent(&[("m", model(&[("a", 500), ("b", 400)], None))], &[]);
    let error = RoutingTable::build(&bad, |_| true).unwrap_err();
    assert_eq!(error, TableError::Weights { model: ModelName::new("m"), sum: 900 });
    let target = RouteTarget::Model(ModelName::new("gone"), None);
    let bad = intent(&[], &[("r", RouteMatch::default(), target)]);
    assert!(matches!(RoutingTable::build(&bad, |_| true), Err(TableError::DanglingRoute { .. })));
}

#[test]
fn shares_follow_the_weights() {
    let intent = intent(&[("m", model(&[("a", 900), ("b", 90), ("c", 10)], None))], &[]);
    let table = all_ready(&intent);
    let none = headers(&[]);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let draws = 200_000;
    for entropy in 0..draws {
        let decision = decide(&table, &view("/", Some("m"), &none), Entropy(entropy)).unwrap();
        *counts.entry(version(&table, decision)).or_default() += 1;
    }
    for (name, weight) in [("m/a", 0.9), ("m/b", 0.09), ("m/c", 0.01)] {
        let expected = draws as f64 * weight;
        let deviation = (expected * (1.0 - weight)).sqrt();
        let seen = f64::from(counts[name]);
        assert!((seen - expected).abs() < 5.0 * deviation, "{name}: {seen} of {expected}");
    }
}

proptest! {
    /// Raising one version's weight moves callers only to it.
    #[test]
    fn new_weights_move_only_what_they_must(
        before in 0u16..=1000,
        raise in 0u16..=1000,
        users in prop::collection::vec("[a-z0-9]{1,12}", 1..60),
    ) {
        let after = before.saturating_add(raise).min(1000);
        let sticky = Some(StickyKey::Header("x-user".into()));
        let table_of = |candidate: u16| {
            let rest = 1000 - candidate;
            let shares = [("a", rest / 2), ("b", rest - rest / 2), ("cand", candidate)];
            all_ready(&intent(&[("m", model(&shares, sticky.clone()))], &[]))
        };
        let (old, new) = (table_of(before), table_of(after));
        for user in &users {
            let carried = headers(&[("x-user", user)]);
            let pick = |table: &RoutingTable| {
                let decision = decide(table, &view("/", Some("m"), &carried), Entropy(0)).unwrap();
                version(table, decision)
            };
            let (was, is) = (pick(&old), pick(&new));
            // Odd weights round by one thousandth between `a` and `b`; even ones may not move at all.
            if (1000 - before) % 2 == 0 && (1000 - after) % 2 == 0 {
                prop_assert!(was == is || is == "m/cand", "{user}: {was} -> {is}");
            }
        }
    }

    /// The explanation and the decision are the same code.
    #[test]
    fn explanations_agree_with_decisions(
        entropy: u64,
        path in "(/[a-z]{0,3}){0,4}",
        call in prop::option::of("(m|nope)"),
        pin in prop::option::of("(a|b|zzz)"),
    ) {
        let route = RouteMatch { path: Some(PathMatch::Prefix("/a".into())), ..Default::default() };
        let intent = intent(
            &[("m", model(&[("a", 300), ("b", 700)], None))],
            &[("r", route, RouteTarget::Model(ModelName::new("m"), None))],
        );
        let table = all_ready(&intent);
        let pins: Vec<_> = pin.iter().map(|p| ("x-pointsman-version", p.as_str())).collect();
        let carried = headers(&pins);
        let view = view(&path, call.as_deref(), &carried);
        let explained = explain(&table, &view, Entropy(entropy));
        prop_assert_eq!(decide(&table, &view, Entropy(entropy)), explained.result);
        prop_assert!(!explained.steps.is_empty());
    }
}

#[test]
fn a_request_that_names_two_versions_is_told_so() {
    let mut spec = model(&[("v1", 1000), ("v2", 0)], None);
    spec.aliases.insert(VersionName::new("prod"), VersionName::new("v1"));
    let rule = RouteMatch { path: Some(PathMatch::Exact("/pinned".into())), ..Default::default() };
    let to = RouteTarget::Model(ModelName::new("m"), Some(VersionName::new("v2")));
    let intent = intent(&[("m", spec)], &[("pinned", rule, to)]);
    let table = all_ready(&intent);
    let asked = |path: &str, named: &str, header: &str| {
        let headers = headers(&[(VERSION_HEADER, header)]);
        let mut view = view(path, Some("m"), &headers);
        view.call = Some(ModelCall { model: "m".into(), version: Some(named.into()) });
        let explained = explain(&table, &view, Entropy(1));
        assert_eq!(explained.result, decide(&table, &view, Entropy(1)));
        explained.result.map(|decision| version(&table, decision)).map_err(|e| e.to_string())
    };
    assert_eq!(asked("/x", "v2", "v2").as_deref(), Ok("m/v2"));
    assert_eq!(asked("/x", "prod", "v1").as_deref(), Ok("m/v1"), "the same by another name");
    for (named, header) in [("v1", "v2"), ("prod", "v2"), ("v1", "v9"), ("v9", "v8")] {
        let refused = asked("/x", named, header).unwrap_err();
        assert!(refused.contains("name one"), "{named} {header}: {refused}");
    }
    assert_eq!(asked("/pinned", "v1", "v1").as_deref(), Ok("m/v2"), "the operator's rule");
}

/// A model with `v1` as champion, `v2` on trial and `v3` standing by.
fn on_trial(share: u16, salt: u64, sticky: Option<StickyKey>) -> ModelSpec {
    let mut spec = model(&[("v1", 1000), ("v2", 0), ("v3", 0)], sticky);
    spec.traffic.retain(|_, weight| *weight > Permille::NONE);
    let candidate = VersionName::new("v2");
    let share = Permille::new(share).unwrap();
    spec.trial = Some(TrialSpec { candidate, share, salt, step: 0, stands_in: true });
    spec
}

fn killed(scope: KillScope) -> KillSpec {
    KillSpec { scope, why: "by ann: it hurts".to_owned() }
}

#[test]
fn a_trial_has_two_equal_slices_and_the_champion_answers_the_rest() {
    let intent = intent(&[("m", on_trial(50, 7, None))], &[]);
    let table = all_ready(&intent);
    let none = headers(&[]);
    let mut counts: BTreeMap<(String, &str), i64> = BTreeMap::new();
    for entropy in 0..100_000 {
        let decision = decide(&table, &view("/", Some("m"), &none), Entropy(entropy)).unwrap();
        *counts.entry((version(&table, decision), decision.reason.as_str())).or_default() += 1;
    }
    let of = |version: &str, reason| counts[&(version.to_owned(), reason)];
    assert_eq!(counts.len(), 3, "{counts:?}");
    for slice in [of("m/v2", "candidate"), of("m/v1", "control")] {
        assert!((slice - 5000).abs() < 350, "{counts:?}");
    }
    assert!(of("m/v1", "rest") > 89_000, "{counts:?}");
}

#[test]
fn a_pinned_request_is_in_no_arm_and_explanations_name_the_arm() {
    let sticky = Some(StickyKey::Header("x-user".into()));
    let intent = intent(&[("m", on_trial(500, 7, sticky))], &[]);
    let table = all_ready(&intent);
    let pinned = headers(&[(VERSION_HEADER, "v2")]);
    let decision = decide(&table, &view("/", Some("m"), &pinned), Entropy(1)).unwrap();
    assert_eq!((decision.reason, decision.reason.arm()), (Reason::Pin, None));
    for user in 0..20 {
        let carried = headers(&[("x-user", &format!("u{user}"))]);
        let view = view("/", Some("m"), &carried);
        let explained = explain(&table, &view, Entropy(user));
        let reason = explained.result.unwrap().reason;
        let told = explained.steps.join("; ");
        let words = match reason {
            Reason::Candidate => "m/v2 is on trial with 500 of 1000 and was drawn by header",
            Reason::Control => "m/v1 answers the slice that m/v2",
            other => panic!("{other:?}: half and half leave no rest"),
        };
        assert!(told.contains(words), "{told}");
        let again = decide(&table, &view, Entropy(user + 77)).unwrap();
        assert_eq!(again.reason, reason, "the same caller stays in its arm");
        assert!(caller_of(&table, &view, decision.model.unwrap()).is_some());
    }
}

#[test]
fn nobody_is_tried_who_cannot_answer_or_without_a_champion() {
    let intent = intent(&[("m", on_trial(500, 7, None))], &[]);
    let none = headers(&[]);
    let only = |table: &RoutingTable| {
        (0..50).all(|entropy| {
            let decision = decide(table, &view("/", Some("m"), &none), Entropy(entropy)).unwrap();
            version(table, decision) == "m/v1" && decision.reason == Reason::Only
        })
    };
    let without = |gone: &'static str| move |kind: &TargetKind| !matches!(kind, TargetKind::Version(_, v) if v.as_str() == gone);
    assert!(only(&RoutingTable::build(&intent, without("v2")).unwrap()));
    let headless = RoutingTable::build(&intent, without("v1")).unwrap();
    let error = decide(&headless, &view("/", Some("m"), &none), Entropy(0)).unwrap_err();
    assert!(matches!(error, NoRoute::NoReadyVersion(_)));
    let mut killed_off = intent;
    let spec = killed_off.models.get_mut("m").unwrap();
    spec.killed_versions.insert(VersionName::new("v2"), killed(KillScope::Version));
    assert!(only(&all_ready(&killed_off)));
}

#[test]
fn without_a_champion_a_version_on_trial_keeps_its_share_and_answers_the_rest_unless_it_is_held() {
    let beside = intent(&[("m", on_trial(200, 7, None))], &[]);
    let without = |stands_in: bool| {
        let mut alone = beside.clone();
        let spec = alone.models.get_mut("m").unwrap();
        spec.traffic.clear();
        spec.trial.as_mut().unwrap().stands_in = stands_in;
        all_ready(&alone)
    };
    let (alone, held) = (without(true), without(false));
    let beside = all_ready(&beside);
    let none = headers(&[]);
    let mut kept = 0;
    for entropy in (0..10_000).map(Entropy) {
        let view = view("/", Some("m"), &none);
        let before = decide(&beside, &view, entropy).unwrap();
        let decision = decide(&alone, &view, entropy).unwrap();
        assert_eq!(version(&alone, decision), "m/v2");
        let model = decision.model.unwrap();
        assert_eq!(champion_of(&alone, model, entropy), None);
        let stand_in = [&alone, &held].map(|table| stand_in_of(table, model));
        assert_eq!(stand_in, [Some(decision.target), None]);
        if before.reason == Reason::Candidate {
            assert_eq!(decision.reason, Reason::Candidate, "it keeps its callers");
            assert_eq!(decide(&held, &view, entropy), Ok(decision));
            kept += 1;
        } else {
            assert_eq!(decision.reason, Reason::Fallback);
            let refusal = decide(&held, &view, entropy).unwrap_err();
            assert!(matches!(refusal, NoRoute::NoReadyVersion(_)), "{refusal}");
        }
    }
    assert!((1800..2200).contains(&kept), "{kept} of 10000 at a fifth");
    let told = (0..50).find_map(|entropy| {
        let told = explain(&alone, &view("/", Some("m"), &none), Entropy(entropy));
        (told.result.ok()?.reason == Reason::Fallback).then_some(told.steps)
    });
    let told = told.unwrap().concat();
    assert!(told.contains("m/v2, on trial, answers for the champion, which cannot"), "{told}");
}

#[test]
fn a_second_try_is_none_where_things_are_otherwise_by_now() {
    let tried = intent(&[("m", on_trial(500, 7, None))], &[]);
    let then = all_ready(&tried);
    let model = then.model_named("m").unwrap();
    let [champion, candidate] =
        ["v1", "v2"].map(|name| then.model(model).version_named(name).unwrap());
    let now = |change: fn(&mut ModelSpec)| {
        let mut changed = tried.clone();
        // Positions are those of the table: another model comes first.
        changed.models.insert(ModelName::new("a"), on_trial(500, 7, None));
        change(changed.models.get_mut("m").unwrap());
        let now = all_ready(&changed);
        [champion, candidate].map(|target| may_still_answer(&now, &then, model, target))
    };
    assert_eq!(now(|_| {}), [true, true]);
    assert_eq!(now(|spec| spec.killed = Some(killed(KillScope::Gateway))), [false, false]);
    assert_eq!(
        now(|spec| {
            spec.killed_versions.insert(VersionName::new("v2"), killed(KillScope::Version));
        }),
        [true, false]
    );
    assert_eq!(
        now(|spec| {
            spec.killed_versions.insert(VersionName::new("v1"), killed(KillScope::Version));
            spec.trial = None;
        }),
        [false, false]
    );
    assert_eq!(now(|spec| spec.trial.as_mut().unwrap().stands_in = false), [true, false]);
    assert_eq!(now(|spec| spec.trial = None), [true, false], "it is not tried any more");
    let promoted = now(|spec| {
        spec.trial = None;
        spec.traffic = BTreeMap::from([(VersionName::new("v2"), Permille::ALL)]);
    });
    assert_eq!(promoted, [true, true]);
    let without = |gone: &str| {
        let kept =
            |kind: &TargetKind| !matches!(kind, TargetKind::Version(_, v) if v.as_str() == gone);
        let now = RoutingTable::build(&tried, kept).unwrap();
        [champion, candidate].map(|target| may_still_answer(&now, &then, model, target))
    };
    assert_eq!((without("v1"), without("v2")), ([false, false], [true, false]));
    assert!(!may_still_answer(&all_ready(&intent(&[], &[])), &then, model, champion));
}

#[test]
fn copies_go_to_a_version_that_can_answer() {
    let mut spec = on_trial(0, 7, None);
    spec.shadow = Some(ShadowSpec::new(VersionName::new("v3")));
    let intent = intent(&[("m", spec)], &[]);
    let table = all_ready(&intent);
    let entry = &table.models()[0];
    assert_eq!(entry.shadow, entry.version_named("v3"));
    assert!(entry.trial.is_none(), "a share of nothing is no trial");
    let cold = RoutingTable::build(&intent, |kind| !kind.to_string().ends_with("v3")).unwrap();
    assert_eq!(cold.models()[0].shadow, None);
}

#[test]
fn kill_switches_refuse_and_say_what_they_cut_off() {
    let none = headers(&[]);
    let refusal = |spec: &ModelSpec, pin: Option<&str>| {
        let intent = intent(&[("m", spec.clone())], &[]);
        let table = all_ready(&intent);
        let pins: Vec<_> = pin.iter().map(|pin| (VERSION_HEADER, *pin)).collect();
        let carried = headers(&pins);
        let explained = explain(&table, &view("/", Some("m"), &carried), Entropy(3));
        match explained.result {
            Ok(decision) => Ok(version(&table, decision)),
            Err(NoRoute::Killed(_, scope)) => {
                assert!(explained.steps.concat().contains("by ann: it hurts"));
                Err(scope)
            }
            Err(other) => panic!("{other}"),
        }
    };
    let mut spec = model(&[("v1", 1000), ("v2", 0)], None);
    let cut = |version: &str| (VersionName::new(version), killed(KillScope::Version));
    spec.killed_versions = BTreeMap::from([cut("v2")]);
    assert_eq!(refusal(&spec, None).as_deref(), Ok("m/v1"));
    assert_eq!(refusal(&spec, Some("v2")), Err(KillScope::Version));
    assert_eq!(refusal(&spec, Some("v1")).as_deref(), Ok("m/v1"));
    spec.killed_versions = BTreeMap::from([cut("v1")]);
    assert_eq!(refusal(&spec, None), Err(KillScope::Version));
    assert_eq!(refusal(&spec, Some("v2")).as_deref(), Ok("m/v2"));
    for scope in [KillScope::Model, KillScope::Gateway] {
        spec.killed = Some(killed(scope));
        for pin in [None, Some("v1"), Some("v2")] {
            assert_eq!(refusal(&spec, pin), Err(scope));
        }
    }
    // A model for which nobody may answer has no shares at all.
    let empty = ModelSpec { traffic: BTreeMap::new(), ..model(&[("v1", 1000)], None) };
    let empty_intent = intent(&[("m", empty)], &[]);
    let table = all_ready(&empty_intent);
    let error = decide(&table, &view("/", Some("m"), &none), Entropy(0)).unwrap_err();
    assert!(matches!(error, NoRoute::NoReadyVersion(_)));
}

#[test]
fn a_version_on_trial_must_exist_and_have_no_other_share() {
    let build = |spec: ModelSpec| RoutingTable::build(&intent(&[("m", spec)], &[]), |_| true);
    let mut gone = on_trial(10, 1, None);
    gone.versions.remove("v2");
    let error = build(gone).unwrap_err().to_string();
    assert!(error.contains("`v2`") && error.contains("does not exist"), "{error}");
    let mut twice = on_trial(10, 1, None);
    twice.shadow = Some(ShadowSpec::new(VersionName::new("v1")));
    let error = build(twice).unwrap_err().to_string();
    assert!(error.contains("`v1`") && error.contains("has a share"), "{error}");
}

proptest! {
    /// Within a rollout nobody who has met the candidate goes back, whatever is drawn, and the control slice
    /// stays what it was.
    #[test]
    fn callers_stay_in_their_arm_while_the_share_grows(
        salt: u64,
        from in 1u16..=500,
        more in 0u16..=500,
        users in prop::collection::vec("[a-z0-9]{1,12}", 1..40),
        entropy: u64,
    ) {
        let sticky = Some(StickyKey::Header("x-user".into()));
        let table_of = |share| {
            all_ready(&intent(&[("m", on_trial(share, salt, sticky.clone()))], &[]))
        };
        let (before, after) = (table_of(from), table_of((from + more).min(500)));
        for user in &users {
            let carried = headers(&[("x-user", user)]);
            let arm = |table: &RoutingTable| {
                let view = view("/", Some("m"), &carried);
                decide(table, &view, Entropy(entropy)).unwrap().reason.arm()
            };
            let (was, is) = (arm(&before), arm(&after));
            prop_assert!(was == Some(Arm::Rest) || was == is, "{user}: {was:?} -> {is:?}");
        }
    }
}
