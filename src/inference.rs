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
mod card;
mod compile;
mod convert;
mod executor;
mod footprint;
mod fuzz;
mod graph;
mod local_model;
mod ml;
mod onnx;
mod plan;
mod plans;
mod shapes;
mod signature;
mod trial;
mod vet;

#[cfg(test)]
pub(crate) mod tests;

pub use self::artifact::seal::is_signed;
pub use self::artifact::{ArtifactError, LoadLimits, folder};
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
        shortened(text.unwrap_or("no message"))
    })
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
