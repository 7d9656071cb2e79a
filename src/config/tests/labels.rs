//! Labels of models: what each key sets, and every mistake where it stands.

use super::*;
use crate::domain::spec::{
    FieldSource, LabelPolicy, LabelTask, LabelsSpec, OutputRef, SliceSource,
};
use crate::domain::stats::detectors;

fn labels(text: &str) -> LabelsSpec {
    let loaded = load_text(&format!("{SMALL}{text}")).unwrap_or_else(|found| panic!("{found}"));
    let mut models = loaded.intent.models.into_values();
    models.next().and_then(|model| model.labels).expect("labels")
}

#[test]
fn every_key_of_labels_sets_its_field() {
    let found = labels(
        r#"
        [models.iris.labels]
        classes = ["no", "yes"]
        predicted = "label"
        probabilities = "/outputs/1/data"
        positive = "yes"
        threshold = 0.25
        metric = "verdict"
        source = "audit"
        policy = "first"
        slice = "session"
        slices = 3
        detector = "hddm_a"
        [log]
        session = "header:x-session"
        "#,
    );
    let LabelTask::Classes { names, predicted, probabilities, positive, threshold } = found.task
    else {
        panic!("{:?}", found.task)
    };
    assert_eq!(
        (names.as_slice(), positive, threshold),
        (["no", "yes"].map(str::to_owned).as_slice(), Some(1), 0.25)
    );
    assert_eq!(predicted, Some(OutputRef::Name("label".to_owned())));
    assert!(matches!(probabilities, Some(OutputRef::Pointer(_))));
    assert_eq!((found.metric.as_str(), found.source.as_deref()), ("verdict", Some("audit")));
    assert_eq!((found.policy, found.slices), (LabelPolicy::First, 3));
    assert_eq!((found.slice, found.detector), (Some(SliceSource::Session), detectors::Kind::HddmA));
}

#[test]
fn numbers_and_rewards_have_keys_of_their_own() {
    let number = labels("[models.iris.labels]\nvalue = \"price\"\nquantile = 0.9\ntolerance = 5");
    let output = OutputRef::Name("price".to_owned());
    let wanted = LabelTask::Value { output, quantile: Some(0.9), tolerance: Some(5.0) };
    assert_eq!((number.task, number.metric.as_str()), (wanted, "label"));
    let reward = labels(
        "[models.iris.labels]\nreward = true\npolicy = \"sum\"\nslice = \"header:x-a\"\n[log]\nheaders = [\"x-a\"]",
    );
    assert_eq!((reward.task, reward.policy), (LabelTask::Reward, LabelPolicy::Sum));
    let header = SliceSource::Field(FieldSource::Header("x-a".to_owned()));
    assert_eq!((reward.slice, reward.slices), (Some(header), 20));
}

/// Lines count from the first of `SMALL`; the header of the table is the fifth, and `C` stands for two classes.
const MISTAKES: &[(&str, &str)] = &[
    ("", "PM-C011@5:14"),
    ("classes = [\"a\"]", "PM-C018@6:11"),
    ("C\nvalue = \"x\"", "PM-C011@7:1"),
    ("C\npositive = \"c\"", "PM-C009@7:12"),
    ("C\nquantile = 0.5", "PM-C011@7:1"),
    ("C\npolicy = \"sum\"", "PM-C011@7:10"),
    ("C\npredicted = \"/~\"", "PM-C006@7:13"),
    ("C\nthreshold = 2", "PM-C007@7:13"),
    ("C\nthreshold = \"2\"", "PM-C004@7:13"),
    ("C\ndetector = \"kswin\"", "PM-C006@7:12"),
    ("C\nslice = \"header:x-a\"", "PM-C011@7:9"),
    ("C\nslice = \"session\"", "PM-C011@7:9"),
    ("C\nslice = \"client\"", "PM-C006@7:9"),
    ("reward = false", "PM-C011@6:10"),
    ("value = \"x\"\npositive = \"a\"", "PM-C011@7:1"),
    ("C\n[models.iris.log]\nbody = \"hash\"", "PM-C011@5:14"),
    ("C\n[models.iris.log]\ndurability = \"off\"", "PM-C011@5:14"),
];

#[test]
fn each_mistake_is_found_where_it_stands() {
    let mut wrong = Vec::new();
    for (body, wanted) in MISTAKES {
        let body = body.replace("C\n", "classes = [\"a\", \"b\"]\n");
        let text = format!("{SMALL}[models.iris.labels]\n{body}");
        let found = load_text(&text).map_or_else(|found| codes(&found), |_| Vec::new());
        if found != [*wanted] {
            wrong.push((body, *wanted, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
