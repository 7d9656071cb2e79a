//! The units that people confuse, and the sentence that names them.
//!
//! Owns the list. A name is a guess, and is put as a question: a factor of 1.094 may be anything.

use super::Change;

/// Units of one quantity, and how many of the second are one of the first.
const UNITS: [(&str, &str, f64); 10] = [
    ("metres", "yards", 1.093_613_3),
    ("metres", "feet", 3.280_839_9),
    ("kilometres", "miles", 0.621_371_2),
    ("inches", "centimetres", 2.54),
    ("kilograms", "pounds", 2.204_622_6),
    ("US gallons", "litres", 3.785_411_8),
    ("hours", "minutes", 60.0),
    ("a share", "percent", 100.0),
    ("thousands", "ones", 1000.0),
    ("millions", "ones", 1e6),
];

/// Degrees Celsius to Fahrenheit, and back.
pub(super) const DEGREES: [Change; 2] = [
    Change { factor: 1.8, offset: 32.0, error: 0.0 },
    Change { factor: 1.0 / 1.8, offset: -32.0 / 1.8, error: 0.0 },
];
const DEGREE_WORDS: [&str; 2] = ["Celsius to Fahrenheit", "Fahrenheit to Celsius"];

/// How far a factor may be from a unit's, as a logarithm: twice its standard error, but at least and at most so far.
const CLOSE: (f64, f64) = (0.01, 0.03);

/// The logarithms of all factors, each way.
pub(super) fn ln_factors() -> impl Iterator<Item = f64> {
    UNITS.iter().flat_map(|(_, _, factor)| [factor.ln(), -factor.ln()])
}

/// The units between which a change would be this one: "metres to yards".
pub fn named(change: Change) -> Option<String> {
    if change.offset != 0.0 {
        let at = DEGREES.iter().position(|degrees| *degrees == change)?;
        return DEGREE_WORDS.get(at).map(|words| (*words).to_owned());
    }
    let ln_factor = change.factor.ln();
    let each_way = UNITS
        .iter()
        .flat_map(|(from, to, factor)| [(from, to, factor.ln()), (to, from, -factor.ln())]);
    let apart = |ln: f64| (ln - ln_factor).abs();
    let (from, to, ln) = each_way.min_by(|a, b| apart(a.2).total_cmp(&apart(b.2)))?;
    let close = (2.0 * change.error).clamp(CLOSE.0, CLOSE.1);
    (apart(ln) <= close).then(|| format!("{from} to {to}"))
}

/// "every value is about 1.094 times what it was: metres to yards?"
pub fn sentence(change: Change) -> String {
    let factor = match change.factor {
        factor if (0.01..100.0).contains(&factor) => format!("{factor:.3}"),
        factor => format!("{factor:.3e}"),
    };
    let added = match change.offset {
        offset if offset > 0.0 => format!(" plus {offset:.1}"),
        offset if offset < 0.0 => format!(" less {:.1}", -offset),
        _ => String::new(),
    };
    let units = named(change).map(|units| format!(": {units}?")).unwrap_or_default();
    format!("every value is about {factor} times what it was{added}{units}")
}
