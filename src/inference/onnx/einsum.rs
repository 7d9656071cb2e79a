//! `ai.onnx` Einsum whose equation has dots.
//!
//! Owns what they stand for (<https://onnx.ai/onnx/operators/onnx__Einsum.html>): as many axes as an operand has beyond
//! those that are named. Tract takes dots of several axes in some operands only for fewer, and loses the others without a word;
//! here the equation is written out before it sees it. Dots of unequal numbers of axes are refused.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{OutletId, TVec, TractResult, TypedModel};
use tract_onnx::tract_hir::infer::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, StaticName};
use tract_onnx::tract_hir::internal::{bail, expand};

use super::wiring::{self, Built};

const DOTS: &str = "...";
/// The most axes that dots may stand for.
const DOTTED_MAX: usize = 6;

/// A node of the file.
#[derive(Debug, Clone)]
struct Einsum {
    /// An operand with dots, and how many of its axes are named.
    dotted: (usize, usize),
    /// With the dots written out as so many axes.
    written_out: Vec<Box<dyn Expansion>>,
}

/// Makes the operator of a node.
pub(super) fn build(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    const EQUATION: &str = "equation";
    let equation: String = node.get_attr(EQUATION)?;
    let equation: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
    let Some(dotted) = dotted(&equation) else { return super::stock(context, node) };
    let written_out = (0..=DOTTED_MAX).map(|count| {
        let mut node = node.clone();
        for attribute in node.attribute.iter_mut().filter(|attribute| attribute.name == EQUATION) {
            attribute.s = write_out(&equation, count)?.into_bytes();
        }
        wiring::stock(context, &node)
    });
    let written_out = written_out.collect::<TractResult<_>>()?;
    Ok((expand(Einsum { dotted, written_out }), Vec::new()))
}

/// The first operand with dots, and how many of its axes are named.
fn dotted(equation: &str) -> Option<(usize, usize)> {
    let operands = equation.split("->").next()?.split(',').enumerate();
    let mut dotted = operands.filter(|(_, operand)| operand.contains(DOTS));
    let (slot, operand) = dotted.next()?;
    Some((slot, operand.replace(DOTS, "").chars().count()))
}

/// The equation with `count` axes for the dots.
fn write_out(equation: &str, count: usize) -> TractResult<String> {
    let letters = ('a'..='z').chain('A'..='Z').filter(|letter| !equation.contains(*letter));
    let axes: String = letters.take(count).collect();
    if axes.len() < count {
        bail!("the equation '{equation}' of an Einsum leaves no letters for its dots");
    }
    let (operands, result) = match equation.split_once("->") {
        Some((operands, result)) => (operands, result.to_owned()),
        // The dots, and then what is there once, in the order of the alphabet.
        None => {
            let named = |letter: &char| letter.is_ascii_alphabetic();
            let mut once: Vec<char> = equation.chars().filter(named).collect();
            once.retain(|letter| equation.matches(*letter).count() == 1);
            once.sort_unstable();
            (equation, DOTS.chars().chain(once).collect())
        }
    };
    Ok(format!("{operands}->{result}").replace(DOTS, &axes))
}

impl Einsum {
    /// What it is where the operand with dots has this many axes.
    fn of_rank(&self, rank: usize) -> TractResult<&dyn Expansion> {
        let (slot, named) = self.dotted;
        match rank.checked_sub(named).and_then(|count| self.written_out.get(count)) {
            Some(written_out) => Ok(&**written_out),
            None => {
                bail!("operand {slot} of an Einsum has {rank} axes, of which {named} are named")
            }
        }
    }
}

impl Expansion for Einsum {
    fn name(&self) -> StaticName {
        "Einsum".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let Some(input) = inputs.get(self.dotted.0) else {
            bail!("an Einsum has {} operands, and more in its equation", inputs.len());
        };
        solver.given(&input.rank, move |solver, rank| {
            self.of_rank(usize::try_from(rank)?)?.rules(solver, inputs, outputs)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let Some(&input) = inputs.get(self.dotted.0) else {
            bail!("an Einsum has {} operands, and more in its equation", inputs.len());
        };
        let rank = model.outlet_fact(input)?.rank();
        self.of_rank(rank)?.wire(prefix, model, inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_written_out() {
        assert_eq!(dotted("jk,...ij->...ik"), Some((1, 2)));
        assert_eq!(dotted("ij,jk->ik"), None);
        let written = |equation, count| write_out(equation, count).expect("letters are left");
        assert_eq!(written("...f,fk->...k", 2), "abf,fk->abk");
        assert_eq!(written("...f,fk->...k", 0), "f,fk->k");
        assert_eq!(written("...ij,...jk", 1), "aij,ajk->aik");
        assert_eq!(written("...ba", 1), "cba->cab");
    }
}
