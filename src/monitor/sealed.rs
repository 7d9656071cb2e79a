//! The form of small files of state: a mark, what is kept, and a checksum over both.
//!
//! Owns that form, and whether a file has it. Never touches a file.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a file is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    #[error("it is damaged")]
    Damaged,
    #[error("it was written by another version of the program")]
    Form,
}

/// The content of a file. `mark` is what it begins with; it names the form of `value` and its number. `None` for what
/// cannot be written.
pub(super) fn seal(mark: &[u8], value: &impl Serialize) -> Option<Vec<u8>> {
    let mut bytes = postcard::to_extend(value, mark.to_vec()).ok()?;
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    Some(bytes)
}

/// What such a file holds.
///
/// # Errors
///
/// Where a byte was changed or is not there, and where the mark is another one.
pub(super) fn unseal<T: DeserializeOwned>(mark: &[u8], bytes: &[u8]) -> Result<T, SealError> {
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(SealError::Damaged)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(SealError::Damaged);
    }
    let rest = body.strip_prefix(mark).ok_or(SealError::Form)?;
    postcard::from_bytes(rest).map_err(|_bad| SealError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &[u8] = b"TEST1\n";

    #[test]
    fn what_is_sealed_is_read_again_and_nothing_else_is() {
        let value = (7_u64, "a text".to_owned());
        let bytes = seal(MARK, &value).expect("it can be written");
        assert_eq!(unseal(MARK, &bytes), Ok(value));
        assert_eq!(unseal::<(u64, String)>(b"TEST2\n", &bytes), Err(SealError::Form));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(unseal::<(u64, String)>(MARK, &changed), Err(SealError::Damaged), "{at}");
            let cut = unseal::<(u64, String)>(MARK, &bytes[..at]);
            assert_eq!(cut, Err(SealError::Damaged), "{at}");
        }
    }
}
