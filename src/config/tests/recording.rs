//! The prediction log, its levels, sinks and feedback.

use std::time::Duration;

use super::*;
use crate::domain::ids::Permille;
use crate::domain::spec::{
    BodyPolicy, Durability, FeedbackSpec, FieldSource, JsonPointer, LogSpec, ParquetSpec,
    Recording, RedactionKind, Secret, SinkSpec, SinkTarget, WhenFull,
};

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;

fn intent(text: &str) -> Intent {
    load_text(&format!("{SMALL}{text}")).unwrap_or_else(|found| panic!("{found}")).intent
}

fn warned(text: &str) -> Vec<String> {
    let bench = Bench::new();
    bench.write("main.toml", format!("{SMALL}{text}"));
    let loaded = bench.load(Checks::Full).unwrap_or_else(|found| panic!("{found}"));
    codes(&Diagnostics::from(loaded.warnings))
}

fn pointer(text: &str) -> JsonPointer {
    JsonPointer::parse(text).expect("a pointer")
}

/// The rules as `kind pointer`.
fn rules(recording: &Recording) -> Vec<String> {
    let rule = |rule: &crate::domain::spec::RedactRule| {
        let kind = match rule.kind {
            RedactionKind::Drop => "drop",
            RedactionKind::Mask => "mask",
            RedactionKind::Hash => "hash",
        };
        format!("{kind} {}", rule.pointer)
    };
    recording.redact.rules.iter().map(rule).collect()
}

#[test]
fn every_key_of_log_sets_its_field() {
    let log = intent(
        r#"
        [log]
        durability = "sync"
        body = "head"
        body_limit = "3KiB"
        head = "2KiB"
        headers = ["X-Tenant"]
        opt_out = true
        sample = 0.0001
        feedback_key = "header:X-Order"
        session = "response:/session/0"
        redact = { drop = ["/a/*"], mask = ["/b"], hash = ["/c"], key = "${env:KEY}" }
        queue = "2MiB"
        block = "1s"
        when_full = "drop"
        segment = "3MiB"
        segment_age = "2m"
        flush = "7ms"
        commit_interval = "8ms"
        sync_interval = "9ms"
        retain = "1GB"
        retain_age = "30d"
        free = 0.1
        parquet = { enabled = false, cpu = "50%", file = "4MiB", level = 19 }
        "#,
    )
    .log;
    assert_eq!(rules(&log.recording), ["drop /a/*", "mask /b", "hash /c"]);
    let key = log.recording.redact.key.as_ref().map(Secret::expose);
    assert_eq!(key, Some("hunter2 has sixteen bytes and more"));
    let ms = Duration::from_millis;
    let expected = LogSpec {
        recording: Recording {
            durability: Durability::Sync,
            body: BodyPolicy::Head,
            body_limit: 3 * KIB,
            head: 2 * KIB,
            headers: vec!["x-tenant".to_owned()],
            opt_out: true,
            redact: log.recording.redact.clone(),
            sample: 0.0001,
            feedback_key: Some(FieldSource::Header("x-order".to_owned())),
            session: Some(FieldSource::Response(pointer("/session/0"))),
        },
        queue: 2048 * KIB,
        block: ms(1000),
        when_full: Some(WhenFull::Drop),
        segment: 3 * MIB,
        segment_age: ms(120_000),
        flush: ms(7),
        commit_interval: ms(8),
        sync_interval: ms(9),
        retain: 1_000_000_000,
        retain_age: Some(ms(30 * 86_400_000)),
        free: Permille::saturating(100),
        parquet: ParquetSpec {
            enabled: false,
            cpu: Permille::saturating(500),
            file: 4 * MIB,
            level: 19,
        },
    };
    assert_eq!(log, expected);
    assert!(!format!("{log:?}").contains("hunter2"));
}

#[test]
fn every_key_of_a_sink_sets_its_field() {
    let text = r#"
        [sinks.hub]
        http = "http://hub:8080/events"
        required = true
        batch = 7
        batch_bytes = "2KiB"
        linger = "3ms"
        timeout = "4ms"
        backoff = "5ms"
        authorization = "Bearer ${env:SECRET}"
        [sinks.plain]
        http = "http://hub/"
        "#;
    let sinks = intent(text).sinks;
    let ms = Duration::from_millis;
    let expected = SinkSpec {
        target: SinkTarget::Http {
            url: "http://hub:8080/events".to_owned(),
            authorization: Some(Secret::new("Bearer hunter2")),
        },
        required: true,
        batch: 7,
        batch_bytes: 2 * KIB,
        linger: ms(3),
        timeout: ms(4),
        backoff: ms(5),
    };
    assert_eq!(sinks["hub"], expected);
    assert!(!format!("{sinks:?}").contains("hunter2"));
    let plain = &sinks["plain"];
    assert_eq!((plain.required, plain.batch, plain.linger), (false, 100, ms(1000)));
}

#[cfg(feature = "sink-s3")]
#[test]
fn every_key_of_a_bucket_sets_its_field() {
    let text = r#"
        [sinks.lake]
        s3 = "predictions/edge-1"
        endpoint = "http://s3:8333"
        region = "eu-central-1"
        access_key_id = "${env:SECRET}"
        secret_access_key = "${env:KEY}"
        [sinks.aws]
        s3 = "predictions"
        "#;
    let sinks = intent(text).sinks;
    let expected = SinkTarget::S3 {
        bucket: "predictions".to_owned(),
        prefix: "edge-1".to_owned(),
        endpoint: Some("http://s3:8333".to_owned()),
        region: "eu-central-1".to_owned(),
        access_key_id: Some(Secret::new("hunter2")),
        secret_access_key: Some(Secret::new("hunter2 has sixteen bytes and more")),
    };
    assert_eq!(sinks["lake"].target, expected);
    assert_eq!(sinks["lake"].batch, 50_000);
    assert!(matches!(&sinks["aws"].target,
        SinkTarget::S3 { endpoint: None, region, access_key_id: None, .. } if region == "us-east-1"));
}

#[cfg(not(feature = "sink-s3"))]
#[test]
fn a_build_without_buckets_says_so() {
    let found = load_text(&format!("{SMALL}[sinks.lake]\ns3 = \"predictions\"\n"));
    let found = found.expect_err("not in this build");
    assert_eq!(codes(&found), ["PM-C021@6:6"], "{found}");
}

#[test]
fn every_key_of_feedback_sets_its_field() {
    let feedback = intent("[feedback]\nwindow = \"2d\"\nindex = 5\nbody = \"1MiB\"\n").feedback;
    let window = Duration::from_secs(2 * 86_400);
    assert_eq!(feedback, FeedbackSpec { window, index: 5, body: MIB, ..FeedbackSpec::default() });
}

#[test]
fn a_route_overrides_its_model_and_that_overrides_the_log() {
    let intent = intent(
        r#"
        [log]
        durability = "os"
        body_limit = "1KiB"
        headers = ["a"]
        sample = "50%"
        redact = { mask = ["/a"], hash = ["/b"], key = "${env:KEY}" }
        [models.iris.log]
        durability = "sync"
        body = "head"
        redact = { drop = ["/a", "/c"] }
        [routes.own.log]
        body = "full"
        head = "9B"
        headers = []
        opt_out = true
        sample = 1.0
        session = "request:/s"
        feedback_key = "request:/f"
        redact.hash = ["/d"]
        [routes.own]
        path = "/own"
        model = "iris"
        [routes.same]
        path = "/same"
        model = "iris"
        version = "v1"
        [routes.pool]
        pool = "p"
        log.durability = "off"
        [pools.p]
        backends = ["http://a:1"]
        "#,
    );
    let (log, model) = (&intent.log.recording, &intent.models["iris"].recording);
    assert_eq!(log.durability, Durability::Os);
    assert_eq!(
        (model.durability, model.body, model.sample),
        (Durability::Sync, BodyPolicy::Head, 0.5)
    );
    assert_eq!((model.body_limit, &model.headers), (KIB, &vec!["a".to_owned()]));
    assert_eq!(rules(model), ["mask /a", "hash /b", "drop /a", "drop /c"], "none is taken away");
    assert_eq!(model.redact.key, log.redact.key);
    assert_eq!(&intent.routes["same"].recording, model);
    let own = &intent.routes["own"].recording;
    assert_eq!((own.durability, own.body, own.head), (Durability::Sync, BodyPolicy::Full, 9));
    assert_eq!((own.headers.len(), own.opt_out, own.sample), (0, true, 1.0));
    assert_eq!(own.session, Some(FieldSource::Request(pointer("/s"))));
    assert_eq!(own.feedback_key, Some(FieldSource::Request(pointer("/f"))));
    assert_eq!(rules(own).last().map(String::as_str), Some("hash /d"));
    let pool = &intent.routes["pool"].recording;
    assert_eq!((pool.durability, pool.body, rules(pool)), (Durability::Off, log.body, rules(log)));
}

#[test]
fn something_is_recorded_when_any_level_says_so() {
    let off = "[log]\ndurability = \"off\"\n";
    assert!(intent("").records());
    assert!(!intent(off).records());
    assert!(intent(&format!("{off}[models.iris.log]\ndurability = \"os\"\n")).records());
    let route = "[routes.r]\nmodel = \"iris\"\nlog.durability = \"async\"\n";
    assert!(intent(&format!("{off}{route}")).records());
}

#[test]
fn recordings_that_will_hardly_work_as_meant_are_warned_of() {
    let redact = "redact = { mask = [\"/a\"] }";
    let hash = "redact = { hash = [\"/a\"], key = \"${env:KEY}\" }";
    let full = "[models.iris.log]\nbody = \"full\"\n";
    for (text, expected) in [
        ("[log]\nsample = \"1%\"\n".to_owned(), vec![]),
        ("[log]\nsample = \"1%\"\n[feedback]\n".to_owned(), vec!["PM-C020@6:10"]),
        ("[log]\nsample = 0.5\nfeedback_key = \"header:x\"\n[feedback]\n".to_owned(), vec![]),
        (format!("[log]\nbody = \"hash\"\n{redact}\n"), vec!["PM-C019@7:1"]),
        (format!("[log]\nbody = \"hash\"\n{redact}\n{full}"), vec![]),
        (format!("[models.iris.log]\nbody = \"none\"\n{redact}\n"), vec!["PM-C019@7:1"]),
        (format!("[log]\n{redact}\nsession = \"request:/a/b\"\n"), vec!["PM-C020@7:11"]),
        (format!("[log]\n{redact}\nsession = \"request:/b\"\n"), vec![]),
        (format!("[log]\n{redact}\nfeedback_key = \"request:/b\"\n"), vec![]),
        (format!("[log]\n{hash}\nsession = \"request:/a\"\n"), vec![]),
        (format!("[log]\n{hash}\nfeedback_key = \"request:/a\"\n"), vec!["PM-C020@7:16"]),
        ("[log]\nfeedback_key = \"header:Cookie\"\n".to_owned(), vec!["PM-C020@6:16"]),
        ("[models.iris.log]\nbody_limit = \"64MiB\"\n".to_owned(), vec!["PM-C020@6:14"]),
        ("[log]\ndurability = \"off\"\n[feedback]\n".to_owned(), vec!["PM-C019@7:2"]),
        (
            "[log]\ndurability = \"off\"\n[sinks.s]\nhttp = \"http://a/\"\n".to_owned(),
            vec!["PM-C019@7:2"],
        ),
    ] {
        assert_eq!(warned(&text), expected, "{text}");
    }
}

#[test]
fn a_secret_that_stands_in_the_file_is_not_shown() {
    for text in [
        "[log]\nredact = { hash = [\"a\"], key = \"hunter2 in the file itself\" }",
        "[log]\nredact = { hash = [\"/a\"], key = \"${env:UNSET:-hunter2}\" }",
        "[sinks.s]\nhttp = \"http://a/\"\nauthorization = \"hunter2\"",
        "[log]\nkey = 'hunter2'",
    ] {
        let found = load_text(&format!("{SMALL}{text}")).expect_err("a mistake");
        let shown = format!("{}{}{found:?}", found.render_human(false), found.render_json());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn offline_a_secret_file_is_a_secret() {
    let bench = Bench::new();
    let redact = "redact = { hash = [\"/a\"], key = \"${file:gone}\" }";
    bench.write("main.toml", format!("{SMALL}[log]\n{redact}\n"));
    let loaded = bench.load(Checks::Offline).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(loaded.warnings, []);
    assert!(bench.load(Checks::Full).is_err());
}
