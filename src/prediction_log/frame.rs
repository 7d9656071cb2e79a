//! The frame: how one record, or one piece of a segment's furniture, lies in a segment.
//!
//! Owns the 24 bytes before each payload and the checksum over both. Never looks into a payload.
//! All numbers are little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | magic `0x4C50` (`PL`) |
//! | 2 | 1 | version of this layout, 1 |
//! | 3 | 1 | kind; below `0x80` the frame has a sequence number of its own |
//! | 4 | 4 | length of the payload |
//! | 8 | 4 | epoch of the segment |
//! | 12 | 8 | log sequence number |
//! | 20 | 4 | CRC-32C of bytes 0 to 20, the payload and the padding |
//!
//! The payload follows, then zero bytes up to a multiple of 8.

use crc32c::crc32c_append;

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 24;
/// Frames start at multiples of this, counted from the start of the segment.
pub(super) const ALIGN: usize = 8;
/// The longest payload. Longer records lose their bodies, so that a reader's memory is bounded.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The kind of a frame that holds a prediction record.
pub(super) const KIND_RECORD: u8 = 1;
/// The kind of a frame that holds feedback.
pub(super) const KIND_FEEDBACK: u8 = 2;
/// The kind of a frame that stands for missing records.
pub(super) const KIND_GAP: u8 = 3;
/// The kind of the last frame of a segment: see [`seal`].
pub(super) const KIND_SEAL: u8 = 0x80;
/// Bytes of a whole seal frame.
pub(super) const SEAL_BYTES: usize = HEADER_BYTES + SEAL_PAYLOAD_BYTES;

const MAGIC: [u8; 2] = *b"PL";
const VERSION: u8 = 1;
const CRC_AT: usize = 20;
const SEAL_PAYLOAD_BYTES: usize = 16;
/// Kinds from here on are furniture: they carry the number of the record before them.
const KIND_FURNITURE: u8 = 0x80;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: u8,
    pub(super) payload_len: usize,
    pub(super) epoch: u32,
    pub(super) lsn: u64,
    pub(super) crc: u32,
}

impl FrameHeader {
    /// Reads a header; `None` for bytes that cannot be one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let payload_len = u32_at(bytes, 4) as usize;
        let looks_right =
            bytes[..2] == MAGIC && bytes[2] == VERSION && payload_len <= PAYLOAD_BYTES_MAX;
        looks_right.then(|| Self {
            kind: bytes[3],
            payload_len,
            epoch: u32_at(bytes, 8),
            lsn: u64_at(bytes, 12),
            crc: u32_at(bytes, CRC_AT),
        })
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_len(&self) -> usize {
        frame_len(self.payload_len)
    }

    /// Whether the frame has a sequence number that no other frame has.
    pub(super) fn is_numbered(&self) -> bool {
        self.kind < KIND_FURNITURE
    }

    /// Whether the checksum holds for `frame`, the bytes that this header was read from.
    pub(super) fn is_intact(&self, frame: &[u8]) -> bool {
        frame.len() == self.frame_len()
            && checksum([&frame[..CRC_AT], &frame[HEADER_BYTES..]]) == self.crc
    }
}

/// The payload length that a header claims.
pub(super) fn payload_len(header: &[u8; HEADER_BYTES]) -> usize {
    u32_at(header, 4) as usize
}

/// Whether `header` is that of the record `lsn` in a segment of `epoch`, though its length, its checksum
/// and one more field may be damaged.
pub(super) fn resembles(
    header: &[u8; HEADER_BYTES],
    epoch: u32,
    lsn: u64,
    is_known: impl Fn(u8) -> bool,
) -> bool {
    let fields = [
        header[..2] == MAGIC && header[2] == VERSION,
        is_known(header[3]),
        u32_at(header, 8) == epoch,
        u64_at(header, 12) == lsn,
    ];
    fields.iter().filter(|&&is_right| !is_right).count() <= 1
}

/// Whether `frame`, whose end is known, is intact but for the length in its header. Puts one of the
/// lengths there that end so.
pub(super) fn is_intact_but_length(frame: &mut [u8]) -> bool {
    let Some(longest) = frame.len().checked_sub(HEADER_BYTES) else { return false };
    let shortest = longest.saturating_sub(ALIGN - 1);
    (shortest..=longest).any(|payload_len| {
        let len = u32::try_from(payload_len).unwrap_or(u32::MAX);
        frame[4..8].copy_from_slice(&len.to_le_bytes());
        FrameHeader::parse(frame).is_some_and(|header| header.is_intact(frame))
    })
}

/// Bytes of a whole frame around a payload of `payload_len` bytes.
pub(super) fn frame_len(payload_len: usize) -> usize {
    HEADER_BYTES + payload_len.next_multiple_of(ALIGN)
}

/// The first offset at which the frame with number `lsn` can stand in a segment that is named
/// `first_lsn`: as if each record before it took no more than a header. Readers look for numbers no
/// further ahead, so that whoever leaves records out has to leave their place.
pub(super) fn first_place(lsn: u64, first_lsn: u64) -> u64 {
    let before = lsn.saturating_sub(first_lsn).saturating_mul(HEADER_BYTES as u64);
    before.saturating_add(super::segment::HEADER_BYTES as u64)
}

/// Writes the part of a header that is known when a record is offered.
pub(super) fn begin(header: &mut [u8], kind: u8, payload_len: usize) {
    header[..2].copy_from_slice(&MAGIC);
    header[2] = VERSION;
    header[3] = kind;
    header[4..8].copy_from_slice(&u32::try_from(payload_len).unwrap_or(u32::MAX).to_le_bytes());
}

/// Writes epoch and number into a header; the checksum over the frame's pieces comes after.
pub(super) fn number(header: &mut [u8], epoch: u32, lsn: u64) {
    header[8..12].copy_from_slice(&epoch.to_le_bytes());
    header[12..20].copy_from_slice(&lsn.to_le_bytes());
}

/// Writes the checksum into a header.
pub(super) fn set_checksum(header: &mut [u8], crc: u32) {
    header[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Adds a whole frame to `out`.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, epoch: u32, lsn: u64, payload: &[u8]) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    out.extend_from_slice(payload);
    out.resize(start + frame_len(payload.len()), 0);
    let frame = &mut out[start..];
    begin(frame, kind, payload.len());
    number(frame, epoch, lsn);
    let crc = checksum([&frame[..CRC_AT], &frame[HEADER_BYTES..]]);
    set_checksum(frame, crc);
}

/// The part of a header that the checksum covers.
pub(super) fn summed(header: &[u8]) -> &[u8] {
    &header[..CRC_AT]
}

/// CRC-32C over pieces in order.
pub(super) fn checksum<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    pieces.into_iter().fold(0, crc32c_append)
}

/// The frame that closes a segment: the number of its last record (one below its first when it is
/// empty) and the count of its records, 8 bytes each.
pub(super) fn seal(epoch: u32, last_lsn: u64, count: u64) -> [u8; SEAL_BYTES] {
    let mut frame = [0; SEAL_BYTES];
    begin(&mut frame, KIND_SEAL, SEAL_PAYLOAD_BYTES);
    number(&mut frame, epoch, last_lsn);
    frame[HEADER_BYTES..HEADER_BYTES + 8].copy_from_slice(&last_lsn.to_le_bytes());
    frame[HEADER_BYTES + 8..].copy_from_slice(&count.to_le_bytes());
    let crc = checksum([&frame[..CRC_AT], &frame[HEADER_BYTES..]]);
    set_checksum(&mut frame, crc);
    frame
}

/// The count in a seal's payload.
pub(super) fn seal_count(payload: &[u8]) -> Option<u64> {
    payload.get(8..16).map(|bytes| u64_at(bytes, 0))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_breaks_a_frame() {
        let good = seal(7, 41, 40);
        let header = FrameHeader::parse(&good).expect("a header");
        assert!(header.is_intact(&good));
        assert!(!header.is_numbered());
        assert_eq!((header.epoch, header.lsn), (7, 41));
        assert_eq!(seal_count(&good[HEADER_BYTES..]), Some(40));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let intact = FrameHeader::parse(&bad)
                .is_some_and(|h| bad.get(..h.frame_len()).is_some_and(|frame| h.is_intact(frame)));
            assert!(!intact, "bit {bit}");
        }
    }
}
