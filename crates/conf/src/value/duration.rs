//! Durations: a whole number with a unit, such as `"250ms"` or `"5s"`.

use std::time::Duration;

use super::Text;

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// Units by their length in milliseconds, the longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Text for Duration {
    const KIND: &'static str = "a duration";
    const HINT: &'static str = "write a string with a unit, such as \"5s\"";

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let milliseconds = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, length)| length);
        let (Some(milliseconds), false) = (milliseconds, number.is_empty()) else {
            return Err(format!(
                "{text:?} is not a duration: write a whole number and ms, s, m, h or d, such as \"5s\""
            ));
        };
        let number: Option<u64> = number.parse().ok();
        number
            .and_then(|number| number.checked_mul(*milliseconds))
            .map(Self::from_millis)
            .ok_or_else(|| format!("{text:?} is too long"))
    }

    fn text(&self) -> String {
        let milliseconds = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        if milliseconds == 0 {
            return "0s".to_owned();
        }
        // One minute reads better as 60s, beside its neighbours of 75s and 20s.
        let fits = |(unit, length): &&(&str, u64)| {
            milliseconds.is_multiple_of(*length) && !(*unit == "m" && milliseconds == *length)
        };
        let (unit, length) = UNITS.iter().find(fits).unwrap_or(&("ms", 1));
        format!("{}{unit}", milliseconds / length)
    }
}

/// A limit: `"0s"` is none.
impl Text for Option<Duration> {
    const KIND: &'static str = Duration::KIND;
    const HINT: &'static str = Duration::HINT;

    fn parse(text: &str) -> Result<Self, String> {
        Duration::parse(text).map(|duration| Some(duration).filter(|limit| !limit.is_zero()))
    }

    fn text(&self) -> String {
        self.unwrap_or_default().text()
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_with_a_unit() {
        for text in ["250ms", "5s", "75s", "60s", "2m", "1h", "1d", "0s"] {
            check_text::<Duration>(text, Ok(text));
        }
        check_text::<Duration>("1000ms", Ok("1s"));
        check_text::<Duration>("1m", Ok("60s"));
        check_text::<Duration>("60m", Ok("1h"));
        check_text::<Duration>("0ms", Ok("0s"));
        for text in ["5", "5 s", "-1s", "+1s", "1.5s", "s", "", "5S", "1m30s", "5sec", "٣s"] {
            let message = format!(
                "{text:?} is not a duration: write a whole number and ms, s, m, h or d, such as \"5s\""
            );
            check_text::<Duration>(text, Err(&message));
        }
        for text in ["99999999999999999999s", "18446744073709551615s"] {
            check_text::<Duration>(text, Err(&format!("{text:?} is too long")));
        }
    }

    #[test]
    fn no_limit_is_zero() {
        assert_eq!(Option::<Duration>::parse("0s"), Ok(None));
        assert_eq!(Option::<Duration>::parse("1s"), Ok(Some(Duration::from_secs(1))));
        check_text::<Option<Duration>>("0ms", Ok("0s"));
    }
}
