//! What tract leaves out of account in operators that it has.
//!
//! Owns the table of attributes that change an answer and that tract does not read, so that a model that uses
//! one is refused by name instead of answering wrongly. Found by comparing the attributes of every version of
//! every operator in the `onnx` package with those that tract's source names. Never refuses an attribute that
//! says what tract does anyway.

use tract_onnx::pb::{AttributeProto, NodeProto};

/// An attribute of an operator that tract leaves out of account.
struct Unread {
    operators: &'static [&'static str],
    attribute: &'static str,
    /// Whether the attribute says what tract does anyway.
    harmless: fn(&AttributeProto) -> bool,
}

const NEVER: fn(&AttributeProto) -> bool = |_| false;
const ZERO: fn(&AttributeProto) -> bool = |attribute| attribute.i == 0;
const ZEROS: fn(&AttributeProto) -> bool = |attribute| attribute.ints.iter().all(|i| *i == 0);

const fn unread(
    operators: &'static [&'static str],
    attribute: &'static str,
    harmless: fn(&AttributeProto) -> bool,
) -> Unread {
    Unread { operators, attribute, harmless }
}

const UNREAD: &[Unread] = &[
    unread(&["SpaceToDepth"], "mode", |attribute| attribute.s == b"DCR"),
    unread(&["Attention"], "left_window_size", |attribute| attribute.i < 0),
    unread(&["Attention"], "right_window_size", |attribute| attribute.i < 0),
    unread(&["BatchNormalization"], "training_mode", ZERO),
    unread(&["MultiHeadAttention"], "unidirectional", ZERO),
    unread(&["Scan"], "directions", ZEROS),
    unread(&["Scan"], "scan_input_directions", ZEROS),
    unread(&["Scan"], "scan_output_directions", ZEROS),
    unread(&["DequantizeLinear"], "output_dtype", ZERO),
    // Where the second operand begins, before shapes were matched from the end (up to version 6).
    unread(
        &["Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Greater", "Less", "Equal"],
        "axis",
        NEVER,
    ),
];

/// Operators that draw random numbers: the same request would have another answer each time.
const RANDOM: &[&str] = &[
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

/// What the node asks for that tract would leave out of account, `None` if there is nothing.
pub(in crate::inference) fn beyond(node: &NodeProto) -> Option<String> {
    let operator = node.op_type.as_str();
    for unread in UNREAD.iter().filter(|unread| unread.operators.contains(&operator)) {
        let attribute = node.attribute.iter().find(|attribute| attribute.name == unread.attribute);
        if attribute.is_some_and(|attribute| !(unread.harmless)(attribute)) {
            return Some(format!("its attribute '{}'", unread.attribute));
        }
    }
    let says = |name: &str, texts: &[&[u8]]| {
        let mut attributes = node.attribute.iter();
        attributes.any(|attribute| attribute.name == name && texts.contains(&&*attribute.s))
    };
    // Each neighbour is taken from the border there, not the place between them.
    if operator == "GridSample"
        && says("mode", &[&b"bicubic"[..], &b"cubic"[..]])
        && says("padding_mode", &[&b"border"[..]])
    {
        return Some("cubic interpolation at the border".to_owned());
    }
    // With gaps in the window onnxruntime makes fewer places than the input has, against the specification.
    let gaps = |attribute: &AttributeProto| {
        attribute.name == "dilations" && attribute.ints.iter().any(|gap| *gap != 1)
    };
    if ["AveragePool", "LpPool", "MaxPool"].contains(&operator)
        && says("auto_pad", &[&b"SAME_UPPER"[..], &b"SAME_LOWER"[..]])
        && node.attribute.iter().any(gaps)
    {
        return Some("'auto_pad' and 'dilations' together".to_owned());
    }
    // The last window may begin within the tensor and end beyond it; tract has none of those there.
    let rounds_up = |attribute: &AttributeProto| attribute.name == "ceil_mode" && attribute.i != 0;
    if matches!(operator, "AveragePool" | "MaxPool")
        && says("auto_pad", &[&b"VALID"[..], &b"SAME_UPPER"[..], &b"SAME_LOWER"[..]])
        && node.attribute.iter().any(rounds_up)
    {
        return Some("windows that are not full where padding is automatic".to_owned());
    }
    // The pads count there, and everywhere else what is automatic.
    let pads = node.attribute.iter().find(|attribute| attribute.name == "pads");
    let padded = |pads: &AttributeProto| pads.ints.iter().any(|pad| *pad != 0);
    let windows = ["AveragePool", "Conv", "ConvInteger", "ConvTranspose", "MaxPool", "QLinearConv"];
    if windows.contains(&operator)
        && (says("auto_pad", &[&b"VALID"[..]]) && pads.is_some_and(padded)
            || says("auto_pad", &[&b"SAME_UPPER"[..], &b"SAME_LOWER"[..]]) && pads.is_some())
    {
        return Some("'auto_pad' and 'pads' together".to_owned());
    }
    // Of one tensor it stays what it is there.
    let to_a_number = |attribute: &AttributeProto| {
        attribute.name == "equation" && attribute.s.trim_ascii_end().ends_with(b"->")
    };
    if operator == "Einsum" && node.input.len() == 1 && node.attribute.iter().any(to_a_number) {
        return Some("the sum of all numbers of one tensor, which is a ReduceSum".to_owned());
    }
    let equation = node.attribute.iter().find(|attribute| attribute.name == "equation");
    if operator == "Einsum"
        && let Some(axis) = equation.and_then(|equation| from_nowhere(&equation.s))
    {
        return Some(format!("the axis '{}' of its output, which no input has", char::from(axis)));
    }
    if operator == "GlobalLpPool" {
        return Some("sums: it would be divided by the number of elements".to_owned());
    }
    if RANDOM.contains(&operator) {
        return Some("random numbers, which no answer may depend on".to_owned());
    }
    let has_input = |position: usize| node.input.get(position).is_some_and(|name| !name.is_empty());
    if operator == "SkipSimplifiedLayerNormalization" && has_input(3) {
        return Some("a bias".to_owned());
    }
    let causal = |attribute: &AttributeProto| attribute.name == "is_causal" && attribute.i != 0;
    // The mask of what comes later starts at the past there, not at the query.
    let with_past = operator == "Attention" && has_input(4) && node.attribute.iter().any(causal);
    with_past.then(|| "a causal mask and past keys together".to_owned())
}

/// The first axis that an equation names for the output and not for an input.
fn from_nowhere(equation: &[u8]) -> Option<u8> {
    let arrow = equation.windows(2).position(|pair| pair == b"->")?;
    let (inputs, output) = equation.split_at(arrow);
    output.iter().copied().find(|axis| axis.is_ascii_alphabetic() && !inputs.contains(axis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(operator: &str, attribute: AttributeProto) -> NodeProto {
        NodeProto {
            op_type: operator.to_owned(),
            attribute: vec![attribute],
            ..NodeProto::default()
        }
    }

    fn int(name: &str, i: i64) -> AttributeProto {
        AttributeProto { name: name.to_owned(), i, ..AttributeProto::default() }
    }

    #[test]
    fn what_would_be_ignored_is_refused_and_defaults_are_not() {
        let refused = |operator, attribute| beyond(&node(operator, attribute)).is_some();
        assert!(refused("Add", int("axis", 0)) && !refused("Softmax", int("axis", 0)));
        assert!(refused("GlobalLpPool", int("p", 3)) && refused("GlobalLpPool", int("p", 2)));
        assert!(refused("BatchNormalization", int("training_mode", 1)));
        assert!(refused("MultiHeadAttention", int("unidirectional", 1)));
        let inputs = |count: usize| NodeProto {
            op_type: "SkipSimplifiedLayerNormalization".to_owned(),
            input: vec!["x".to_owned(); count],
            ..NodeProto::default()
        };
        assert!(beyond(&inputs(4)).is_some() && beyond(&inputs(3)).is_none());
        assert!(refused("RandomUniform", int("dtype", 1)));
        let padded = |gap: i64| {
            let s = b"SAME_UPPER".to_vec();
            let same =
                AttributeProto { name: "auto_pad".to_owned(), s, ..AttributeProto::default() };
            let ints = vec![1, gap];
            let gaps =
                AttributeProto { name: "dilations".to_owned(), ints, ..AttributeProto::default() };
            NodeProto { attribute: vec![same, gaps], ..node("MaxPool", int("ceil_mode", 0)) }
        };
        assert!(beyond(&padded(2)).is_some() && beyond(&padded(1)).is_none());
        let einsum = |equation: &str, inputs: usize| {
            let s = equation.as_bytes().to_vec();
            let equation =
                AttributeProto { name: "equation".to_owned(), s, ..AttributeProto::default() };
            let input = vec!["x".to_owned(); inputs];
            beyond(&NodeProto { input, ..node("Einsum", equation) })
        };
        assert!(einsum("ij->", 1).is_some() && einsum("ij-> ", 1).is_some());
        assert!(einsum("ij->j", 1).is_none() && einsum("ij,ij->", 2).is_none());
        assert!(einsum("ab,cd->xyz", 2).is_some() && einsum("ab,bc->ad", 2).is_some());
        assert!(einsum("...ij,jk->...ik", 2).is_none() && einsum("ij,jk", 2).is_none());
        let both = |way: &str, pads: &[i64]| {
            let (s, ints) = (way.as_bytes().to_vec(), pads.to_vec());
            let way =
                AttributeProto { name: "auto_pad".to_owned(), s, ..AttributeProto::default() };
            let pads =
                AttributeProto { name: "pads".to_owned(), ints, ..AttributeProto::default() };
            beyond(&NodeProto { attribute: vec![way, pads], ..node("Conv", int("group", 1)) })
        };
        assert!(both("SAME_UPPER", &[0, 0]).is_some() && both("VALID", &[0, 1]).is_some());
        assert!(both("VALID", &[0, 0]).is_none() && both("NOTSET", &[1, 1]).is_none());
    }
}
