//! The recorded counts, and how new ones compare with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context;

use crate::project;

/// Instructions for each request, by its name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// How much a count may differ and still be called the same: 3 %.
const TOLERANCE_PERCENT: u64 = 3;

const PREFACE: &str = "\
# Instructions of the proxy process for one request, by `cargo xtask bench`.
#
# A rise of more than 3 % fails the tests. Where it is meant, `cargo xtask bench --record` writes
# this file anew; the commit says what the instructions are spent on. They depend a little on the
# processor and the C library: record on the machine the tests run on.

";

/// What is on record.
#[derive(Debug)]
pub(crate) struct Baseline {
    recorded: Counts,
}

/// A count beside its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    Less,
    More,
    /// There is no record.
    New,
}

impl Baseline {
    /// Reads the record; an empty one where there is no file.
    pub(crate) fn read() -> anyhow::Result<Self> {
        match std::fs::read_to_string(path()) {
            Ok(text) => {
                let recorded = toml::from_str(&text).context("xtask/instructions.toml")?;
                Ok(Self { recorded })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { recorded: Counts::new() })
            }
            Err(error) => Err(error).context("xtask/instructions.toml"),
        }
    }

    /// Writes new counts over the record. What was not counted stays as it was.
    pub(crate) fn record(mut self, counted: &Counts) -> anyhow::Result<()> {
        self.recorded.extend(counted.iter().map(|(name, count)| (name.clone(), *count)));
        let mut text = PREFACE.to_owned();
        for (name, count) in &self.recorded {
            writeln!(text, "{name} = {count}")?;
        }
        std::fs::write(path(), text).context("xtask/instructions.toml")
    }

    /// How a count compares with its record.
    pub(crate) fn verdict(&self, name: &str, count: u64) -> Verdict {
        let Some(&recorded) = self.recorded.get(name) else { return Verdict::New };
        let tolerated = recorded * TOLERANCE_PERCENT / 100;
        if recorded + tolerated < count {
            Verdict::More
        } else if count + tolerated < recorded {
            Verdict::Less
        } else {
            Verdict::Same
        }
    }

    /// Every count beside its record.
    pub(crate) fn table(&self, counted: &Counts) -> String {
        let mut lines =
            vec![format!("\n{:<22}{:>10}{:>10}{:>9}\n", "request", "recorded", "now", "ratio")];
        for (name, &count) in counted {
            let recorded = self.recorded.get(name).copied();
            let shown = recorded.map_or_else(|| "-".to_owned(), |recorded| recorded.to_string());
            let permille = recorded.and_then(|recorded| (count * 1000).checked_div(recorded));
            let ratio = permille.map_or_else(
                || "-".to_owned(),
                |permille| format!("{}.{:03}", permille / 1000, permille % 1000),
            );
            let word = match self.verdict(name, count) {
                Verdict::Same => "",
                Verdict::Less => "  less: worth recording",
                Verdict::More => "  MORE",
                Verdict::New => "  new",
            };
            lines.push(format!("{name:<22}{shown:>10}{count:>10}{ratio:>9}{word}\n"));
        }
        lines.concat()
    }
}

fn path() -> PathBuf {
    project().join("xtask/instructions.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_percent_are_the_same_and_more_is_told() {
        let baseline = Baseline { recorded: Counts::from([("get".to_owned(), 10_000)]) };
        assert_eq!(baseline.verdict("get", 10_300), Verdict::Same);
        assert_eq!(baseline.verdict("get", 9_700), Verdict::Same);
        assert_eq!(baseline.verdict("get", 10_301), Verdict::More);
        assert_eq!(baseline.verdict("get", 9_699), Verdict::Less);
        assert_eq!(baseline.verdict("post", 1), Verdict::New);
        let table = baseline.table(&Counts::from([("get".to_owned(), 10_400)]));
        assert!(table.contains("10000     10400    1.040  MORE"), "{table}");
    }
}
