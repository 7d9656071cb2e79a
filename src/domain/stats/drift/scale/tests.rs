//! Which factors are seen and when, and what is none.

use std::sync::Arc;

use proptest::prelude::*;

use super::watch::{Part, Scaled, Terms, Watch};
use super::*;
use crate::domain::stats::baseline::{Baseline, BaselineFile, KindWord};
use crate::domain::stats::build::{Column, Options};
use crate::domain::stats::counts::Counts;
use crate::domain::stats::drift::Policy;
use crate::domain::stats::drift::docket::Docket;
use crate::domain::stats::layout::Value;
use crate::domain::stats::tests::streams::SplitMix;
use crate::domain::stats::verdict::Outcome;
use crate::domain::stats::window::{Minute, Window, WindowCounts, WindowLength};

const YARDS: f64 = 1.0936;

/// How the values of a feature lie.
type Law = fn(&mut SplitMix) -> f64;

fn exponential(random: &mut SplitMix) -> f64 {
    -(1.0 - random.uniform()).ln()
}

fn lognormal(random: &mut SplitMix) -> f64 {
    random.normal().exp()
}

fn gamma(random: &mut SplitMix) -> f64 {
    exponential(random) + exponential(random)
}

fn normal(random: &mut SplitMix) -> f64 {
    random.normal()
}

fn temperature(random: &mut SplitMix) -> f64 {
    18.0 + 6.0 * random.normal()
}

/// A law, what is done to its values, and the units that this is.
type Case = (Law, fn(f64) -> f64, Option<&'static str>);

const LAWS: [(&str, Law); 3] =
    [("exponential", exponential), ("lognormal", lognormal), ("gamma", gamma)];

/// A baseline of `n` values.
fn baseline(n: usize, mut draw: impl FnMut() -> f64) -> Arc<Baseline> {
    let mut column = Column::new(KindWord::Numeric);
    (0..n).for_each(|_| column.push(Value::Number(draw())));
    let mut built = column.build("x", Options::default());
    built.noise = None;
    let mut file: BaselineFile =
        serde_json::from_str(r#"{"format": 1, "model": "m", "version": "v", "n": 1}"#)
            .expect("the form of a baseline");
    file.features.push(built);
    file.n = n as u64;
    Arc::new(Baseline::try_from(file).expect("a built baseline is sound"))
}

fn ruler(baseline: &Baseline) -> Ruler {
    Ruler::new(&baseline.layout().features()[0], &baseline.references()[0]).expect("a number")
}

fn counts(baseline: &Baseline, n: usize, mut draw: impl FnMut() -> f64) -> Counts {
    let mut counts = Counts::new(Arc::clone(baseline.layout()));
    (0..n).for_each(|_| counts.record(0, Value::Number(draw())));
    counts
}

/// The first hour at which a constant factor is told, in so many days of hours of `hourly` values.
fn told(
    baseline: &Baseline,
    (days, hourly): (u32, usize),
    mut draw: impl FnMut(u32) -> f64,
) -> Option<(u32, Scaled)> {
    let ruler = ruler(baseline);
    let terms = Terms { ruler: &ruler, dispersion: 1.0, p_window: 0.2 / 2160.0 };
    let mut watch = Watch::default();
    (0..days * 24).find_map(|hour| {
        let counts = counts(baseline, hourly, || draw(hour));
        let (since, until) = (Minute(hour * 60), Minute(hour * 60 + 60));
        watch.hear(Part { since, until, windows: 1, counts: &counts.features()[0] }, terms);
        watch.standing().map(|scaled| (hour, *scaled))
    })
}

#[test]
fn metres_that_become_yards_are_told_after_three_days_and_metres_never() {
    for (name, law) in LAWS {
        let mut random = SplitMix::new(11);
        let baseline = baseline(20_000, || law(&mut random));
        let (hour, scaled) = told(&baseline, (5, 300), |_| YARDS * law(&mut random))
            .unwrap_or_else(|| panic!("{name} in yards is told"));
        assert_eq!(hour, 71, "{name}");
        let off = scaled.change.factor.ln() - YARDS.ln();
        assert!(off.abs() < 4.0 * scaled.change.error, "{name}: {scaled:?}");
        assert!(scaled.psi.0 < 0.025 && scaled.psi.1 < scaled.psi.0 / 2.0, "{name}: {scaled:?}");
        assert_eq!(units::named(scaled.change).as_deref(), Some("metres to yards"));
        let none = told(&baseline, (30, 300), |_| law(&mut random));
        assert!(none.is_none(), "{name} in metres: {none:?}");
    }
}

#[test]
fn a_factor_that_is_not_the_same_at_every_hour_is_none() {
    let mut random = SplitMix::new(5);
    let of_day = |hour: u32| (f64::from(hour % 24) / 24.0 * std::f64::consts::TAU).sin();
    for amplitude in [0.1, 0.2] {
        // A baseline of whole days, and one of a morning.
        let mut hour = 0;
        let whole = baseline(24_000, || {
            hour += 1;
            (1.0 + amplitude * of_day(hour)) * exponential(&mut random)
        });
        let morning = baseline(10_000, || (1.0 + amplitude) * exponential(&mut random));
        for baseline in [whole, morning] {
            let season = told(&baseline, (20, 1000), |hour| {
                (1.0 + amplitude * of_day(hour)) * exponential(&mut random)
            });
            assert!(season.is_none(), "{amplitude}: {season:?}");
        }
    }
    let baseline = baseline(20_000, || exponential(&mut random));
    let weekend = |hour: u32| if hour / 24 % 7 >= 5 { YARDS } else { 1.0 };
    let weekends = told(&baseline, (28, 300), |hour| weekend(hour) * exponential(&mut random));
    assert!(weekends.is_none(), "{weekends:?}");
}

#[test]
fn what_no_factor_explains_is_none() {
    let mut random = SplitMix::new(8);
    let around = baseline(20_000, || random.normal());
    let moved = told(&around, (5, 1000), |_| 0.2 + random.normal());
    assert!(moved.is_none(), "{moved:?}");
    let waits = baseline(20_000, || exponential(&mut random));
    let moved = told(&waits, (5, 1000), |_| 0.15 + exponential(&mut random));
    assert!(moved.is_none(), "{moved:?}");
    // Two percent are not worth a call.
    let little = told(&waits, (5, 3000), |_| 1.02 * exponential(&mut random));
    assert!(little.is_none(), "{little:?}");
}

#[test]
fn a_change_of_units_names_them_whatever_its_size() {
    let cases: [Case; 7] = [
        (exponential, |x| x * 1.609_344, Some("miles to kilometres")),
        (lognormal, |x| x * 2.204_62, Some("kilograms to pounds")),
        (gamma, |x| x * 2.54, Some("inches to centimetres")),
        (gamma, |x| x / 1000.0, Some("ones to thousands")),
        (exponential, |x| x * 1000.0, Some("thousands to ones")),
        (temperature, |x| x * 1.8 + 32.0, Some("Celsius to Fahrenheit")),
        (exponential, |x| x * 1.4, None),
    ];
    for (law, change, units) in cases {
        let mut random = SplitMix::new(3);
        let baseline = baseline(20_000, || law(&mut random));
        let window = counts(&baseline, 5000, || change(law(&mut random)));
        let found = ruler(&baseline).explain(&window.features()[0]);
        let found = found.unwrap_or_else(|| panic!("{units:?} is explained"));
        assert_eq!(units::named(found).as_deref(), units, "{found:?}");
        let same = counts(&baseline, 5000, || law(&mut random));
        assert_eq!(ruler(&baseline).explain(&same.features()[0]), None, "{units:?}");
    }
    let mut random = SplitMix::new(3);
    let baseline = baseline(20_000, || normal(&mut random));
    let moved = counts(&baseline, 5000, || normal(&mut random) + 0.5);
    assert_eq!(ruler(&baseline).explain(&moved.features()[0]), None);
    let broken = counts(&baseline, 5000, || 700.0);
    assert_eq!(ruler(&baseline).explain(&broken.features()[0]), None, "a constant is no multiple");
}

#[test]
fn the_sentence_asks_for_the_unit() {
    let said = |factor, offset| units::sentence(Change { factor, offset, error: 0.0 });
    assert_eq!(said(1.0941, 0.0), "every value is about 1.094 times what it was: metres to yards?");
    assert_eq!(said(1.3, 0.0), "every value is about 1.300 times what it was");
    assert_eq!(
        said(0.000_999, 0.0),
        "every value is about 9.990e-4 times what it was: ones to thousands?"
    );
    assert_eq!(
        said(1.8, 32.0),
        "every value is about 1.800 times what it was plus 32.0: Celsius to Fahrenheit?"
    );
}

/// An hour of a feature that was multiplied.
fn window(baseline: &Baseline, hour: u32, factor: f64, random: &mut SplitMix) -> Window {
    let mut window = WindowCounts::default();
    window.add_values(&counts(baseline, 400, || factor * exponential(random)));
    Window { start: Minute(hour * 60), length: WindowLength::Hour, counts: window }
}

#[test]
fn it_is_a_breach_until_the_unit_is_back_and_outlasts_a_restart() {
    let mut random = SplitMix::new(21);
    let baseline = baseline(20_000, || exponential(&mut random));
    let policy = Policy::default();
    let mut docket = Docket::new(Arc::clone(&baseline), policy);
    let mut breaches = Vec::new();
    for hour in 0..24 * 12 {
        let factor = if (48..24 * 7).contains(&hour) { YARDS } else { 1.0 };
        let judgement = docket
            .hear(&window(&baseline, hour, factor, &mut random), 1)
            .expect("each hour is enough");
        let feature = &judgement.report.features[0];
        if feature.verdict.outcome == Outcome::Breach {
            breaches.push(hour);
            let change = feature.change().expect("a factor");
            assert!((change.factor - YARDS).abs() < 0.03, "{change:?}");
            assert!(!feature.is_shifted() && judgement.breaches() == 1);
        }
        if hour % 31 == 0 {
            // Another process goes on, with the same last judgement.
            let (again, last) =
                Docket::resume(Arc::clone(&baseline), policy, docket.saved(Some(&judgement)))
                    .expect("it fits");
            docket = again;
            assert_eq!(last.expect("the last").report, judgement.report, "hour {hour}");
        }
    }
    // Three whole days of yards, and one of metres again.
    let (first, last) = (breaches.first().copied(), breaches.last().copied());
    assert_eq!((first, last), (Some(24 * 5 - 1), Some(24 * 8 - 2)));
    assert_eq!(breaches.len() as u32, 24 * 3);
}

#[test]
fn a_feature_without_range_or_width_has_no_factor() {
    let mut random = SplitMix::new(2);
    let zero = baseline(5000, || 0.0);
    assert!(Ruler::new(&zero.layout().features()[0], &zero.references()[0]).is_none());
    let without = r#"{"format":1,"model":"m","version":"v","n":1000,"features":
        [{"name":"x","kind":"numeric","edges":[0.5,0.7],"mass":[0.5,0.25,0.25]}]}"#;
    let without = Baseline::from_json(without.as_bytes()).expect("a baseline");
    assert!(Ruler::new(&without.layout().features()[0], &without.references()[0]).is_none());
    // Mostly zeros: the rest still has a factor.
    let mut draw = move || if random.uniform() < 0.6 { 0.0 } else { exponential(&mut random) };
    let sparse = baseline(20_000, &mut draw);
    let window = counts(&sparse, 20_000, || YARDS * draw());
    let ruler = ruler(&sparse);
    let found = ruler.estimate(&ruler.group(&window.features()[0])).expect("a factor");
    assert!((found.ln_factor - YARDS.ln()).abs() < 0.04, "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    /// The factor is found to within its stated error, whatever it is and whichever law the values follow.
    #[test]
    fn a_factor_is_found_within_its_error(seed in 0u64..1_000_000, which in 0usize..3, ln_factor in -0.6f64..0.6) {
        let law = LAWS[which].1;
        let mut random = SplitMix::new(seed);
        let baseline = baseline(20_000, || law(&mut random));
        let window = counts(&baseline, 4000, || ln_factor.exp() * law(&mut random));
        let ruler = ruler(&baseline);
        let found = ruler.estimate(&ruler.group(&window.features()[0])).expect("a factor");
        let error = ((1.0 / 4000.0 + 1.0 / 20_000.0) / found.information).sqrt();
        // Straight lines between edges are off by a little, too.
        prop_assert!((found.ln_factor - ln_factor).abs() < 5.0 * error + 0.01, "{found:?} for {ln_factor}");
    }

    /// Whatever comes, in whatever order and with whichever gaps: no number is none.
    #[test]
    fn any_windows_give_numbers(seed in 0u64..1_000_000, jumps in prop::collection::vec((0u32..5000, 0usize..300, -3.0f64..3.0), 1..60)) {
        let mut random = SplitMix::new(seed);
        let baseline = baseline(2000, || exponential(&mut random));
        let ruler = ruler(&baseline);
        let terms = Terms { ruler: &ruler, dispersion: 1.0, p_window: 1e-4 };
        let (mut watch, mut at) = (Watch::default(), 0);
        for (jump, n, factor) in jumps {
            let counts = counts(&baseline, n, || factor * exponential(&mut random));
            let until = Minute(at + jump + 1);
            watch.hear(Part { since: Minute(at), until, windows: 1, counts: &counts.features()[0] }, terms);
            at = until.0;
            if let Some(scaled) = watch.standing() {
                prop_assert!(scaled.p <= scaled.p_limit && scaled.change.error > 0.0);
                prop_assert!(scaled.change.factor.is_finite() && scaled.psi.0.is_finite());
            }
            let kept = serde_json::to_string(&watch).expect("text");
            let again: Watch = serde_json::from_str(&kept).expect("a watch");
            prop_assert_eq!(&again, &watch);
        }
    }
}
