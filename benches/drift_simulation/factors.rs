//! A constant factor, as of a change of units: how often it is told where there is none, and how soon where there is.

use pointsman::domain::stats::drift::docket::Docket;

use super::*;

/// What was told of a constant factor in a quarter.
#[derive(Default)]
struct Factor {
    /// How often it began.
    begun: usize,
    /// The hour in which it began first.
    first: Option<usize>,
}

/// A quarter of amounts, whose logarithms are of this traffic, as the only feature of its model;
/// multiplied by `factor` from the first hour on. The baseline is of `rows` rows, or of two weeks.
fn factor_quarter(
    (traffic, hourly, rows): (Traffic, usize, Option<usize>),
    seed: u64,
    (factor, hours): (f64, usize),
) -> Factor {
    let mut column = Column::new(KindWord::Numeric);
    let options = Options { chunk: hourly, ..Options::default() };
    let mut learned = Stream::new(traffic, seed << 1);
    let rows = rows.unwrap_or(14 * 24 * hourly);
    for hour in 0..rows.div_ceil(hourly) {
        learned
            .hour(hour, hourly.min(rows - hour * hourly), |x| column.push(Value::Number(x.exp())));
    }
    let mut built = column.build("x", options);
    // What two thousand rows of own traffic do not have, and data has.
    if rows < 14 * 24 * hourly {
        built.noise = None;
    }
    let mut file = blank();
    file.features.push(built);
    file.n = rows as u64;
    let baseline = Arc::new(Baseline::try_from(file).expect("a built baseline is sound"));
    let policy = Policy { windows: HOURS as f64, ..Policy::default() };
    let mut docket = Docket::new(Arc::clone(&baseline), policy);
    let mut stream = Stream::new(traffic, seed << 1 | 1);
    let (mut told, mut before) = (Factor::default(), false);
    for hour in 0..hours {
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        stream.hour(hour, hourly, |x| counts.record_row(0, &[(factor * x.exp()) as f32]));
        let mut window = WindowCounts::default();
        window.add_values(&counts);
        let start = Minute(60 * hour as u32);
        let window = Window { start, length: WindowLength::Hour, counts: window };
        let judgement = docket.hear(&window, 1);
        let is_told = judgement.is_some_and(|it| it.report.features[0].scaled.is_some());
        if is_told && !before {
            told.begun += 1;
            told.first = told.first.or(Some(hour));
        }
        before = is_told;
    }
    told
}

/// How often a constant factor is told of traffic that has none, and when one of 1.0936 is.
pub(crate) fn table(quarters: u64) {
    println!(
        "\n| amounts (their logarithms) | values an hour | rows of the baseline | quarters with a factor | factors a \
         quarter | metres to yards: told within 14 days | days, median |"
    );
    println!("|---|---|---|---|---|---|---|");
    let seasonal = |amplitude| Traffic::Seasonal { amplitude };
    for case in [
        (Traffic::Independent, 100, None),
        (Traffic::Independent, 300, Some(2000)),
        (Traffic::Independent, 300, Some(10_000)),
        (Traffic::Independent, 1000, Some(10_000)),
        (seasonal(0.1), 300, None),
        (seasonal(0.1), 300, Some(2000)),
        (seasonal(0.2), 300, None),
        (seasonal(0.2), 300, Some(2000)),
        (seasonal(0.2), 1000, Some(2000)),
        (Traffic::Autocorrelated { rho: 0.5 }, 300, None),
        (Traffic::Autocorrelated { rho: 0.9 }, 300, None),
        (Traffic::Autocorrelated { rho: 0.9 }, 300, Some(2000)),
        (Traffic::Wandering { deviation: 0.05 }, 300, None),
        (Traffic::Wandering { deviation: 0.1 }, 300, None),
        (Traffic::Wandering { deviation: 0.2 }, 300, None),
    ] {
        let none = spread(quarters, |seed| factor_quarter(case, seed + 1, (1.0, HOURS)));
        let some = none.iter().filter(|told| told.begun > 0).count() as f64 / quarters as f64;
        let mean = none.iter().map(|told| told.begun).sum::<usize>() as f64 / quarters as f64;
        let few = quarters.div_ceil(10);
        let yards = spread(few, |seed| factor_quarter(case, seed + 1, (1.0936, 14 * 24)));
        let mut days: Vec<usize> =
            yards.iter().filter_map(|told| Some((told.first? + 1) / 24)).collect();
        days.sort_unstable();
        let share = days.len() as f64 / few as f64 * 100.0;
        let median = days.get(days.len() / 2).map_or_else(|| "–".to_owned(), usize::to_string);
        let (traffic, hourly, rows) = case;
        let rows = rows.map_or_else(|| "two weeks".to_owned(), |rows| rows.to_string());
        println!(
            "| {} | {hourly} | {rows} | {:.1} % | {mean:.3} | {share:.0} % | {median} |",
            traffic.name(),
            some * 100.0
        );
    }
}
