//! How often drift detection alarms without drift, and how long it takes to see one.
//!
//! Simulates quarters of hourly windows and prints the tables of `src/docs/monitoring.md` in Markdown. Everything is
//! seeded.
//!
//! ```text
//! cargo bench --bench drift_simulation                       # few quarters a row
//! cargo bench --bench drift_simulation -- full               # up to 1 000 quarters a row, most of an hour
//! cargo bench --bench drift_simulation -- full categories    # one table: traffic, own, factors, baselines, categories or delays
//! ```

#![expect(clippy::expect_used, reason = "a simulation may end where its own set-up is wrong")]
#![expect(clippy::print_stdout, reason = "it prints tables")]

mod factors;
mod own;

use std::sync::Arc;
use std::thread;

use pointsman::domain::stats::baseline::{Baseline, BaselineFile, KindWord};
use pointsman::domain::stats::build::{Column, Numbers, Options};
use pointsman::domain::stats::counts::Counts;
use pointsman::domain::stats::drift::report::Report;
use pointsman::domain::stats::drift::{Drift, Policy};
use pointsman::domain::stats::groups::expected_unknown;
use pointsman::domain::stats::layout::Value;
use pointsman::domain::stats::rate_band::shape_limit;
use pointsman::domain::stats::verdict::Outcome;
use pointsman::domain::stats::window::{Minute, Window, WindowCounts, WindowLength};

/// The hours of 90 days.
const HOURS: usize = 90 * 24;

/// A table: its name, what prints it, and of how many quarters, models or runs each row is.
type Table = (&'static str, fn(u64), u64);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Above 0 and at most 1.
    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// About normal: a sum of twelve sixteen-bit uniforms.
    fn normal(&mut self) -> f64 {
        let sum: u64 = (0..3)
            .map(|_| {
                let bits = self.bits();
                (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48)
            })
            .sum();
        (sum as f64 + 6.0) / 65536.0 - 6.0
    }
}

/// Traffic without drift.
#[derive(Clone, Copy)]
enum Traffic {
    /// Each value by itself.
    Independent,
    /// The mean goes up and down over the day, and is different at the weekend.
    Seasonal { amplitude: f64 },
    /// Each value leans on the one before.
    Autocorrelated { rho: f64 },
    /// The mean wanders from hour to hour and comes back.
    Wandering { deviation: f64 },
}

impl Traffic {
    fn name(self) -> String {
        match self {
            Self::Independent => "independent".to_owned(),
            Self::Seasonal { amplitude } => format!("seasonal, ±{amplitude} sd over the day"),
            Self::Autocorrelated { rho } => format!("autocorrelated, {rho} between values"),
            Self::Wandering { deviation } => format!("hourly mean wanders by {deviation} sd"),
        }
    }
}

/// A stream of such traffic.
struct Stream {
    traffic: Traffic,
    random: Random,
    last: f64,
    mean: f64,
}

impl Stream {
    fn new(traffic: Traffic, seed: u64) -> Self {
        let mut random = Random(seed);
        let last = random.normal();
        Self { traffic, random, last, mean: 0.0 }
    }

    /// The values of one hour.
    fn hour(&mut self, hour: usize, n: usize, mut take: impl FnMut(f64)) {
        let of_day = (hour % 24) as f64 / 24.0 * std::f64::consts::TAU;
        let mean = match self.traffic {
            Traffic::Independent | Traffic::Autocorrelated { .. } => 0.0,
            Traffic::Seasonal { amplitude } => {
                let weekend = if hour / 24 % 7 >= 5 { amplitude / 2.0 } else { 0.0 };
                amplitude * of_day.sin() + weekend
            }
            Traffic::Wandering { deviation } => {
                let step = deviation * (1.0_f64 - 0.8 * 0.8).sqrt() * self.random.normal();
                self.mean = 0.8 * self.mean + step;
                self.mean
            }
        };
        for _ in 0..n {
            let fresh = self.random.normal();
            self.last = match self.traffic {
                Traffic::Autocorrelated { rho } => {
                    rho * self.last + (1.0 - rho * rho).sqrt() * fresh
                }
                Traffic::Independent | Traffic::Seasonal { .. } | Traffic::Wandering { .. } => {
                    fresh
                }
            };
            take(mean + self.last);
        }
    }
}

/// How much traffic there is, and how much of it the baseline has seen.
#[derive(Clone, Copy)]
struct Size {
    /// The values of an hour.
    hourly: usize,
    /// The hours of the baseline.
    hours: usize,
    /// The rows of its chunks.
    chunk: usize,
}

fn blank() -> BaselineFile {
    serde_json::from_str(r#"{"format": 1, "model": "m", "version": "v", "n": 1}"#)
        .expect("the form of a baseline")
}

/// A baseline of `features` like columns; without what the chunks say, if so asked.
fn baseline(
    traffic: Traffic,
    seed: u64,
    features: usize,
    size: Size,
    noise: bool,
) -> Arc<Baseline> {
    let mut file = blank();
    for feature in 0..features {
        let mut stream = Stream::new(traffic, seed ^ (feature as u64) << 40);
        let options = Options { chunk: size.chunk, ..Options::default() };
        let mut column = Numbers::default();
        for hour in 0..size.hours {
            stream.hour(hour, size.hourly, |x| column.push(Some(x)));
        }
        let mut built = Column::Numbers(column).build(&format!("x{feature}"), options);
        if !noise {
            built.noise = None;
        }
        file.features.push(built);
    }
    file.n = (size.hours * size.hourly) as u64;
    Arc::new(Baseline::try_from(file).expect("a built baseline is sound"))
}

fn is_alarm(drift: &mut Drift, counts: &Counts) -> bool {
    has_breach(&drift.observe(counts).expect("its own layout"))
}

fn has_breach(report: &Report) -> bool {
    let features = report.features.iter().map(|feature| feature.verdict.outcome);
    let roles = report.roles.iter().map(|role| role.verdict.outcome);
    features.chain(roles).any(|outcome| outcome == Outcome::Breach)
}

/// The alarms of one quarter: without and with the noise floor.
fn quarter(traffic: Traffic, seed: u64, size: Size) -> [usize; 2] {
    let policy = Policy { windows: HOURS as f64, ..Policy::default() };
    let mut drifts =
        [false, true].map(|noise| Drift::new(baseline(traffic, seed << 1, 1, size, noise), policy));
    let layout = Arc::clone(drifts[0].baseline().layout());
    let mut stream = Stream::new(traffic, seed << 1 | 1);
    let mut counts = Counts::new(layout);
    let (mut alarms, mut before) = ([0; 2], [false; 2]);
    for hour in 0..HOURS {
        counts.clear();
        stream.hour(hour, size.hourly, |x| counts.record_row(0, &[x as f32]));
        for ((drift, alarms), before) in drifts.iter_mut().zip(&mut alarms).zip(&mut before) {
            let is_alarm = is_alarm(drift, &counts);
            *alarms += usize::from(is_alarm && !*before);
            *before = is_alarm;
        }
    }
    alarms
}

/// Runs `work` for 0 to `times`, on two threads.
fn spread<T: Send>(times: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let half = |odd: u64| (0..times).filter(move |i| i % 2 == odd);
    thread::scope(|scope| {
        let other = scope.spawn(|| half(1).map(&work).collect::<Vec<T>>());
        let mut all: Vec<T> = half(0).map(&work).collect();
        all.extend(other.join().expect("the other half ends"));
        all
    })
}

fn false_alarms(quarters: u64) {
    println!(
        "| traffic without drift | values an hour | rows of a chunk | quarters with an alarm | alarms a \
         quarter | with the noise floor | alarms a quarter |"
    );
    println!("|---|---|---|---|---|---|---|");
    // Two weeks of baseline: seasons are in it.
    let weeks = |hourly, chunk| Size { hourly, hours: 14 * 24, chunk };
    for (traffic, size) in [
        (Traffic::Independent, Size { hourly: 100, hours: 100, chunk: 1000 }),
        (Traffic::Independent, Size { hourly: 1000, hours: 10, chunk: 1000 }),
        (Traffic::Seasonal { amplitude: 0.1 }, weeks(200, 200)),
        (Traffic::Seasonal { amplitude: 0.3 }, weeks(200, 200)),
        (Traffic::Seasonal { amplitude: 0.3 }, weeks(200, 1000)),
        (Traffic::Autocorrelated { rho: 0.5 }, weeks(200, 200)),
        (Traffic::Autocorrelated { rho: 0.9 }, weeks(200, 200)),
        (Traffic::Autocorrelated { rho: 0.9 }, weeks(200, 1000)),
        (Traffic::Autocorrelated { rho: 0.99 }, weeks(200, 200)),
        (Traffic::Autocorrelated { rho: 0.99 }, weeks(200, 1000)),
        (Traffic::Wandering { deviation: 0.1 }, weeks(200, 200)),
        (Traffic::Wandering { deviation: 0.2 }, weeks(200, 200)),
        (Traffic::Wandering { deviation: 0.2 }, weeks(200, 1000)),
    ] {
        let alarms = spread(quarters, |seed| quarter(traffic, seed + 1, size));
        let column = |at: usize| {
            let some = alarms.iter().filter(|a| a[at] > 0).count() as f64 / quarters as f64;
            let mean = alarms.iter().map(|a| a[at]).sum::<usize>() as f64 / quarters as f64;
            format!("{:.1} % | {mean:.3}", some * 100.0)
        };
        let Size { hourly, chunk, .. } = size;
        println!("| {} | {hourly} | {chunk} | {} | {} |", traffic.name(), column(0), column(1));
    }
}

/// Whether a model of 20 features with a baseline of so many rows has an alarm in a quarter, when the mean of each is
/// off by `shift` deviations.
fn has_alarm(seed: u64, rows: usize, hourly: usize, shift: f64) -> bool {
    const FEATURES: usize = 20;
    let policy = Policy { windows: HOURS as f64, ..Policy::default() };
    let size = Size { hourly: rows, hours: 1, chunk: rows };
    let baseline = baseline(Traffic::Independent, seed << 1, FEATURES, size, false);
    let mut counts = Counts::new(Arc::clone(baseline.layout()));
    let mut drift = Drift::new(baseline, policy);
    let mut random = Random(seed << 1 | 1);
    let mut row = [0.0_f32; FEATURES];
    (0..HOURS).any(|_| {
        counts.clear();
        for _ in 0..hourly {
            row.fill_with(|| (random.normal() + shift) as f32);
            counts.record_row(0, &row);
        }
        is_alarm(&mut drift, &counts)
    })
}

/// What baselines of few rows do.
fn baselines(models: u64) {
    println!(
        "\n| rows of the baseline | values an hour | models with an alarm: no drift | at the margin |"
    );
    println!("|---|---|---|---|");
    for rows in [100, 300, 1000, 2000, 10_000] {
        for hourly in [100, 1000] {
            // A shift by a seventh of a deviation is an index of .02.
            let shares = [0.0, 0.02_f64.sqrt()].map(|shift| {
                let alarms = spread(models, |seed| has_alarm(seed + 1, rows, hourly, shift));
                let some = alarms.iter().filter(|alarm| **alarm).count();
                format!("{:.1} %", some as f64 / models as f64 * 100.0)
            });
            println!("| {rows} | {hourly} | {} |", shares.join(" | "));
        }
    }
}

/// How often the values of a category come.
#[derive(Clone, Copy)]
enum Law {
    /// The `k`th as often as `k` to the power of minus the exponent, without end.
    Zeta(f64),
    /// Of so many values, the `k`th a `k`th as often as the first.
    Zipf(u32),
    /// So many values, all alike.
    Even(u32),
}

impl Law {
    fn name(self) -> String {
        match self {
            Self::Zeta(exponent) => format!("zeta, exponent {exponent}"),
            Self::Zipf(values) => format!("{values} values by Zipf"),
            Self::Even(values) => format!("{values} values, all alike"),
        }
    }

    fn draw(self, random: &mut Random) -> i64 {
        match self {
            Self::Zeta(exponent) => zeta(exponent, random),
            Self::Zipf(values) => loop {
                // The floor of a number with a uniform logarithm is nearly that; some of the ones are too many.
                let x = f64::from(values + 1).powf(random.uniform());
                let k = x.floor().max(1.0);
                let accepted = (k * (1.0 / k).ln_1p()).recip() * std::f64::consts::LN_2;
                if k <= f64::from(values) && random.uniform() <= accepted {
                    break k as i64;
                }
            },
            Self::Even(values) => (random.uniform() * f64::from(values)).ceil() as i64,
        }
    }
}

/// Devroye's rejection method (Non-Uniform Random Variate Generation, 1986, chapter X.6).
fn zeta(exponent: f64, random: &mut Random) -> i64 {
    let a = exponent - 1.0;
    let b = a.exp2();
    loop {
        let x = random.uniform().powf(-1.0 / a).floor();
        let t = (1.0 + 1.0 / x).powf(a);
        // What no integer holds is drawn again: two of a million, or fewer.
        if x < 9e18 && random.uniform() * x * (t - 1.0) / (b - 1.0) <= t / b {
            return x as i64;
        }
    }
}

/// What a quarter of one category without drift was like.
struct Category {
    /// Whether there was anything to judge: not where nearly all values are as good as unknown.
    is_judged: bool,
    alarms: usize,
    /// The share of values that the baseline does not know.
    unknown: f64,
    /// Whether that is more than the alarm on the shape of the schema allows.
    is_above: bool,
}

fn category(law: Law, seed: u64, rows: usize, hourly: usize) -> Category {
    let mut random = Random(seed);
    let mut column = Column::new(KindWord::Categorical);
    (0..rows).for_each(|_| column.push(Value::Integer(law.draw(&mut random))));
    let mut built = column.build("x", Options::default());
    built.noise = None;
    let mut file = blank();
    file.features.push(built);
    file.n = rows as u64;
    let baseline = Arc::new(Baseline::try_from(file).expect("a built baseline is sound"));
    let expected = expected_unknown(baseline.references()[0].counts());
    let policy = Policy { windows: HOURS as f64, ..Policy::default() };
    let mut counts = Counts::new(Arc::clone(baseline.layout()));
    let mut drift = Drift::new(baseline, policy);
    let (mut is_judged, mut alarms, mut before, mut unknown) = (false, 0, false, 0);
    for _ in 0..HOURS {
        counts.clear();
        (0..hourly).for_each(|_| counts.record(0, Value::Integer(law.draw(&mut random))));
        unknown += counts.features()[0].bins().last().copied().unwrap_or(0);
        let report = drift.observe(&counts).expect("its own layout");
        is_judged |= report.features.iter().any(|feature| feature.measured.p.is_some());
        let is_alarm = has_breach(&report);
        alarms += usize::from(is_alarm && !before);
        before = is_alarm;
    }
    let unknown = unknown as f64 / (HOURS * hourly) as f64;
    Category { is_judged, alarms, unknown, is_above: unknown > shape_limit(expected, rows as u64) }
}

/// What categories with many values do, of which a baseline has a part; with 200 and with 1000 values an hour.
fn categories(models: u64) {
    println!(
        "\n| values | rows of the baseline | unknown values | models that are judged | with an alarm | alarms a \
         quarter | unknown above the limit |"
    );
    println!("|---|---|---|---|---|---|---|");
    for law in [
        Law::Zeta(1.3),
        Law::Zeta(1.5),
        Law::Zeta(2.0),
        Law::Zipf(60),
        Law::Even(1000),
        Law::Even(5000),
    ] {
        for rows in [500, 2000, 10_000] {
            let all = [200, 1000]
                .map(|hourly| spread(models, |seed| category(law, seed + 1, rows, hourly)));
            let cell = |tell: &dyn Fn(&[Category]) -> String| {
                all.iter().map(|models| tell(models)).collect::<Vec<String>>().join(" / ")
            };
            let mean = |of: fn(&Category) -> f64, all: &[Category]| {
                all.iter().map(of).sum::<f64>() / models as f64
            };
            let share = |of: fn(&Category) -> bool, all: &[Category]| {
                let some = all.iter().filter(|it| of(it)).count();
                format!("{:.1} %", some as f64 / models as f64 * 100.0)
            };
            println!(
                "| {} | {rows} | {} | {} | {} | {} | {} |",
                law.name(),
                cell(&|all| format!("{:.1} %", mean(|it| it.unknown, all) * 100.0)),
                cell(&|all| share(|it| it.is_judged, all)),
                cell(&|all| share(|it| it.alarms > 0, all)),
                cell(&|all| format!("{:.3}", mean(|it| it.alarms as f64, all))),
                cell(&|all| share(|it| it.is_above, all)),
            );
        }
    }
}

/// The windows up to an alarm on the first of `features` features, of which only that one changes;
/// `None` for more than 500.
fn delay(seed: u64, features: usize, n: usize, change: impl Fn(f64) -> f64) -> Option<usize> {
    let policy = Policy { windows: HOURS as f64, ..Policy::default() };
    let size = Size { hourly: 1000, hours: 10, chunk: 1000 };
    let mut drift =
        Drift::new(baseline(Traffic::Independent, seed << 1, features, size, true), policy);
    let mut counts = Counts::new(Arc::clone(drift.baseline().layout()));
    let mut random = Random(seed << 1 | 1);
    (1..=500).find(|_| {
        counts.clear();
        for _ in 0..n {
            let row: Vec<f32> = (0..features)
                .map(|feature| {
                    let x = random.normal();
                    (if feature == 0 { change(x) } else { x }) as f32
                })
                .collect();
            counts.record_row(0, &row);
        }
        let report = drift.observe(&counts).expect("its own layout");
        report.features.first().is_some_and(|f| f.verdict.outcome == Outcome::Breach)
    })
}

fn row(name: &str, runs: u64, change: impl Fn(f64) -> f64 + Sync) {
    let mut cells = vec![name.to_owned()];
    for n in [100, 1000, 10_000] {
        let runs = if n == 10_000 { runs.div_ceil(10) } else { runs };
        let mut delays: Vec<usize> =
            spread(runs, |seed| delay(seed + 7, 20, n, &change).unwrap_or(usize::MAX));
        delays.sort_unstable();
        let at = |share: f64| {
            let place = ((runs - 1) as f64 * share).round() as usize;
            match delays.get(place) {
                Some(&usize::MAX) | None => "never".to_owned(),
                Some(windows) => windows.to_string(),
            }
        };
        cells.push(format!("{} / {}", at(0.5), at(0.9)));
    }
    println!("| {} |", cells.join(" | "));
}

fn delays(runs: u64) {
    println!("\n| change of one of 20 features | 100 values a window | 1 000 | 10 000 |");
    println!("|---|---|---|---|");
    for shift in [0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.0] {
        row(&format!("mean + {shift} sd"), runs, |x| x + shift);
    }
    for factor in [1.1, 1.25, 1.5] {
        row(&format!("spread × {factor}"), runs, |x| x * factor);
    }
    for mean in [1.0, 2.0, 5.0] {
        row(&format!("metres to yards (× 1.0936), mean {mean} sd"), runs, |x| {
            (x + mean) * 1.0936 - mean
        });
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let times = |full: u64, few: u64| if has("full") { full } else { few };
    let tables: [Table; 6] = [
        ("traffic", false_alarms, times(1000, 20)),
        ("own", own::table, times(1000, 20)),
        ("factors", factors::table, times(1000, 40)),
        ("baselines", baselines, times(20, 2)),
        ("categories", categories, times(40, 2)),
        ("delays", delays, times(200, 20)),
    ];
    let is_one_named = tables.iter().any(|(name, ..)| has(name));
    for (_, table, times) in tables.into_iter().filter(|(name, ..)| !is_one_named || has(name)) {
        table(times);
    }
}
