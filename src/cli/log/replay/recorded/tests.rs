use super::*;
use crate::domain::ids::{Entropy, Generation};
use crate::domain::record::{DecisionRow, Flags, Latency, Omission, Protocol};

fn record<'a>() -> PredictionRecord<'a> {
    PredictionRecord {
        record_id: RecordId::from_bytes([7; 16]),
        kind: Kind::Inference,
        request_id: "r-1",
        trace_id: None,
        span_id: None,
        parent_record_id: None,
        ts_us: 1,
        decision: DecisionRow {
            route: "",
            protocol: Protocol::OpenInferenceRest,
            model: "iris",
            model_version: "v1",
            model_digest: None,
            backend: "local",
            reason: "only",
            generation: Generation(1),
            entropy: Entropy(1),
            attempt: 1,
        },
        method: "POST",
        path: "/v2/models/iris/infer",
        client: "127.0.0.1",
        request: Side {
            content_type: "application/json",
            content_encoding: "gzip",
            headers: vec![("x-tenant", "a"), ("host", "b"), ("x-pointsman-version", "v1")],
            body: Payload::Slice(b"{}"),
            bytes: 2,
            ..Side::EMPTY
        },
        response: Side { body: Payload::Slice(b"ok"), bytes: 2, ..Side::EMPTY },
        status: 200,
        outcome: Outcome::Ok,
        error_code: "",
        error_detail: "",
        latency: Latency::default(),
        sample_rate: 1.0,
        grpc_status: None,
        batch_size: None,
        durability: None,
        flags: Flags::default(),
        feedback_key: "",
        session: "",
    }
}

fn skip(change: impl FnOnce(&mut PredictionRecord<'_>)) -> &'static str {
    let mut record = record();
    change(&mut record);
    Recorded::new(&record, &Redirect::default()).unwrap().unwrap_err().0
}

#[test]
fn what_was_recorded_is_sent_with_its_headers_and_marked() {
    let recorded = Recorded::new(&record(), &Redirect::default()).unwrap().unwrap();
    assert_eq!((recorded.method.as_str(), recorded.uri.path()), ("POST", "/v2/models/iris/infer"));
    assert_eq!(&recorded.body[..], b"{}");
    let mut headers: Vec<_> = recorded
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    let id = RecordId::from_bytes([7; 16]).to_string();
    let wanted = [
        ("content-encoding", "gzip"),
        ("content-type", "application/json"),
        ("x-pointsman-replay", &id),
        ("x-request-id", "r-1"),
        ("x-tenant", "a"),
    ];
    assert_eq!(headers, wanted);
}

#[test]
fn only_whole_requests_of_clients_that_were_answered_are_sent_again() {
    assert_eq!(skip(|record| record.request.omission = Some(Omission::Size)), "size");
    assert_eq!(skip(|record| record.request.omission = Some(Omission::OptOut)), "opt_out");
    assert_eq!(skip(|record| record.request.redacted = 1), "redacted");
    assert_eq!(skip(|record| record.request.bytes = 3), "incomplete");
    assert_eq!(skip(|record| record.status = 0), "unanswered");
    assert_eq!(skip(|record| record.flags.replayed = true), "replayed");
    assert_eq!(skip(|record| record.method = "a b"), "unsendable");
    assert_eq!(skip(|record| record.path = "*"), "unsendable");
    let shadow = PredictionRecord { kind: Kind::Shadow, ..record() };
    assert!(Recorded::new(&shadow, &Redirect::default()).is_none());
}

#[test]
fn an_answer_that_was_not_kept_whole_is_known_by_its_hash() {
    let mut record = record();
    record.response.omission = Some(Omission::Policy);
    let body = |record: &PredictionRecord<'_>| {
        let recorded = Recorded::new(record, &Redirect::default()).unwrap().unwrap();
        format!("{:?}", recorded.answer().body)
    };
    assert_eq!(body(&record), "Digest { bytes: 2, hash: None }");
    record.response.hash = [1; 16];
    assert!(body(&record).contains("Some("));
}

#[test]
fn another_model_or_version_is_named_in_the_path_where_names_are() {
    let redirect = |model: &str, version: &str| {
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        Redirect { model: name(model), version: name(version) }
    };
    let path = |model: &str, version: &str, path: &str| redirect(model, version).path(path);
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(path("", "", "/any/%2e"), ok("/any/%2e"));
    assert_eq!(path("m 2", "", "/v2/models/a/infer"), ok("/v2/models/m%202/infer"));
    assert_eq!(
        path("m", "v2", "/v2/models/a/versions/v1/infer"),
        ok("/v2/models/m/versions/v2/infer")
    );
    assert_eq!(path("", "v2", "/v2/models/a/infer"), ok("/v2/models/a/infer"), "by header");
    assert_eq!(path("m", "", "/v1/models/a:predict"), ok("/v1/models/m:predict"));
    assert_eq!(path("m", "", "/score"), Err(Skip("no_model")));
    let recorded = Recorded::new(&record(), &redirect("", "v2")).unwrap().unwrap();
    assert_eq!(recorded.headers[VERSION_HEADER], "v2");
}
