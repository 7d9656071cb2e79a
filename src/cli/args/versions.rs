//! What can be typed about versions under the life cycle.
//!
//! Owns commands and options. Never acts on them.

use clap::Subcommand;

use super::Format;

/// Read and direct the releases of a running gateway.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum VersionsCommand {
    /// List versions with their stages, and why each is where it is.
    List {
        /// This model only.
        model: Option<String>,
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Show one version: why it is where it is, what it waits for, and its evidence.
    #[command(visible_alias = "explain")]
    Show {
        /// The model.
        model: String,
        /// The version.
        version: String,
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Make a version live now; it must be in shadow, in canary or standby.
    Promote(OrderArgs),
    /// End the rollout, or go back to an earlier champion: the latest, or the one that is named.
    Rollback(ModelOrderArgs),
    /// Take a standby out of memory.
    Drain(OrderArgs),
    /// Delete the artifact of a version that is retired or quarantined.
    Evict {
        #[command(flatten)]
        order: OrderArgs,
        /// Overrule the guard; a version in use stays all the same.
        #[arg(long)]
        force: bool,
    },
    /// Bring back a version that is retired, quarantined or evicted.
    Restore(OrderArgs),
    /// Never evict a version.
    Pin(OrderArgs),
    /// End a pin.
    Unpin(OrderArgs),
    /// Leave a version where it is, whatever the evidence says.
    Hold(OrderArgs),
    /// End a hold.
    Unhold(OrderArgs),
    /// Let a version answer clients.
    Approve(OrderArgs),
    /// Stop a version for good, before or during its trial.
    Reject(OrderArgs),
    /// Cut off traffic at once: of a version, of a model, or without names of every model.
    Kill(KillArgs),
    /// Let traffic flow again.
    Unkill(KillArgs),
}

/// An order about a version.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct OrderArgs {
    /// The model.
    pub(in crate::cli) model: String,
    /// The version.
    pub(in crate::cli) version: String,
    #[command(flatten)]
    pub(in crate::cli) signed: Signed,
}

/// An order about a model, or one of its versions.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ModelOrderArgs {
    /// The model.
    pub(in crate::cli) model: String,
    /// The version.
    pub(in crate::cli) version: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) signed: Signed,
}

/// What a kill switch is about.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct KillArgs {
    /// The model; every model without it.
    pub(in crate::cli) model: Option<String>,
    /// The version; all of the model without it.
    pub(in crate::cli) version: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) signed: Signed,
}

/// Who gives an order, and why.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Signed {
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) why: String,
    /// Who gives the order.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) who: String,
    /// The generation of the model that was seen: refused if it has changed since.
    #[arg(long, value_name = "GENERATION")]
    pub(in crate::cli) expect: Option<u64>,
}
