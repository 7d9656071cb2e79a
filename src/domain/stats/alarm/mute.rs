//! Hours in which nobody is called.
//!
//! Owns their form, such as `22:00-06:00` or `sat-sun 00:00-24:00`. Times are UTC, as in the log: a gateway
//! at the edge often does not know where it stands.

use std::fmt;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;
/// The weekday of the first day of the Unix epoch, a Thursday.
const EPOCH_DAY: u64 = 3;

/// A span of every day, or of some days of the week. One that passes midnight belongs to the day on
/// which it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MuteHours {
    /// One bit a day, from Monday.
    days: u8,
    /// Minutes after midnight.
    from: u16,
    until: u16,
}

/// Why a text is no span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MuteError {
    /// It has another shape.
    #[error("it is \"22:00-06:00\", or with days \"mon-fri 18:00-08:00\", in UTC")]
    Shape,
    /// A day has another name.
    #[error("days are mon, tue, wed, thu, fri, sat and sun")]
    Day,
    /// A time is none.
    #[error("times are 00:00 to 24:00")]
    Time,
    /// It begins when it ends.
    #[error("it is empty: the whole day is 00:00-24:00")]
    Empty,
}

impl MuteHours {
    /// Reads `[DAY[-DAY] ]HH:MM-HH:MM`.
    ///
    /// # Errors
    /// [`MuteError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, MuteError> {
        let (days, hours) = match text.trim().split_once(' ') {
            Some((days, hours)) => (parse_days(days)?, hours.trim()),
            None => (0x7f, text.trim()),
        };
        let (from, until) = hours.split_once('-').ok_or(MuteError::Shape)?;
        let (from, until) = (parse_time(from)?, parse_time(until)?);
        if from == until || from == DAY {
            return Err(MuteError::Empty);
        }
        Ok(Self { days, from, until })
    }

    /// Whether a minute since the Unix epoch lies in the span.
    pub fn contains(self, minute: u64) -> bool {
        let day = minute / u64::from(DAY);
        let time = u16::try_from(minute % u64::from(DAY)).unwrap_or(0);
        if self.from < self.until {
            return self.has_day(day) && (self.from..self.until).contains(&time);
        }
        let before_midnight = time >= self.from && self.has_day(day);
        // The first day of the epoch has no day before it; a week later is the same weekday.
        before_midnight || (time < self.until && self.has_day(day + 6))
    }

    const fn has_day(self, day: u64) -> bool {
        self.days >> ((day + EPOCH_DAY) % 7) & 1 == 1
    }
}

impl fmt::Display for MuteHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != 0x7f {
            let on = |day: usize| self.days >> (day % 7) & 1 == 1;
            let first = (0..7).find(|day| on(*day) && !on(day + 6)).unwrap_or(0);
            let last = (first..first + 7).take_while(|day| on(*day)).last().unwrap_or(first) % 7;
            let name = |day: usize| DAYS.get(day).copied().unwrap_or_default();
            match first == last {
                true => write!(f, "{} ", name(first))?,
                false => write!(f, "{}-{} ", name(first), name(last))?,
            }
        }
        let time = |minutes: u16| (minutes / 60, minutes % 60);
        let ((h, m), (to_h, to_m)) = (time(self.from), time(self.until));
        write!(f, "{h:02}:{m:02}-{to_h:02}:{to_m:02}")
    }
}

/// `sat` or `fri-mon`: always one run of days.
fn parse_days(text: &str) -> Result<u8, MuteError> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name).ok_or(MuteError::Day);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(text)?, day(text)?),
    };
    let count = (last + 7 - first) % 7 + 1;
    Ok((first..first + count).fold(0, |days, day| days | 1 << (day % 7)))
}

fn parse_time(text: &str) -> Result<u16, MuteError> {
    let (hours, minutes) = text.split_once(':').ok_or(MuteError::Shape)?;
    let number = |text: &str| match text.len() {
        2 => text.parse::<u16>().map_err(|_invalid| MuteError::Time),
        _ => Err(MuteError::Time),
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let time = hours * 60 + minutes;
    if minutes < 60 && time <= DAY { Ok(time) } else { Err(MuteError::Time) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Minutes since the epoch of a day counted from Monday 1970-01-05.
    fn at(day: u64, hour: u64, minute: u64) -> u64 {
        (day + 4) * 24 * 60 + hour * 60 + minute
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let nights = MuteHours::parse("mon-fri 22:00-06:00").expect("a span");
        assert!(nights.contains(at(0, 22, 0)) && nights.contains(at(1, 5, 59)));
        assert!(!nights.contains(at(1, 6, 0)) && !nights.contains(at(0, 21, 59)));
        assert!(nights.contains(at(5, 3, 0)), "Friday's night ends on Saturday");
        assert!(!nights.contains(at(5, 23, 0)) && !nights.contains(at(0, 3, 0)));
        let weekend = MuteHours::parse("sat-sun 00:00-24:00").expect("a span");
        assert!(weekend.contains(at(5, 0, 0)) && weekend.contains(at(6, 23, 59)));
        assert!(!weekend.contains(at(4, 23, 59)) && !weekend.contains(at(7, 0, 0)));
        assert!(MuteHours::parse("thu 00:00-24:00").expect("a span").contains(0));
    }

    #[test]
    fn what_is_no_span_is_refused_with_the_reason() {
        for (text, why) in [
            ("", MuteError::Shape),
            ("22-6", MuteError::Shape),
            ("22:00", MuteError::Shape),
            ("22:00-6:00", MuteError::Time),
            ("24:01-06:00", MuteError::Time),
            ("10:60-11:00", MuteError::Time),
            ("so 10:00-11:00", MuteError::Day),
            ("10:00-10:00", MuteError::Empty),
            ("24:00-10:00", MuteError::Empty),
        ] {
            assert_eq!(MuteHours::parse(text), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_span_is_printed_as_it_is_read(first in 0..7_usize, last in 0..7_usize, from in 0..1440_u16, until in 0..=1440_u16) {
            prop_assume!(from != until);
            let time = |t: u16| format!("{:02}:{:02}", t / 60, t % 60);
            let text = format!("{}-{} {}-{}", DAYS[first], DAYS[last], time(from), time(until));
            let span = MuteHours::parse(&text).expect("a span");
            prop_assert_eq!(MuteHours::parse(&span.to_string()), Ok(span));
            let minutes: u64 = (0..7 * 1440).filter(|minute| span.contains(*minute)).count() as u64;
            let days = (last + 7 - first) as u64 % 7 + 1;
            let length = if from < until { until - from } else { 1440 - from + until };
            prop_assert_eq!(minutes, days * u64::from(length));
        }
    }
}
