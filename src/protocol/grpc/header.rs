//! The values of gRPC's own headers and trailers.
//!
//! Owns `grpc-timeout` and `grpc-message`, see
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

/// The most digits of a timeout.
const DIGITS_MAX: usize = 8;

/// Reads the header `grpc-timeout`: up to eight digits and a unit; `None` for anything else.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (&unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Writes the header `grpc-timeout`, in the finest unit in which it fits; rounded down, so that the
/// backend never waits longer than the client.
pub fn format_timeout(timeout: Duration) -> String {
    let units = [
        (timeout.as_nanos(), 'n'),
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (timeout.as_secs().into(), 'S'),
        (u128::from(timeout.as_secs() / 60), 'M'),
    ];
    let most = 10u128.pow(8) - 1;
    let fits = units.into_iter().find(|&(count, _)| count <= most);
    let hours = || (u128::from(timeout.as_secs() / 3600).min(most), 'H');
    let (count, unit) = fits.unwrap_or_else(hours);
    format!("{count}{unit}")
}

/// What `grpc-message` escapes: everything but printable ASCII, and the percent sign.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Writes the trailer `grpc-message`.
pub fn encode_message(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, ESCAPED).into()
}

/// Reads the trailer `grpc-message`. As the protocol demands, nothing is refused: what is not
/// percent-encoded UTF-8 is shown as well as can be.
pub fn decode_message(value: &[u8]) -> Cow<'_, str> {
    percent_decode(value).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timeouts_have_eight_digits_and_a_unit() {
        let cases = [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("100m", Duration::from_millis(100)),
            ("0u", Duration::ZERO),
            ("7n", Duration::from_nanos(7)),
        ];
        for (text, timeout) in cases {
            assert_eq!(parse_timeout(text.as_bytes()), Some(timeout), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "100000000S", " 1S", "1 S"] {
            assert_eq!(parse_timeout(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn messages_are_ascii_on_the_wire() {
        assert_eq!(encode_message("100% of 'é'\n"), "100%25 of '%C3%A9'%0A");
        assert_eq!(decode_message(b"100%25 %zz %ff"), "100% %zz \u{fffd}");
    }

    proptest! {
        #[test]
        fn a_timeout_is_never_longer_than_it_was(seconds in 0u64..10_000_000_000_000, nanos in 0u32..1_000_000_000) {
            let timeout = Duration::new(seconds, nanos);
            let read = parse_timeout(format_timeout(timeout).as_bytes()).expect("our own output");
            prop_assert!(read <= timeout);
            let exact = timeout < Duration::from_millis(99);
            prop_assert!(!exact || read == timeout);
        }

        #[test]
        fn any_message_reads_back(text: String) {
            let written = encode_message(&text);
            prop_assert!(written.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(decode_message(written.as_bytes()), text.as_str());
        }
    }
}
