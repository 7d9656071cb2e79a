//! The weights by which a client prefers one form of an answer to another (RFC 9110 section 12.4.2).

/// The weight among the parameters of a choice, from 0 (not acceptable) to 1, which it is where none is given;
/// `None` when it is none.
pub fn weight(parameters: &str) -> Option<f32> {
    let given = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    let Some(text) = given else { return Some(1.0) };
    text.parse().ok().filter(|weight| (0.0..=1.0).contains(weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_from_nothing_to_one() {
        for (parameters, expected) in [
            ("", Some(1.0)),
            ("q=0", Some(0.0)),
            (" q=0.25 ", Some(0.25)),
            ("header=present; Q=1.000", Some(1.0)),
            ("q=", None),
            ("q=2", None),
            ("q=-1", None),
            ("q=nan", None),
            ("q", Some(1.0)),
        ] {
            assert_eq!(weight(parameters), expected, "{parameters}");
        }
    }
}
