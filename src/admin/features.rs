//! Features and outputs against their baseline, over the admin API.
//!
//! Owns how they are shown: every distance with its definition, the bins it is computed on, and the counts
//! on both sides. Measures with the yardstick that drift is judged by; judges nothing.
//!
//! | path below `/api/v1/models/{model}/versions/{version}` | answer |
//! |---|---|
//! | `/features?last=hour` | a row for each feature and output |
//! | `/features/{feature}?last=hour` | one of them: its histogram beside the baseline's, and all distances |

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Admin;
use super::monitor::{Answer, Refused, span_of, unknown};
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::counts::{Counts, FeatureCounts};
use crate::domain::stats::distance::{
    CHI_SQUARED_DEFINITION, HELLINGER_DEFINITION, JENSEN_SHANNON_DEFINITION, L_INFINITY_DEFINITION,
    PSI_DEFINITION,
};
use crate::domain::stats::drift::yardstick::{Measured, Yardstick};
use crate::domain::stats::interval::{
    Interval, KOLMOGOROV_SMIRNOV_DEFINITION, WASSERSTEIN_DEFINITION,
};
use crate::domain::stats::layout::{Feature, FeatureKind, Guard};
use crate::monitor::{Standing, VersionKey};

/// What may be asked of features.
#[derive(Debug, Deserialize)]
pub(super) struct FeaturesQuery {
    last: Option<String>,
}

/// A version's values and what they are held against.
struct Held {
    /// The margin that is configured.
    margin: f64,
    baseline: Arc<Baseline>,
    /// `None` where nothing was counted by this baseline.
    counts: Option<Counts>,
}

/// `GET /api/v1/models/{model}/versions/{version}/features`
pub(super) async fn table(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
    Query(query): Query<FeaturesQuery>,
) -> Answer {
    let key = admin.known(&model, &version)?;
    let (mut head, held) = admin.held(&key, query.last.as_deref())?;
    let rows: Vec<Value> = held.iter().flat_map(rows).collect();
    head.insert("features".to_owned(), rows.into());
    Ok(Json(head.into()))
}

fn rows(held: &Held) -> Vec<Value> {
    let features = held.baseline.layout().features();
    let row = |(index, feature): (usize, &Feature)| {
        let mut row = named(feature);
        if let Some((measured, counts, _)) = held.measure(index) {
            row["n"] = measured.n.into();
            row["m"] = measured.m.into();
            // Nothing is as far from anything as one likes.
            let known = |value: f64| (measured.n > 0).then_some(value);
            row["psi"] = known(measured.psi).into();
            row["jensen_shannon"] = known(measured.jensen_shannon).into();
            row["p"] = measured.p.into();
            row["mean"] = counts.mean().into();
            row["guards"] = guards(&measured);
            row["unknown"] = measured.unknown.into();
        }
        row
    };
    features.iter().enumerate().map(row).collect()
}

/// `GET /api/v1/models/{model}/versions/{version}/features/{feature}`
pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Path((model, version, feature)): Path<(String, String, String)>,
    Query(query): Query<FeaturesQuery>,
) -> Answer {
    let key = admin.known(&model, &version)?;
    let (mut head, held) = admin.held(&key, query.last.as_deref())?;
    let missing = || unknown(&format!("feature `{}` in the baseline", feature.escape_debug()));
    let held = held.ok_or_else(missing)?;
    let features = held.baseline.layout().features();
    let index = features.iter().position(|it| it.name() == feature).ok_or_else(missing)?;
    let feature = features.get(index).ok_or_else(missing)?;
    let (Value::Object(name), Some(reference)) = (named(feature), held.baseline.reference(index))
    else {
        return Err(missing());
    };
    head.extend(name);
    let mut baseline = json!({
        "counts": reference.counts(),
        "total": reference.total(),
        "range": reference.range,
        "guards": { "missing": reference.missing, "nan": reference.nan, "infinite": reference.infinite },
        "weight": reference.weight,
    });
    if let FeatureKind::Numeric(edges) = feature.kind() {
        baseline["means"] = json!(reference.means);
        head.insert("edges".to_owned(), json!(edges.cuts()));
        head.insert("point_masses".to_owned(), json!(edges.point_masses()));
    } else {
        head.insert("values".to_owned(), json!(values(feature)));
    }
    head.insert("baseline".to_owned(), baseline);
    if let Some((measured, counts, yardstick)) = held.measure(index) {
        head.insert("counts".to_owned(), json!(counts.bins()));
        head.insert("sums".to_owned(), json!(counts.sums()));
        head.insert("seen".to_owned(), counts.seen().into());
        head.insert("mean".to_owned(), counts.mean().into());
        head.insert("guards".to_owned(), guards(&measured));
        head.insert("distances".to_owned(), distances(&measured, &yardstick));
    }
    Ok(Json(head.into()))
}

impl Admin {
    /// What is said of a version and its baseline, and its values where there is one.
    fn held(
        &self,
        key: &VersionKey,
        last: Option<&str>,
    ) -> Result<(Map<String, Value>, Option<Held>), Refused> {
        let span = span_of(last.unwrap_or("hour"))?;
        let (counts, minutes) = span.counts(&self.monitor, key);
        let standing = self.monitor.standing(key);
        let mut head = Map::new();
        head.insert("model".to_owned(), key.model.as_str().into());
        head.insert("version".to_owned(), key.version.as_str().into());
        head.insert("last".to_owned(), span.name.into());
        head.insert("minutes".to_owned(), minutes.into());
        head.insert("share_seen".to_owned(), counts.traffic.share_seen().into());
        head.insert("baseline_state".to_owned(), standing_of(standing.as_ref()));
        let held = standing.as_ref().and_then(Standing::baseline).map(|baseline| Held {
            margin: self.references.margin(),
            counts: counts.values_by(baseline.layout().hash()).cloned(),
            baseline: Arc::clone(baseline),
        });
        Ok((head, held))
    }
}

impl Held {
    /// Measures one feature over the whole span.
    fn measure(&self, index: usize) -> Option<(Measured, &FeatureCounts, Yardstick)> {
        let feature = self.baseline.layout().features().get(index)?;
        let reference = self.baseline.reference(index)?;
        let counts = self.counts.as_ref()?.feature(index)?;
        let yardstick = Yardstick::new(feature, reference, self.margin);
        Some((yardstick.measure(counts), counts, yardstick))
    }
}

/// How a version stands with its baseline.
pub(super) fn standing_of(standing: Option<&Standing>) -> Value {
    let Some(standing) = standing else { return json!({ "state": "absent" }) };
    let mut shown = json!({ "state": standing.as_str() });
    match standing {
        Standing::Ready { baseline, of } => {
            shown["rows"] = baseline.rows.into();
            shown["created"] = baseline.created.clone().into();
            shown["source"] = baseline.source.clone().into();
            shown["origin"] = baseline.origin.as_str().into();
            shown["of"] = of.as_ref().map(ToString::to_string).into();
        }
        Standing::Learning { rows, wanted } => {
            shown["rows"] = (*rows).into();
            shown["wanted"] = (*wanted).into();
        }
        Standing::Absent => {}
        Standing::Refused { reason } => shown["reason"] = reason.as_str().into(),
    }
    shown
}

fn named(feature: &Feature) -> Value {
    json!({
        "name": feature.name(),
        "role": feature.role().as_str(),
        "kind": feature.kind().as_str(),
    })
}

fn values(feature: &Feature) -> Vec<&str> {
    match feature.kind() {
        FeatureKind::Categorical(categories) => {
            let values = categories.values().iter().map(AsRef::as_ref);
            values.chain(["(other)"]).collect()
        }
        FeatureKind::Boolean => vec!["false", "true", "(other)"],
        FeatureKind::Numeric(_) => Vec::new(),
    }
}

fn guards(measured: &Measured) -> Value {
    let guards = Guard::ALL.iter().zip(measured.guards);
    guards
        .map(|(guard, share)| (guard.as_str().to_owned(), json!(share)))
        .collect::<Map<_, _>>()
        .into()
}

/// Every distance, with what it means and rests on.
fn distances(measured: &Measured, yardstick: &Yardstick) -> Value {
    let (n, m) = (measured.n, measured.m);
    let distance = |definition: &str, bins: usize, value: Value| json!({ "definition": definition, "bins": bins, "n": n, "m": m, "value": value });
    let interval = |interval: Option<Interval>| -> Value {
        interval.map(|it| json!({ "lower": it.lower, "upper": it.upper })).into()
    };
    let (groups, bins) = (measured.groups, measured.bins);
    let chi = &measured.chi_squared;
    // Nothing is as far from anything as one likes.
    let known = |value: f64| -> Value { (n > 0).then_some(value).into() };
    let mut chi_squared = distance(CHI_SQUARED_DEFINITION, groups, known(chi.statistic));
    chi_squared["df"] = known(chi.df);
    chi_squared["p"] = known(chi.p);
    json!({
        "psi": distance(PSI_DEFINITION, groups, known(measured.psi)),
        "jensen_shannon": distance(JENSEN_SHANNON_DEFINITION, groups, known(measured.jensen_shannon)),
        "hellinger": distance(HELLINGER_DEFINITION, groups, known(measured.hellinger)),
        "l_infinity": distance(L_INFINITY_DEFINITION, bins, known(measured.l_infinity)),
        "chi_squared": chi_squared,
        "kolmogorov_smirnov": distance(
            KOLMOGOROV_SMIRNOV_DEFINITION, bins, interval(measured.kolmogorov_smirnov),
        ),
        "wasserstein": distance(WASSERSTEIN_DEFINITION, bins, interval(measured.wasserstein)),
        "margin_test": {
            "definition": "P(chi2(bins - 1, N margin) > N psi) with N = n m / (n + m) / dispersion",
            "margin": yardstick.margin(measured.n),
            "dispersion": yardstick.dispersion(),
            "p": measured.p,
        },
    })
}
