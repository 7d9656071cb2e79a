//! Every metric is scikit-learn's (`tests/data/stats/quality.json`, written by `quality_golden.py`), and what was added
//! can be taken back.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::domain::stats::confidence::Interval;

fn golden() -> Value {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stats/quality.json"));
    serde_json::from_str(text).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_str().expect("a text").parse().expect("a number")
}

fn class(value: &Value) -> u16 {
    value.as_u64().expect("a class").try_into().expect("a small number")
}

fn metric(metrics: &[Metric], name: &str) -> Metric {
    metrics.iter().find(|metric| metric.name == name).expect(name).clone()
}

/// What the counts alone decide is the same number; sums are rounded once, and scikit-learn's are near.
fn compare(case: &Value, metrics: &[Metric]) {
    let part = |name: &str| case[name].as_object().cloned().unwrap_or_default();
    for (name, wanted) in part("counts").iter().chain(&part("exact")) {
        let (found, wanted) = (metric(metrics, name).value, number(wanted));
        assert_eq!(found.to_bits(), wanted.to_bits(), "{name}: {found} is not {wanted}");
    }
    for (name, wanted) in &part("sums") {
        let (found, wanted) = (metric(metrics, name).value, number(wanted));
        assert!((found - wanted).abs() <= 4e-15 * wanted.abs(), "{name}: {found} is not {wanted}");
    }
    for (name, ends) in &part("intervals") {
        let (kind, interval) = metric(metrics, name).interval.expect("an interval");
        assert_eq!(kind, IntervalKind::AsymptoticSequence, "{name}");
        for (found, wanted) in [interval.lower, interval.upper].into_iter().zip([0, 1]) {
            let wanted = number(&ends[wanted]);
            assert!(
                (found - wanted).abs() <= 1e-9 * wanted.abs(),
                "{name}: {found} is not {wanted}"
            );
        }
    }
    for (name, wanted) in &part("areas") {
        let (_, interval) = metric(metrics, name).interval.expect("an interval");
        let wanted = number(wanted);
        assert!(interval.contains(wanted), "{name}: {wanted} is not in {interval:?}");
        assert!(interval.upper - interval.lower < 0.02, "{name}: {interval:?} is wide");
    }
}

#[test]
fn yes_or_no_is_measured_as_scikit_learn_does() {
    for case in golden()["binary"].as_array().expect("cases") {
        let measure = Measure::Classes { classes: 2, positive: Some(1) };
        let mut quality = Quality::new(&measure);
        for row in case["rows"].as_array().expect("rows") {
            let score = number(&row[2]);
            let probabilities = [1.0 - score, score];
            let (truth, predicted) = (class(&row[0]), class(&row[1]));
            let probabilities = Some(probabilities.as_slice());
            quality.add(&measure, &Scored::Class { truth, predicted, probabilities }).expect("one");
        }
        compare(case, &quality.metrics(&measure, 0.05));
    }
}

#[test]
fn classes_are_measured_as_scikit_learn_does() {
    for case in golden()["classes"].as_array().expect("cases") {
        let measure = Measure::Classes { classes: class(&case["classes"]), positive: None };
        let mut quality = Quality::new(&measure);
        for row in case["rows"].as_array().expect("rows") {
            let all: Vec<f64> = row[2].as_array().expect("a list").iter().map(number).collect();
            let (truth, predicted) = (class(&row[0]), class(&row[1]));
            let probabilities = Some(all.as_slice());
            quality.add(&measure, &Scored::Class { truth, predicted, probabilities }).expect("one");
        }
        compare(case, &quality.metrics(&measure, 0.05));
    }
}

#[test]
fn numbers_are_measured_as_scikit_learn_does() {
    for case in golden()["values"].as_array().expect("cases") {
        let measure = Measure::Values {
            quantile: case["quantile"].as_f64(),
            tolerance: case["tolerance"].as_f64(),
        };
        let mut quality = Quality::new(&measure);
        for row in case["rows"].as_array().expect("rows") {
            let (truth, predicted) = (number(&row[0]), number(&row[1]));
            quality.add(&measure, &Scored::Value { truth, predicted }).expect("one");
        }
        compare(case, &quality.metrics(&measure, 0.05));
    }
}

/// The rows of the anchor values in `small.json`.
#[test]
fn ten_rows_have_the_golden_scores() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stats/small.json"));
    let golden: Value = serde_json::from_str(text).expect("JSON");
    let golden = &golden["scores"];
    let measure = Measure::Classes { classes: 2, positive: Some(1) };
    let mut quality = Quality::new(&measure);
    let (truths, scores) = (golden["y"].as_array(), golden["s"].as_array());
    for (truth, score) in truths.expect("a list").iter().zip(scores.expect("a list")) {
        let score = score.as_f64().expect("a score");
        let (truth, predicted) = (class(truth), u16::from(score >= 0.5));
        let probabilities = [1.0 - score, score];
        let probabilities = Some(probabilities.as_slice());
        quality.add(&measure, &Scored::Class { truth, predicted, probabilities }).expect("one");
    }
    let metrics = quality.metrics(&measure, 0.05);
    for (name, key) in [("log_loss", "logloss"), ("brier", "brier"), ("auc", "auc")] {
        let (found, wanted) =
            (metric(&metrics, name).value, golden[key].as_f64().expect("a number"));
        // No two of the ten share a bin, so that even the area is exact.
        assert!((found - wanted).abs() < 1e-15, "{name}: {found} is not {wanted}");
    }
}

#[test]
fn what_cannot_be_scored_is_refused_and_leaves_no_trace() {
    let classes = Measure::Classes { classes: 2, positive: Some(1) };
    let values = Measure::Values { quantile: None, tolerance: None };
    let class = |truth, predicted, probabilities| Scored::Class { truth, predicted, probabilities };
    let cases = [
        (&classes, class(2, 0, None), Unscorable::Class),
        (&classes, class(0, 2, None), Unscorable::Class),
        (&classes, class(0, 0, Some([0.5].as_slice())), Unscorable::Probabilities),
        (&classes, class(0, 0, Some(&[0.5, 1.5])), Unscorable::Probabilities),
        (&classes, class(0, 0, Some(&[0.5, f64::NAN])), Unscorable::Probabilities),
        (&classes, Scored::Reward(1.0), Unscorable::Kind),
        (&values, Scored::Value { truth: f64::NAN, predicted: 0.0 }, Unscorable::Number),
        (&values, Scored::Value { truth: 0.0, predicted: 1e100 }, Unscorable::Number),
        (&Measure::Rewards, Scored::Reward(f64::INFINITY), Unscorable::Number),
    ];
    for (measure, scored, wanted) in cases {
        let mut quality = Quality::new(measure);
        assert_eq!(quality.add(measure, &scored), Err(wanted));
        assert_eq!(quality.retract(measure, &scored), Err(wanted));
        assert_eq!(quality, Quality::new(measure));
        assert!(quality.metrics(measure, 0.05).is_empty(), "nothing seen, nothing said");
    }
    let mut quality = Quality::new(&classes);
    assert_eq!(quality.merge(&Quality::new(&values)), Err(Unlike));
}

/// A row for any of the kinds.
#[derive(Debug, Clone)]
struct Row {
    truth: u16,
    predicted: u16,
    probabilities: Vec<f64>,
    values: (f64, f64),
}

impl Row {
    fn scored(&self, measure: &Measure) -> Scored<'_> {
        match measure {
            Measure::Classes { .. } => Scored::Class {
                truth: self.truth,
                predicted: self.predicted,
                probabilities: Some(&self.probabilities),
            },
            Measure::Values { .. } => {
                Scored::Value { truth: self.values.0, predicted: self.values.1 }
            }
            Measure::Rewards => Scored::Reward(self.values.0),
        }
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let probabilities = prop::collection::vec(0f64..=1.0, 3);
    let value = || (-1f64..1.0, -60i32..60).prop_map(|(x, power)| x * 2f64.powi(power));
    let row = (0u16..3, 0u16..3, probabilities, (value(), value())).prop_map(
        |(truth, predicted, probabilities, values)| Row { truth, predicted, probabilities, values },
    );
    prop::collection::vec(row, 0..30)
}

fn measures() -> impl Strategy<Value = Measure> {
    prop_oneof![
        Just(Measure::Classes { classes: 3, positive: None }),
        Just(Measure::Classes { classes: 3, positive: Some(1) }),
        Just(Measure::Values { quantile: Some(0.3), tolerance: Some(0.5) }),
        Just(Measure::Rewards),
    ]
}

fn counted(measure: &Measure, rows: &[Row]) -> Quality {
    let mut quality = Quality::new(measure);
    rows.iter().for_each(|row| quality.add(measure, &row.scored(measure)).expect("a row"));
    quality
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn adding_and_taking_back_is_nothing(measure in measures(), kept in rows(), taken in rows()) {
        let mut quality = counted(&measure, &kept);
        for row in &taken {
            quality.add(&measure, &row.scored(&measure)).expect("a row");
        }
        for row in taken.iter().rev() {
            quality.retract(&measure, &row.scored(&measure)).expect("a row");
        }
        let wanted = counted(&measure, &kept);
        prop_assert_eq!(&quality, &wanted);
        prop_assert_eq!(quality.metrics(&measure, 0.05), wanted.metrics(&measure, 0.05));
    }

    #[test]
    fn order_and_windows_do_not_count(
        measure in measures(),
        rows in rows(),
        cuts in (0usize..30, 0usize..30),
        turn in 0usize..30,
    ) {
        let whole = counted(&measure, &rows);
        let (first, second) = (cuts.0.min(rows.len()), cuts.1.min(rows.len()));
        let (a, b) = (first.min(second), first.max(second));
        let mut merged = counted(&measure, &rows[b..]);
        merged.merge(&counted(&measure, &rows[..a])).expect("one kind");
        merged.merge(&counted(&measure, &rows[a..b])).expect("one kind");
        prop_assert_eq!(&merged, &whole);
        let mut turned = rows.clone();
        turned.rotate_left(turn.min(rows.len()));
        turned.reverse();
        prop_assert_eq!(counted(&measure, &turned).metrics(&measure, 0.1), whole.metrics(&measure, 0.1));
    }

    /// The areas of the very scores, ties and all, lie within the intervals.
    #[test]
    fn the_exact_areas_lie_within_their_intervals(
        rows in prop::collection::vec((any::<bool>(), prop_oneof![0f64..=1.0, Just(0.0), Just(0.5), Just(1.0), 0.5f64..0.501]), 1..60),
    ) {
        let mut ranking = Ranking::default();
        rows.iter().for_each(|(positive, score)| ranking.step(*score, *positive, Step::Add));
        let of = |wanted: bool| rows.iter().filter(move |row| row.0 == wanted).map(|row| row.1);
        let (positives, negatives) = (of(true).count() as f64, of(false).count() as f64);
        let wins: f64 = of(true)
            .flat_map(|p| of(false).map(move |n| if p > n { 1.0 } else if p < n { 0.0 } else { 0.5 }))
            .sum();
        match ranking.auc() {
            None => prop_assert!(positives == 0.0 || negatives == 0.0),
            Some(interval) => prop_assert!(interval.contains(wins / (positives * negatives))),
        }
        // The average precision over the distinct scores, from the highest down.
        let mut thresholds: Vec<f64> = rows.iter().map(|row| row.1).collect();
        thresholds.sort_by(|a, b| b.total_cmp(a));
        thresholds.dedup();
        let (mut area, mut before) = (0.0, 0.0);
        for threshold in thresholds {
            let above = |wanted| of(wanted).filter(|score| *score >= threshold).count() as f64;
            let (trues, falses) = (above(true), above(false));
            area += (trues - before) / positives * (trues / (trues + falses));
            before = trues;
        }
        if let Some(interval) = ranking.pr_auc() {
            let wide = Interval { lower: interval.lower - 1e-12, upper: interval.upper + 1e-12 };
            prop_assert!(wide.contains(area), "{area} is not in {interval:?}");
        }
    }
}
