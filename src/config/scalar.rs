//! Durations, sizes and ratios as text.
//!
//! Owns their spellings, both ways. Never knows which key a value belongs to or what range it has.

use std::time::Duration;

use crate::domain::ids::Permille;

use super::diagnostic::{Code, closest};

/// Why a text is not what it should be: a phrase that continues "`key` …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The kind of mistake.
    pub(super) code: Code,
    /// The phrase; may quote the text.
    pub(super) why: String,
    /// What to write instead; may quote the text.
    pub(super) help: Option<String>,
}

impl Fault {
    /// A malformed value.
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { code: Code::Malformed, why: why.into(), help: None }
    }

    /// Adds what to write instead.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Gives the fault another code than [`Code::Malformed`].
    pub(super) fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }
}

/// Units of durations and their nanoseconds.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Units of sizes and their bytes.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Parses a duration: a whole number and one of `us`, `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// A [`Fault`] that names the mistake.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let nanos = quantity(text, &DURATION_UNITS, "a duration", "s")?;
    Ok(Duration::from_nanos(nanos))
}

/// Parses a size in bytes: a whole number and `B`, or a binary (`KiB` …) or decimal (`kB` …) unit.
///
/// # Errors
/// A [`Fault`] that names the mistake.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    quantity(text, &SIZE_UNITS, "a size", "MiB")
}

/// Parses a percentage such as `1%` or `12.5%` into thousandths.
///
/// # Errors
/// A [`Fault`] that names the mistake.
pub(super) fn percent(text: &str) -> Result<Permille, Fault> {
    permille(percentage(text)? * 10.0, text)
}

/// Takes a fraction from 0 to 1 as thousandths.
///
/// # Errors
/// A [`Fault`] that names the mistake.
pub(super) fn fraction(value: f64) -> Result<Permille, Fault> {
    permille(value * 1000.0, &value.to_string())
}

/// Parses a percentage above 0 and up to 100, as fine as wished, such as `0.01%`.
///
/// # Errors
/// A [`Fault`] that names the mistake.
pub(super) fn fine_percent(text: &str) -> Result<f32, Fault> {
    fine(percentage(text)? / 100.0, text)
}

/// Takes a fraction above 0 and up to 1, as fine as wished.
///
/// # Errors
/// A [`Fault`] that names the mistake.
pub(super) fn fine_fraction(value: f64) -> Result<f32, Fault> {
    fine(value, &value.to_string())
}

fn fine(value: f64, text: &str) -> Result<f32, Fault> {
    let share = value as f32;
    if share > 0.0 && value <= 1.0 {
        return Ok(share);
    }
    Err(Fault::new(format!("must lie above 0 % and up to 100 %, not at `{text}`"))
        .code(Code::OutOfRange)
        .help("a ratio is a fraction such as 0.25 or a percentage such as \"25%\""))
}

/// The number before a percent sign.
fn percentage(text: &str) -> Result<f64, Fault> {
    let malformed = || Fault::new(format!("must be a ratio such as \"1%\" or 0.01, not `{text}`"));
    let Some(number) = text.strip_suffix('%') else {
        let help = text.parse::<f64>().ok().filter(|n| (0.0..=100.0).contains(n));
        return Err(match help {
            Some(_) => malformed().help(format!("write \"{}%\"", text.trim())),
            None => malformed(),
        });
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(malformed());
    }
    number.parse().map_err(|_| malformed())
}

fn permille(thousandths: f64, text: &str) -> Result<Permille, Fault> {
    if !(0.0..=1000.0).contains(&thousandths) {
        return Err(Fault::new(format!("must lie between 0 % and 100 %, not at `{text}`"))
            .code(Code::OutOfRange)
            .help("a ratio is a fraction such as 0.25 or a percentage such as \"25%\""));
    }
    let whole = thousandths.round();
    if (thousandths - whole).abs() > 1e-6 {
        return Err(Fault::new(format!("is finer than a tenth of a percent: `{text}`"))
            .code(Code::OutOfRange)
            .help("such ratios have steps of \"0.1%\""));
    }
    // In range and whole: checked above.
    Permille::new(whole as u16).ok_or_else(|| Fault::new("must be a ratio"))
}

/// Writes a duration in its largest whole unit.
pub(crate) fn show_duration(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    show(nanos, &DURATION_UNITS, "s")
}

/// Writes a size in its largest whole binary unit.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, SIZE_UNITS.split_at(5).0, "B")
}

/// Writes a share as a percentage.
pub(crate) fn show_percent(share: Permille) -> String {
    match (share.thousandths() / 10, share.thousandths() % 10) {
        (whole, 0) => format!("{whole}%"),
        (whole, tenths) => format!("{whole}.{tenths}%"),
    }
}

fn show(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    let fits = |(_, factor): &&(&str, u64)| value != 0 && value.is_multiple_of(*factor);
    match units.iter().rev().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => format!("{value}{zero}"),
    }
}

fn quantity(text: &str, units: &[(&str, u64)], what: &str, usual: &str) -> Result<u64, Fault> {
    let names = || {
        let list: Vec<&str> = units.iter().map(|(unit, _)| *unit).collect();
        format!("write a whole number and a unit ({})", list.join(", "))
    };
    let wrong = || Fault::new(format!("must be {what}, not `{text}`"));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(wrong().help(names()));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        if unit.is_empty() {
            return Err(Fault::new(format!("must be {what}, and `{text}` has no unit"))
                .help(format!("write \"{text}{usual}\", or another unit: {}", names())));
        }
        let meant = closest(unit.trim(), units.iter().map(|(name, _)| *name)).or_else(|| {
            units.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(unit.trim()))
        });
        let known = units.iter().any(|(name, _)| *name == unit.trim());
        return Err(match meant {
            _ if known => wrong().help(format!("write \"{number}{}\"", unit.trim())),
            Some(meant) if !unit.contains('.') && !unit.bytes().any(|b| b.is_ascii_digit()) => {
                wrong().help(format!("did you mean \"{number}{meant}\"?"))
            }
            _ => wrong().help(names()),
        });
    };
    let number: Option<u64> = number.parse().ok();
    number.and_then(|number| number.checked_mul(*factor)).ok_or_else(|| {
        Fault::new(format!("is too large for {what}: `{text}`")).code(Code::OutOfRange)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_and_sizes_are_a_number_and_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("200us"), Ok(Duration::from_micros(200)));
        assert_eq!(size("16MiB"), Ok(16 << 20));
        assert_eq!(size("1GB"), Ok(1_000_000_000));
        for bad in ["", "s", "5", "5 s", "1.5s", "-1s", "1h30m", "5S", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["16", "16M", "16 MiB", "MiB", "1.5GiB", "20000000TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn slips_in_units_get_the_right_word() {
        let help = |fault: Result<_, Fault>| fault.map(|_: u64| ()).unwrap_err().help.unwrap();
        assert_eq!(help(size("16mib")), "did you mean \"16MiB\"?");
        assert_eq!(help(size("16 MiB")), "write \"16MiB\"");
        assert!(help(size("16")).starts_with("write \"16MiB\""));
    }

    #[test]
    fn ratios_are_exact_in_thousandths() {
        assert_eq!(percent("12.5%").unwrap().thousandths(), 125);
        assert_eq!(percent("100%").unwrap(), Permille::ALL);
        assert_eq!(fraction(0.001).unwrap().thousandths(), 1);
        for bad in ["", "%", "1", "x%", "1e1%", "101%", "0.05%", "-1%", ".%"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
        for bad in [1.001, -0.1, 0.0005, f64::NAN, f64::INFINITY] {
            assert!(fraction(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fine_ratios_lie_above_zero_and_up_to_one() {
        assert_eq!(fine_percent("0.01%"), Ok(0.0001));
        assert_eq!(fine_fraction(0.0001), Ok(0.0001));
        assert_eq!((fine_percent("100%"), fine_fraction(1.0)), (Ok(1.0), Ok(1.0)));
        for bad in ["0%", "100.1%", "", "1", "-1%", "1e-3%"] {
            assert!(fine_percent(bad).is_err(), "{bad}");
        }
        for bad in [0.0, -0.1, 1.1, 1e-300, f64::NAN, f64::INFINITY] {
            assert!(fine_fraction(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// What is written is read back as the same value.
        #[test]
        fn writing_and_reading_agree(micros in 0u64..10_000_000_000_000, bytes: u64, part in 0u16..=1000) {
            let time = Duration::from_micros(micros);
            prop_assert_eq!(duration(&show_duration(time)), Ok(time));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
            let share = Permille::new(part).unwrap();
            prop_assert_eq!(percent(&show_percent(share)), Ok(share));
            prop_assert_eq!(fraction(f64::from(part) / 1000.0), Ok(share));
        }

        /// No text makes the parsers panic.
        #[test]
        fn any_text_is_answered(text in ".{0,20}") {
            drop((duration(&text), size(&text), percent(&text)));
        }
    }
}
