//! What the gateway tells about itself: metrics and its own log lines.
//!
//! Owns every metric name ([`metrics`]), the latency histograms ([`latency`]) and the set-up of
//! logging ([`logging`]). Never sees a body or a secret, and no path, key or id becomes a label.

pub mod latency;
pub mod logging;
pub mod metrics;
mod process;
mod shards;
mod tally;

pub use self::latency::LatencyShards;
pub use self::metrics::{BATCH_ROWS, LOG_SYNC, Registry, TargetLabels, TargetMetrics};
pub use self::shards::{Padded, ShardedCounter};
pub use self::tally::{Ended, Sum, Tally};
