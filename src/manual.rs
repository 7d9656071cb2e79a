//! The manual, in pages.
//!
//! Owns nothing but the text: each module is one page of `src/docs/`, so that links in it are checked
//! and it is read where the code is read. The format of the prediction log is described at
//! [`crate::prediction_log`], the architecture at [the crate's root](crate).

pub mod request_path {
    #![doc = include_str!("docs/request-path.md")]
}

pub mod config {
    #![doc = include_str!("docs/config.md")]
}

/// What the codecs of the protocols read and write.
pub mod protocols {
    #![doc = include_str!("docs/protocols.md")]
}

/// Models in this process: artifacts, cards, limits, batches.
pub mod models {
    #![doc = include_str!("docs/models.md")]
}

/// How versions and prediction servers are found.
pub mod discovery {
    #![doc = include_str!("docs/discovery.md")]
}

/// What clients and backends may speak, and translation.
pub mod dialects {
    #![doc = include_str!("docs/dialects.md")]
}

/// What is counted about versions, what it is held against, and what a restart changes.
pub mod monitoring {
    #![doc = include_str!("docs/monitoring.md")]
}

pub mod operations {
    #![doc = include_str!("docs/operations.md")]
}

/// Labels, and what they say about predictions.
pub mod quality {
    #![doc = include_str!("docs/quality.md")]
}

pub mod glossary {
    #![doc = include_str!("docs/glossary.md")]
}

pub mod style {
    #![doc = include_str!("docs/style.md")]
}

pub mod changelog {
    #![doc = include_str!("docs/changelog.md")]
}

/// The life cycle of versions: how one comes to answer clients, and how it goes.
pub mod releases {
    #![doc = include_str!("docs/releases.md")]
}

/// Reading the prediction log: tail, query, export, verify, stats, replay.
pub mod log_commands {
    #![doc = include_str!("docs/log-commands.md")]
}

/// Why things are as they are: decisions with their context and consequences.
pub mod decisions {
    pub mod one_crate {
        #![doc = include_str!("docs/decisions/0001-one-crate-and-an-import-table.md")]
    }
    pub mod pure_domain {
        #![doc = include_str!("docs/decisions/0002-a-pure-domain.md")]
    }
    pub mod one_snapshot {
        #![doc = include_str!("docs/decisions/0003-one-snapshot-one-swap.md")]
    }
    pub mod pingora_and_hyper {
        #![doc = include_str!("docs/decisions/0004-pingora-for-the-process-hyper-for-http.md")]
    }
    pub mod one_timer {
        #![doc = include_str!("docs/decisions/0005-one-timer-per-connection.md")]
    }
    pub mod record_arenas {
        #![doc = include_str!("docs/decisions/0006-records-in-per-worker-arenas.md")]
    }
    pub mod rendezvous_hashing {
        #![doc = include_str!("docs/decisions/0007-weighted-rendezvous-hashing.md")]
    }
    pub mod key_table {
        #![doc = include_str!("docs/decisions/0008-toml-a-spanned-tree-one-key-table.md")]
    }
    pub mod strict_framing {
        #![doc = include_str!("docs/decisions/0009-strict-framing.md")]
    }
    pub mod retries {
        #![doc = include_str!("docs/decisions/0010-retries.md")]
    }
    pub mod segments_made_ahead {
        #![doc = include_str!("docs/decisions/0011-segments-made-ahead.md")]
    }
    pub mod retention_gaps_and_rescue {
        #![doc = include_str!("docs/decisions/0012-retention-gaps-and-rescue.md")]
    }
    pub mod feedback {
        #![doc = include_str!("docs/decisions/0013-feedback-is-matched-from-the-log.md")]
    }
    pub mod redaction {
        #![doc = include_str!("docs/decisions/0014-redaction-splices-and-fails-closed.md")]
    }
    pub mod parquet_table {
        #![doc = include_str!("docs/decisions/0015-one-parquet-table-in-log-order.md")]
    }
    pub mod parquet_checksum {
        #![doc = include_str!("docs/decisions/0017-a-checksum-of-the-whole-parquet-file.md")]
    }
    pub mod delivery {
        #![doc = include_str!("docs/decisions/0018-delivery-at-least-once.md")]
    }
    pub mod first_look {
        #![doc = include_str!("docs/decisions/0021-a-first-look-in-another-process.md")]
    }
    pub mod tree_tables {
        #![doc = include_str!("docs/decisions/0024-trees-as-tables-of-thresholds.md")]
    }
    pub mod http2 {
        #![doc = include_str!("docs/decisions/0025-a-stream-of-http2-is-an-exchange.md")]
    }
    pub mod dialects {
        #![doc = include_str!("docs/decisions/0026-dialects-meet-in-tensors.md")]
    }
    pub mod releases {
        #![doc = include_str!("docs/decisions/0027-proofs-plans-and-a-journal-before-a-route.md")]
    }
    pub mod drift {
        #![doc = include_str!("docs/decisions/0028-drift-is-a-margin-test-over-time.md")]
    }
    pub mod publishing {
        #![doc = include_str!("docs/decisions/0029-one-owner-publishes-and-releases.md")]
    }
    pub mod kernels {
        #![doc = include_str!("docs/decisions/0030-kernels-for-constant-weights.md")]
    }
    pub mod sized_plans {
        #![doc = include_str!("docs/decisions/0031-plans-for-certain-sizes.md")]
    }
}
