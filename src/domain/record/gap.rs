//! Records that are known to be missing.

word_enum!(
    /// Why records are missing.
    GapReason {
        /// Bytes were changed after they were written.
        Damaged = 1 "damaged",
        /// Numbers were given to records that are not there.
        Missing = 2 "missing",
        /// The frame is whole, but of a kind or schema that this version cannot read.
        Unreadable = 3 "unreadable",
        /// Too many bytes were waiting for the writer.
        QueueFull = 4 "queue_full",
        /// The record was longer than a frame may be.
        TooLarge = 5 "too_large",
        /// The disk, or the quota, was full.
        NoSpace = 6 "no_space",
        /// Writing failed.
        Io = 7 "io",
        /// Room was needed before an optional consumer had taken them.
        Skipped = 8 "skipped",
        /// A sink refused them for good.
        Rejected = 9 "rejected",
    }
);

/// A row that stands for missing ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRecord<'a> {
    /// When it was noticed, in microseconds since the Unix epoch.
    pub ts_us: u64,
    /// Why.
    pub reason: GapReason,
    /// The first and the last number that are missing, where they had numbers.
    pub lsns: Option<(u64, u64)>,
    /// How many records; 0 where that cannot be known.
    pub records: u64,
    /// Who misses them: a sink's name, empty for everyone.
    pub consumer: &'a str,
    /// More in words, such as the segment and the offset.
    pub detail: &'a str,
}
