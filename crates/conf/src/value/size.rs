//! Sizes: a whole number with a unit, such as `"64KiB"`.

use std::fmt;

use super::Text;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Units by their number of bytes, the largest first.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// So many KiB.
    pub const fn kib(number: u64) -> Self {
        Self(number << 10)
    }

    /// So many MiB.
    pub const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    /// So many GiB.
    pub const fn gib(number: u64) -> Self {
        Self(number << 30)
    }

    /// As a length in memory; the longest there is when it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, bytes): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*bytes);
        let (unit, bytes) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(formatter, "{}{unit}", self.0 / bytes)
    }
}

impl Text for ByteSize {
    const KIND: &'static str = "a size";
    const HINT: &'static str = "write a string with a unit, such as \"64KiB\"";

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let bytes = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| bytes);
        let (Some(bytes), false) = (bytes, number.is_empty()) else {
            return Err(format!("{text:?} is not a size: {}", hint(number, unit)));
        };
        let number: Option<u64> = number.parse().ok();
        number
            .and_then(|number| number.checked_mul(*bytes))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is too large"))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// What was probably meant: `64kb` is `64KiB`.
fn hint(number: &str, unit: &str) -> String {
    let unit = unit.trim().to_ascii_lowercase();
    let meant = UNITS.iter().map(|(name, _)| *name).find(|name| {
        let name = name.to_ascii_lowercase();
        let short = name.trim_end_matches("ib");
        !unit.is_empty() && (unit == name || unit == short || unit == format!("{short}b"))
    });
    match meant {
        Some(meant) if !number.is_empty() => format!("write \"{number}{meant}\""),
        _ => "write a whole number and B, KiB, MiB, GiB or TiB, such as \"64KiB\"".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_with_a_unit() {
        for text in ["500B", "64KiB", "16MiB", "4GiB", "2TiB", "0B"] {
            check_text::<ByteSize>(text, Ok(text));
        }
        assert_eq!(ByteSize::parse("64KiB"), Ok(ByteSize(65_536)));
        check_text::<ByteSize>("1024B", Ok("1KiB"));
        check_text::<ByteSize>("0GiB", Ok("0B"));
        check_text::<ByteSize>("64kb", Err("\"64kb\" is not a size: write \"64KiB\""));
        check_text::<ByteSize>("64K", Err("\"64K\" is not a size: write \"64KiB\""));
        check_text::<ByteSize>("16 MiB", Err("\"16 MiB\" is not a size: write \"16MiB\""));
        check_text::<ByteSize>("4gib", Err("\"4gib\" is not a size: write \"4GiB\""));
        check_text::<ByteSize>("7b", Err("\"7b\" is not a size: write \"7B\""));
        for text in ["64", "", "KiB", "-1B", "1.5MiB", "5x"] {
            let message = format!(
                "{text:?} is not a size: write a whole number and B, KiB, MiB, GiB or TiB, such as \"64KiB\""
            );
            check_text::<ByteSize>(text, Err(&message));
        }
        check_text::<ByteSize>("99999999TiB", Err("\"99999999TiB\" is too large"));
    }
}
