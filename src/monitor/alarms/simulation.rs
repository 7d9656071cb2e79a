//! How often alarms begin although nothing has changed: simulated quarters, through the readings of this room and the
//! board, by the default rules; `error_change` by its detector alone.
//!
//! The tests make a month of each and want none. Longer, as a table, by hand:
//!
//! ```text
//! POINTSMAN_QUARTERS=100 cargo test --lib alarms::simulation -- --ignored --nocapture
//! ```
//!
//! Drift has a simulation of its own, `benches/drift_simulation`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use super::classes::{self, Counted};
use super::labelled::{self, Coverage};
use super::{rejections, traffic, values};
use crate::domain::record::Outcome;
use crate::domain::spec::{AlarmRules, QualityFloors};
use crate::domain::stats::alarm::{AlarmKey, AlarmKind, Board, Change, Reading, Rule, Watch};
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::counts::Counts;
use crate::domain::stats::detectors::{Adwin, AdwinSettings, Signal};
use crate::domain::stats::layout::Value;
use crate::domain::stats::quality::{Measure, Quality, Scored};
use crate::domain::stats::rate_band::{History, Look};
use crate::domain::stats::tests::streams::SplitMix;
use crate::domain::stats::two_by_two::Tally;
use crate::domain::stats::window::Traffic;

const HOUR: u64 = 60;
const DAY: u64 = 24 * HOUR;
const QUARTER: u64 = 90 * DAY;
/// A Monday, 00:00.
const MONDAY: u64 = (4 + 7 * 2900) * DAY;

/// How many of `n` are among a share.
fn some(random: &mut SplitMix, n: u64, share: f64) -> u64 {
    (0..n).filter(|_| random.uniform() < share).count() as u64
}

/// The sum of the last values.
struct Sliding<const N: usize> {
    last: VecDeque<[u64; N]>,
    sum: [u64; N],
    of: usize,
}

impl<const N: usize> Sliding<N> {
    fn new(of: u64) -> Self {
        Self { last: VecDeque::new(), sum: [0; N], of: of as usize }
    }

    fn add(&mut self, values: [u64; N]) -> [u64; N] {
        self.last.push_back(values);
        let old = if self.last.len() > self.of { self.last.pop_front() } else { None };
        for at in 0..N {
            self.sum[at] = self.sum[at] + values[at] - old.map_or(0, |old| old[at]);
        }
        self.sum
    }
}

/// Looks once a minute, and counts how often the alarm begins.
fn begun(
    kind: AlarmKind,
    minutes: u64,
    mut look: impl FnMut(u64, &AlarmRules, &Rule) -> Reading,
) -> u32 {
    let mut rules = AlarmRules::default();
    rules.limits.floors = QualityFloors { accuracy: Some(0.9), ..QualityFloors::default() };
    let rule = rules.rule(kind).expect("it is on");
    let mut board = Board::default();
    let key = AlarmKey { model: "m".to_owned(), version: String::new(), alarm: kind };
    let mut begun = 0;
    for minute in MONDAY..MONDAY + minutes {
        let reading = look(minute, &rules, rule);
        let step = board.step(minute, vec![Watch { key: key.clone(), rule, reading }]);
        begun += step.events.iter().filter(|event| event.change == Change::Started).count() as u32;
    }
    begun
}

/// Requests an hour at a minute.
#[derive(Clone, Copy)]
struct Rate {
    hourly: f64,
    /// How much they go up and down over the day.
    swing: f64,
}

impl Rate {
    fn at(self, minute: u64) -> f64 {
        let of_day = (minute % DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
        self.hourly / HOUR as f64 * (1.0 + self.swing * of_day.sin())
    }
}

fn requests(kind: AlarmKind, rate: Rate, minutes: u64, seed: u64) -> u32 {
    let (mut random, mut history) = (SplitMix::new(seed), History::default());
    let mut window = Sliding::<1>::new(5);
    begun(kind, minutes, |minute, rules, rule| {
        let requests = random.poisson(rate.at(minute));
        let [in_window] = window.add([requests]);
        let usual = history.usual(minute);
        history.rest(requests, None);
        history.add(Look { minute, requests, window: in_window });
        match kind {
            AlarmKind::Silence => {
                traffic::silence(history.quiet(), &history, usual, None, rule, minute)
            }
            _ => traffic::request_rate(in_window, usual, rules.limits.rate_factor, rule, minute),
        }
    })
}

/// Fifteen requests a minute, of which this share fails.
fn error_rate(share: f64, minutes: u64, seed: u64) -> u32 {
    let (mut random, mut window) = (SplitMix::new(seed), Sliding::<2>::new(5));
    begun(AlarmKind::ErrorRate, minutes, |minute, rules, rule| {
        let n = random.poisson(15.0);
        let failed = some(&mut random, n, share);
        let [ok, failed] = window.add([n - failed, failed]);
        let mut traffic = Traffic::default();
        for (outcome, count) in [(Outcome::Ok, ok), (Outcome::ModelError, failed)] {
            traffic.outcomes[usize::from(outcome.code()) - 1] = count;
        }
        traffic::error_rate(&traffic, &rules.limits, rule, minute)
    })
}

/// Requests of which this share is refused.
fn rejection_rate((a_minute, share): (f64, f64), minutes: u64, seed: u64) -> u32 {
    let mut random = SplitMix::new(seed);
    let mut spans = [10, HOUR, DAY].map(Sliding::<2>::new);
    let (mut day, mut days) = (Tally::default(), VecDeque::new());
    begun(AlarmKind::RejectionRate, minutes, |minute, rules, rule| {
        let n = random.poisson(a_minute);
        let refused = some(&mut random, n, share);
        day.merge(Tally::new(refused, n));
        let now = spans.each_mut().map(|span| {
            let [refused, n] = span.add([refused, n]);
            (span.of as u32, Tally::new(refused, n))
        });
        let before = days.iter().copied();
        let usual = || rejections::usual(before, rule.samples);
        let reading = rejections::rejection_rate(now, usual, &rules.limits, rule, minute);
        if (minute + 1).is_multiple_of(DAY) {
            days.push_back(std::mem::take(&mut day));
            if days.len() > 30 {
                days.pop_front();
            }
        }
        reading
    })
}

/// Twenty labels an hour, right as often as the floor asks: the last day, once an hour.
fn quality(minutes: u64, seed: u64) -> u32 {
    let mut random = SplitMix::new(seed);
    let measure = Measure::Classes { classes: 2, positive: None };
    let mut hours: VecDeque<Quality> = VecDeque::new();
    let mut reading = Reading::Insufficient;
    begun(AlarmKind::Quality, minutes, |minute, rules, rule| {
        if !minute.is_multiple_of(HOUR) {
            return reading.clone();
        }
        let mut hour = Quality::new(&measure);
        for _ in 0..20 {
            let truth = u16::from(random.uniform() < 0.3);
            let predicted = if random.uniform() < 0.9 { truth } else { 1 - truth };
            let scored = Scored::Class { truth, predicted, probabilities: None };
            hour.add(&measure, &scored).expect("a class");
        }
        hours.push_back(hour);
        if hours.len() > 24 {
            hours.pop_front();
        }
        let mut sum = Quality::new(&measure);
        hours.iter().for_each(|hour| sum.merge(hour).expect("of one kind"));
        reading = labelled::quality(&sum.metrics(&measure, 0.05), &rules.limits, rule, minute);
        reading.clone()
    })
}

/// Five predictions a minute, of which this share gets a label: the last hour against the week before.
fn coverage(share: f64, minutes: u64, seed: u64) -> u32 {
    let (mut random, mut now, mut before) =
        (SplitMix::new(seed), Sliding::<2>::new(HOUR), Sliding::<2>::new(7 * DAY));
    begun(AlarmKind::Labels, minutes, |minute, rules, rule| {
        let n = random.poisson(5.0);
        let labelled = some(&mut random, n, share);
        let ([labelled, n], [all_labelled, all]) =
            (now.add([labelled, n]), before.add([labelled, n]));
        let before = (all_labelled - labelled, all - n);
        labelled::coverage(&Coverage { now: (labelled, n), before }, &rules.limits, rule, minute)
    })
}

/// Three classes of so many predictions a minute, against a baseline of 5000 of the same.
fn class_share(a_minute: f64, minutes: u64, seed: u64) -> u32 {
    let mut random = SplitMix::new(seed);
    let class = |random: &mut SplitMix| match random.uniform() {
        x if x < 0.89 => 0,
        x if x < 0.99 => 1,
        _ => 2,
    };
    let mut usual = [0_u32; 3];
    (0..5000).for_each(|_| usual[class(&mut random)] += 1);
    let [a, b, c] = usual.map(|count| f64::from(count) / 5000.0);
    let json = format!(
        r#"{{"format":1,"model":"m","version":"v","n":5000,"outputs":[{{"name":"y","kind":"categorical",
            "values":["a","b","c"],"mass":[{a},{b},{c}],"other":0.0}}]}}"#
    );
    let baseline = Baseline::from_json(json.as_bytes()).expect("a baseline");
    let mut hour: VecDeque<Counts> = VecDeque::new();
    begun(AlarmKind::ClassShare, minutes, |minute, rules, rule| {
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        for _ in 0..random.poisson(a_minute) {
            counts.record(0, Value::Text(["a", "b", "c"][class(&mut random)]));
        }
        hour.push_front(counts);
        hour.truncate(HOUR as usize);
        let counted =
            Counted { window: hour.iter().collect(), minutes: (0..).zip(&hour).collect() };
        classes::class_share(&baseline, &counted, &rules.limits, rule, minute)
    })
}

/// Two fields in ten requests a minute, of which this share is missing; in the baseline, one in a hundred is.
fn schema_shape(missing: f64, minutes: u64, seed: u64) -> u32 {
    let json = br#"{"format":1,"model":"m","version":"v","n":5000,"features":[
        {"name":"x","kind":"numeric","edges":[0.5],"mass":[0.5,0.5],"missing":0.01},
        {"name":"c","kind":"categorical","values":["a","b"],"mass":[0.5,0.49],"other":0.01,"missing":0.01}]}"#;
    let baseline = Baseline::from_json(json).expect("a baseline");
    let mut random = SplitMix::new(seed);
    let mut blocks: VecDeque<Counts> = VecDeque::new();
    begun(AlarmKind::SchemaShape, minutes, |minute, _rules, rule| {
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        for _ in 0..random.poisson(10.0) {
            let x = if random.uniform() < missing { Value::Missing } else { Value::Number(0.2) };
            let text = match random.uniform() {
                other if other < 0.01 => "z",
                half if half < 0.5 => "a",
                _ => "b",
            };
            let c = if random.uniform() < missing { Value::Missing } else { Value::Text(text) };
            counts.record(0, x);
            counts.record(1, c);
        }
        blocks.push_front(counts);
        blocks.truncate(10);
        let blocks: Vec<&Counts> = blocks.iter().collect();
        values::schema_shape(&baseline, &blocks, &|_| Vec::new(), rule, minute)
    })
}

/// Changes for the worse that the detector sees in errors of one in ten, forty an hour.
fn error_change(minutes: u64, seed: u64) -> u32 {
    let (mut random, mut detector) = (SplitMix::new(seed), Adwin::new(AdwinSettings::default()));
    let mut seen = 0;
    for _ in 0..minutes * 40 / HOUR {
        let before = detector.mean();
        let is_error = f64::from(u8::from(random.uniform() < 0.1));
        let has_changed = detector.observe(is_error) == Signal::Drift;
        seen += u32::from(has_changed && detector.mean() > before);
    }
    seen
}

type Row = (&'static str, &'static str, fn(u64, u64) -> u32);

const ROWS: [Row; 20] = [
    ("silence", "3 requests an hour", |minutes, seed| {
        requests(AlarmKind::Silence, Rate { hourly: 3.0, swing: 0.0 }, minutes, seed)
    }),
    ("silence", "60 requests an hour", |minutes, seed| {
        requests(AlarmKind::Silence, Rate { hourly: 60.0, swing: 0.0 }, minutes, seed)
    }),
    ("silence", "120 requests an hour, ±90 % over the day", |minutes, seed| {
        requests(AlarmKind::Silence, Rate { hourly: 120.0, swing: 0.9 }, minutes, seed)
    }),
    ("request_rate", "600 requests an hour", |minutes, seed| {
        requests(AlarmKind::RequestRate, Rate { hourly: 600.0, swing: 0.0 }, minutes, seed)
    }),
    ("request_rate", "1800 requests an hour", |minutes, seed| {
        requests(AlarmKind::RequestRate, Rate { hourly: 1800.0, swing: 0.0 }, minutes, seed)
    }),
    ("request_rate", "1800 requests an hour, ±90 % over the day", |minutes, seed| {
        requests(AlarmKind::RequestRate, Rate { hourly: 1800.0, swing: 0.9 }, minutes, seed)
    }),
    ("error_rate", "900 an hour, 1 % fail", |minutes, seed| error_rate(0.01, minutes, seed)),
    ("error_rate", "900 an hour, 5 % fail: the limit", |minutes, seed| {
        error_rate(0.05, minutes, seed)
    }),
    ("rejection_rate", "300 an hour, 2 % are refused", |minutes, seed| {
        rejection_rate((5.0, 0.02), minutes, seed)
    }),
    ("rejection_rate", "300 an hour, 20 % are refused: the limit", |minutes, seed| {
        rejection_rate((5.0, 0.2), minutes, seed)
    }),
    ("rejection_rate", "6 an hour, 20 % are refused: the limit", |minutes, seed| {
        rejection_rate((0.1, 0.2), minutes, seed)
    }),
    ("quality", "480 labels a day, accuracy at its floor", quality),
    ("labels", "300 an hour, all are labelled", |minutes, seed| coverage(1.0, minutes, seed)),
    ("labels", "300 an hour, 90 % are labelled", |minutes, seed| coverage(0.9, minutes, seed)),
    ("labels", "300 an hour, 5 % are labelled", |minutes, seed| coverage(0.05, minutes, seed)),
    ("class_share", "600 an hour; 89 %, 10 % and 1 %", |minutes, seed| {
        class_share(10.0, minutes, seed)
    }),
    ("class_share", "9000 an hour; 89 %, 10 % and 1 %", |minutes, seed| {
        class_share(150.0, minutes, seed)
    }),
    ("schema_shape", "600 an hour, 1 % missing, as in the baseline", |minutes, seed| {
        schema_shape(0.01, minutes, seed)
    }),
    ("schema_shape", "600 an hour, 6 % missing: the limit", |minutes, seed| {
        schema_shape(0.06, minutes, seed)
    }),
    ("error_change", "960 labels a day, 10 % are errors", error_change),
];

/// A month of each row: none is told. (In a quarter, `error_change` and `quality` may: their bounds are not a millionth.)
#[test]
fn a_month_in_which_nothing_changes_has_no_alarm() {
    let told: Vec<_> = thread::scope(|scope| {
        let rows =
            ROWS.map(|(alarm, what, of)| (alarm, what, scope.spawn(move || of(30 * DAY, 1))));
        rows.into_iter().map(|(alarm, what, of)| (alarm, what, of.join().expect("ends"))).collect()
    });
    let wrong: Vec<_> = told.iter().filter(|(.., begun)| *begun > 0).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Prints the table of all alarms.
#[test]
#[ignore = "takes an hour, and prints a table"]
fn quarters_in_which_nothing_changes() {
    #[expect(clippy::disallowed_methods, reason = "a test that is asked for by hand")]
    let quarters = std::env::var("POINTSMAN_QUARTERS").ok().and_then(|text| text.parse().ok());
    let quarters: u64 = quarters.unwrap_or(10);
    println!(
        "| alarm | traffic without a change | quarters | with an alarm | alarms a quarter, at most (95 %) |"
    );
    println!("|---|---|---|---|---|");
    for (alarm, what, of) in ROWS {
        let half = |odd: u64| -> Vec<u32> {
            (0..quarters).filter(|at| at % 2 == odd).map(|at| of(QUARTER, at + 1)).collect()
        };
        let all = thread::scope(|scope| {
            let other = scope.spawn(|| half(1));
            [half(0), other.join().expect("ends")].concat()
        });
        let (some, sum) = (all.iter().filter(|begun| **begun > 0).count(), all.iter().sum::<u32>());
        println!(
            "| `{alarm}` | {what} | {quarters} | {some} | {:.3}, {:.3} |",
            f64::from(sum) / quarters as f64,
            poisson_most(sum) / quarters as f64
        );
    }
}

/// The mean of a Poisson count of which `k` or fewer come with a chance of 5 %.
fn poisson_most(k: u32) -> f64 {
    let at_most = |mean: f64| {
        let terms = (0..=k).scan(1.0, |term, i| {
            let now = *term;
            *term *= mean / f64::from(i + 1);
            Some(now)
        });
        (-mean).exp() * terms.sum::<f64>()
    };
    let (mut low, mut high) = (0.0, 10.0 + 3.0 * f64::from(k));
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(middle) > 0.05 { low = middle } else { high = middle }
    }
    high
}
