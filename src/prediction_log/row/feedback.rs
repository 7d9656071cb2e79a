//! The payload of a feedback frame.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | version of the schema |
//! | 2 | 2 | length of the fixed block, 64 |
//! | 4 | 1 | target: 1 prediction id, 2 request id, 3 feedback key |
//! | 5 | 1 | what is present: bit 0 value, 1 label, 2 observed, 3 retracted |
//! | 8 | 8 | ts, µs since the Unix epoch |
//! | 16 | 16 | record id |
//! | 32 | 16 | prediction id, for target 1 |
//! | 48 | 8 | value, IEEE 754 |
//! | 56 | 8 | observed, µs since the Unix epoch |
//!
//! Then six fields, each a length of 4 bytes and as many bytes: feedback id, target as text, model,
//! metric, label, source.

use super::{RowError, as_text, put_field, take_field};
use crate::domain::ids::RecordId;
use crate::domain::record::{FeedbackRecord, FeedbackTarget, SCHEMA_VERSION};
use crate::prediction_log::arena::Arena;

const FIXED_BYTES: usize = 64;
const FIELDS: usize = 6;

const HAS_VALUE: u8 = 1;
const HAS_LABEL: u8 = 1 << 1;
const HAS_OBSERVED: u8 = 1 << 2;
const RETRACTED: u8 = 1 << 3;

/// The length of the payload that [`encode`] makes.
pub(in crate::prediction_log) fn encoded_len(record: &FeedbackRecord<'_>) -> usize {
    FIXED_BYTES + FIELDS * 4 + texts(record).iter().map(|text| text.len()).sum::<usize>()
}

/// Writes the payload into the frame that `arena` has begun.
pub(in crate::prediction_log) fn encode(record: &FeedbackRecord<'_>, arena: &mut Arena) {
    let mut block = [0; FIXED_BYTES];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &SCHEMA_VERSION.to_le_bytes());
    put(2, &(FIXED_BYTES as u16).to_le_bytes());
    let target = match record.target {
        FeedbackTarget::Prediction(id) => {
            put(32, id.as_bytes());
            1
        }
        FeedbackTarget::Request(_) => 2,
        FeedbackTarget::Key(_) => 3,
    };
    let present = [
        (record.value.is_some(), HAS_VALUE),
        (record.label.is_some(), HAS_LABEL),
        (record.observed_us.is_some(), HAS_OBSERVED),
        (record.retracted, RETRACTED),
    ];
    let present = present.iter().filter(|(is, _)| *is).fold(0, |bits, (_, bit)| bits | bit);
    put(4, &[target, present]);
    put(8, &record.ts_us.to_le_bytes());
    put(16, record.record_id.as_bytes());
    put(48, &record.value.unwrap_or_default().to_le_bytes());
    put(56, &record.observed_us.unwrap_or_default().to_le_bytes());
    arena.put(&block);
    for text in texts(record) {
        put_field(arena, text.as_bytes());
    }
}

fn texts<'a>(record: &FeedbackRecord<'a>) -> [&'a str; FIELDS] {
    let target = match record.target {
        FeedbackTarget::Prediction(_) => "",
        FeedbackTarget::Request(text) | FeedbackTarget::Key(text) => text,
    };
    let label = record.label.unwrap_or_default();
    [record.feedback_id, target, record.model, record.metric, label, record.source]
}

/// Reads a payload.
pub(in crate::prediction_log) fn decode(payload: &[u8]) -> Result<FeedbackRecord<'_>, RowError> {
    let fixed_len = payload.get(2..4).ok_or(RowError::Short)?;
    let fixed_len = usize::from(u16::from_le_bytes([fixed_len[0], fixed_len[1]]));
    let (block, mut rest) = payload.split_at_checked(fixed_len).ok_or(RowError::Short)?;
    let block: &[u8; FIXED_BYTES] = block.first_chunk().ok_or(RowError::Short)?;
    let mut texts = [""; FIELDS];
    for text in &mut texts {
        *text = as_text(take_field(&mut rest)?)?;
    }
    let [feedback_id, target, model, metric, label, source] = texts;
    let has = |bit: u8| block[5] & bit != 0;
    Ok(FeedbackRecord {
        record_id: RecordId::from_bytes(at(block, 16)),
        feedback_id,
        ts_us: u64::from_le_bytes(at(block, 8)),
        target: match block[4] {
            1 => FeedbackTarget::Prediction(RecordId::from_bytes(at(block, 32))),
            2 => FeedbackTarget::Request(target),
            3 => FeedbackTarget::Key(target),
            _ => return Err(RowError::Code("feedback target")),
        },
        model,
        metric,
        value: has(HAS_VALUE).then(|| f64::from_le_bytes(at(block, 48))),
        label: has(HAS_LABEL).then_some(label),
        source,
        observed_us: has(HAS_OBSERVED).then(|| u64::from_le_bytes(at(block, 56))),
        retracted: has(RETRACTED),
    })
}

fn at<const N: usize>(block: &[u8; FIXED_BYTES], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&block[offset..offset + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(record: &FeedbackRecord<'_>) -> Vec<u8> {
        let len = encoded_len(record);
        crate::prediction_log::row::tests::payload(len, |arena| encode(record, arena))
    }

    proptest! {
        #[test]
        fn feedback_is_read_as_it_was_written(
            ids in any::<([u8; 16], [u8; 16])>(),
            texts in prop::collection::vec(".{0,20}", 5),
            target in 0..3,
            numbers in any::<(u64, Option<u64>, bool)>(),
            value in prop::option::of(-1e300f64..1e300),
            label in prop::option::of(".{0,20}"),
        ) {
            let record = FeedbackRecord {
                record_id: RecordId::from_bytes(ids.0),
                feedback_id: &texts[0],
                ts_us: numbers.0,
                target: match target {
                    0 => FeedbackTarget::Prediction(RecordId::from_bytes(ids.1)),
                    1 => FeedbackTarget::Request(&texts[1]),
                    _ => FeedbackTarget::Key(&texts[1]),
                },
                model: &texts[2],
                metric: &texts[3],
                value,
                label: label.as_deref(),
                source: &texts[4],
                observed_us: numbers.1,
                retracted: numbers.2,
            };
            let bytes = payload(&record);
            prop_assert_eq!(decode(&bytes), Ok(record));
            for len in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..len]).err(), Some(RowError::Short));
            }
        }
    }
}
