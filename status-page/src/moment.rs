//! A moment as the operator reads it: RFC 3339 in JSON, httpd's form in `?auto`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970, shown in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime {
    /// Milliseconds since 1970.
    pub ms: u64,
}

impl UnixTime {
    /// Takes milliseconds since 1970.
    pub fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// Returns the moment `seconds` later.
    pub(crate) fn plus_seconds(self, seconds: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and the time is only shown"
        )]
        let later = (seconds * 1_000.0).round() as u64;
        Self { ms: self.ms.saturating_add(later) }
    }

    /// Returns the moment so many seconds later, or earlier; never before 1970.
    pub(crate) fn moved(self, seconds: i64) -> Self {
        Self { ms: self.ms.saturating_add_signed(seconds.saturating_mul(1_000)) }
    }

    /// Returns how many milliseconds this is after `earlier`; 0 if it is before it.
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.ms.saturating_sub(earlier.ms)
    }

    /// Returns the time of day, as `03:04:05`.
    pub fn clock(self) -> String {
        self.timestamp().strftime("%H:%M:%S").to_string()
    }

    /// Returns the date and time, as `2026-01-01 03:04:05`.
    pub fn date_and_clock(self) -> String {
        self.timestamp().strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Returns the date and time as a form's field takes it: UTC, without saying so.
    pub(crate) fn field(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%S").to_string()
    }

    /// Returns the date and time as httpd's status page prints it.
    pub(crate) fn httpd(self) -> String {
        self.timestamp().strftime("%A, %d-%b-%Y %H:%M:%S UTC").to_string()
    }

    /// Whole seconds: more would only make the numbers harder to read.
    fn timestamp(self) -> Timestamp {
        let seconds = i64::try_from(self.ms / 1_000).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    }
}

impl std::fmt::Display for UnixTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").fmt(formatter)
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl UnixTime {
    /// Reads a moment as people and programs ask for one: RFC 3339, also without its zone, which
    /// is UTC then, or without its seconds; or seconds since 1970. `None`: neither.
    pub fn asked(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return seconds.checked_mul(1_000).map(Self::from_ms);
        }
        // A plus that a query does not escape is a space.
        let zoned = match text.rsplit_once(' ') {
            Some((moment, zone)) if moment.contains(['T', 't', ' ']) => format!("{moment}+{zone}"),
            _ => text.to_owned(),
        };
        zoned.parse().ok()
    }
}

impl std::str::FromStr for UnixTime {
    type Err = jiff::Error;

    /// Reads RFC 3339, or the same without a zone, as a form sends it: then it is UTC. A moment
    /// before 1970 is 1970.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let in_utc = || text.parse::<DateTime>()?.to_zoned(TimeZone::UTC);
        let timestamp = text.parse().or_else(|_| in_utc().map(|zoned| zoned.timestamp()))?;
        Ok(Self { ms: u64::try_from(timestamp.as_millisecond()).unwrap_or(0) })
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_each_form_whatever_its_value() {
        let moment = UnixTime::from_ms(1_767_225_600_999);
        assert_eq!(moment.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(moment.httpd(), "Thursday, 01-Jan-2026 00:00:00 UTC");
        assert_eq!(moment.clock(), "00:00:00");
        assert_eq!(moment.plus_seconds(61.5).clock(), "00:01:02");
        assert_eq!(UnixTime::from_ms(u64::MAX).to_string(), "9999-12-30T22:00:00Z");
        assert_eq!(UnixTime::default().plus_seconds(f64::NAN), UnixTime::default());
    }

    #[test]
    fn a_moment_is_asked_for_in_many_forms() {
        let at = |ms: u64| Some(UnixTime::from_ms(1_767_225_600_000 + ms));
        for (text, expected) in [
            ("2026-01-01T00:00:07Z", at(7_000)),
            ("2026-01-01T00:00:07.250Z", at(7_250)),
            ("2026-01-01T01:00:07+01:00", at(7_000)),
            ("2026-01-01T01:00:07 01:00", at(7_000)),
            ("2025-12-31T23:00:07-01:00", at(7_000)),
            ("2026-01-01T00:00:07", at(7_000)),
            ("2026-01-01T00:00", at(0)),
            ("2026-01-01 00:00:07", at(7_000)),
            (" 1767225607 ", at(7_000)),
            ("0", Some(UnixTime::default())),
            ("99999999999999999999", None),
            ("18446744073709551615", None),
            ("1969-12-31T00:00", Some(UnixTime::default())),
            ("yesterday", None),
            ("", None),
            ("12:00", None),
        ] {
            assert_eq!(UnixTime::asked(text), expected, "{text}");
        }
    }

    #[test]
    fn a_moment_is_read_as_it_is_written_or_in_another_zone() {
        let expected = UnixTime::from_ms(1_767_225_600_000);
        for text in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00+01:00",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00",
        ] {
            assert_eq!(text.parse::<UnixTime>().unwrap(), expected, "{text}");
        }
        assert_eq!("1969-12-31T00:00:00Z".parse::<UnixTime>().unwrap(), UnixTime::default());
        assert!("yesterday".parse::<UnixTime>().is_err());
    }
}
