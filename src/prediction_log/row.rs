//! The payload of a record frame: the fields of a [`PredictionRecord`] as bytes and back.
//!
//! Owns the layout, which only ever grows at its two ends: new numbers go to the end of the fixed
//! block, whose length is stored, and new variable fields after the last one, whose count is stored.
//! Never looks at a clock or at the disk. The layout is written down in `docs/prediction-log.md`.

mod feedback;
mod gap;

use bytes::Bytes;

pub(super) use self::feedback::{encode as encode_feedback, encoded_len as feedback_len};
pub(super) use self::gap::{encode as encode_gap, encoded_len as gap_len};
use super::arena::{Arena, SPLICE_BYTES_MIN};
use super::frame::{KIND_FEEDBACK, KIND_GAP, KIND_RECORD};
use crate::domain::ids::{Entropy, Generation, RecordId};
use crate::domain::record::{
    DecisionRow, ERROR_DETAIL_BYTES_MAX, Entry, Flags, Kind, Latency, Omission, Outcome, Payload,
    PredictionRecord, Protocol, SCHEMA_VERSION, Side,
};
use crate::domain::spec::Durability;

/// The fixed block of schema version 1.
const FIXED_BYTES: usize = 232;
/// Its length in the first release; what a shorter block lacks is read as zero.
const FIXED_BYTES_MIN: usize = 208;
/// Text fields before the sides.
const TEXTS: usize = 11;
/// Content type, content encoding, headers, body.
const SIDE_FIELDS: usize = 4;
/// Text fields after the sides: feedback key, session.
const LATE_TEXTS: usize = 2;
/// Variable fields of schema version 1.
const FIELDS: usize = TEXTS + 2 * SIDE_FIELDS + LATE_TEXTS;

// Offsets in the fixed block.
const SCHEMA_AT: usize = 0;
const FIXED_LEN_AT: usize = 2;
const KIND_AT: usize = 4;
const PROTOCOL_AT: usize = 5;
const OUTCOME_AT: usize = 6;
const ATTEMPT_AT: usize = 7;
const TS_AT: usize = 8;
const RECORD_ID_AT: usize = 16;
const PRESENT_AT: usize = 32;
const STATUS_AT: usize = 36;
const OMISSIONS_AT: usize = 38;
const TRACE_AT: usize = 40;
const SPAN_AT: usize = 56;
const PARENT_AT: usize = 64;
const DIGEST_AT: usize = 80;
const GENERATION_AT: usize = 112;
const ENTROPY_AT: usize = 120;
const SAMPLE_RATE_AT: usize = 128;
const TOTAL_AT: usize = 132;
const TIMES_AT: usize = 136;
const FIELD_COUNT_AT: usize = 156;
const SIDES_AT: [usize; 2] = [160, 184];
const BATCH_AT: usize = 208;
const FLAGS_AT: usize = 212;
const CHUNKS_AT: [usize; 2] = [216, 220];
const REDACTED_AT: [usize; 2] = [224, 226];
const DURABILITY_AT: usize = 228;
/// One more than the status; 0 for none.
const GRPC_AT: usize = 229;

// Bits of the presence word.
const HAS_TRACE: u32 = 1;
const HAS_SPAN: u32 = 1 << 1;
const HAS_PARENT: u32 = 1 << 2;
const HAS_DIGEST: u32 = 1 << 3;
/// The first of five bits for the optional times.
const HAS_TIMES: u32 = 4;
const HAS_BATCH: u32 = 1 << 9;

// Bits of the flags.
const REPLAYED: u32 = 1;
const CLOCK_STEPPED: u32 = 1 << 1;

/// What is done with the bodies of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    /// They are kept as they are.
    Keep,
    /// They are left out, and the row says why.
    Omit(Omission),
}

impl Bodies {
    /// The body that is stored for `side`, and why it is not the whole.
    fn apply<'a>(self, side: &Side<'a>) -> (Payload<'a>, Option<Omission>) {
        match self {
            Self::Omit(omission) if !side.body.is_empty() => (Payload::Slice(&[]), Some(omission)),
            Self::Keep | Self::Omit(_) => (side.body, side.omission),
        }
    }

    /// Why the body that is stored for `side` is not the whole.
    pub(super) fn omission(self, side: &Side<'_>) -> Option<Omission> {
        self.apply(side).1
    }
}

/// The length of the payload that [`encode`] makes.
pub(super) fn encoded_len(record: &PredictionRecord<'_>, bodies: Bodies) -> usize {
    let texts: usize = texts(record).iter().map(|text| text.len()).sum();
    let sides = [&record.request, &record.response];
    let sides: usize = sides.iter().map(|side| side_len(side, bodies)).sum();
    let late: usize = late_texts(record).iter().map(|text| text.len()).sum();
    FIXED_BYTES + FIELDS * 4 + texts + sides + late
}

fn side_len(side: &Side<'_>, bodies: Bodies) -> usize {
    let body = bodies.apply(side).0.len();
    side.content_type.len() + side.content_encoding.len() + headers_len(&side.headers) + body
}

fn headers_len(headers: &[(&str, &str)]) -> usize {
    headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum()
}

/// Writes the payload into the frame that `arena` has begun.
pub(super) fn encode(record: &PredictionRecord<'_>, bodies: Bodies, arena: &mut Arena) {
    arena.put(&fixed_block(record, bodies));
    for text in texts(record) {
        put_field(arena, text.as_bytes());
    }
    for side in [&record.request, &record.response] {
        put_field(arena, side.content_type.as_bytes());
        put_field(arena, side.content_encoding.as_bytes());
        put_len(arena, headers_len(&side.headers));
        for (name, value) in &side.headers {
            put_field(arena, name.as_bytes());
            put_field(arena, value.as_bytes());
        }
        put_body(arena, bodies.apply(side).0);
    }
    for text in late_texts(record) {
        put_field(arena, text.as_bytes());
    }
}

fn put_len(arena: &mut Arena, len: usize) {
    // The caller has checked the whole payload against its limit, far below 4 GiB.
    arena.put(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

pub(super) fn put_field(arena: &mut Arena, bytes: &[u8]) {
    put_len(arena, bytes.len());
    arena.put(bytes);
}

fn put_body(arena: &mut Arena, body: Payload<'_>) {
    put_len(arena, body.len());
    match body {
        Payload::Slice(slice) => arena.put(slice),
        Payload::Chunks(chunks) => chunks.iter().for_each(|chunk| put_chunk(arena, chunk)),
    }
}

fn put_chunk(arena: &mut Arena, chunk: &Bytes) {
    if chunk.len() > SPLICE_BYTES_MIN {
        arena.splice(chunk.clone());
    } else {
        arena.put(chunk);
    }
}

/// The text fields in their stored order.
fn texts<'a>(record: &PredictionRecord<'a>) -> [&'a str; TEXTS] {
    let decision = &record.decision;
    let detail = record.error_detail;
    let detail_len = detail.floor_char_boundary(ERROR_DETAIL_BYTES_MAX);
    [
        record.request_id,
        decision.route,
        decision.model,
        decision.model_version,
        decision.backend,
        decision.reason,
        record.method,
        record.path,
        record.client,
        record.error_code,
        detail.split_at(detail_len).0,
    ]
}

/// The text fields after the sides in their stored order.
fn late_texts<'a>(record: &PredictionRecord<'a>) -> [&'a str; LATE_TEXTS] {
    [record.feedback_key, record.session]
}

fn fixed_block(record: &PredictionRecord<'_>, bodies: Bodies) -> [u8; FIXED_BYTES] {
    let mut block = [0; FIXED_BYTES];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let (decision, latency) = (&record.decision, &record.latency);
    put(SCHEMA_AT, &SCHEMA_VERSION.to_le_bytes());
    put(FIXED_LEN_AT, &(FIXED_BYTES as u16).to_le_bytes());
    put(KIND_AT, &[record.kind.code()]);
    put(PROTOCOL_AT, &[decision.protocol.code()]);
    put(OUTCOME_AT, &[record.outcome.code()]);
    put(ATTEMPT_AT, &[decision.attempt]);
    put(TS_AT, &record.ts_us.to_le_bytes());
    put(RECORD_ID_AT, record.record_id.as_bytes());
    put(STATUS_AT, &record.status.to_le_bytes());
    put(GENERATION_AT, &decision.generation.0.to_le_bytes());
    put(ENTROPY_AT, &decision.entropy.0.to_le_bytes());
    put(SAMPLE_RATE_AT, &record.sample_rate.to_le_bytes());
    put(TOTAL_AT, &latency.t_total.to_le_bytes());
    put(FIELD_COUNT_AT, &(FIELDS as u32).to_le_bytes());
    put(FLAGS_AT, &flag_bits(record.flags).to_le_bytes());
    put(DURABILITY_AT, &[record.durability.map_or(0, Durability::code)]);
    put(GRPC_AT, &[record.grpc_status.map_or(0, |status| status.saturating_add(1))]);

    let mut present = 0;
    let parent = record.parent_record_id;
    let mut put_optional = |bit: u32, at: usize, bytes: Option<&[u8]>| {
        if let Some(bytes) = bytes {
            present |= bit;
            put(at, bytes);
        }
    };
    put_optional(HAS_TRACE, TRACE_AT, record.trace_id.as_ref().map(|id| &id[..]));
    put_optional(HAS_SPAN, SPAN_AT, record.span_id.as_ref().map(|id| &id[..]));
    put_optional(HAS_PARENT, PARENT_AT, parent.as_ref().map(|id| &id.as_bytes()[..]));
    put_optional(HAS_DIGEST, DIGEST_AT, decision.model_digest.as_ref().map(|sum| &sum[..]));
    let batch = record.batch_size.map(u32::to_le_bytes);
    put_optional(HAS_BATCH, BATCH_AT, batch.as_ref().map(|size| &size[..]));
    for (index, time) in times(latency).into_iter().enumerate() {
        let time = time.map(u32::to_le_bytes);
        let bit = 1 << (HAS_TIMES + index as u32);
        put_optional(bit, TIMES_AT + 4 * index, time.as_ref().map(|time| &time[..]));
    }
    put(PRESENT_AT, &u32::to_le_bytes(present));

    for (index, side) in [&record.request, &record.response].into_iter().enumerate() {
        let omission = bodies.apply(side).1;
        put(OMISSIONS_AT + index, &[omission.map_or(0, Omission::code)]);
        put(SIDES_AT[index], &side.bytes.to_le_bytes());
        put(SIDES_AT[index] + 8, &side.hash);
        put(CHUNKS_AT[index], &side.chunks.to_le_bytes());
        put(REDACTED_AT[index], &side.redacted.to_le_bytes());
    }
    block
}

fn flag_bits(flags: Flags) -> u32 {
    let Flags { replayed, clock_stepped } = flags;
    let set = |is: bool, bit: u32| if is { bit } else { 0 };
    set(replayed, REPLAYED) | set(clock_stepped, CLOCK_STEPPED)
}

/// The optional times in their stored order.
fn times(latency: &Latency) -> [Option<u32>; 5] {
    [latency.t_queue, latency.t_route, latency.t_upstream_connect, latency.t_ttfb, latency.t_infer]
}

/// Whether frames of this kind hold rows that this version reads.
pub(super) fn is_known(kind: u8) -> bool {
    matches!(kind, KIND_RECORD | KIND_FEEDBACK | KIND_GAP)
}

/// Reads the payload of a frame of a known kind: the version of its schema, and the row.
pub(super) fn decode_entry(kind: u8, payload: &[u8]) -> Result<(u16, Entry<'_>), RowError> {
    match kind {
        KIND_RECORD => decode(payload).map(|(version, row)| (version, Entry::Prediction(row))),
        KIND_FEEDBACK => {
            feedback::decode(payload).map(|row| (SCHEMA_VERSION, Entry::Feedback(row)))
        }
        KIND_GAP => gap::decode(payload).map(|row| (SCHEMA_VERSION, Entry::Gap(row))),
        _ => Err(RowError::Code("frame")),
    }
}

/// Bytes at the end of a record's payload that say that its last fields are empty; none where that
/// cannot be told.
pub(super) fn empty_at_end(payload: &[u8]) -> usize {
    let Ok((_, record)) = decode(payload) else { return 0 };
    let last = [record.session.len(), record.feedback_key.len(), record.response.body.len()];
    last.iter().take_while(|&&len| len == 0).count() * 4
}

/// Why a payload with a good checksum is not a row that this version can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The payload ends inside a field.
    #[error("the row ends inside a field")]
    Short,
    /// A text field is not UTF-8.
    #[error("a text field of the row is not UTF-8")]
    Text,
    /// A code stands for a word of a later version.
    #[error("the row has a code for `{0}` that this version does not know")]
    Code(&'static str),
}

/// Reads a payload: the version of its schema, and the row.
pub(super) fn decode(payload: &[u8]) -> Result<(u16, PredictionRecord<'_>), RowError> {
    let (block, mut fields) = Fields::new(payload)?;
    let block = &block;
    let mut texts = [""; TEXTS];
    for text in &mut texts {
        *text = fields.text()?;
    }
    let request = fields.side(block, 0)?;
    let response = fields.side(block, 1)?;
    let feedback_key = fields.text()?;
    let session = fields.text()?;
    let flags = u32::from_le_bytes(at(block, FLAGS_AT));
    let durability = match block[DURABILITY_AT] {
        0 => None,
        code => Some(Durability::from_code(code).ok_or(RowError::Code("durability"))?),
    };
    let has = |bit: u32| u32::from_le_bytes(at(block, PRESENT_AT)) & bit != 0;
    let time = |index: usize| {
        has(1 << (HAS_TIMES + index as u32))
            .then(|| u32::from_le_bytes(at(block, TIMES_AT + 4 * index)))
    };
    let [request_id, route, model, model_version, backend, reason, rest @ ..] = texts;
    let [method, path, client, error_code, error_detail] = rest;
    let record = PredictionRecord {
        record_id: RecordId::from_bytes(at(block, RECORD_ID_AT)),
        kind: Kind::from_code(block[KIND_AT]).ok_or(RowError::Code("kind"))?,
        request_id,
        trace_id: has(HAS_TRACE).then(|| at(block, TRACE_AT)),
        span_id: has(HAS_SPAN).then(|| at(block, SPAN_AT)),
        parent_record_id: has(HAS_PARENT).then(|| RecordId::from_bytes(at(block, PARENT_AT))),
        ts_us: u64::from_le_bytes(at(block, TS_AT)),
        decision: DecisionRow {
            route,
            protocol: Protocol::from_code(block[PROTOCOL_AT]).ok_or(RowError::Code("protocol"))?,
            model,
            model_version,
            model_digest: has(HAS_DIGEST).then(|| at(block, DIGEST_AT)),
            backend,
            reason,
            generation: Generation(u64::from_le_bytes(at(block, GENERATION_AT))),
            entropy: Entropy(u64::from_le_bytes(at(block, ENTROPY_AT))),
            attempt: block[ATTEMPT_AT],
        },
        method,
        path,
        client,
        request,
        response,
        status: u16::from_le_bytes(at(block, STATUS_AT)),
        grpc_status: block[GRPC_AT].checked_sub(1),
        outcome: Outcome::from_code(block[OUTCOME_AT]).ok_or(RowError::Code("outcome"))?,
        error_code,
        error_detail,
        latency: Latency {
            t_total: u32::from_le_bytes(at(block, TOTAL_AT)),
            t_queue: time(0),
            t_route: time(1),
            t_upstream_connect: time(2),
            t_ttfb: time(3),
            t_infer: time(4),
        },
        sample_rate: f32::from_le_bytes(at(block, SAMPLE_RATE_AT)),
        batch_size: has(HAS_BATCH).then(|| u32::from_le_bytes(at(block, BATCH_AT))),
        durability,
        flags: Flags { replayed: flags & REPLAYED != 0, clock_stepped: flags & CLOCK_STEPPED != 0 },
        feedback_key,
        session,
    };
    Ok((u16::from_le_bytes(at(block, SCHEMA_AT)), record))
}

/// `N` bytes of the fixed block.
fn at<const N: usize>(block: &[u8; FIXED_BYTES], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&block[offset..offset + N]);
    bytes
}

/// The variable fields of a payload, read one after the other.
struct Fields<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Fields<'a> {
    /// Splits a payload into its fixed block and its fields.
    fn new(payload: &'a [u8]) -> Result<([u8; FIXED_BYTES], Self), RowError> {
        let first: &[u8; FIXED_BYTES_MIN] = payload.first_chunk().ok_or(RowError::Short)?;
        let fixed_len =
            usize::from(u16::from_le_bytes([first[FIXED_LEN_AT], first[FIXED_LEN_AT + 1]]));
        if fixed_len < FIXED_BYTES_MIN {
            return Err(RowError::Short);
        }
        let (fixed, rest) = payload.split_at_checked(fixed_len).ok_or(RowError::Short)?;
        // A longer block comes from a later version: what it added is skipped.
        let known = fixed.len().min(FIXED_BYTES);
        let mut block = [0; FIXED_BYTES];
        block[..known].copy_from_slice(&fixed[..known]);
        let left = u32::from_le_bytes(at(&block, FIELD_COUNT_AT));
        Ok((block, Self { rest, left }))
    }

    /// The next field; empty once the fields that the writer knew are used up.
    fn field(&mut self) -> Result<&'a [u8], RowError> {
        if self.left == 0 {
            return Ok(&[]);
        }
        self.left -= 1;
        take_field(&mut self.rest)
    }

    fn text(&mut self) -> Result<&'a str, RowError> {
        as_text(self.field()?)
    }

    fn side(&mut self, block: &[u8; FIXED_BYTES], index: usize) -> Result<Side<'a>, RowError> {
        let content_type = self.text()?;
        let content_encoding = self.text()?;
        let mut blob = self.field()?;
        let mut headers = Vec::new();
        while !blob.is_empty() {
            let name = as_text(take_field(&mut blob)?)?;
            headers.push((name, as_text(take_field(&mut blob)?)?));
        }
        let omission = match block[OMISSIONS_AT + index] {
            0 => None,
            code => Some(Omission::from_code(code).ok_or(RowError::Code("omission"))?),
        };
        Ok(Side {
            content_type,
            content_encoding,
            headers,
            body: Payload::Slice(self.field()?),
            bytes: u64::from_le_bytes(at(block, SIDES_AT[index])),
            hash: at(block, SIDES_AT[index] + 8),
            omission,
            redacted: u16::from_le_bytes(at(block, REDACTED_AT[index])),
            chunks: u32::from_le_bytes(at(block, CHUNKS_AT[index])),
        })
    }
}

/// Takes a length and as many bytes from the front of `rest`.
pub(super) fn take_field<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], RowError> {
    let (len, tail) = rest.split_first_chunk::<4>().ok_or(RowError::Short)?;
    let len = u32::from_le_bytes(*len) as usize;
    let (field, tail) = tail.split_at_checked(len).ok_or(RowError::Short)?;
    *rest = tail;
    Ok(field)
}

pub(super) fn as_text(bytes: &[u8]) -> Result<&str, RowError> {
    std::str::from_utf8(bytes).map_err(|_| RowError::Text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::prediction_log::{frame, group};

    /// The bytes that `encode` puts into a frame.
    pub(in crate::prediction_log) fn payload(
        len: usize,
        encode: impl FnOnce(&mut Arena),
    ) -> Vec<u8> {
        let mut arena = Arena::default();
        arena.begin(len);
        encode(&mut arena);
        arena.end(KIND_RECORD, len, Durability::Async);
        let mut group = group::Group::new(1);
        std::mem::swap(&mut group.slots_mut()[0], &mut arena);
        let end = group.fit(u64::MAX, true).end;
        let bytes: Vec<u8> = group.pieces(end).iter().flat_map(|piece| piece.to_vec()).collect();
        bytes[frame::HEADER_BYTES..frame::HEADER_BYTES + len].to_vec()
    }
}
