use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::edge_lists;
use crate::domain::stats::baseline::{Baseline, BaselineError, BaselineFile};
use crate::domain::stats::layout::Role;

/// A sound file with one feature of each kind.
fn sound() -> Json {
    json!({
        "format": 1, "model": "risk", "version": "v1", "n": 200,
        "digest": format!("sha256:{}", "0a".repeat(32)),
        "features": [
            {"name": "age", "kind": "numeric", "edges": [20.0, 40.0], "mass": [0.25, 0.5, 0.25],
             "means": [15.0, 30.0, null], "min": 1.0, "max": 80.0, "missing": 0.5,
             "noise": {"chunk": 50, "psi_q50": 0.01, "psi_q999": 0.03}, "weight": 0.3},
            {"name": "country", "kind": "categorical", "values": ["de", "fr"], "mass": [0.7, 0.29],
             "other": 0.01},
            {"name": "flag", "kind": "boolean", "mass": [0.75, 0.25]},
        ],
        "outputs": [
            {"name": "p", "kind": "numeric", "point_masses": [0.0], "mass": [0.0, 0.4, 0.6]},
        ],
        "metrics": {"auc": {"value": 0.97, "se": 0.002, "n": 10000}},
        "calibration": {"method": "isotonic", "x": [0.0, 0.5], "y": [0.1, 0.9]},
    })
}

fn read(json: &Json) -> Result<Baseline, BaselineError> {
    Baseline::from_json(json.to_string().as_bytes())
}

/// The message for the sound file with one place changed.
fn refusal(pointer: &str, value: Json) -> String {
    let mut json = sound();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    match json.pointer_mut(parent) {
        Some(Json::Object(object)) => drop(object.insert(field.to_owned(), value)),
        Some(Json::Array(array)) => array[field.parse::<usize>().expect("an index")] = value,
        _ => panic!("{pointer} leads nowhere"),
    }
    read(&json).expect_err(pointer).to_string()
}

#[test]
fn a_sound_file_is_read_whole() {
    let baseline = read(&sound()).expect("sound");
    assert_eq!(baseline.digest, Some([0x0a; 32]));
    let age = baseline.reference(0).expect("age");
    assert_eq!((age.total(), age.counts()), (100.0, &[25.0, 50.0, 25.0][..]));
    let country = baseline.reference(1).expect("country");
    assert_eq!(country.counts().len(), 3);
    assert!((country.counts().iter().sum::<f64>() - 200.0).abs() < 1e-9);
    assert_eq!(baseline.layout().index_of(Role::Output, "p"), Some(3));
    assert_eq!(baseline.layout().index_of(Role::Input, "p"), None);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (pointer, value, wanted) in [
        ("/format", json!(2), "`format` is 2; this version reads 1"),
        ("/n", json!(0), "`n` is 0"),
        ("/digest", json!("md5:00"), "`digest` must be `sha256:` and 64 hexadecimal digits"),
        (
            "/features/0/edges",
            json!([40.0, 20.0]),
            "`features[0]` (\"age\"): `edges[1]` is 20 and follows 40; `edges` must ascend",
        ),
        (
            "/features/0/edges",
            json!([1.0]),
            "`mass` has 3 entries; with these edges or values there are 2",
        ),
        ("/features/0/mass", json!([0.5, 0.5, 0.5]), "add up to 1.5"),
        ("/features/0/mass/1", json!(-0.5), "`mass` is -0.5; it must be shares from 0 to 1"),
        ("/features/0/means", json!([1.0]), "`means` has 1 entries"),
        ("/features/0/max", json!(0.0), "`max` is 0; it must be finite and not below `min`"),
        ("/features/0/max", Json::Null, "`min` is 1; it must be there together with `max`"),
        ("/features/0/missing", json!(1.5), "`missing` is 1.5"),
        ("/features/0/noise/psi_q999", json!(0.001), "`noise.psi_q999` is 0.001"),
        ("/features/0/weight", json!(-1.0), "`weight` is -1"),
        ("/features/1/edges", json!([1.0]), "a categorical feature has no `edges`"),
        ("/features/1/values", json!(["de", "de"]), "`values` has \"de\" twice"),
        ("/features/2/values", json!(["x"]), "a boolean feature has no `values`"),
        ("/features/2/name", json!("age"), "two features are named \"age\""),
        ("/features/2/kind", json!("text"), "unknown variant `text`"),
        ("/features/2/masses", json!([1.0]), "unknown field `masses`"),
        ("/calibration/y", json!([0.9, 0.1]), "`calibration` must ascend"),
        ("/calibration/y", json!([0.1]), "has 2 scores and 1 probabilities"),
    ] {
        let message = refusal(pointer, value);
        assert!(message.contains(wanted), "{pointer}: {message}");
    }
    let neither = json!({"format": 1, "model": "m", "version": "v", "n": 1});
    assert!(read(&neither).expect_err("empty").to_string().contains("nothing to compare with"));
    let broken = Baseline::from_json(b"{\n\"format\": 1,,").expect_err("no JSON").to_string();
    assert!(broken.contains("line 2 column"), "{broken}");
}

#[test]
fn a_baseline_of_another_artifact_is_refused() {
    let baseline = read(&sound()).expect("sound");
    assert!(baseline.check_digest(&[0x0a; 32]).is_ok());
    let message = baseline.check_digest(&[0xff; 32]).expect_err("another").to_string();
    assert!(message.contains("sha256:0a0a") && message.contains("sha256:ffff"), "{message}");
}

#[test]
fn a_feature_that_the_model_lacks_is_named() {
    let baseline = read(&sound()).expect("sound");
    assert!(baseline.check_features(Role::Input, &["flag", "age", "country"]).is_ok());
    let message = baseline.check_features(Role::Input, &["age", "flag"]).expect_err("unknown");
    assert!(message.to_string().contains("input \"country\""), "{message}");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        edges in edge_lists(),
        point in -100_i16..100,
        weights in prop::collection::vec(1_u32..1000, 64),
    ) {
        prop_assume!(edges.len() <= 60);
        let point = f64::from(point) + 0.3;
        let bins = edges.len() + 3;
        let total: u32 = weights[..bins].iter().sum();
        let mass: Vec<f64> =
            weights[..bins].iter().map(|&w| f64::from(w) / f64::from(total)).collect();
        let mut json = sound();
        json["features"][0] = json!({
            "name": "x", "kind": "numeric", "edges": edges, "point_masses": [point], "mass": mass,
            "n": total,
        });
        let first = read(&json).expect("sound");
        let file = BaselineFile::from(&first);
        let text = serde_json::to_vec(&file).expect("finite numbers");
        let second = Baseline::from_json(&text).expect("sound");
        prop_assert_eq!(first.layout().hash(), second.layout().hash());
        for (ours, theirs) in first.references().iter().zip(second.references()) {
            prop_assert_eq!(&ours.means, &theirs.means);
            for (a, b) in ours.counts().iter().zip(theirs.counts()) {
                prop_assert!((a - b).abs() <= 1e-9 * a.abs());
            }
        }
    }
}
