//! The process that looks at a model file: what it may do, and what it says.
//!
//! Owns its limits, which it sets before it opens the file. Its memory is bounded by what it maps, so that
//! an allocation that would go beyond fails, and it ends.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::{Report, Verdict, VetLimits};
use crate::domain::spec::{ModelCard, OnnxSpec};
use crate::inference::artifact::LoadLimits;
use crate::inference::artifact::seal::hex;
use crate::inference::local_model::LocalModel;

/// The most descriptors that it may open: the file, and those of the data beside it.
const DESCRIPTORS_MAX: u64 = 1024;

/// What a child is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The model file.
    pub path: PathBuf,
    /// What is known about the model, of which its sample counts here.
    pub card: Option<ModelCard>,
    /// Bounds on the file.
    pub load: LoadLimits,
    /// Bounds on this process.
    pub limits: VetLimits,
}

/// Looks at a model file in this process, which is there for nothing else, and writes the verdict.
///
/// # Errors
/// When a limit cannot be set or the verdict cannot be written.
pub fn vet_here(assignment: &Assignment, out: &mut dyn Write) -> io::Result<()> {
    let descriptors = descriptors();
    let before = Memory::now();
    confine(&assignment.limits, before.mapped)?;
    let spec = OnnxSpec::new(&assignment.path);
    let model = LocalModel::read(&spec, &assignment.load)
        .and_then(|file| file.load(&spec, assignment.card.as_ref(), None))
        .inspect(LocalModel::explore);
    let report = match model {
        Ok(model) => Report::Fit(verdict(&model, before, descriptors)),
        Err(error) => Report::Refused(error.to_string()),
    };
    serde_json::to_writer(&mut *out, &report)?;
    out.flush()
}

fn verdict(model: &LocalModel, before: Memory, descriptors: usize) -> Verdict {
    let signature = model.signature();
    Verdict {
        digest: hex(&model.digest()),
        inputs: signature.inputs.iter().map(ToString::to_string).collect(),
        outputs: signature.outputs.iter().map(ToString::to_string).collect(),
        cost_us: model.cost_us(),
        memory_peak: Memory::now().peak.saturating_sub(before.peak),
        descriptors,
        further: model.has_further_files(),
    }
}

/// Takes from this process what it does not need.
fn confine(limits: &VetLimits, mapped: u64) -> io::Result<()> {
    // The parent waits for this process; without it nobody does.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    let seconds = limits.time.as_secs().max(1);
    for (resource, limit) in [
        (Resource::As, mapped.saturating_add(limits.memory)),
        (Resource::Cpu, seconds),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, DESCRIPTORS_MAX),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

/// Descriptors that are open, without the one that counts them.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
}

/// What this process takes, in bytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    mapped: u64,
    peak: u64,
}

impl Memory {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        let bytes = |name: &str| kilobytes(name).unwrap_or(0).saturating_mul(1024);
        Self { mapped: bytes("VmSize:"), peak: bytes("VmHWM:") }
    }
}

impl Default for VetLimits {
    fn default() -> Self {
        Self { memory: 2 * 1024 * 1024 * 1024, time: Duration::from_secs(60) }
    }
}
