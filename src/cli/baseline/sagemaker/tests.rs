use serde_json::json;

use super::*;
use crate::domain::stats::baseline::{Baseline, FORMAT};

fn empty() -> BaselineFile {
    BaselineFile {
        format: FORMAT,
        model: "m".to_owned(),
        version: "v".to_owned(),
        digest: None,
        n: 0,
        created: None,
        source: None,
        origin: Origin::Data,
        features: Vec::new(),
        outputs: Vec::new(),
        calibration: None,
        metrics: BTreeMap::new(),
        golden: None,
        latency_ms: BTreeMap::new(),
    }
}

fn bucket(from: f64, to: f64, count: f64) -> serde_json::Value {
    json!({"lower_bound": from, "upper_bound": to, "count": count})
}

/// Statistics in the form of the documentation of SageMaker Model Monitor.
fn statistics() -> serde_json::Value {
    json!({
        "version": 0.0,
        "dataset": {"item_count": 1000},
        "features": [
            {"name": "age", "inferred_type": "Integral", "numerical_statistics": {
                "common": {"num_present": 900, "num_missing": 100},
                "mean": 40.0, "sum": 36000.0, "std_dev": 10.0, "min": 18.0, "max": 78.0,
                "distribution": {"kll": {"buckets": [
                    bucket(18.0, 38.0, 300.0), bucket(38.0, 58.0, 500.0), bucket(58.0, 78.0, 100.0),
                ], "sketch": {"parameters": {"c": 0.64, "k": 2048.0}, "data": [[1.0]]}}},
            }},
            {"name": "country", "inferred_type": "String", "string_statistics": {
                "common": {"num_present": 1000, "num_missing": 0}, "distinct_count": 3.0,
                "distribution": {"categorical": {"buckets": [
                    {"value": "fr", "count": 200}, {"value": "de", "count": 700},
                ]}},
            }},
            {"name": "p", "inferred_type": "Fractional", "numerical_statistics": {
                "common": {"num_present": 1000, "num_missing": 0}, "min": 0.5, "max": 0.5,
                "distribution": {"kll": {"buckets": [bucket(0.5, 0.5, 1000.0), bucket(0.5, 0.5, 0.0)]}},
            }},
        ],
    })
}

#[test]
fn statistics_become_a_sound_baseline() {
    let mut file = empty();
    let constraints = json!({"version": 0.0, "features": [
        {"name": "country", "inferred_type": "String", "completeness": 1.0,
         "string_constraints": {"domains": ["de", "fr", "it"]}},
    ]});
    convert(
        statistics().to_string().as_bytes(),
        Some(constraints.to_string().as_bytes()),
        &["p".to_owned()],
        &mut file,
    )
    .expect("sound");
    assert_eq!((file.n, file.origin), (1000, Origin::SageMaker));
    let age = &file.features[0];
    assert_eq!(age.edges, [38.0, 58.0]);
    assert_eq!((age.n, age.missing), (Some(900), 0.1));
    assert_eq!(age.mass, [300.0 / 900.0, 500.0 / 900.0, 100.0 / 900.0]);
    let country = &file.features[1];
    assert_eq!(country.values, ["de", "fr", "it"]);
    assert_eq!((country.mass[0], country.mass[2]), (0.7, 0.0));
    assert!((country.other.expect("there") - 0.1).abs() < 1e-12);
    assert_eq!(file.outputs[0].name, "p");
    Baseline::try_from(file).expect("what was converted can be read");
}

#[test]
fn what_is_no_such_file_is_told() {
    let told = |json: serde_json::Value, outputs: &[String]| {
        convert(json.to_string().as_bytes(), None, outputs, &mut empty()).expect_err("refused")
    };
    assert!(told(json!({"features": 1}), &[]).contains("no statistics of SageMaker"));
    let bare = json!({"features": [{"name": "x", "inferred_type": "Unknown"}]});
    assert!(told(bare, &[]).contains("feature `x` has no `numerical_statistics`"));
    assert!(told(statistics(), &["y".to_owned()]).contains("no feature `y`"));
}
