//! The process's own figures, read from `/proc`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::metrics::Registry;

/// User and system time; not an integer, so that the registry cannot keep it.
pub(super) const CPU_SECONDS: &str = "process_cpu_seconds_total";

/// User and system time of the process in seconds.
pub(super) fn cpu_seconds() -> f64 {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds of a process fit")]
    let seconds = usage.tv_sec as f64 + usage.tv_nsec as f64 / 1e9;
    seconds
}

/// Sets the other `process_*` metrics; what cannot be read is left as it was.
pub(super) fn measure(registry: &Registry, started: Instant) {
    if let Some(pages) = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok())
    {
        #[expect(clippy::cast_precision_loss, reason = "a page size")]
        let bytes = pages * rustix::param::page_size() as f64;
        registry.set("process_resident_memory_bytes", &[], bytes);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        registry.set("process_open_fds", &[], entries.count() as f64);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = now.saturating_sub(started.elapsed());
    registry.set("process_start_time_seconds", &[], start.as_secs_f64());
}
