//! The first look at a model file happens in a process of its own.
//!
//! Owns that process: the same binary with a hidden subcommand, without the environment, with bounds on
//! memory, processor time and time, and with nothing of ours open but a pipe for its verdict. A file that
//! would make the decoder or the optimiser take everything brings down only that process. What it has let
//! pass is then loaded here, if it is the same file still. Never keeps a model from being refused later.
//!
//! ```text
//! gateway ── spawn ─► child: limits ─► read, decode, check, compile, try ─► verdict ─► pipe ─► gateway: load
//!    └──────────── kills it when the time is over ─┘
//! ```

mod child;
mod remembered;

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

pub use self::child::{Assignment, vet_here};
pub use self::remembered::Remembered;
use super::artifact::seal::hex;
use super::artifact::{ArtifactError, LoadLimits};

/// The hidden subcommand.
pub const VET_COMMAND: &str = "vet-model";
/// The program that runs already, whatever has become of its file.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// The address space that the allocator takes at a time, in KiB.
const ARENA_KIB: &str = "65536";
/// The most bytes of a verdict.
const VERDICT_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes of what the child complains of.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// Bounds on the process that looks at a model file first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VetLimits {
    /// What it may allocate, in bytes.
    pub memory: u64,
    /// How long it may run, by the clock and by its processor time.
    pub time: Duration,
}

/// What a model was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The digest of the version, in hexadecimal.
    pub digest: String,
    /// The inputs, for people.
    pub inputs: Vec<String>,
    /// The outputs, for people.
    pub outputs: Vec<String>,
    /// One run at batch size 1, in microseconds; `None` where it could not be measured.
    pub cost_us: Option<u64>,
    /// What loading took at most, in bytes.
    pub memory_peak: u64,
    /// Descriptors that the process had open.
    pub descriptors: usize,
    /// Whether data lies in further files.
    pub further: bool,
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// The model can be served.
    Fit(Verdict),
    /// It cannot; a sentence that names the file.
    Refused(String),
}

/// Has the model file at `path` looked at in a process of its own, with the sample of the card beside it. Blocks for as long as that takes.
///
/// # Errors
/// [`ArtifactError::Refused`] with the child's words, [`ArtifactError::Vetting`] when it ended without.
pub fn vet(
    path: &Path,
    card: Option<&Path>,
    load: LoadLimits,
    limits: &VetLimits,
) -> Result<Verdict, ArtifactError> {
    vet_with(Path::new(OWN_PROGRAM), path, card, load, limits)
}

/// [`vet`] by a program of the caller's choice.
fn vet_with(
    program: &Path,
    path: &Path,
    card: Option<&Path>,
    load: LoadLimits,
    limits: &VetLimits,
) -> Result<Verdict, ArtifactError> {
    let failed = |reason: String| ArtifactError::Vetting { path: path.to_owned(), reason };
    let started = Instant::now();
    let spawned = spawn(program, path, card, load, limits);
    let mut child = spawned.map_err(|error| failed(format!("no process for it: {error}")))?;
    let said = listen(&mut child, started + limits.time);
    let complaint = said.is_ok().then(|| complaint(&mut child));
    if said.is_err() {
        // Gone already, perhaps.
        drop(child.kill());
    }
    let status = child.wait().map_err(|error| failed(format!("its process is lost: {error}")))?;
    match said {
        Ok(said) => match serde_json::from_slice(&said) {
            Ok(Report::Fit(verdict)) => Ok(verdict),
            Ok(Report::Refused(words)) => Err(ArtifactError::Refused { words }),
            Err(_no_verdict) => Err(failed(ending(status, &complaint.unwrap_or_default(), limits))),
        },
        Err(Silence::Late) => Err(failed(format!("it took longer than {:?}", limits.time))),
        Err(Silence::Endless) => Err(failed("its verdict has no end".to_owned())),
        Err(Silence::Pipe(error)) => Err(failed(format!("its verdict cannot be read: {error}"))),
    }
}

fn spawn(
    program: &Path,
    path: &Path,
    card: Option<&Path>,
    load: LoadLimits,
    limits: &VetLimits,
) -> io::Result<Child> {
    let path = std::path::absolute(path)?;
    let mut command = Command::new(program);
    command.arg(VET_COMMAND).arg(path);
    if let Some(card) = card {
        command.arg("--card").arg(std::path::absolute(card)?);
    }
    command
        .arg(format!("--file-bytes={}", load.file_bytes))
        .arg(format!("--run-bytes={}", load.run_bytes))
        .arg(format!("--memory={}", limits.memory))
        .arg(format!("--seconds={}", limits.time.as_secs().max(1)))
        .env_clear()
        // The allocator takes address space ahead, which would count as if it were used.
        .env("MIMALLOC_ARENA_RESERVE", ARENA_KIB)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Why the child has not said anything.
enum Silence {
    Late,
    Endless,
    Pipe(io::Error),
}

/// Reads what the child says until it closes its end.
fn listen(child: &mut Child, until: Instant) -> Result<Vec<u8>, Silence> {
    let Some(mut pipe) = child.stdout.take() else { return Ok(Vec::new()) };
    let mut said = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Silence::Late);
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Err(Silence::Late),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(Silence::Pipe(error.into())),
        }
        match pipe.read(&mut piece) {
            Ok(0) => return Ok(said),
            Ok(read) if said.len() + read <= VERDICT_BYTES_MAX => {
                said.extend(piece.iter().take(read));
            }
            Ok(_) => return Err(Silence::Endless),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Silence::Pipe(error)),
        }
    }
}

/// The first line of what the child complains of. It has closed its other pipe, so it is at its end.
fn complaint(child: &mut Child) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = child.stderr.take() {
        // What cannot be read is not needed.
        drop(pipe.take(COMPLAINT_BYTES_MAX).read_to_end(&mut bytes));
    }
    let text = String::from_utf8_lossy(&bytes);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// What the end of a child without a verdict means.
fn ending(status: ExitStatus, complaint: &str, limits: &VetLimits) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = status.signal();
    let memory = || format!("it needs more memory than {} bytes", limits.memory);
    if complaint.contains("memory allocation") || complaint.contains("out of memory") {
        return format!("{}: {complaint}", memory());
    }
    match signal.map(rustix::process::Signal::from_named_raw) {
        Some(Some(rustix::process::Signal::XCPU | rustix::process::Signal::KILL)) => {
            format!("it took more processor time than {:?}, or the system killed it", limits.time)
        }
        Some(Some(rustix::process::Signal::ABORT)) => format!("{}, or it is broken", memory()),
        Some(_) => format!("its process crashed with signal {}", signal.unwrap_or_default()),
        None => format!("its process ended with {status}: {complaint}"),
    }
}

/// Whether `verdict` is about an artifact with this digest.
pub(super) fn is_about(verdict: &Verdict, digest: [u8; 32]) -> bool {
    verdict.digest == hex(&digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a program that is not this one: a script.
    fn words(script: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        let executable = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&program, executable).expect("changed");
        let limits = VetLimits { time: Duration::from_millis(700), ..VetLimits::default() };
        let path = Path::new("/models/m/v1/model.onnx");
        let error = vet_with(&program, path, None, LoadLimits::default(), &limits);
        error.expect_err("no verdict").to_string()
    }

    #[test]
    fn a_process_that_gives_no_verdict_is_told_by_its_end() {
        for (script, clue) in [
            ("exit 1", "its process ended with exit status: 1"),
            ("exec echo {}", "its process ended with exit status: 0"),
            ("echo why >&2; exit 3", "exit status: 3: why"),
            ("exec sleep 30", "it took longer than 700ms"),
            ("exec cat /dev/zero", "its verdict has no end"),
            ("kill -SEGV $$", "its process crashed with signal 11"),
        ] {
            let words = words(script);
            assert!(words.contains(clue), "{script}: {words}");
            assert!(words.starts_with("model file /models/m/v1/model.onnx cannot be"), "{words}");
        }
        let program = Path::new("/no/such/program");
        let limits = VetLimits::default();
        let error = vet_with(program, Path::new("m.onnx"), None, LoadLimits::default(), &limits);
        let words = error.expect_err("no program").to_string();
        assert!(words.contains("no process for it"), "{words}");
    }

    #[test]
    fn the_end_of_a_process_says_which_bound_it_met() {
        use std::os::unix::process::ExitStatusExt as _;
        let limits = VetLimits { memory: 1024, time: Duration::from_secs(2) };
        let ended =
            |signal: i32, complaint: &str| ending(ExitStatus::from_raw(signal), complaint, &limits);
        let memory = "it needs more memory than 1024 bytes";
        assert!(ended(6, "memory allocation of 4096 bytes failed").starts_with(memory));
        assert!(ended(6, "").starts_with(memory));
        assert!(ended(24, "").contains("more processor time than 2s"));
        assert!(ended(9, "").contains("more processor time than 2s"));
        assert_eq!(ended(11, ""), "its process crashed with signal 11");
    }
}
