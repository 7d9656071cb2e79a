//! Whether callers of the champion can call the candidate: names, types, shapes, the order of columns and classes.
//!
//! Owns what counts as compatible: a candidate takes all that the champion takes and returns all that it returns.
//! A declared change, by the number in `model.toml` or by the version's name, is for an operator to accept. Never
//! runs anything.

use super::bench::Bench;
use super::{failed, needs_approval, passed, skipped};
use crate::domain::lifecycle::evidence::{Check, CheckKind};
use crate::domain::lifecycle::release::interface_differs;
use crate::monitor::About;
use crate::protocol::tensor::{Tensor, TensorSpec};

const KIND: CheckKind = CheckKind::Interface;

/// The most tensors that a sentence lists.
const LISTED_MAX: usize = 6;

/// Compares what both declare. `answers` are those of candidate and champion to the same row, which stand in where a
/// dialect declares nothing.
pub(super) fn interface(
    candidate: &Bench,
    champion: Option<&Bench>,
    answers: Option<(&[Tensor], &[Tensor])>,
) -> Check {
    let Some(champion) = champion else {
        if candidate.about.inputs.is_empty() {
            let detail = "there is no champion to compare with, and it does not say what it takes";
            return passed(KIND, detail.to_owned());
        }
        let detail = format!(
            "there is no champion to compare with; it takes {} and returns {}",
            listed(&candidate.about.inputs),
            listed(&candidate.about.outputs)
        );
        return passed(KIND, detail);
    };
    let declared = declared_change(candidate, champion);
    let misfits = match (known(&candidate.about), known(&champion.about), answers) {
        (true, true, _) => misfits(&candidate.about, &champion.about),
        (_, _, Some((ours, theirs))) => answered_otherwise(ours, theirs).into_iter().collect(),
        (_, _, None) => {
            return match declared {
                Some(change) => needs_approval(KIND, change),
                None => skipped(KIND, "one of the two does not say what it takes".to_owned()),
            };
        }
    };
    match (declared, misfits.is_empty()) {
        (Some(change), true) => needs_approval(KIND, change),
        (Some(change), false) => needs_approval(KIND, format!("{change}: {}", misfits.join("; "))),
        (None, false) => failed(KIND, misfits.join("; ")),
        (None, true) => passed(
            KIND,
            format!(
                "it takes and returns what {} does: {} inputs and {} outputs",
                champion.version,
                champion.about.inputs.len(),
                champion.about.outputs.len()
            ),
        ),
    }
}

fn known(about: &About) -> bool {
    !about.inputs.is_empty()
}

/// The sentence of a change that the publisher has declared.
fn declared_change(candidate: &Bench, champion: &Bench) -> Option<String> {
    match (candidate.interface, champion.interface) {
        (Some(ours), Some(theirs)) if ours != theirs => Some(format!(
            "`interface` of model.toml is {ours}, and {theirs} in {}",
            champion.version
        )),
        (None, Some(theirs)) => Some(format!(
            "its model.toml promises no `interface`, and that of {} promises {theirs}",
            champion.version
        )),
        _ if interface_differs(&candidate.version, &champion.version) => Some(format!(
            "the name {} says that its interface is not that of {}",
            candidate.version, champion.version
        )),
        _ => None,
    }
}

/// What a caller of the champion would stumble over.
fn misfits(candidate: &About, champion: &About) -> Vec<String> {
    let mut found = Vec::new();
    for theirs in &champion.inputs {
        match candidate.inputs.iter().find(|ours| ours.name == theirs.name) {
            None => found.push(format!("it does not take the input {theirs}")),
            Some(ours) => found.extend(tensor_misfit("input", ours, theirs)),
        }
    }
    for ours in &candidate.inputs {
        if !champion.inputs.iter().any(|theirs| theirs.name == ours.name) {
            found.push(format!("it needs the input {ours}, which the champion does not take"));
        }
    }
    for theirs in &champion.outputs {
        match candidate.outputs.iter().find(|ours| ours.name == theirs.name) {
            None => found.push(format!("it does not return the output {theirs}")),
            Some(ours) => found.extend(tensor_misfit("output", ours, theirs)),
        }
    }
    for (output, theirs) in &champion.columns {
        let ours = candidate.columns.get(output);
        if let Some(ours) = ours.filter(|ours| *ours != theirs) {
            found.push(format!(
                "the classes of '{output}' are {}, not {}",
                shortened(ours),
                shortened(theirs)
            ));
        }
    }
    found
}

fn tensor_misfit(role: &str, ours: &TensorSpec, theirs: &TensorSpec) -> Option<String> {
    let is_input = role == "input";
    let fits = |(ours, theirs): (&i64, &i64)| match (*ours, *theirs) {
        (ours, theirs) if ours == theirs => true,
        // Any size is as good as one to a caller, and a size that is not told of an answer may be the same.
        (-1, _) => true,
        (_, -1) => !is_input,
        _ => false,
    };
    if ours.datatype != theirs.datatype
        || ours.shape.len() != theirs.shape.len()
        || !ours.shape.iter().zip(&theirs.shape).all(fits)
    {
        return Some(format!("{role} {ours} was {theirs}"));
    }
    if ours.places.is_empty() || theirs.places.is_empty() || ours.places == theirs.places {
        return None;
    }
    let at = ours.places.iter().zip(&theirs.places).position(|(ours, theirs)| ours != theirs);
    let name = |places: &[String]| at.and_then(|at| places.get(at)).cloned().unwrap_or_default();
    Some(format!(
        "column {} of {role} '{}' is `{}`, and `{}` in the champion",
        at.unwrap_or_default(),
        ours.name,
        name(&ours.places),
        name(&theirs.places)
    ))
}

/// What differs between the forms of two answers to the same row.
fn answered_otherwise(ours: &[Tensor], theirs: &[Tensor]) -> Option<String> {
    for output in theirs {
        let name = output.name();
        let is_only = theirs.len() == 1;
        let Some(own) = super::compare::counterpart(ours, name, is_only) else {
            return Some(format!("its answer has no output '{name}'"));
        };
        let (found, wanted) = (own.data().len(), output.data().len());
        if found != wanted {
            return Some(format!(
                "output '{name}' has {found} values for a row, and {wanted} before"
            ));
        }
        let is_text = |tensor: &Tensor| super::compare::numbers(tensor.data()).is_none();
        if is_text(own) != is_text(output) {
            return Some(format!("output '{name}' is of texts in one and of numbers in the other"));
        }
    }
    None
}

fn listed(specs: &[TensorSpec]) -> String {
    let shown: Vec<String> = specs.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    match specs.len().saturating_sub(LISTED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn shortened(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(LISTED_MAX).map(String::as_str).collect();
    let more = if names.len() > LISTED_MAX { ", …" } else { "" };
    format!("[{}{more}]", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tensor::Datatype;

    fn spec(name: &str, datatype: Datatype, shape: &[i64], places: &[&str]) -> TensorSpec {
        let places = places.iter().map(|place| (*place).to_owned()).collect();
        TensorSpec { name: name.to_owned(), datatype, shape: shape.into(), places, ordered: true }
    }

    fn about(inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> About {
        About { inputs, outputs, ..About::default() }
    }

    #[test]
    fn a_candidate_takes_and_returns_at_least_what_the_champion_does() {
        use Datatype::{Fp32, Fp64, Int64};
        let x = |shape: &[i64]| spec("x", Fp32, shape, &["a", "b"]);
        let p = || spec("p", Fp32, &[-1, 2], &[]);
        let champion = about(vec![x(&[-1, 2])], vec![p()]);
        let found = |candidate: About| misfits(&candidate, &champion).join("; ");
        assert_eq!(found(champion.clone()), "");
        assert_eq!(found(about(vec![x(&[-1, -1])], vec![p(), spec("q", Int64, &[-1], &[])])), "");
        for (candidate, message) in [
            (about(vec![x(&[1, 2])], vec![p()]), "input 'x' (FP32 [1, 2]) was 'x' (FP32 [-1, 2])"),
            (about(vec![x(&[-1, 3])], vec![p()]), "input 'x' (FP32 [-1, 3]) was"),
            (about(vec![spec("x", Fp64, &[-1, 2], &[])], vec![p()]), "input 'x' (FP64"),
            (about(vec![spec("y", Fp32, &[-1, 2], &[])], vec![p()]), "does not take the input 'x'"),
            (
                about(vec![x(&[-1, 2]), spec("z", Fp32, &[-1], &[])], vec![p()]),
                "it needs the input 'z'",
            ),
            (about(vec![x(&[-1, 2])], vec![]), "it does not return the output 'p'"),
            (
                about(vec![spec("x", Fp32, &[-1, 2], &["b", "a"])], vec![p()]),
                "column 0 of input 'x' is `b`, and `a` in the champion",
            ),
        ] {
            let found = found(candidate);
            assert!(found.contains(message), "{found}");
        }
    }

    #[test]
    fn classes_keep_their_order() {
        let with = |classes: &[&str]| {
            let classes = classes.iter().map(|class| (*class).to_owned()).collect();
            About { columns: [("p".to_owned(), classes)].into(), ..About::default() }
        };
        assert!(misfits(&with(&["a", "b"]), &with(&["a", "b"])).is_empty());
        let found = misfits(&with(&["b", "a"]), &with(&["a", "b"]));
        assert_eq!(found, ["the classes of 'p' are [b, a], not [a, b]"]);
    }
}
