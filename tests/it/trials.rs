//! A version on trial sees the requests that it is meant to see, is compared fairly, and never harms a client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::domain::ids::{ModelName, Permille, VersionName};
use pointsman::domain::lifecycle::evidence::Metric;
use pointsman::domain::lifecycle::time::Steady;
use pointsman::domain::spec::{KillScope, KillSpec, ModelSpec, ShadowSpec, TrialSpec};
use pointsman::snapshot::{Dropped, Trial, TrialKind};
use serde_json::Value;

use crate::support::client::post;
use crate::support::in_process::InProcess;
use crate::support::{Backend, IRIS_BODY, eventually, nobody, repository};

mod copies;
mod fallback;

const INFER: &str = "/v2/models/m/infer";
const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 86\r\n\r\n\
    {\"model_name\":\"m\",\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":[0.5]}]}";
const OTHER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 86\r\n\r\n\
    {\"model_name\":\"m\",\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":[0.9]}]}";
const NOT_A_NUMBER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 86\r\n\r\n\
    {\"model_name\":\"m\",\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":[NaN]}]}";
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1.0,2.0]}]}"#;

/// Model `m` with `v1` in charge and `v2` beside it.
fn config(champion: &Backend, candidate: &Backend, more: &str) -> String {
    format!(
        "[models.m]\ntraffic = {{ v1 = \"100%\" }}\n{more}\n\
         [models.m.versions.v1]\nbackends = [\"http://{}\"]\n\
         [models.m.versions.v2]\nbackends = [\"http://{}\"]\n",
        champion.address, candidate.address,
    )
}

/// Publishes a change of a model, with the counts of its trial.
fn change(
    gateway: &mut InProcess,
    name: &str,
    trial: Option<&Arc<Trial>>,
    change: impl FnOnce(&mut ModelSpec),
) {
    let mut spec = gateway.intent.models.get(name).unwrap().clone();
    spec.traffic.retain(|_, share| *share > Permille::NONE);
    change(&mut spec);
    gateway.intent.models.insert(ModelName::new(name), spec);
    let trials = trial.map(|trial| (ModelName::new(name), Arc::clone(trial)));
    gateway.publish(BTreeMap::from_iter(trials));
}

/// Puts `v2` of `m` on trial with half of the requests.
fn try_half(gateway: &mut InProcess) -> Arc<Trial> {
    try_half_of(gateway, "m")
}

/// The same for another model.
fn try_half_of(gateway: &mut InProcess, name: &str) -> Arc<Trial> {
    let kind = TrialKind::Canary { error_rate: None, slow_after: Some(Duration::from_secs(5)) };
    let trial = Arc::new(Trial::new(kind, 2, Steady(1)));
    change(gateway, name, Some(&trial), |spec| {
        let candidate = VersionName::new("v2");
        let share = Permille::saturating(500);
        spec.trial = Some(TrialSpec { candidate, share, salt: 11, step: 0, stands_in: true });
    });
    trial
}

/// Lets `v2` have copies, as many as there are requests.
fn copy_all(gateway: &mut InProcess, name: &str, concurrency: u32) -> Arc<Trial> {
    let spec = ShadowSpec {
        concurrency,
        rate: 1_000_000,
        timeout: Duration::from_secs(2),
        ..ShadowSpec::new(VersionName::new("v2"))
    };
    let trial = Arc::new(Trial::new(TrialKind::Shadow(spec.clone()), 2, Steady(1)));
    change(gateway, name, Some(&trial), |model| model.shadow = Some(spec));
    trial
}

/// Sends so many requests, and checks that the champion answers them.
fn send(gateway: &InProcess, path: &str, body: &str, count: usize) {
    let mut client = gateway.client();
    for _ in 0..count {
        client.send(&post(path, "", body));
        let reply = client.reply();
        assert_eq!((reply.status, reply.header("x-pointsman-version")), (200, Some("v1")));
    }
}

fn is(record: &Value, kind: &str) -> bool {
    record["kind"] == kind
}

#[test]
fn both_slices_are_counted_recorded_and_compared_and_pins_are_not() {
    let (champion, candidate) = (Backend::replying(GOOD), Backend::replying(BROKEN));
    let more = "sticky = \"header:x-user\"";
    let mut gateway = InProcess::start(&config(&champion, &candidate, more));
    let trial = try_half(&mut gateway);
    let mut client = gateway.client();
    let mut of_user = BTreeMap::new();
    for n in 0..240 {
        let user = n % 40;
        client.send(&post(INFER, &format!("x-user: u{user}\r\n"), BODY));
        let reply = client.reply();
        let version = reply.header("x-pointsman-version").unwrap().to_owned();
        assert_eq!(reply.status == 200, version == "v1");
        assert_eq!(of_user.entry(user).or_insert_with(|| version.clone()), &version);
    }
    client.send(&post(INFER, "x-pointsman-version: v2\r\n", BODY));
    assert_eq!(client.reply().status, 500);

    let records = gateway.wait_for(241, |record| is(record, "inference"));
    let of =
        |reason: &str| records.iter().filter(|r| r["decision_reason"] == reason).count() as u64;
    assert_eq!((of("rest"), of("pin")), (0, 1), "half and half leave no rest");
    let evidence = eventually("all are counted", || {
        let evidence = trial.canary();
        let errors = evidence.rate(Metric::Errors)?;
        (errors.n + errors.control_n == 240).then_some(evidence)
    });
    let errors = evidence.rate(Metric::Errors).unwrap();
    assert_eq!((errors.n, errors.control_n), (of("candidate"), of("control")));
    assert_eq!((errors.bad, errors.control_bad), (errors.n, 0));
    assert_eq!(evidence.failed_from_start, errors.n);
    assert_eq!(evidence.responses, errors.n);
    assert!(evidence.sample_ratio.is_some_and(|chance| chance > 1e-4), "{evidence:?}");
    let invalid = evidence.rate(Metric::Invalid).unwrap();
    assert_eq!((invalid.control_n, invalid.control_bad), (errors.control_n, 0));
}

#[test]
fn numbers_that_are_none_are_counted_as_faults() {
    let (champion, candidate) = (Backend::replying(GOOD), Backend::replying(NOT_A_NUMBER));
    let mut gateway = InProcess::start(&config(&champion, &candidate, ""));
    let trial = try_half(&mut gateway);
    let mut client = gateway.client();
    for _ in 0..40 {
        client.send(&post(INFER, "", BODY));
        assert_eq!(client.reply().status, 200);
    }
    let evidence = eventually("faults are counted", || {
        let evidence = trial.canary();
        evidence.rate(Metric::Invalid).filter(|invalid| invalid.bad > 5).cloned()
    });
    assert_eq!((evidence.bad, evidence.control_bad), (evidence.n, 0));
}

#[test]
fn kill_switches_act_with_the_next_request_and_say_what_they_are() {
    let (champion, candidate) = (Backend::replying(GOOD), Backend::replying(OTHER));
    let mut gateway = InProcess::start(&config(&champion, &candidate, ""));
    let killed = |scope| KillSpec { scope, why: "by ann: it hurts".to_owned() };
    let mut client = gateway.client();
    let mut ask = |headers: &str| {
        client.send(&post(INFER, headers, BODY));
        let reply = client.reply();
        (reply.status, reply.error().to_owned())
    };
    let pinned = "x-pointsman-version: v2\r\n";
    assert_eq!(ask(pinned).0, 200);
    change(&mut gateway, "m", None, |spec| {
        spec.killed_versions.insert(VersionName::new("v2"), killed(KillScope::Version));
    });
    assert_eq!(ask(pinned), (503, "killed".to_owned()));
    assert_eq!(ask("").0, 200);
    change(&mut gateway, "m", None, |spec| spec.killed = Some(killed(KillScope::Model)));
    assert_eq!(ask(""), (503, "killed".to_owned()));
    change(&mut gateway, "m", None, |spec| spec.killed = None);
    assert_eq!(ask("").0, 200);
}

#[test]
fn copies_are_compared_and_recorded_with_the_exchange_that_they_copy() {
    let (champion, candidate) = (Backend::replying(GOOD), Backend::replying(GOOD));
    let mut gateway = InProcess::start(&config(&champion, &candidate, ""));
    let trial = copy_all(&mut gateway, "m", 64);
    send(&gateway, INFER, BODY, 30);
    let evidence = eventually("copies are compared", || {
        let evidence = trial.shadow();
        (evidence.pairs >= 20).then_some(evidence)
    });
    assert_eq!((evidence.invalid, evidence.replayed), (0, 0));
    assert!(evidence.agreement_low.is_some_and(|low| low > 0.7), "{evidence:?}");
    let records = gateway.wait_for(50, |_| true);
    let copies: Vec<_> = records.iter().filter(|record| is(record, "shadow")).collect();
    for copy in &copies {
        let parent = records.iter().find(|r| r["record_id"] == copy["parent_record_id"]).unwrap();
        assert_eq!(
            (&parent["kind"], &parent["model_version"]),
            (&"inference".into(), &"v1".into())
        );
        assert_eq!(
            (&copy["model_version"], &copy["decision_reason"]),
            (&"v2".into(), &"shadow".into())
        );
        assert_eq!((&copy["status"], &copy["outcome"]), (&200.into(), &"ok".into()));
        assert_eq!(copy["request_id"], parent["request_id"]);
    }
    let seen = candidate.seen();
    assert!(seen.len() >= copies.len());
    assert!(seen.iter().all(|request| request.body == BODY.as_bytes()));
    assert_eq!(seen[0].line(), format!("POST {INFER} HTTP/1.1"));
}

#[test]
fn answers_that_differ_or_are_no_answers_are_told_apart() {
    let shown = |answer: &'static str| {
        let (champion, candidate) = (Backend::replying(GOOD), Backend::replying(answer));
        let mut gateway = InProcess::start(&config(&champion, &candidate, ""));
        let trial = copy_all(&mut gateway, "m", 64);
        send(&gateway, INFER, BODY, 20);
        eventually("copies are compared", || {
            let (agreed, compared, unread) = trial.as_shadow().unwrap().counts();
            (compared >= 10).then(|| (agreed, trial.shadow().invalid == compared, unread))
        })
    };
    assert_eq!(shown(OTHER), (0, false, 0), "too far apart");
    assert_eq!(shown(BROKEN), (0, false, 0), "a failure is no agreement");
    assert_eq!(shown(NOT_A_NUMBER), (0, true, 0), "no valid output");
}

/// A version that is dead, hangs, or sends without an end costs no client anything.
#[test]
fn no_client_waits_for_a_copy_whatever_becomes_of_it() {
    let nobody = nobody();
    let hanging = Backend::script(|connection| {
        let _taken = connection.request();
        connection.wait_for_close();
    });
    let flooding = Backend::script(|connection| {
        let _taken = connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[");
        let line = "1.0,".repeat(10_000);
        while connection.stream.peer_addr().is_ok() {
            if std::io::Write::write_all(&mut connection.stream, line.as_bytes()).is_err() {
                return;
            }
        }
    });
    for shadow in [nobody.address, hanging.address, flooding.address] {
        let champion = Backend::replying(GOOD);
        let config = format!(
            "[models.m]\ntraffic = {{ v1 = \"100%\" }}\n\
             [models.m.versions.v1]\nbackends = [\"http://{}\"]\n\
             [models.m.versions.v2]\nbackends = [\"http://{shadow}\"]\n",
            champion.address,
        );
        let mut gateway = InProcess::start(&config);
        let trial = copy_all(&mut gateway, "m", 4);
        let began = Instant::now();
        send(&gateway, INFER, BODY, 300);
        // Copies may take two seconds each; a client that waited for some would be far beyond that.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let gate = &trial.as_shadow().unwrap().gate;
        let settled = eventually("copies end", || {
            let (agreed, compared, _) = trial.as_shadow().unwrap().counts();
            (compared >= 4).then_some((agreed, gate.copies().chosen))
        });
        assert_eq!(settled.0, 0, "nothing of it agrees");
        if shadow == hanging.address {
            assert!(gate.dropped(Dropped::Busy) > 0, "{:?}", gate.copies());
        }
    }
}

#[test]
fn models_of_this_process_are_run_side_by_side() {
    let path = repository("config/models/iris/v1/model.onnx");
    let onnx = format!("onnx = {:?}\n", path.display().to_string());
    let config = format!(
        "[models.iris]\ntraffic = {{ v1 = \"100%\" }}\n\
         [models.iris.versions.v1]\n{onnx}[models.iris.versions.v2]\n{onnx}"
    );
    let mut gateway = InProcess::start(&config);
    let trial = copy_all(&mut gateway, "iris", 16);
    send(&gateway, "/v2/models/iris/infer", IRIS_BODY, 30);
    let evidence = eventually("copies are compared", || {
        let evidence = trial.shadow();
        (evidence.pairs >= 10).then_some(evidence)
    });
    let (agreed, compared, _) = trial.as_shadow().unwrap().counts();
    assert_eq!((agreed, evidence.invalid), (compared, 0), "the same model twice");
    let copies = gateway.wait_for(10, |record| is(record, "shadow"));
    assert!(copies.iter().all(|copy| copy["backend"] == "local" && copy["t_infer"].is_u64()));
}

#[test]
fn logged_requests_are_replayed_where_clients_ask_too_rarely() {
    let (champion, candidate) = (Backend::replying(GOOD), Backend::replying(GOOD));
    let mut gateway = InProcess::start(&config(&champion, &candidate, ""));
    send(&gateway, INFER, BODY, 30);
    gateway.wait_for(30, |record| is(record, "inference"));
    let trial = copy_all(&mut gateway, "m", 4);
    let order = gateway.gateway.replays().order(ModelName::new("m"), Arc::clone(&trial), 20);
    let replayed = order.unwrap().blocking_recv().unwrap().unwrap();
    assert_eq!((replayed.asked, replayed.passed_over), (20, 0));
    let evidence = trial.shadow();
    assert_eq!((evidence.pairs, evidence.replayed, evidence.invalid), (20, 20, 0));
    assert_eq!(candidate.seen().len(), 20);
    let copies = gateway.wait_for(20, |record| is(record, "shadow"));
    assert!(copies.iter().all(|copy| copy["parent_record_id"].is_string()));
}
