use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use serde_json::json;

use super::server::{Oip, rows, serve, serve_grpc};
use super::*;
use crate::domain::dialect::Dialect;
use crate::domain::spec::SpokenDialect;

/// A version at backends; its model has the golden set that lies in `folder`.
fn at(addresses: &[BackendAddress], version: Option<&str>, folder: Option<&Folder>) -> Subject {
    let spec = BackendsSpec {
        dialect: SpokenDialect::Asked,
        remote_version: version.map(str::to_owned),
        ..BackendsSpec::new(addresses.to_vec())
    };
    let golden = folder.map(|folder| folder.path().join("golden.jsonl"));
    subject("v7", Where::Remote { addresses: addresses.to_vec(), spec, golden })
}

fn beside() -> Folder {
    Folder::new(b"").with("golden.jsonl", &golden(60, true))
}

#[tokio::test]
async fn sound_servers_pass_every_check_but_that_of_a_baseline() {
    let servers = [Oip::default().start().await, Oip::default().start().await];
    let folder = beside();
    let subject = at(&servers, Some("7"), Some(&folder));
    let found = checked(&subject, Some(&subject)).await;
    assert_eq!(found.that(Outcome::Passed).len(), 9, "{found:#?}");
    assert_eq!(found.that(Outcome::Skipped), [CheckKind::Baseline], "{found:#?}");
    let (_, detail) = found.of(CheckKind::Identity);
    assert_eq!(detail, "2 backends serve m/7 and do not answer for names that nobody has");
    let admission = admission(Limits::default());
    let warmth = admission.warm(&subject, Steady(1)).await.expect("warm");
    assert!(warmth.runs >= 20, "{warmth:?}");
    let looked = admission.look(&subject, Steady(1)).await.expect("a look");
    assert_eq!((looked.look.found, looked.golden), (LookFound::Sound, true));
}

/// The operator's file is nobody's release.
#[tokio::test]
async fn a_golden_set_that_cannot_be_read_condemns_no_server() {
    let folder = Folder::new(b"").with("golden.jsonl", "nothing");
    let subject = at(&[Oip::default().start().await], Some("7"), Some(&folder));
    let admission = admission(Limits::default());
    let error = admission.check(&subject, None, Steady(0)).await.expect_err("no verdict");
    let why = error.to_string();
    assert!(why.starts_with("the golden set of its model cannot be used: line 1 of "), "{why}");
    let looked = admission.look(&subject, Steady(0)).await.expect("probe rows do without it");
    assert_eq!((looked.look.found, looked.golden), (LookFound::Sound, false));
    let mended = folder.with("golden.jsonl", &golden(60, true));
    let subject = at(&[Oip::default().start().await], Some("7"), Some(&mended));
    assert_eq!(checked(&subject, None).await.of(CheckKind::Golden).0, Outcome::Passed);
    let none = at(&[Oip::default().start().await], Some("7"), None);
    let found = checked(&none, None).await;
    let skipped = (Outcome::Skipped, "its model has no `release.golden`");
    assert_eq!(found.of(CheckKind::Golden), skipped, "{found:#?}");
}

#[tokio::test]
async fn a_server_that_serves_what_it_has_to_everybody_is_caught() {
    let careless = Oip { strict: false, ..Oip::default() }.start().await;
    let found = checked(&at(&[careless], Some("7"), None), None).await;
    let (outcome, detail) = found.of(CheckKind::Identity);
    assert_eq!(outcome, Outcome::Failed, "{found:#?}");
    assert!(detail.contains("a model that nobody has, as if it were there"), "{detail}");
    let default = Oip { strict_version: false, ..Oip::default() }.start().await;
    let found = checked(&at(&[default], Some("7"), None), None).await;
    let (outcome, detail) = found.of(CheckKind::Identity);
    assert_eq!(outcome, Outcome::Failed, "{found:#?}");
    assert!(detail.contains("answers for version `998244353` of m"), "{detail}");
}

#[tokio::test]
async fn a_server_of_another_version_is_caught_among_good_ones() {
    let good = Oip::default().start().await;
    let stale = Oip { version: "6", ..Oip::default() }.start().await;
    let found = checked(&at(&[good, stale], Some("7"), None), None).await;
    let (outcome, detail) = found.of(CheckKind::Identity);
    assert_eq!(outcome, Outcome::Failed, "{found:#?}");
    assert!(detail.ends_with("has 6 of `m`, and no version `7`"), "{detail}");
}

#[tokio::test]
async fn replicas_that_disagree_are_not_the_same_version() {
    let servers =
        [Oip::default().start().await, Oip { shift: 0.01, ..Oip::default() }.start().await];
    let found = checked(&at(&servers, Some("7"), None), None).await;
    let (outcome, detail) = found.of(CheckKind::Determinism);
    assert_eq!(outcome, Outcome::Failed, "{found:#?}");
    assert!(detail.starts_with("the same row gives another answer at 127.0.0.1:"), "{detail}");
}

#[tokio::test]
async fn a_dialect_that_declares_nothing_is_checked_on_golden_rows() {
    let server = serve(Arc::new(|method: &Method, path: &str, body: &serde_json::Value| {
        match (method, path) {
            (&Method::GET, "/v1/models/m") => (200, json!({"name": "m", "ready": true})),
            (&Method::POST, "/v1/models/m:predict") => match rows(&body["instances"]) {
                Some(rows) => {
                    let rows: Vec<_> = rows.into_iter().map(sure).collect();
                    (200, json!({"predictions": rows}))
                }
                None => (400, json!({"error": "no instances"})),
            },
            _ => (404, json!({"error": "not here"})),
        }
    }));
    let folder = beside();
    let mut subject = at(&[server.await], None, Some(&folder));
    if let Where::Remote { spec, .. } = &mut subject.place {
        spec.dialect = SpokenDialect::Declared(Dialect::KserveV1);
    }
    let found = checked(&subject, Some(&subject)).await;
    assert_eq!(found.that(Outcome::Failed), [], "{found:#?}");
    use CheckKind::{Collapse, Golden, GoldenMetric, Identity, Interface, Latency, Probes};
    for kind in [Identity, Interface, Probes, Golden, GoldenMetric, Collapse, Latency] {
        assert_eq!(found.of(kind).0, Outcome::Passed, "{found:#?}");
    }
}

/// An address where nobody listens.
async fn nobody() -> BackendAddress {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    BackendAddress { host: "127.0.0.1".into(), port }
}

#[tokio::test]
async fn grpc_backends_are_checked_over_http2() {
    let of = |address: BackendAddress| {
        let mut subject = at(&[address], Some("7"), None);
        if let Where::Remote { spec, .. } = &mut subject.place {
            spec.dialect = SpokenDialect::Declared(Dialect::OpenInferenceGrpc);
        }
        subject
    };
    let sound = of(serve_grpc(true).await);
    let found = checked(&sound, Some(&sound)).await;
    assert_eq!(found.that(Outcome::Failed), [], "{found:#?}");
    use CheckKind::{Batch, Determinism, Identity, Interface, Latency, Probes};
    for kind in [Identity, Interface, Probes, Determinism, Batch, Latency] {
        assert_eq!(found.of(kind).0, Outcome::Passed, "{found:#?}");
    }
    let found = checked(&of(serve_grpc(false).await), None).await;
    assert_eq!(found.of(Identity).0, Outcome::Failed, "{found:#?}");
}

#[tokio::test]
async fn a_backend_that_is_away_says_nothing_about_its_equals() {
    let folder = beside();
    let subject = at(&[nobody().await, Oip::default().start().await], Some("7"), Some(&folder));
    let found = checked(&subject, None).await;
    assert_eq!(found.that(Outcome::Failed), [], "{found:#?}");
    let (_, detail) = found.of(CheckKind::Identity);
    assert!(detail.starts_with("1 backends serve m/7"), "{detail}");
    assert!(detail.contains("; not asked: 127.0.0.1:"), "{detail}");
}

#[tokio::test]
async fn who_is_not_there_is_not_condemned() {
    let gone = at(&[nobody().await], Some("7"), None);
    let admission = admission(Limits::default());
    let error = admission.check(&gone, None, Steady(0)).await.expect_err("nobody is there");
    assert!(matches!(&error, CheckError::Candidate(why) if why.contains("127.0.0.1")), "{error}");
    let good = at(&[Oip::default().start().await], Some("7"), None);
    let error = admission.check(&good, Some(&gone), Steady(0)).await.expect_err("no champion");
    assert!(matches!(error, CheckError::Champion(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_and_one_that_fails_is_found() {
    let asked = Arc::new(AtomicU32::new(0));
    let (count, sound) = (Arc::clone(&asked), Oip::default());
    let busy = serve(Arc::new(move |method: &Method, path: &str, body: &serde_json::Value| {
        let first = path.ends_with("/infer") && count.fetch_add(1, Ordering::Relaxed) == 0;
        if first { (503, json!({"error": "busy"})) } else { sound.answer(method, path, body) }
    }));
    let found = checked(&at(&[busy.await], Some("7"), None), None).await;
    assert_eq!(found.that(Outcome::Failed), [], "{found:#?}");
    assert!(asked.load(Ordering::Relaxed) > 1);
    let fails = serve(Arc::new(|method: &Method, path: &str, body: &serde_json::Value| {
        if path.ends_with("/infer") {
            return (500, json!({"error": "out of memory"}));
        }
        Oip::default().answer(method, path, body)
    }));
    let folder = beside();
    let found = checked(&at(&[fails.await], Some("7"), Some(&folder)), None).await;
    let failed = found.that(Outcome::Failed);
    assert!(failed.contains(&CheckKind::Golden), "{found:#?}");
    let (_, detail) = found.of(CheckKind::Golden);
    assert!(detail.contains("it answers 500: out of memory"), "{detail}");
}
