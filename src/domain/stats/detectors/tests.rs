//! Each detector alarms at the values at which river's alarms, on streams that are the same on any machine:
//! `tests/data/stats/detectors.json`.

use serde_json::Value;

use super::*;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 * 2f64.powi(-53)
    }

    /// Twelve uniform numbers less six: mean 0, variance 1, nearly normal, without a library's functions.
    fn normal(&mut self) -> f64 {
        let mut sum = 0.0;
        for _ in 0..12 {
            sum += self.uniform();
        }
        sum - 6.0
    }
}

/// A stream of errors, from its parts: length and rate.
fn bits(seed: u64, parts: &[(usize, f64)]) -> Vec<f64> {
    let mut random = Random(seed);
    let parts = parts.iter().flat_map(|&(n, p)| std::iter::repeat_n(p, n));
    parts.map(|p| f64::from(u8::from(random.uniform() < p))).collect()
}

/// A stream of numbers with a standard deviation of 1, from its parts: length and mean.
fn reals(seed: u64, parts: &[(usize, f64)]) -> Vec<f64> {
    let mut random = Random(seed);
    let parts = parts.iter().flat_map(|&(n, mean)| std::iter::repeat_n(mean, n));
    parts.map(|mean| mean + random.normal()).collect()
}

fn streams() -> Vec<(&'static str, Vec<f64>)> {
    vec![
        ("bin_02_04", bits(42, &[(2000, 0.2), (2000, 0.4)])),
        ("bin_05_07", bits(7, &[(1000, 0.5), (1000, 0.7)])),
        ("bin_null_01", bits(99, &[(20_000, 0.1)])),
        ("bin_rare_001_005", bits(5, &[(5000, 0.01), (5000, 0.05)])),
        ("real_shift1", reals(1, &[(1000, 0.0), (1000, 1.0)])),
        ("real_shift05", reals(2, &[(2000, 0.0), (2000, 0.5)])),
        ("real_null", reals(3, &[(20_000, 0.0)])),
    ]
}

/// The detector behind a name of the golden file.
fn detector(name: &str) -> Detector {
    match name {
        "ADWIN()" => Kind::Adwin.detector(),
        "ADWIN(clock=1)" => {
            Detector::Adwin(Adwin::new(AdwinSettings { clock: 1, ..AdwinSettings::default() }))
        }
        "ADWIN(delta=1e-4)" => {
            Detector::Adwin(Adwin::new(AdwinSettings { delta: 1e-4, ..AdwinSettings::default() }))
        }
        "PageHinkley()" => Kind::PageHinkley.detector(),
        "PageHinkley(threshold=20,delta=0.05)" => {
            let default = PageHinkleySettings::default();
            let settings = PageHinkleySettings { threshold: 20.0, delta: 0.05, ..default };
            Detector::PageHinkley(PageHinkley::new(settings))
        }
        "DDM()" => Kind::Ddm.detector(),
        "EDDM()" => Kind::Eddm.detector(),
        "HDDMA()" => Kind::HddmA.detector(),
        "HDDMW()" => Kind::HddmW.detector(),
        "FHDDM()" => Kind::Fhddm.detector(),
        other => panic!("no detector is called {other}"),
    }
}

fn alarms(name: &str, stream: &[f64]) -> Vec<usize> {
    let mut detector = detector(name);
    let drifts = |(index, value): (usize, &f64)| {
        (detector.observe(*value) == Signal::Drift).then_some(index)
    };
    stream.iter().enumerate().filter_map(drifts).collect()
}

#[test]
fn every_alarm_of_river_is_ours_and_no_other() {
    let text =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stats/detectors.json"));
    let golden: Value = serde_json::from_str(text).expect("JSON");
    let mut compared = 0;
    for (name, stream) in streams() {
        let wanted = &golden["streams"][name];
        assert_eq!(stream.len() as u64, wanted["n"].as_u64().expect("a length"), "{name}");
        assert_eq!(stream.iter().sum::<f64>(), wanted["sum"].as_f64().expect("a sum"), "{name}");
        for (which, wanted) in wanted["river_0_26_1"].as_object().expect("detectors") {
            let found = alarms(which, &stream);
            assert_eq!(
                found.len() as u64,
                wanted["n"].as_u64().expect("a number"),
                "{name} {which}"
            );
            // The file names the first twenty.
            let first: Vec<usize> = found.into_iter().take(20).collect();
            let indexes = wanted["idx"].as_array().expect("indexes").iter();
            let wanted: Vec<usize> =
                indexes.map(|index| index.as_u64().expect("an index") as usize).collect();
            assert_eq!(first, wanted, "{name} {which}");
            compared += 1;
        }
    }
    assert_eq!(compared, 4 * 10 + 3 * 5);
}

/// The bounded ones may be fed with what a stream of real losses brings.
#[test]
fn no_value_makes_a_detector_panic() {
    for kind in Kind::ALL {
        let mut detector = kind.detector();
        assert_eq!(detector.kind(), *kind);
        let mut random = Random(13);
        for _ in 0..5000 {
            let value = match random.uniform() {
                x if x < 0.001 => f64::NAN,
                x if x < 0.002 => f64::INFINITY,
                x if x < 0.003 => -1e300,
                _ => random.normal(),
            };
            detector.observe(value);
        }
    }
}

/// What an alarm of the default means: of 200 streams without change none is called changed within 2 000
/// values, whatever the rate.
#[test]
fn the_default_keeps_quiet_without_change() {
    let mut wrong = 0;
    for seed in 0..200 {
        let stream = bits(1000 + seed, &[(2000, (seed % 10) as f64 / 20.0 + 0.02)]);
        wrong += usize::from(!alarms("ADWIN()", &stream).is_empty());
    }
    assert!(wrong <= 1, "{wrong} of 200 streams");
}
