//! A baseline that is learned from the first traffic: how often it alarms without drift.

use super::*;

/// The rows of a baseline that is learned from traffic.
const OWN_ROWS: usize = 2000;

/// The alarms of one quarter against the first rows of its own traffic, as it is where nobody hands over a baseline.
fn own_quarter(traffic: Traffic, seed: u64, hourly: usize) -> usize {
    let mut stream = Stream::new(traffic, seed);
    let (mut column, mut first) = (Numbers::default(), 0);
    let mut rows = 0;
    while rows < OWN_ROWS {
        let n = hourly.min(OWN_ROWS - rows);
        stream.hour(first, n, |x| column.push(Some(x)));
        (rows, first) = (rows + n, first + 1);
    }
    let mut file = blank();
    file.features.push(Column::Numbers(column).build("x", Options::default()));
    file.n = OWN_ROWS as u64;
    let baseline = Arc::new(Baseline::try_from(file).expect("a built baseline is sound"));
    let policy = Policy { windows: HOURS as f64, ..Policy::default() };
    let mut counts = Counts::new(Arc::clone(baseline.layout()));
    let mut drift = Drift::new(baseline, policy);
    let (mut alarms, mut before) = (0, false);
    for hour in first..first + HOURS {
        counts.clear();
        stream.hour(hour, hourly, |x| counts.record_row(0, &[x as f32]));
        let is_alarm = is_alarm(&mut drift, &counts);
        alarms += usize::from(is_alarm && !before);
        before = is_alarm;
    }
    alarms
}

/// What a baseline does that is learned from the first traffic.
pub(crate) fn table(quarters: u64) {
    println!(
        "\n| traffic without drift | values an hour | hours of the baseline | quarters with an alarm | alarms a quarter |"
    );
    println!("|---|---|---|---|---|");
    for traffic in [
        Traffic::Independent,
        Traffic::Seasonal { amplitude: 0.1 },
        Traffic::Seasonal { amplitude: 0.2 },
        Traffic::Seasonal { amplitude: 0.3 },
        Traffic::Autocorrelated { rho: 0.9 },
        Traffic::Wandering { deviation: 0.1 },
    ] {
        for hourly in [50, 200, 1000] {
            let alarms = spread(quarters, |seed| own_quarter(traffic, seed + 1, hourly));
            let some = alarms.iter().filter(|alarms| **alarms > 0).count() as f64;
            let mean = alarms.iter().sum::<usize>() as f64 / quarters as f64;
            let (name, hours) = (traffic.name(), OWN_ROWS.div_ceil(hourly));
            let some = some / quarters as f64 * 100.0;
            println!("| {name} | {hourly} | {hours} | {some:.1} % | {mean:.3} |");
        }
    }
}
