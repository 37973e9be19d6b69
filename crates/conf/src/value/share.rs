//! Shares of a whole: a number such as `0.5`, more than 0 and at most 1.

use super::Value;
use crate::decode::Decoder;
use crate::tree::{Data, Node};

/// Parts of a whole.
const WHOLE: u32 = 1_000_000;

/// A share of something that is counted, in millionths: exact where a fraction would not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// All of it.
    pub const ALL: Self = Self(WHOLE);

    /// So many hundredths, at least one and at most all.
    pub fn percent(percent: u32) -> Self {
        Self(percent.clamp(1, 100) * (WHOLE / 100))
    }

    /// The share of so many, rounded down; at least 1, so that nobody is shut out.
    pub fn of(self, count: u32) -> u32 {
        let part = u64::from(count) * u64::from(self.0) / u64::from(WHOLE);
        u32::try_from(part).unwrap_or(u32::MAX).max(1)
    }

    fn parse(text: &str) -> Option<Self> {
        let fraction: f64 = text.parse().ok()?;
        let is_share = 0.0 < fraction && fraction <= 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is more than 0 and at most a million"
        )]
        is_share.then(|| Self(((fraction * f64::from(WHOLE)).round() as u32).max(1)))
    }
}

impl Value for Share {
    const KIND: &'static str = "a share";

    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let share = match &node.data {
            Data::Float(text) => Self::parse(text),
            Data::Integer(Some(1)) => Some(Self::ALL),
            Data::Text(_)
            | Data::Integer(_)
            | Data::Boolean(_)
            | Data::Datetime
            | Data::Array(_)
            | Data::Table(_) => None,
        };
        if share.is_none() {
            let message = format!(
                "expected a share such as 0.5, more than 0 and at most 1; found {}",
                node.data
            );
            decoder.problem(node.at, message);
        }
        share
    }

    fn print(&self) -> String {
        let digits = format!("{:07}", self.0);
        let (whole, parts) = digits.split_at(1);
        let parts = parts.trim_end_matches('0');
        format!("{whole}.{}", if parts.is_empty() { "0" } else { parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_but_never_to_nothing() {
        let share = |text| Share::parse(text).unwrap();
        assert_eq!(share("0.5").of(15), 7);
        assert_eq!(share("0.29").of(100), 29, "which as a fraction is a little less");
        assert_eq!(share("0.001").of(10), 1);
        assert_eq!(share("1.0").of(10), 10);
        assert_eq!(share("0.7").of(0), 1);
    }

    #[test]
    fn it_is_printed_such_that_reading_gives_it_back() {
        for text in ["0.5", "0.000001", "1.0", "0.333333", "0.07"] {
            assert_eq!(Share::parse(text).unwrap().print(), text);
        }
        for text in ["0.0", "1.1", "-0.5", "nan", "inf"] {
            assert_eq!(Share::parse(text), None, "{text}");
        }
    }
}
