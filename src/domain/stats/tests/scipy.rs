//! What scipy, numpy and scikit-learn say: `tests/data/stats/make_scipy.py`.

use serde_json::Value as Json;

use super::{is_close, numbers};
use crate::domain::stats::build::{Column, Numbers, Options};
use crate::domain::stats::chi2;
use crate::domain::stats::distance::{
    chi_squared, hellinger, jensen_shannon, kullback_leibler, l_infinity, shares, total_variation,
};
use crate::domain::stats::drift::report::false_discoveries;
use crate::domain::stats::interval::{Piles, transport};

fn file() -> Json {
    serde_json::from_str(include_str!("../../../../tests/data/stats/scipy.json")).expect("JSON")
}

fn list<'a>(file: &'a Json, field: &str) -> &'a [Json] {
    file[field].as_array().unwrap_or_else(|| panic!("no {field}"))
}

#[test]
fn central_tails_keep_their_relative_precision() {
    for row in list(&file(), "chi2_sf") {
        let [x, df, wanted] = numbers(row)[..] else { panic!("three numbers") };
        let value = chi2::survival(x, df);
        assert!(is_close(value, wanted, 1e-10), "Q({x}; {df}) is {value}, not {wanted}");
    }
}

#[test]
fn non_central_tails_keep_their_relative_precision() {
    let mut smallest = 1.0_f64;
    for row in list(&file(), "ncx2_sf") {
        let [x, df, noncentrality, wanted] = numbers(row)[..] else { panic!("four numbers") };
        let value = chi2::noncentral_survival(x, df, noncentrality);
        if wanted < 1e-290 {
            assert!(value < 1e-280, "Q({x}; {df}, {noncentrality}) is {value}, not {wanted}");
        } else {
            smallest = smallest.min(wanted);
            let is_met = is_close(value, wanted, 1e-8);
            assert!(is_met, "Q({x}; {df}, {noncentrality}) is {value}, not {wanted}");
        }
    }
    assert!(smallest < 1e-100, "the fixture has small tails");
}

#[test]
fn quantiles_undo_tails() {
    for df in [1.0, 9.0, 63.0] {
        for tail in [0.999, 0.5, 1e-3, 1e-12] {
            let x = chi2::upper_quantile(tail, df);
            assert!(is_close(chi2::survival(x, df), tail, 1e-9), "{df} {tail}");
        }
    }
}

#[test]
fn distances_are_those_of_scipy_and_scikit_learn() {
    for table in list(&file(), "tables") {
        let (p, q) = (numbers(&table["current"]), numbers(&table["reference"]));
        let pearson = chi_squared(&p, &q);
        let (ps, qs) = (shares(&p), shares(&q));
        for (field, value) in [
            ("chi2", pearson.statistic),
            ("p", pearson.p),
            ("js_base2", jensen_shannon(&ps, &qs)),
            ("hellinger", hellinger(&ps, &qs)),
            ("total_variation", total_variation(&ps, &qs)),
            ("l_infinity", l_infinity(&ps, &qs)),
            ("kl_qp", kullback_leibler(&ps, &qs)),
        ] {
            let wanted = table[field].as_f64().expect("a number");
            assert!(is_close(value, wanted, 1e-9), "{field}: {value} is not {wanted}");
        }
    }
}

#[test]
fn transports_are_those_of_scipy() {
    for pair in list(&file(), "transports") {
        let piles = |at: &str, shares: &str| {
            Piles::at(numbers(&pair[at]).into_iter().zip(numbers(&pair[shares])).collect())
        };
        let value = transport(&piles("at_p", "p"), &piles("at_q", "q"));
        let wanted = pair["w1"].as_f64().expect("a number");
        assert!(is_close(value, wanted, 1e-10), "{value} is not {wanted}");
    }
}

#[test]
fn false_discoveries_are_those_of_scipy() {
    let file = file();
    let case = &file["false_discovery"];
    let ps: Vec<Option<f64>> = numbers(&case["p"]).into_iter().map(Some).collect();
    let wanted: Vec<bool> =
        list(case, "rejected").iter().map(|r| r.as_bool().expect("a truth")).collect();
    assert_eq!(false_discoveries(&ps, 0.05), wanted);
    assert!(wanted.contains(&true) && wanted.contains(&false));
    // What was not tested is not counted as a test.
    let mut padded = ps.clone();
    padded.extend([None; 100]);
    assert_eq!(false_discoveries(&padded, 0.05)[..ps.len()], wanted);
}

#[test]
fn edges_are_the_quantiles_of_numpy() {
    for (name, column) in file()["columns"].as_object().expect("columns") {
        let values = numbers(&column["values"]);
        let mut numbers_column = Numbers::default();
        values.iter().for_each(|&x| numbers_column.push(Some(x)));
        let built = Column::Numbers(numbers_column).build(name, Options::default());
        let mut wanted = numbers(&column["edges"]);
        wanted.dedup();
        wanted.retain(|edge| {
            !built
                .point_masses
                .iter()
                .any(|point| edge == point || *edge as f32 == (*point as f32).next_up())
        });
        assert_eq!(built.edges, wanted, "{name}");
        for &value in &values {
            let count = values.iter().filter(|v| **v == value).count();
            let is_point = built.point_masses.contains(&value);
            assert_eq!(is_point, count * 60 > values.len(), "{name}: {value}, {count} times");
        }
        // scikit-learn merges equal edges as well, apart from the end that is the smallest value.
        let distinct = numbers(&column["distinct"]);
        assert!(
            distinct
                .iter()
                .all(|edge| { built.edges.contains(edge) || built.point_masses.contains(edge) })
        );
    }
}
