//! The payload of a gap frame.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | version of the schema |
//! | 2 | 2 | length of the fixed block, 40 |
//! | 4 | 1 | reason |
//! | 5 | 1 | 1 when the missing records had numbers |
//! | 8 | 8 | ts, µs since the Unix epoch |
//! | 16 | 8 | first missing number |
//! | 24 | 8 | last missing number |
//! | 32 | 8 | how many |
//!
//! Then two fields, each a length of 4 bytes and as many bytes: consumer, detail.

use super::{RowError, as_text, put_field, take_field};
use crate::domain::record::{GapReason, GapRecord, SCHEMA_VERSION};
use crate::prediction_log::arena::Arena;

const FIXED_BYTES: usize = 40;

/// The length of the payload that [`encode`] makes.
pub(in crate::prediction_log) fn encoded_len(record: &GapRecord<'_>) -> usize {
    FIXED_BYTES + 2 * 4 + record.consumer.len() + record.detail.len()
}

/// Writes the payload into the frame that `arena` has begun.
pub(in crate::prediction_log) fn encode(record: &GapRecord<'_>, arena: &mut Arena) {
    let mut block = [0; FIXED_BYTES];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let (first, last) = record.lsns.unwrap_or_default();
    put(0, &SCHEMA_VERSION.to_le_bytes());
    put(2, &(FIXED_BYTES as u16).to_le_bytes());
    put(4, &[record.reason.code(), u8::from(record.lsns.is_some())]);
    for (index, number) in [record.ts_us, first, last, record.records].into_iter().enumerate() {
        put(8 + 8 * index, &number.to_le_bytes());
    }
    arena.put(&block);
    put_field(arena, record.consumer.as_bytes());
    put_field(arena, record.detail.as_bytes());
}

/// Reads a payload.
pub(in crate::prediction_log) fn decode(payload: &[u8]) -> Result<GapRecord<'_>, RowError> {
    let fixed_len = payload.get(2..4).ok_or(RowError::Short)?;
    let fixed_len = usize::from(u16::from_le_bytes([fixed_len[0], fixed_len[1]]));
    let (block, mut rest) = payload.split_at_checked(fixed_len).ok_or(RowError::Short)?;
    let block: &[u8; FIXED_BYTES] = block.first_chunk().ok_or(RowError::Short)?;
    let number = |offset: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&block[offset..offset + 8]);
        u64::from_le_bytes(bytes)
    };
    Ok(GapRecord {
        ts_us: number(8),
        reason: GapReason::from_code(block[4]).ok_or(RowError::Code("gap reason"))?,
        lsns: (block[5] != 0).then(|| (number(16), number(24))),
        records: number(32),
        consumer: as_text(take_field(&mut rest)?)?,
        detail: as_text(take_field(&mut rest)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_read_as_they_were_written() {
        for lsns in [None, Some((3, u64::MAX))] {
            let record = GapRecord {
                ts_us: 1_700_000_000_000_000,
                reason: GapReason::NoSpace,
                lsns,
                records: 17,
                consumer: "lake",
                detail: "00000000000000000001.seg:512",
            };
            let len = encoded_len(&record);
            let bytes =
                crate::prediction_log::row::tests::payload(len, |arena| encode(&record, arena));
            assert_eq!(decode(&bytes), Ok(record));
            for len in 0..bytes.len() {
                assert_eq!(decode(&bytes[..len]), Err(RowError::Short), "{len} bytes");
            }
        }
    }
}
