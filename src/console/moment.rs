//! How times are shown.

use std::fmt;

use crate::clock::UnixTime;

/// A time as a page shows it: to the minute, in UTC. Its text is HTML and holds nothing but digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) UnixTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0.rfc3339();
        let shown = time.get(..16).unwrap_or_default().replace('T', "\u{a0}");
        write!(f, "<time datetime=\"{time}\">{shown}</time>")
    }
}

/// The moment that `text` (`2026-11-24` or `2026-11-24T18:00`) names, in UTC.
pub(super) fn read(text: &str) -> Option<UnixTime> {
    let date_time = if text.contains('T') {
        text.parse::<jiff::civil::DateTime>().ok()?
    } else {
        text.parse::<jiff::civil::Date>()
            .ok()?
            .to_datetime(jiff::civil::Time::midnight())
    };
    let time = jiff::tz::Offset::UTC.to_timestamp(date_time).ok()?;
    Some(UnixTime(time.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_to_the_minute_and_read_again() {
        assert_eq!(
            Moment(UnixTime(1_700_000_000)).to_string(),
            "<time datetime=\"2023-11-14T22:13:20Z\">2023-11-14\u{a0}22:13</time>"
        );
        assert_eq!(read("2023-11-14T22:13"), Some(UnixTime(1_699_999_980)));
        assert_eq!(read("2023-11-15"), Some(UnixTime(1_700_006_400)));
        for odd in ["", "yesterday", "2023-13-01", "2023-11-14T99:00"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
