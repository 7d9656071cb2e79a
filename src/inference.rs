//! Models that run in this process.
//!
//! Owns the way from an ONNX file to an answer: reading and checking the artifact ([`LoadLimits`],
//! [`ArtifactError`]), compiling it with tract, running it ([`LocalModel`]), and the threads for
//! models that are too slow for a worker ([`Executor`]). Never knows about HTTP, routing or versions;
//! what a failed prediction means to a client is decided by `proxy`.
//!
//! ```text
//! file ─ read, digest ─► protobuf ─ check operators and types ─► tract: type, optimise ─► warm up ─► LocalModel
//! ```

mod artifact;
mod boundary;
mod by_size;
mod card;
mod compile;
mod convert;
mod direct;
mod executor;
mod footprint;
mod form;
mod fuzz;
mod graph;
mod local_model;
mod ml;
mod onnx;
mod plan;
mod plans;
mod rows;
mod shapes;
mod signature;
mod sizes;
mod trial;
mod vet;

#[cfg(test)]
pub(crate) mod tests;

pub use self::artifact::seal::is_signed;
pub use self::artifact::{ArtifactError, LoadLimits, folder};
pub use self::by_size::{Held, PlanWait, Unplanned};
pub use self::compile::Bound;
pub use self::executor::{
    Answer, BATCH_BOUNDS, Executor, ExecutorError, ExecutorStats, Lane, LaneLimits, LaneStats,
    Pending, QueueFull, Ran,
};
#[doc(hidden)]
pub use self::fuzz::{fuzz_artifact, fuzz_graph, fuzz_operator};
pub use self::local_model::{InferError, LocalModel, ModelFile, Prepared};
pub use self::signature::{InputError, Signature};
pub use self::vet::{Assignment, Remembered, VET_COMMAND, Verdict, VetLimits, vet, vet_here};

/// Runs `f` and turns a panic inside of it into its message.
///
/// tract's operators are trusted with memory but not with every malformed graph or input: a panic may
/// cost the request that caused it and nothing else. What `f` touches is either owned by the call or
/// discarded when it unwinds, which is why asserting unwind safety is sound here.
fn contained<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        shortened(&without_values(text.unwrap_or("no message")))
    })
}

/// A text of tract without the elements of the tensors that it quotes, which are the values of a request. tract
/// writes a tensor as its dimensions and element type, both without spaces between, a space and its elements.
fn without_values(text: &str) -> String {
    const TYPES: &[&str] = &[
        "Bool", "U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64", "F16", "F32", "F64", "TDim",
        "String",
    ];
    const QUANTIZED: [&str; 3] = ["QU8", "QI8", "QI32"];
    let mut kept = String::with_capacity(text.len());
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 {
            kept.push(' ');
        }
        kept.push_str(word);
        let Some((dims, datum_type)) = word.rsplit_once(',') else { continue };
        // Something may stand before the first dimension, such as a bracket.
        let dims = dims.trim_start_matches(|c: char| !c.is_ascii_digit());
        let are_dims = dims.chars().all(|c| c.is_ascii_digit() || c == ',');
        if are_dims
            && (TYPES.contains(&datum_type)
                || QUANTIZED.iter().any(|start| datum_type.starts_with(start)))
        {
            // How far its elements reach cannot be told: texts may hold anything.
            kept.push('…');
            break;
        }
    }
    kept
}

/// The first part of a text from a library, which may quote whole tensors.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod words {
    use super::without_values;

    #[test]
    fn errors_do_not_quote_the_values_of_tensors() {
        for (said, kept) in [
            (
                "Invalid range 0..512 for slicing 2,5,F32 -1.5068601, 0.20230362, 3.5...on axis 1",
                "Invalid range 0..512 for slicing 2,5,F32…",
            ),
            ("wrong scalar: ,I64 4711", "wrong scalar: ,I64…"),
            ("got (3,String Miller, Smith)", "got (3,String…"),
            ("got 2,QU8(Z:1 S:0.5) [3](1.0)", "got 2,QU8(Z:1…"),
            ("expected [2, 5], got 2,5,F32", "expected [2, 5], got 2,5,F32…"),
            ("takes FP32, not F32 at all", "takes FP32, not F32 at all"),
            ("assertion failed: index < dim", "assertion failed: index < dim"),
        ] {
            assert_eq!(without_values(said), kept);
        }
    }
}
